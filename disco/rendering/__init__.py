"""Settings -> events: one process or many.

api                render(): the runs of a call, one after another
prepare            what a run needs before its first step: networks, prompts, init
batch              what is rendered together, and where it goes
still              one batch of pictures, from noise to PNG, stoppable after any step
steps              the steps of a batch, each retried until it fits into memory
decode             what the network denoises -> the pictures of a step
finish             the finishers of saved pictures
checkpoint_writer  the last whole step written down: checkpoints, progress picture, status
animate            the frames of an animation, one after another
memory             the memory that a run will need, and the savings it begins with
distributed/       many workers render, one driver writes
"""
