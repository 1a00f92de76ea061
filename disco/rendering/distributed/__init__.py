"""Many workers render, one driver writes.

messages  what a driver and its workers say to each other
ray_pool  workers in a Ray cluster (the only user of Ray)
driver    the runs of a command on many workers; a lost worker is replaced
run       one run whose batches are with workers
worker    renders batches that it is given, writes nothing
"""
