"""The space that a network denoises in: pixels, or the latents of an autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class PictureSpace(Protocol):
    """Pictures [B, 3, H, W] in [-1, 1] <-> what a network denoises, x_t and pred_x0, [B, C, h, w]."""

    def shape(self, n: int, size: Sequence[int]) -> tuple[int, int, int, int]:
        """The shape of x_t for n pictures of size (width, height)."""
        ...

    def encode(self, pictures: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, C, h, w], on the same device; without random numbers."""
        ...

    def decode(self, x0: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, 3, H, W]; differentiable, since guidance looks through it."""
        ...


class PixelSpace:
    """Of a network that denoises the pictures themselves: both ways are the identity."""

    def shape(self, n: int, size: Sequence[int]) -> tuple[int, int, int, int]:
        width, height = size
        return n, 3, height, width

    def encode(self, pictures: Tensor) -> Tensor:
        return pictures

    def decode(self, x0: Tensor) -> Tensor:
        return x0
