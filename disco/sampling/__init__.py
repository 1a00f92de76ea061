"""The maths of sampling: pure functions, no networks, no settings files.

diffusion   noise levels, Step, predict_x0, ddim_step, q_sample
samplers    the loops (ddim, plms)
masks       inpainting: what stays of an original before each step, and at the end
randomness  random numbers of both modes, from (seed, picture, purpose, place)
"""
