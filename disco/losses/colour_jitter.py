"""Brightness, contrast, saturation and hue of many cutouts, each in its own order, with a backward by hand.

The cutouts are sorted by the place at which their hue is turned: the first by one whose hue comes first.
Then every change before the hue concerns the last ones, every change after it the first ones, and the hue is
turned for all at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from disco.cutouts import grey_of, luma_weights

_N_HUE = 6  # tensors that hue_forward saves for backward


def jitter(image: Tensor, blend: Tensor, hue_at: Sequence[Tensor], back: Tensor) -> Tensor:
    """image: [N, 3, S, S]. Returns the same shape, in [0, 1]. The rest: see AugmentParams."""
    front, sizes = torch.cat(list(hue_at)), [len(index) for index in hue_at]
    changed: Tensor = _Jitter.apply(image, blend, front, back, sizes)
    return changed


def _slices(sizes: Sequence[int]) -> list[tuple[int, slice]]:
    """The places of all changes but the hue, in order, and the cutouts that each concerns."""
    ends = [sum(sizes[: position + 1]) for position in range(4)]
    before = [(position, slice(ends[position], ends[3])) for position in range(3)]
    after = [(position, slice(0, ends[position - 1])) for position in range(1, 4)]
    return [
        (position, some)
        for position, some in (*before, (-1, slice(0, 0)), *after)
        if position < 0 or _any(some)
    ]


def _any(some: slice) -> bool:
    return bool(some.stop > some.start)


class _Jitter(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, image: Tensor, blend: Tensor, front: Tensor, back: Tensor, sizes: list[int]
    ) -> Tensor:
        ctx.sizes = sizes
        image, blend = image.index_select(0, front), blend.index_select(0, front)
        turns = torch.cat([part[:, k, 0] for k, part in enumerate(torch.split(blend, sizes))])
        inside: list[Tensor] = []
        of_hue: tuple[Tensor, ...] = ()
        for position, some in _slices(sizes):
            if position < 0:
                image, of_hue = hue_forward(image, turns)
            else:
                inside.append(_blend_(image[some], blend[some, position, :, None, None, None]))
        ctx.save_for_backward(blend, front, back, *of_hue, *inside)
        return image.index_select(0, back)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        blend, front, back, *kept = ctx.saved_tensors
        of_hue, inside = kept[:_N_HUE], kept[_N_HUE:]
        grad = grad.index_select(0, front)
        for position, some in reversed(_slices(ctx.sizes)):
            if position < 0:
                grad = hue_backward(grad, of_hue)
            else:
                _blend_back_(grad[some], blend[some, position, :, None, None, None], inside.pop())
        return grad.index_select(0, back), None, None, None, None


def _blend_(image: Tensor, factors: Tensor) -> Tensor:
    """Mix each picture with its luma and its mean luma, in place; where it stayed inside of [0, 1].

    image: [N, 3, H, W]; factors: [N, 3, 1, 1, 1].
    """
    luma = grey_of(image)
    base = torch.addcmul(factors[:, 1] * luma, factors[:, 2], luma.mean([1, 2, 3], keepdim=True))
    mixed = torch.addcmul(base, factors[:, 0], image)
    torch.clamp(mixed, 0, 1, out=image)
    return mixed == image


def _blend_back_(grad: Tensor, factors: Tensor, inside: Tensor) -> None:
    """The gradient of _blend_, in place."""
    of_base = grad.mul_(inside).sum(1, keepdim=True)
    mean = of_base.mean([1, 2, 3], keepdim=True)
    of_luma = torch.addcmul(factors[:, 1] * of_base, factors[:, 2], mean)
    grad.mul_(factors[:, 0]).addcmul_(luma_weights(grad.device, grad.dtype)[..., None, None], of_luma)


def hue_forward(image: Tensor, turns: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """image: [N, 3, H, W]; turns: [N], in full turns. Returns the result and the tensors that backward needs.

    Between the corners of the hue circle the map is linear in the pixel: value, chroma and the difference
    across the largest channel, each times a number. So backward is short, and does not divide by the chroma
    of an almost grey pixel.
    """
    most, least = _extremes(image)
    spin = most.roll(-1, 1).sub_(most.roll(1, 1))  # the channel before the largest, less the one after it
    value = (most * image).sum(1, keepdim=True)
    chroma = value - (least * image).sum(1, keepdim=True)
    across = (spin * image).sum(1, keepdim=True)
    hue = across / chroma.clamp(min=torch.finfo(image.dtype).tiny)  # -1..1, towards the corner before
    corner = 2 * most[:, 1:2] + 4 * most[:, 2:]
    # Red is full at 0, green at 2, blue at 4 sixths of a turn; each begins to fade a sixth later.
    sixths = corner - hue + (6 * turns)[:, None, None, None] + _starts(image.device, image.dtype)
    sixths.sub_((sixths / 6).floor_(), alpha=6)
    left = 2 - (sixths - 2).abs_()
    faded = left.clamp_(0, 1)  # share of the chroma
    slope = (faded.ceil() - faded.floor()).mul_(sixths.sub_(2).sign_())
    level = torch.addcmul(faded, slope, hue, value=-1)
    free = torch.addcmul(value, chroma, faded, value=-1)
    turned = free.clamp(0, 1)
    return turned, (turned == free, slope, level, most, least, spin)


def hue_backward(grad: Tensor, kept: Sequence[Tensor]) -> Tensor:
    """The gradient at the image, from that at what hue_forward turned."""
    inside, slope, level, most, least, spin = kept
    grad = grad * inside
    along, down = (grad * slope).sum(1, keepdim=True), (grad * level).sum(1, keepdim=True)
    top = grad.sum(1, keepdim=True).sub_(down)
    return (most * top).addcmul_(least, down).addcmul_(spin, along, value=-1)


def _extremes(image: Tensor) -> tuple[Tensor, Tensor]:
    """1 at the largest channel of each pixel, 1 at the smallest, else 0: products, as torch.where is slow."""
    r, g, b = image.unbind(1)
    r_over_g, r_over_b, g_over_b = r >= g, r >= b, g >= b
    r_most, g_most = r_over_g & r_over_b, g_over_b & ~r_over_g
    r_least, b_least = ~(r_over_g | r_over_b), r_over_b & g_over_b
    most = torch.stack([r_most, g_most, ~(r_most | g_most)], 1)
    least = torch.stack([r_least, ~(r_least | b_least), b_least], 1)
    return most.to(image.dtype), least.to(image.dtype)


@lru_cache(maxsize=8)
def _starts(device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.tensor([5.0, 3.0, 1.0], device=device, dtype=dtype)[:, None, None]
