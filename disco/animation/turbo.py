"""Turbo: between rendered frames the last one is only moved, while the one before it fades out.

Two pictures are carried along. `new` is the last rendered one; `old` is the one that it replaced, as it was
moved to the frame at which `new` was rendered. A frame shows a weight of each: new takes over in equal steps.
Source: the turbo mode that Disco Diffusion has from zippy731.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from disco.settings.model import Settings


@dataclass(frozen=True)
class Turbo:
    """steps: every so many frames one is rendered; preroll: up to this frame all are.

    compat: "dd57" blends in the preroll too (quirk Q12), and lets the first `old` be the moved frame before.
    """

    steps: int
    preroll: int
    compat: str = "fixed"

    def is_rendered(self, frame: int) -> bool:
        """False for a frame that is made of earlier ones."""
        return frame <= self.preroll or frame % self.steps == 0

    def weight(self, frame: int) -> float:
        """How much of `new` a frame shows; the rest is `old`."""
        if frame == 0 or (self.compat == "fixed" and frame <= self.preroll):
            return 1.0
        return 1 / self.steps if self.is_rendered(frame) else (frame % self.steps + 1) / self.steps

    def next_old(
        self, frame: int, rendered: Tensor | None, moved: Tensor, old: Tensor | None
    ) -> Tensor | None:
        """What fades out from this frame on. rendered: this frame's, None for one that turbo leaves out.

        moved: the last `new`; old: the last `old`; both moved to this frame.
        """
        if rendered is None:
            return moved if old is None else old
        if frame < self.preroll:
            return None  # not read yet
        if frame == self.preroll and self.compat == "fixed":
            return rendered  # nothing fades until the next rendered frame
        return moved


def turbo_of(settings: Settings) -> Turbo | None:
    """The turbo of a run, if it is on."""
    if not settings.turbo_mode or settings.animation_mode != "3D":
        return None
    return Turbo(settings.turbo_steps, settings.turbo_preroll, settings.compat)


def blend(new: Tensor, old: Tensor | None, weight: float) -> Tensor:
    """weight * new + (1 - weight) * old; any shapes alike."""
    return new if old is None or weight >= 1 else weight * new + (1 - weight) * old
