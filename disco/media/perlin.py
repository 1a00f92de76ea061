"""The perlin init: clouds of gradient noise (Perlin 1985), a start that is neither a picture nor plain noise.

Noise of several octaves is defined on a square grid, 4096 or 1024 points wide, and resized bilinearly without
antialiasing, which is Disco Diffusion's look. Only the points that the resize reads are computed.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

COARSE, FINE = 4, 1
"""Cells along a side of the first octave. Each octave has cells half as wide and is 1.5 times weaker."""
COARSE_WEIGHTS = tuple(0.5 * 1.5**-octave for octave in range(8))
FINE_WEIGHTS = tuple(0.5 * 1.5**-octave for octave in range(12))
MODES = ("mixed", "color", "gray")


def perlin_init(generator: torch.Generator | None, width: int, height: int, mode: str = "mixed") -> Tensor:
    """The mean of a fine and a coarse noise, each with its contrast stretched, [1, 3, H, W] in [-1, 1].

    generator: of the CPU; None or torch.default_generator for the global one. width, height: pixels.
    mode: "color", "gray", or "mixed": fine noise in color, coarse in gray.
    compat dd57 draws once more and throws it away before a run's first picture: a matter of the caller.
    Raises ValueError for another mode.
    Source: Disco Diffusion 5.7's regen_perlin, 8-bit roundings included.
    """
    if mode not in MODES:
        raise ValueError(f"perlin_mode is {mode!r}: it must be one of {', '.join(MODES)}")
    fine = perlin_picture(generator, width, height, FINE, FINE_WEIGHTS, gray=mode == "gray")
    coarse = perlin_picture(generator, width, height, COARSE, COARSE_WEIGHTS, gray=mode != "color")
    mean = (fine / 255 + coarse / 255) / 2
    return (mean * 2 - 1)[None]


def perlin_picture(
    generator: torch.Generator | None,
    width: int,
    height: int,
    cells: int,
    weights: Sequence[float],
    *,
    gray: bool,
) -> Tensor:
    """One noise as an 8-bit picture from 0 to 255 in each channel, uint8 [3, H, W]."""
    points = cells << len(weights)
    rows, columns = _points_read(points, height), _points_read(points, width)
    noise = torch.zeros(1, 1 if gray else 3, points, points)
    for channel in noise[0]:
        channel[rows[:, None], columns] = octave_noise(generator, rows, columns, cells, weights)
    noise = F.interpolate(noise, (height, width), mode="bilinear", align_corners=False)[0]
    return _stretch((noise.clamp(0, 1) * 255).byte()).expand(3, -1, -1)


def octave_noise(
    generator: torch.Generator | None, rows: Tensor, columns: Tensor, cells: int, weights: Sequence[float]
) -> Tensor:
    """0.5 plus octaves of noise at the points rows x columns, [R, C], each with cells half as wide."""
    noise = torch.full((len(rows), len(columns)), 0.5)
    for octave, weight in enumerate(weights):
        scale = 1 << (len(weights) - octave)
        here = gradient_noise(generator, rows, columns, (cells << octave, cells << octave), scale)
        noise += here * weight
    return noise


def gradient_noise(
    generator: torch.Generator | None, rows: Tensor, columns: Tensor, cells: tuple[int, int], scale: int
) -> Tensor:
    """Perlin noise at the grid points rows x columns, [R, C], of cells (down, across) of `scale` points."""
    slopes = torch.randn(2, cells[0] + 1, cells[1] + 1, generator=generator)
    left, right = (slopes[:, :, columns // scale + corner] for corner in (0, 1))  # [2, down + 1, C]
    ramp = torch.linspace(0, 1, scale + 1)
    x = ramp[columns % scale]  # 0..1 inside a cell
    # A few rows at a time stay in the processor's cache.
    blocks = [rows[at : at + 32] for at in range(0, len(rows), 32)]
    return torch.cat([_rows(left, right, ramp, block, x) for block in blocks])


def _rows(left: Tensor, right: Tensor, ramp: Tensor, rows: Tensor, x: Tensor) -> Tensor:
    """The noise of these rows, [R, C], from the slopes at the left and at the right corners of the cells."""
    scale = len(ramp) - 1
    y = ramp[rows % scale][:, None]
    total = torch.zeros(len(rows), len(x))
    for below, across in itertools.product((0, 1), (0, 1)):
        slope_y, slope_x = (right if across else left)[:, rows // scale + below]
        total += _fade(y, below) * _fade(x, across) * (slope_y * (y - below) + slope_x * (x - across))
    return total


def _points_read(points: int, size: int) -> Tensor:
    """Which of a row of `points` a bilinear resize to `size` pixels reads, rising: two beside each pixel's
    centre, with a margin for the roundings of the resize."""
    position = ((torch.arange(size, dtype=torch.float64) + 0.5) * (points / size) - 0.5).clamp(min=0)
    lower = torch.cat([position - 0.01, position + 0.01]).floor().long()
    read = torch.cat([lower, lower + 1]).clamp(0, points - 1)
    return torch.tensor(sorted(set(read.tolist())))


def _fade(position: Tensor, corner: int) -> Tensor:
    """The weight of a corner, smoothly from 1 at it to 0 at the other one."""
    far = 3 * position**2 - 2 * position**3
    return far if corner else 1 - far


def _stretch(picture: Tensor) -> Tensor:
    """The contrast of each channel stretched to 0..255, rounded down as Pillow does it; uint8 [C, H, W]."""
    channels = []
    for channel in picture:
        low, high = int(channel.min()), int(channel.max())
        if high > low:
            scale = 255 / (high - low)
            channel = (channel.double() * scale - low * scale).clamp(0, 255).byte()
        channels.append(channel)
    return torch.stack(channels)
