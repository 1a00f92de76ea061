"""Previous frame -> start of the next one: pure maps.

transition   the maps of one animation as its settings say
turbo        which frames are rendered, and how much of which picture each shows
motion2d     a frame turned, shifted, zoomed
camera3d     a frame seen by a camera that has moved
vr           a frame seen by two eyes
depth        depth maps: a plane, a network, or two of them mixed
depth_dpt    DPT networks
depth_onnx   FastDepth
flow         motion between two frames by DIS; a frame carried along it (the only user of OpenCV)
flow_raft    motion by RAFT
grid         padding to a multiple, and the check of frame sizes
consistency  what two frames both show, by the motion there and back
video        frames of a video or folder, cached by content
frame_blend  frames of a finished video mixed with the ones before them
coherence    a frame with an earlier one's colours
load         loads the depth and flow networks of a run
memory       the memory of the depth and flow networks
"""
