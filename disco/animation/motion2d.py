"""2D animation: the last frame turned, zoomed and shifted."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Border = Literal["wrap", "reflect", "replicate"]
BORDERS: tuple[Border, ...] = ("wrap", "reflect", "replicate")
# Positions are rounded to this part of a pixel, so that quarter turns and round factors meet pixel centres.
_GRAIN = 2.0**20


def matrix2d(
    width: int, height: int, *, angle: float, zoom: float, translation_x: float, translation_y: float
) -> npt.NDArray[np.float64]:
    """Where pixel (x, y, 1) of the frame goes to, [3, 3].

    First shifted by (translation_x, translation_y) pixels, right and down; then turned by `angle` degrees,
    counter-clockwise as seen, and enlarged by `zoom` about pixel (width // 2, height // 2), the original's
    centre. Raises ValueError if zoom is not above 0.
    """
    if not zoom > 0:
        raise ValueError(f"zoom is {zoom:g}; allowed are numbers above 0")
    centre_x, centre_y = width // 2, height // 2
    along = zoom * math.cos(math.radians(angle))
    across = zoom * math.sin(math.radians(angle))
    turn = [
        [along, across, (1 - along) * centre_x - across * centre_y],
        [-across, along, across * centre_x + (1 - along) * centre_y],
        [0, 0, 1],
    ]
    shift = [[1, 0, translation_x], [0, 1, translation_y], [0, 0, 1]]
    return np.array(turn, dtype=np.float64) @ np.array(shift, dtype=np.float64)


def warp2d(
    frame: Tensor,
    *,
    angle: float,
    zoom: float,
    translation_x: float,
    translation_y: float,
    border: Border = "wrap",
) -> Tensor:
    """The frame moved as matrix2d says, bilinear; linear in the frame's values, whatever their scale.

    frame: [B, 3, H, W] float. border: what comes in from outside. wrap: the other side, reflect: the mirrored
    picture with its edge pixels doubled, replicate: the edge pixels. Returns the same shape, type and device.
    Raises ValueError for another border or a zoom that is not above 0.
    """
    if border not in BORDERS:
        raise ValueError(f"border is {border!r}; allowed are {', '.join(BORDERS)}")
    height, width = frame.shape[-2:]
    matrix = matrix2d(
        width, height, angle=angle, zoom=zoom, translation_x=translation_x, translation_y=translation_y
    )
    back = np.linalg.inv(matrix)
    x = torch.arange(width, dtype=torch.float64)
    y = torch.arange(height, dtype=torch.float64)[:, None]
    left, right, share_x = _neighbours(back[0, 0] * x + back[0, 1] * y + back[0, 2], width, border)
    upper, lower, share_y = _neighbours(back[1, 0] * x + back[1, 1] * y + back[1, 2], height, border)
    pixels = frame.flatten(-2)  # [B, 3, H*W]

    def at(row: Tensor, column: Tensor) -> Tensor:
        return pixels.index_select(-1, (row * width + column).flatten().to(frame.device))

    share_x, share_y = share_x.flatten().to(frame), share_y.flatten().to(frame)  # [H*W]
    top = torch.lerp(at(upper, left), at(upper, right), share_x)
    bottom = torch.lerp(at(lower, left), at(lower, right), share_x)
    return torch.lerp(top, bottom, share_y).reshape(frame.shape)


def _neighbours(position: Tensor, size: int, border: Border) -> tuple[Tensor, Tensor, Tensor]:
    """The pixels before and after each position along one axis, and the share of the one after."""
    position = (position * _GRAIN).round() / _GRAIN
    before = position.floor()
    index = before.long()
    return _inside(index, size, border), _inside(index + 1, size, border), position - before


def _inside(index: Tensor, size: int, border: Border) -> Tensor:
    if border == "wrap":
        return index % size
    if border == "reflect":
        index = index % (2 * size)
        return torch.minimum(index, 2 * size - 1 - index)
    return index.clamp(0, size - 1)
