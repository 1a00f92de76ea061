"""Resizes as products with matrices: Keys' cubic (1981), widened when the picture shrinks, black outside.

Two forms of the same crops. `dense_cuts`: all at once, as two large products over the whole picture, for a
device that is waited for by its kernels. `banded_cuts`: one by one, each out of its own square and by the few
pixels that count, for a CPU; several times less work.
Source: the kernel as ResizeRight has it (Shocher 2021).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_BAND = 32  # lines of a result that are made together

Band = tuple[int, int, int, int, Tensor]
"""Result lines [first, last) out of the lines [begin, end), and their weights [last - first, end - begin]."""


def cubic(x: Tensor) -> Tensor:
    """Keys' cubic kernel with a = -1/2; 0 from |x| = 2 on."""
    x = x.abs().clamp(max=2)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x <= 1, near, far)


def crop_weights(side: Tensor, start: Tensor, length: int, cut_size: int) -> Tensor:
    """The matrices that crop [start, start + side) of a line of pixels and resize it to cut_size.

    side, start: [...]. Returns [..., cut_size, length]. Pixels outside the crop count as black.
    """
    side, start = side[..., None, None], start[..., None, None]
    places = torch.arange(cut_size, device=side.device, dtype=side.dtype)[:, None]  # [S, 1]
    centres = (places + 0.5) * (side / cut_size) - 0.5  # [..., S, 1], inside the crop
    stretch = (cut_size / side).clamp(max=1)  # < 1: shrinking, so the kernel is wider
    # The weights sum to 1 before what lies outside is taken away, hence the sum over its whole support.
    reach = 2 * math.ceil(max(length / cut_size, 1)) + 1
    support = centres.round() + torch.arange(-reach, reach + 1, device=side.device, dtype=side.dtype)
    total = cubic((centres - support) * stretch).sum(-1, keepdim=True)  # [..., S, 1]
    pixels = torch.arange(length, device=side.device, dtype=side.dtype) - start  # [..., 1, length]
    weights = cubic((centres - pixels) * stretch) / total
    return weights * ((pixels >= 0) & (pixels < side))


@lru_cache(maxsize=64)
def resize_weights(length: int, pad: int, cut_size: int, device: torch.device) -> Tensor:
    """The matrix that pads a line with black on both sides and resizes it, [cut_size, length], float32."""
    side = torch.tensor(float(length + 2 * pad), dtype=torch.float64)
    weights = crop_weights(side, torch.zeros((), dtype=torch.float64), length + 2 * pad, cut_size)
    return weights[:, pad : pad + length].float().to(device)


def crop_matrices(boxes: Tensor, size: tuple[int, int], cut_size: int) -> tuple[Tensor, Tensor]:
    """What dense_cuts multiplies with, for boxes [B, n, 3], (side, x, y), of pictures of a size (H, W).

    Returns [B, n, S, H] and [B, n, S, W], on the device of the boxes, made in one go.
    """
    side, x, y = boxes.unbind(-1)  # [B, n] each
    both = crop_weights(side.expand(2, -1, -1), torch.stack([y, x]), max(size), cut_size)
    return both[0, ..., : size[0]], both[1, ..., : size[1]]


def dense_cuts(image: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """image: [B, C, H, W]; rows, columns: of crop_matrices. Returns [B, n, C, S, S]."""
    narrow = torch.einsum("bchw,bnsw->bnchs", image, columns)
    return torch.einsum("bnrh,bnchs->bncrs", rows, narrow)


def banded_cuts(image: Tensor, boxes: Tensor, cut_size: int) -> Tensor:
    """The same cuts of image [B, C, H, W]; boxes: [B, n, 3] on the CPU. Returns [B, n, C, S, S]."""
    cuts: Tensor = _Banded.apply(image, boxes.tolist(), cut_size)
    return cuts


@lru_cache(maxsize=256)
def _bands(side: int, cut_size: int, dtype: torch.dtype) -> tuple[Band, ...]:
    """The matrix of a resize from `side` to `cut_size`, without most of its zeros."""
    length = torch.tensor(float(side), dtype=torch.float64)
    weights = crop_weights(length, torch.zeros_like(length), side, cut_size).to(dtype)
    bands = []
    for first in range(0, cut_size, _BAND):
        part = weights[first : first + _BAND]
        used = part.any(0).nonzero()
        begin, end = int(used[0]), int(used[-1]) + 1
        bands.append((first, first + len(part), begin, end, part[:, begin:end].contiguous()))
    return tuple(bands)


class _Banded(torch.autograd.Function):
    """Rows, then columns, of each square; backward adds each gradient to its square of the picture's."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, boxes: list[list[list[int]]], cut_size: int) -> Tensor:
        ctx.boxes, ctx.cut_size, ctx.shape = boxes, cut_size, image.shape
        channels = image.shape[1]
        cuts = image.new_empty(len(boxes), len(boxes[0]), channels, cut_size, cut_size)
        for picture, its_boxes, its_cuts in zip(image, boxes, cuts, strict=True):
            for (side, x, y), made in zip(its_boxes, its_cuts, strict=True):
                bands, piece = _bands(side, cut_size, image.dtype), picture[:, y : y + side, x : x + side]
                short = image.new_empty(channels, cut_size, side)
                for first, last, begin, end, weights in bands:
                    short[:, first:last] = weights @ piece[:, begin:end]
                for first, last, begin, end, weights in bands:
                    made[:, :, first:last] = short[:, :, begin:end] @ weights.T
        return cuts

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        total = grad.new_zeros(ctx.shape)
        for picture, its_boxes, its_grads in zip(total, ctx.boxes, grad, strict=True):
            for (side, x, y), made in zip(its_boxes, its_grads, strict=True):
                bands, piece = _bands(side, ctx.cut_size, grad.dtype), picture[:, y : y + side, x : x + side]
                short = grad.new_zeros(*made.shape[:2], side)
                for first, last, begin, end, weights in bands:
                    short[:, :, begin:end] += made[:, :, first:last] @ weights
                for first, last, begin, end, weights in bands:
                    piece[:, begin:end] += weights.T @ short[:, first:last]
        return total, None, None
