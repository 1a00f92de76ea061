"""Painting a part of a picture only: the rest is held to an original, always or at first. Pure functions.

A mask is [1, 1, H, W] in [0, 1]: 1 is painted, 0 stays, and what lies between is mixed.
Source: the inpainting mode of the guided-diffusion fork that Disco Diffusion samples with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from disco.sampling.diffusion import Step, q_sample
from disco.sampling.samplers import BeforeStep

# A PNG's values are cut off, not rounded: a picture's own 8-bit values must not fall below themselves.
_ABOVE = 2e-6
LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the luma of ITU-R BT.601."""


def make_mask_blend(
    original: Tensor, mask: Tensor, noise: Callable[[Step], Tensor], steps_to_repaint: int = 0
) -> BeforeStep:
    """Makes the before_step that sets x_t = (1 - mask) * q_sample(original) + mask * x_t.

    original: [1 or B, 3, H, W]; noise(step): [B, 3, H, W], fresh for each step, brought to x_t's device.
    steps_to_repaint: in so many last steps of the run nothing is mixed in, and the whole picture may change:
    the seams grow together, and what was kept moves a little away from the original. 0 mixes before every
    step; as many as are executed never does. A run that skips steps has the same last steps.
    """

    def before_step(x_t: Tensor, step: Step) -> Tensor:
        if not is_masked(step, steps_to_repaint):
            return x_t
        kept = q_sample(original.to(x_t), step, noise(step).to(x_t))
        fraction = mask.to(x_t)
        return (1 - fraction) * kept + fraction * x_t

    return before_step


def is_masked(step: Step, steps_to_repaint: int) -> bool:
    """Is the original mixed in before this step? step.respaced_index counts down to 0 at the last one."""
    return step.respaced_index >= steps_to_repaint


def make_steady(start: Tensor, known: Tensor, noise: Tensor, fraction: float) -> BeforeStep:
    """Makes the before_step that leaves what is known out of the first `fraction` of a picture's steps.

    It sets x_t = (1 - known) * x_t + known * q_sample(start, step, noise) until then, as if the known parts
    began later; fraction 1 leaves them the last step. Where the fraction ends between two steps, that part of
    the known is held before the second one.
    start: what the picture starts from, [1, 3, H, W]; known: [1, 1, H, W] in [0, 1], 1 where it is to be
    repainted but lightly; noise: what start was noised with, [1, 3, H, W].
    """

    def before_step(x_t: Tensor, step: Step) -> Tensor:
        held = min(fraction * step.n + 1 - step.i, 1.0)
        if held <= 0:
            return x_t
        weight = known.to(x_t) * held
        return (1 - weight) * x_t + weight * q_sample(start.to(x_t), step, noise.to(x_t))

    return before_step


def resize_mask(mask: Tensor, shape: Sequence[int]) -> Tensor:
    """A mask [1, 1, H, W] for x_t of this shape, [B, C, h, w]: the mean over the pixels that it covers."""
    size = tuple(shape[-2:])
    return mask if mask.shape[-2:] == size else functional.interpolate(mask, size, mode="area")


def keep_original(pred_x0: Tensor, original: Tensor, mask: Tensor) -> Tensor:
    """pred_x0 [B, 3, H, W] with the original itself wherever the mask is exactly 0.

    Before each step the kept part comes from the original, but the network's guess of it is only near it.
    """
    return torch.where(mask.to(pred_x0) == 0, original.to(pred_x0) + _ABOVE, pred_x0)


def soften(mask: Tensor, blur: float) -> Tensor:
    """The mask with soft edges: a Gaussian blur of standard deviation `blur` pixels, 0 for none.

    It reaches 3 `blur` far: what is further inside the kept part stays exactly 0. The border goes on outside.
    """
    radius = math.ceil(3 * blur)
    if radius == 0:
        return mask
    places = torch.arange(-radius, radius + 1, dtype=torch.float32, device=mask.device)
    weights = torch.exp(-0.5 * (places / blur) ** 2)
    weights = weights / weights.sum()
    rows = functional.pad(mask, (radius, radius, 0, 0), mode="replicate")
    rows = functional.conv2d(rows, weights.view(1, 1, 1, -1))
    columns = functional.pad(rows, (0, 0, radius, radius), mode="replicate")
    return functional.conv2d(columns, weights.view(1, 1, -1, 1)).clamp(0, 1)


def grey(picture: Tensor) -> Tensor:
    """The mask that a picture [1, 3, H, W] in [-1, 1] shows: black 0, white 1 (Rec. 601 luma)."""
    shares = picture.new_tensor(LUMA).view(1, 3, 1, 1)
    return ((picture + 1) / 2 * shares).sum(1, keepdim=True).clamp(0, 1)
