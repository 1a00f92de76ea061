"""Train behind a patch in its frequencies, ship in its pixels.

A network that paints 8x8 patches pixel by pixel must learn 192 numbers to agree with each other; until it
does, a lattice covers the pictures. Pictures have little energy in high frequencies: so it is trained on the
patches' cosine coefficients, each in units of its usual size over the training pictures. Both changes
of basis are linear and next to a convolution: `folded` writes them into the first and the last one, exactly.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def cosine_basis(patch: int) -> Tensor:
    """Orthonormal [3 p^2, 3 p^2]: rows colour axis, vertical and horizontal frequency; columns pixels."""
    k, x = torch.arange(patch, dtype=torch.float64)[:, None], torch.arange(patch, dtype=torch.float64)
    waves = torch.cos(math.pi / patch * (x + 0.5) * k) * math.sqrt(2 / patch)
    waves[0] /= math.sqrt(2)
    third, half, sixth = math.sqrt(1 / 3), math.sqrt(1 / 2), math.sqrt(1 / 6)
    colour = torch.tensor(
        [[third, third, third], [half, 0, -half], [sixth, -2 * sixth, sixth]], dtype=torch.float64
    )
    return torch.kron(colour, torch.kron(waves, waves)).float()


def usual_sizes(pictures: Tensor, patch: int) -> Tensor:
    """Root mean square of each coefficient over pictures [B, 3, H, W], [3 p^2]."""
    tokens = nn.functional.pixel_unshuffle(pictures, patch)
    coefficients = torch.einsum("kc,bchw->bkhw", cosine_basis(patch), tokens)
    return coefficients.square().mean((0, 2, 3)).sqrt()


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


class Spectral(nn.Module):
    """A UNet on pixel_unshuffle's tokens [B, 3 p^2, h, w] that works on their scaled cosine coefficients."""

    def __init__(self, unet: nn.Module, sizes: Tensor) -> None:
        super().__init__()
        self.unet = unet
        basis = cosine_basis(math.isqrt(len(sizes) // 3))
        # The noise has size 1 in every coefficient, the picture `sizes`: a compromise over all t.
        self.register_buffer("inward", basis / (1 + sizes.square())[:, None] ** 0.25)
        self.register_buffer("outward", basis.T * sizes)

    def forward(self, tokens: Tensor, t: Tensor) -> Tensor:
        coefficients = torch.einsum("kc,bchw->bkhw", self.inward, tokens)
        coefficients = coefficients.contiguous(memory_format=torch.channels_last)
        with torch.autocast(tokens.device.type, torch.bfloat16):
            answer = self.unet(coefficients, t)
        return torch.einsum("ck,bkhw->bchw", self.outward, answer.float())


def folded(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A Spectral's state dict -> that of the plain UNet which gives the same answers."""
    unet = {name.removeprefix("unet."): value for name, value in state.items() if name.startswith("unet.")}
    first, last = "input_blocks.0.0.weight", "out.2"
    unet[first] = torch.einsum("okyx,kc->ocyx", unet[first], state["inward"])
    unet[f"{last}.weight"] = torch.einsum("ck,kiyx->ciyx", state["outward"], unet[f"{last}.weight"])
    unet[f"{last}.bias"] = state["outward"] @ unet[f"{last}.bias"]
    return unet
