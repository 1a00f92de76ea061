"""Train behind a patch in its frequencies (preconditioning): their usual sizes, the error, the speckle."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from disco.networks.preconditioning import Frequencies, cosine_basis
from training.common import linear_alpha_sigma


def usual_sizes(pictures: Tensor, patch: int) -> Tensor:
    """Root mean square of each coefficient over pictures [B, 3, H, W], as architectures hold it: [3 p^2]."""
    tokens = nn.functional.pixel_unshuffle(pictures, patch)
    coefficients = torch.einsum("kc,bchw->bkhw", cosine_basis(patch), tokens)
    return coefficients.square().mean((0, 2, 3)).sqrt().round(decimals=4)


class Speckle:
    """Random texture [B, 3, H, W] with the usual spectrum of pictures, of a random strength for each picture.

    A weak denoiser leaves such texture behind; seen again at the next step it looks like part of the picture,
    and grows. Mixed into the input (not into the target) in training, it is learned to be removed: input
    perturbation (Ning et al. 2023, arXiv:2301.11706) in the shape of the errors here. It paints smoother.
    """

    def __init__(self, sizes: Tensor) -> None:
        self.patch = math.isqrt(len(sizes) // 3)
        self.outward = cosine_basis(self.patch).T.to(sizes.device) * sizes.clamp(max=1.0)

    def __call__(self, like: Tensor, most: float = 0.3) -> Tensor:
        size, _, height, width = like.shape
        tokens = torch.randn(size, len(self.outward), height // self.patch, width // self.patch).to(like)
        strength = most * (torch.rand(size).to(like) * 1.5 - 0.5).clamp(min=0)  # one in three stays clean
        tokens = torch.einsum("ck,bkhw->bchw", self.outward, tokens * strength[:, None, None, None])
        return nn.functional.pixel_shuffle(tokens, self.patch)


class SpectralError:
    """Mean squared error [B] in which no frequency drowns the others.

    Measured in pixels a picture is nearly all in its lowest frequencies: noise leaking through in the middle
    ones costs little, is learned to be removed late, and adds up over the steps to a speckle. Here the error
    of a coefficient counts in proportion to 1 / its usual size; 100 % of error costs as much as in pixels.
    """

    def __init__(self, sizes: Tensor) -> None:
        self.basis = cosine_basis(math.isqrt(len(sizes) // 3)).to(sizes.device)
        self.patch = math.isqrt(len(sizes) // 3)
        weights = 1 / sizes.clamp(min=0.15)
        self.weights = weights * (sizes.square().mean() / (weights * sizes.square()).mean())

    def __call__(self, difference: Tensor) -> Tensor:
        tokens = nn.functional.pixel_unshuffle(difference, self.patch)
        coefficients = torch.einsum("kc,bchw->bkhw", self.basis, tokens)
        return (coefficients.square().mean((2, 3)) * self.weights).mean(1)


class Preconditioned(nn.Module):
    """The UNet between the two halves of preconditioning: tokens [B, 3 p^2, h, w] of x_t -> those of x0.

    It starts as the linear guess: the UNet's last convolution is zero.
    """

    def __init__(self, unet: nn.Module, sizes: Tensor) -> None:
        super().__init__()
        self.unet, self.frequencies = unet, Frequencies(sizes)
        self.register_buffer("sizes", sizes)  # goes with the checkpoint

    def forward(self, tokens: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = linear_alpha_sigma(t)
        x_in, linear = self.frequencies.split(tokens, alpha, sigma)
        with torch.autocast(tokens.device.type, torch.bfloat16):
            answer = self.unet(x_in.contiguous(memory_format=torch.channels_last), t)
        return self.frequencies.join(linear, answer.float(), alpha, sigma)
