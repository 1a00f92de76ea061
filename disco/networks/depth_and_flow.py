"""Protocols of the networks between frames: depth of a frame, optical flow between two."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Depth(Protocol):
    """frame [B, 3, H, W] in [-1, 1] -> depth [1 or B, 1, H, W] float32: larger = farther, above 0.

    In the units of the warp, where the picture is 2 wide and 2 high.
    """

    def __call__(self, frame: Tensor) -> Tensor: ...


class Flow(Protocol):
    """An estimator of optical flow."""

    name: str

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Where each pixel of `a` lies in `b`: a(x) ~ b(x + flow(x)), so that warp(b, flow) looks like a.

        a, b: [1, 3, H, W] float in [-1, 1], of one size. Returns [1, 2, H, W] float32 on the device of `a`:
        (right, down) in pixels. Raises ValueError if the sizes differ.
        """
        ...
