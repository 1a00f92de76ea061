"""Losses of pictures and embeddings, and the clamp of their gradient: pure, a number per picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def spherical_dist(a: Tensor, b: Tensor) -> Tensor:
    """Half the squared angle between embeddings (radians^2; 0 = same, pi^2/2 = opposite).

    a, b: [..., D], any length (normalised here), broadcast together. Returns [...].
    Raises ValueError if the last dimensions differ.
    Source: Crowson's CLIP-guided diffusion notebook, 2021, which takes the arcsine of half the chord. The
    arctangent is the same angle, with a finite gradient for opposite embeddings too.
    """
    if a.shape[-1] != b.shape[-1]:
        raise ValueError(f"embeddings of {a.shape[-1]} and of {b.shape[-1]} numbers cannot be compared")
    a, b = F.normalize(a, dim=-1), F.normalize(b, dim=-1)
    half_angle = torch.atan2((a - b).norm(dim=-1), (a + b).norm(dim=-1))
    return 2 * half_angle.square()


def tv_loss(image: Tensor) -> Tensor:
    """Total variation: squared differences of neighbours, summed over both directions, mean over the picture.

    image: [B, C, H, W]. Returns [B]. Past the last row and column the picture goes on unchanged.
    Source: Mahendran and Vedaldi 2014, arXiv:1412.0035, with exponent 2.
    """
    across = (image[..., 1:] - image[..., :-1]).square().sum([1, 2, 3])
    down = (image[..., 1:, :] - image[..., :-1, :]).square().sum([1, 2, 3])
    return (across + down) / image[0].numel()


def range_loss(image: Tensor) -> Tensor:
    """How far pixels lie outside [-1, 1], squared, mean over the picture. [B, C, H, W] -> [B]."""
    return (image - image.clamp(-1, 1)).square().mean([1, 2, 3])


def sat_loss(image: Tensor) -> Tensor:
    """How far pixels lie outside [-1, 1], mean over the picture: saturation. [B, C, H, W] -> [B]."""
    return (image - image.clamp(-1, 1)).abs().mean([1, 2, 3])


@dataclass(frozen=True)
class PictureLoss:
    """A loss of pictures that guidance adds, times its scale."""

    name: str
    """Its name among the losses of a step."""
    setting: str
    """Its scale; of those in LOSSES below, a row of settings/methods.py."""
    function: Callable[[Tensor], Tensor]
    """[B, 3, H, W] in [-1, 1], or beyond -> [B]."""
    looks_at: Literal["x_in", "pred_x0"]
    """pred_x0: the network's guess; x_in: the guess mixed with x_t, which the cutouts are of."""


LOSSES: tuple[PictureLoss, ...] = (
    PictureLoss("tv", "tv_scale", tv_loss, "x_in"),
    PictureLoss("sat", "sat_scale", sat_loss, "x_in"),
    PictureLoss("range", "range_scale", range_loss, "pred_x0"),
)
"""In the order in which their gradients are added."""


def clamp_grad(grad: Tensor, clamp_max: float) -> Tensor:
    """Scale each picture's gradient down to a root mean square of at most clamp_max; zero stays zero.

    grad: [B, C, H, W], finite.
    """
    rms = grad.square().mean([1, 2, 3], keepdim=True).sqrt()
    return grad * (rms.clamp(max=clamp_max) / rms.clamp(min=torch.finfo(grad.dtype).tiny))
