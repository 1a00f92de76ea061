"""Devices, out-of-memory errors, and what is done to need less memory.

policy           what can be saved, and in which order; no torch
retry            retries after an out-of-memory error with the next memory saving
offload          networks in CPU RAM while they are not used
grad_checkpoint  gradient checkpointing of networks as they are
oom              out-of-memory errors recognised, with the stage of the step
stages           the stage of a step that has been reached, noted by hooks on the networks
free             free memory of a device
streams          a second CUDA stream beside the first
devices          the device of a run
number_types     number types as text; no torch
"""
