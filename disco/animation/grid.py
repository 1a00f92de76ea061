"""Frames of one size, grown until an estimator of motion takes them."""

from __future__ import annotations

from types import EllipsisType

from torch import Tensor
from torch.nn import functional


def check_sizes(a: Tensor, b: Tensor) -> None:
    """Raise ValueError unless both are of one width and height."""
    if a.shape[2:] != b.shape[2:]:
        sizes = " and ".join(f"{tensor.shape[3]}x{tensor.shape[2]}" for tensor in (a, b))
        raise ValueError(f"the sizes differ: {sizes}")


def padded(
    frames: tuple[Tensor, ...], *, least: int, multiple: int = 1
) -> tuple[tuple[Tensor, ...], tuple[EllipsisType, slice, slice]]:
    """Frames [1, C, H, W] of one size grown evenly by their edge pixels, until each side suits an estimator.

    least, multiple: what each side must reach and be a multiple of. Returns them, and the index that cuts the
    frame's part out of a grown one.
    """
    height, width = frames[0].shape[2:]
    before, after = [], []
    for side in (height, width):
        missing = -(-max(side, least) // multiple) * multiple - side
        before.append(missing // 2)
        after.append(missing - missing // 2)
    pads = [before[1], after[1], before[0], after[0]]
    grown = tuple(functional.pad(frame, pads, mode="replicate") for frame in frames)
    rows, columns = slice(before[0], before[0] + height), slice(before[1], before[1] + width)
    return grown, (..., rows, columns)
