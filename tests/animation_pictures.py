"""Pictures with known answers, for the tests of motion."""

from __future__ import annotations

import torch
from torch import Tensor

from disco.media.images import from_uint8, read_pixels
from tests.places import GOLDEN


def noise(height: int = 24, width: int = 40, batch: int = 1) -> Tensor:
    """Independent pixels in [-1, 1], [B, 3, H, W]."""
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


def spot(x: float, y: float, size: int = 33, width: float = 2) -> Tensor:
    """A soft white spot on black at pixel (x, y), [1, 3, size, size] in [-1, 1]."""
    axis = torch.arange(size)
    bright = torch.exp(-((axis - x) ** 2 + (axis[:, None] - y) ** 2) / (2 * width**2))
    return (bright * 2 - 1).expand(1, 3, -1, -1)


def whereabouts(frame: Tensor) -> tuple[float, float]:
    """Centre of its brightness, (x, y) in pixels."""
    bright = (frame[0, 0] + 1) / 2
    bright = bright / bright.sum()
    along, down = (torch.arange(n, dtype=torch.float32) for n in (frame.shape[-1], frame.shape[-2]))
    return float((bright.sum(0) * along).sum()), float((bright.sum(1) * down).sum())


def flat(frame: Tensor, depth: float = 1.5) -> Tensor:
    """The same depth everywhere, [1, 1, H, W]."""
    return torch.full((1, 1, *frame.shape[-2:]), depth)


def golden_frame() -> Tensor:
    """The picture of the original's 3D warps, [1, 3, 48, 64] in [-1, 1]."""
    return from_uint8(read_pixels(GOLDEN / "img3d_48x64.png"))
