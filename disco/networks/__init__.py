"""File -> network on a device, and its footprint.

required         the networks that a run needs: the table that loading, plan and memory read
clip_configs     configurations of CLIPs, from open_clip's list or a folder
architectures    architectures of diffusion networks, from the registry, a file or the user
depth_and_flow   protocols of depth networks and of optical flow
load             registry entry + file -> network on a device
denoiser         guided-diffusion's UNet as denoiser(x_t, t) -> eps
preconditioning  frequencies of a patch, preconditioned (pocket_diffusion)
clip             one CLIP: encode_text, encode_image, its input side, mean, std, tokenizer
clip_files       a CLIP in one file of OpenAI's format
hybrid_vit       the image tower of pocket-vit
perceptual       perceptual distances: LPIPS and pocket's
srvgg            the network of an upscaler: convolutions, then a pixel shuffle
upscaler         a picture -> the same, larger, in tiles; from a file
state_dicts      weights file -> tensors -> a network, strictly
torchscript      tensors of a TorchScript archive, without running its code
identify         recognise what a state dict holds, for error messages
compile          torch.compile: checked against the plain network, cached on disk
footprint        networks counted on the meta device: weights, activations of a pass
estimate         the memory of a step, and the savings with which it fits
"""
