"""Pairs of pictures for the perceptual net: an original, and what a run might hold against it.

Everything here is [B, 3, S, S] in [0, 1], except that noise may leave that range, as x_in does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from disco.networks.preconditioning import cosine_basis
from disco.secondary_model import SecondaryModel
from training import data, light

SOURCES = {"scenes": 0.4, "flowers": 0.25, "caltech": 0.2, "tiny": 0.15}
HELD_OUT = 25  # every such picture of a source that has no test split of its own


class Originals:
    """Random squares of the packed pictures of one split, scaled to one side."""

    def __init__(self, folder: Path, split: str, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.arrays, self.rows = {}, {}
        for name in SOURCES:
            self.arrays[name], _, splits = data.load(folder, name)
            if "test" not in splits:
                splits = ["train" if k % HELD_OUT else "test" for k in range(len(splits))]
            self.rows[name] = np.flatnonzero(np.array(splits) == split)

    def _one(self, name: str, side: int) -> Tensor:
        picture = self.arrays[name][self.rng.choice(self.rows[name])]
        edge = int(self.rng.integers(min(side, len(picture)), len(picture) + 1))
        top, left = self.rng.integers(0, len(picture) - edge + 1, 2)
        crop = picture[top : top + edge, left : left + edge]
        if self.rng.random() < 0.5:
            crop = crop[:, ::-1]
        pixels = torch.from_numpy(crop.copy()).permute(2, 0, 1)[None].float() / 255
        return nn.functional.interpolate(pixels, (side, side), mode="bilinear", antialias=True)

    def batch(self, size: int, side: int) -> Tensor:
        names = self.rng.choice(list(SOURCES), size, p=list(SOURCES.values()))
        return torch.cat([self._one(name, side) for name in names])


def between(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


def blur(x: Tensor, other: Tensor) -> Tensor:
    return light.blurred(x, between(0.4, 1.0) if torch.rand(()) < 0.4 else between(1.0, 5.0))


def noise(x: Tensor, other: Tensor) -> Tensor:
    noisy = x + between(0, 0.7) ** 2 * torch.randn_like(x)
    return noisy.clamp(0, 1) if torch.rand(()) < 0.5 else noisy


def relit(x: Tensor, other: Tensor) -> Tensor:
    return light.relit(x)[0]


def tint(x: Tensor, other: Tensor) -> Tensor:
    gains = 1 + between(0, 0.35) * torch.randn(1, 3, 1, 1)
    return x * gains + between(0, 0.15) * torch.randn(1, 3, 1, 1)


def contrast(x: Tensor, other: Tensor) -> Tensor:
    mean = x.mean((1, 2, 3), keepdim=True)
    return ((x - mean) * between(0.2, 1.8) + mean + between(-0.2, 0.2)).clamp(0, 1)


def warp(x: Tensor, other: Tensor) -> Tensor:
    """Shifted, turned, zoomed and bent a little."""
    turn, zoom = 0.15 * torch.randn(()), math.exp(0.12 * float(torch.randn(())))
    rows = [[turn.cos() * zoom, -turn.sin(), 0.0], [turn.sin(), turn.cos() * zoom, 0.0]]
    affine = torch.tensor(rows) if torch.rand(()) < 0.5 else torch.eye(2, 3)
    affine[:, 2] = between(0, 0.25) * torch.randn(2)
    grid = nn.functional.affine_grid(affine[None], [1, *x.shape[1:]], align_corners=False)
    bend = between(0, 0.12) * torch.randn(1, 2, 5, 5)
    bend = nn.functional.interpolate(bend, x.shape[2:], mode="bicubic").permute(0, 2, 3, 1)
    return nn.functional.grid_sample(x, grid + bend, padding_mode="reflection", align_corners=False)


def mix(x: Tensor, other: Tensor) -> Tensor:
    return torch.lerp(x, other, between(0.05, 0.95))


def replace(x: Tensor, other: Tensor) -> Tensor:
    return other


def patch(x: Tensor, other: Tensor) -> Tensor:
    """A rectangle of the other picture, or of its mean colour."""
    side = x.shape[2]
    height, width = (int(between(0.2, 0.8) * side) for _ in range(2))
    top, left = int(between(0, side - height)), int(between(0, side - width))
    y = x.clone()
    piece = other[:, :, top : top + height, left : left + width]
    flat = piece.mean((2, 3), keepdim=True).expand_as(piece)
    y[:, :, top : top + height, left : left + width] = flat if torch.rand(()) < 0.4 else piece
    return y


def blocks(x: Tensor, other: Tensor) -> Tensor:
    """Cosine coefficients of 8x8 blocks rounded, the higher ones more coarsely, as JPEG does."""
    frequency = torch.arange(8)[:, None] + torch.arange(8)  # [8, 8]
    step = between(0.02, 0.25) * (1 + frequency.float().flatten().repeat(3)[:, None, None] / 2)
    basis = cosine_basis(8)
    tokens = torch.einsum("kc,bchw->bkhw", basis, nn.functional.pixel_unshuffle(x, 8))
    tokens = (tokens / step).round() * step
    return nn.functional.pixel_shuffle(torch.einsum("kc,bkhw->bchw", basis, tokens), 8)


def low_res(x: Tensor, other: Tensor) -> Tensor:
    small = nn.functional.interpolate(x, scale_factor=1 / between(1.5, 8), mode="bilinear", antialias=True)
    mode = "nearest" if torch.rand(()) < 0.4 else "bicubic"
    return nn.functional.interpolate(small, x.shape[2:], mode=mode)


class HalfDenoised:
    """What the guidance looks at in the middle of sampling: pred_x0 * sigma + x_t * (1 - sigma)."""

    def __init__(self, secondary: SecondaryModel) -> None:
        self.secondary = secondary

    @torch.no_grad()
    def __call__(self, x: Tensor, other: Tensor) -> Tensor:
        t = torch.tensor([between(0.1, 0.95)])
        angle = t[:, None, None, None] * (math.pi / 2)
        x_t = angle.cos() * (x * 2 - 1) + angle.sin() * torch.randn_like(x)
        height, width = x.shape[2:]
        padded = nn.functional.pad(x_t, (0, -width % 32, 0, -height % 32), mode="reflect")  # as it must be
        pred_x0 = self.secondary(padded, t).pred_x0[:, :, :height, :width]
        return (torch.lerp(x_t, pred_x0, angle.sin()) + 1) / 2


Kind = Callable[[Tensor, Tensor], Tensor]
PLAIN: tuple[Kind, ...] = (
    *(blur, noise, relit, tint, contrast, warp),
    *(mix, replace, patch, blocks, low_res),
)


def kinds(secondary: SecondaryModel) -> dict[str, Kind]:
    """Every distortion by its name."""
    return {kind.__name__: kind for kind in PLAIN} | {"half_denoised": HalfDenoised(secondary)}


def pairs(
    originals: Originals, kinds: dict[str, Kind], size: int, side: int
) -> tuple[Tensor, Tensor, list[str]]:
    """Originals and distorted pictures, [size, 3, side, side] in [-1, 1], and what was done to each.

    Two in five are distorted twice; one original in five is itself a distorted picture.
    """
    pictures = originals.batch(2 * size, side)
    names, first, second = list(kinds), [], []
    done = [names[int(k)] for k in torch.randint(len(names), (size,))]
    for name, x, other in zip(done, pictures[:size].split(1), pictures[size:].split(1), strict=True):
        base = relit(x, other) if torch.rand(()) < 0.2 else x
        y = kinds[name](base, other)
        if torch.rand(()) < 0.4:
            y = kinds[names[int(torch.randint(len(names), ()))]](y, other)
        first.append(base)
        second.append(y)
    return torch.cat(first) * 2 - 1, torch.cat(second) * 2 - 1, done
