"""Folders, resume, and what a run leaves.

folder        one run's folder: numbering, settings, pictures
info          run.json, in two copies, checked before it is used
names         what the files of a run are called
queue         the runs of one command, each new or resumed; the grid of a sweep
new_run       which pictures of a new run, in which folder; a finished picture rendered again
resume        going on with a stopped run; comparing settings
finishers     steps after a picture is saved, each of which leaves a file beside it
checkpoints   the state of a picture: safetensors behind a SHA-256
frames        what a frame leaves for the next one, as floats
frame_ranges  where the frame before is found: in the run, or in the run that a range goes on from
inputs        the pictures and videos that a run is given
report        how a run is announced, and what it leaves: sheet, status, report
metadata      what every PNG carries
record        what the chunk of a picture must be like, checked before it is used
footage       what a video is made of: frames of a run, pictures of a folder, partials
video         pictures -> one video file, whole or absent
"""
