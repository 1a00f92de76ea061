"""The maths of sampling: pure functions, no networks, no settings files.

diffusion   noise levels, Step, predict_x0, ddim_step, q_sample
samplers    the loops, one for each value of diffusion_sampling_mode: SAMPLERS
masks       inpainting: what stays of an original before each step, and at the end
space       what a network denoises: pixels, or latents with an encoder and a decoder
brownian    noise that belongs to a noise level: a Brownian motion over the signal-to-noise ratio
noise       the mean colour of noise, and its layout at larger sizes
randomness  random numbers of both modes, from (seed, picture, purpose, indices)
"""
