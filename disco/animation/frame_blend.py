"""Frames of a finished video mixed with the ones before them, which makes it smoother."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Literal

from torch import Tensor

from disco.animation.consistency import blend, shared
from disco.animation.flow import load_flow, warp

if TYPE_CHECKING:
    from disco.networks.depth_and_flow import Flow

BlendMode = Literal["none", "linear", "flow"]


def blended(
    frames: Iterable[Tensor], mode: BlendMode, amount: float, flow: Flow | None = None
) -> Iterator[Tensor]:
    """Each frame mixed with the one before it: (1 - amount) * frame + amount * before; the first as it is.

    frames: [1, 3, H, W] in [-1, 1], of one size. linear: before as it was. flow: carried along by the motion
    between the two, and left out where the motion back disagrees, as where something appears. flow: what
    measures it, by default DIS. Raises ValueError for an amount outside 0..1, or if sizes differ.
    """
    estimate = (flow or load_flow("dis")) if mode == "flow" else None
    before: Tensor | None = None
    for frame in frames:
        if before is None or mode == "none":
            yield frame
        elif estimate is None:
            yield blend(frame, before, None, amount)
        else:
            there = estimate(frame, before)
            seen = shared(frame, before, there, estimate(before, frame))
            yield blend(frame, warp(before, there), seen, amount)
        before = frame
