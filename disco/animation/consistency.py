"""Which parts of a frame another one shows too, by forward and backward flow; and a blend with that mask."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from disco.animation.flow import warp
from disco.animation.grid import check_sizes


@torch.no_grad()
def visible(
    flow_ab: Tensor,
    flow_ba: Tensor,
    *,
    relative: float = 0.01,
    absolute: float = 0.5,
    boundaries: bool = True,
    softness: int = 2,
) -> Tensor:
    """A mask of what frame a shows and b shows too: 1 = seen in both, 0 = hidden or outside in b.

    flow_ab, flow_ba: [1, 2, H, W] in pixels, as depth_and_flow.Flow gives them. A pixel that does not
    come back to where it began is hidden: |there + back|^2 > relative * (|there|^2 + |back|^2) + absolute
    (pixels^2). boundaries: leave out the edges of moving things too, where flow is smeared.
    softness: pixels over which the mask rises from 0 at what is hidden; 0 for a hard one.
    Returns [1, 1, H, W] float32. Raises ValueError if the sizes differ.
    Source: Sundaram, Brox and Keutzer 2010, "Dense point trajectories by GPU-accelerated large displacement
    optical flow", eq. 5 and 6.
    """
    check_sizes(flow_ab, flow_ba)
    there = flow_ab.float()
    back = warp(flow_ba.float(), there)
    size = _squared(there)
    allowed = relative * (size + _squared(back)) + absolute
    seen = (_squared(there + back) <= allowed) & _is_inside(there)
    if boundaries:
        seen &= ~_is_boundary(there, size)
    return _softened(seen.float(), softness)


@torch.no_grad()
def shared(a: Tensor, b: Tensor, flow_ab: Tensor, flow_ba: Tensor) -> Tensor:
    """What frame a shows and b shows too, by flow and by colour, [1, 1, H, W] in [0, 1].

    a, b: [1, 3, H, W] in [-1, 1]; flows: as for `visible`. Where motion there and back disagree, nothing need
    be hidden: that of a plain sky or wall cannot be measured, nor need it be. So a pixel whose surroundings
    look as in b, carried along, is seen too, unless it comes from outside. Raises ValueError if sizes differ.
    """
    alike = looks_alike(a, warp(b, flow_ab)) * _is_inside(flow_ab)
    return torch.maximum(visible(flow_ab, flow_ba), alike)


def looks_alike(a: Tensor, b: Tensor, *, near: float = 4, far: float = 12) -> Tensor:
    """1 where the mean difference of the 3x3 pixels around is at most `near` levels of 255, 0 from `far` on.

    a, b: [1, 3, H, W] in [-1, 1]. Returns [1, 1, H, W], a straight line between the two.
    """
    check_sizes(a, b)
    levels = (a.float() - b.float()).abs().mean(1, keepdim=True) * 127.5
    around = functional.avg_pool2d(functional.pad(levels, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return ((far - around) / (far - near)).clamp(0, 1)


def blend(raw: Tensor, warped: Tensor, mask: Tensor | None, amount: float) -> Tensor:
    """The raw frame, and over it the warped one where the mask sees it.

    raw, warped: [B, C, H, W]; mask: [1, 1, H, W] in [0, 1], None for 1 everywhere. amount: of the warped
    frame where it is seen: 0 gives `raw`, 1 `warped` (video_init_flow_blend). Returns the shape of `raw`.
    Raises ValueError for an amount outside 0..1, or if the sizes differ.
    """
    if not 0 <= amount <= 1:
        raise ValueError(f"amount is {amount:g}; allowed are 0 to 1")
    check_sizes(raw, warped)
    weight = raw.new_full((1, 1, 1, 1), amount)
    if mask is not None:
        check_sizes(raw, mask)
        weight = weight * mask.to(raw)
    return torch.lerp(raw, warped.to(raw), weight.expand_as(raw))


def _squared(flow: Tensor) -> Tensor:
    return flow.square().sum(dim=1, keepdim=True)  # [1, 1, H, W]


def _is_inside(flow: Tensor) -> Tensor:
    """Whether each pixel's target lies in the picture, its outermost half pixels included."""
    height, width = flow.shape[2:]
    x = torch.arange(width, device=flow.device) + flow[:, :1]
    y = torch.arange(height, device=flow.device)[:, None] + flow[:, 1:]
    return (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)


def _is_boundary(flow: Tensor, size: Tensor) -> Tensor:
    """Where the flow changes faster within a pixel than eq. 6 of the source allows at its size."""
    near = functional.pad(flow, (1, 1, 1, 1), mode="replicate")
    across = (near[..., 1:-1, 2:] - near[..., 1:-1, :-2]) / 2
    down = (near[..., 2:, 1:-1] - near[..., :-2, 1:-1]) / 2
    return _squared(across) + _squared(down) > 0.01 * size + 0.002


def _softened(mask: Tensor, radius: int) -> Tensor:
    """Blurred over `radius` pixels on its own side: what was 0 stays 0, and the rise begins there."""
    if radius <= 0:
        return mask
    span = 2 * radius + 1
    hidden = functional.max_pool2d(1 - mask, span, stride=1, padding=radius)
    offsets = torch.arange(-radius, radius + 1, device=mask.device)
    kernel = torch.exp(-0.5 * (2 * offsets / radius) ** 2)
    kernel = kernel / kernel.sum()
    hidden = functional.pad(hidden, (radius, radius, radius, radius), mode="replicate")
    hidden = functional.conv2d(hidden, kernel.view(1, 1, 1, span))
    hidden = functional.conv2d(hidden, kernel.view(1, 1, span, 1))
    return mask * (1 - hidden).clamp(0, 1)
