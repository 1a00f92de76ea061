"""What is rendered together, and what is counted on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from disco.diffusion import Step
from disco.run_folder import RunFolder
from disco.studio import Studio

Stop = Callable[[], bool]


@dataclass
class Tally:
    """What the report counts."""

    seconds: float = 0.0
    steps: int = 0
    previews: int = 0
    checkpoints: int = 0
    partials: int = 0
    nan_steps: Tensor | None = None
    stopped: bool = False


@dataclass(frozen=True)
class Batch:
    """The pictures rendered together, those of them that are still to be saved, and where all goes.

    start: in dd57 the random states at the picture's start, as text.
    saved: settings as they go into the PNGs. develop: for a frame of an animation: keeps what the next one
    needs of the last guess, [3, H, W], and returns what the PNG shows.
    """

    studio: Studio
    folder: RunFolder
    pictures: tuple[int, ...]
    wanted: frozenset[int]
    saved: Mapping[str, Any]
    stop: Stop
    tally: Tally
    steps_after: int = 0  # executed steps of later batches, for the time left
    start: str | None = None
    steps: list[Step] = field(default_factory=list)
    develop: Callable[[Tensor], Tensor] | None = None
