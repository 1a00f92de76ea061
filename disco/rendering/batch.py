"""The pictures rendered together, and where their files go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from disco.rendering.prepare import RunContext
from disco.runs.checkpoints import Checkpoint
from disco.runs.names import RunNames
from disco.runs.report import RunStats
from disco.sampling.diffusion import Step

Stop = Callable[[], bool]
ActiveScope = Callable[[], AbstractContextManager[None]]
Ending = tuple[Stop, ActiveScope]


class States(Protocol):
    """Checkpoints, as disco.runs.checkpoints keeps them."""

    def save(self, checkpoint: Checkpoint) -> Any: ...

    def load(self, pictures: Sequence[int] | None = None) -> Checkpoint | None: ...

    def clear(self, pictures: Sequence[int] | None = None) -> None: ...


class ArtifactSink(Protocol):
    """Where a batch writes its files: the run's folder, or messages to the driver that has it."""

    @property
    def names(self) -> RunNames: ...

    @property
    def checkpoints(self) -> States: ...

    @property
    def info(self) -> dict[str, Any]: ...

    def update_info(self, **values: Any) -> None: ...

    def save_picture(self, picture: int, png: bytes) -> Path: ...

    def save_eye(self, picture: int, side: str, png: bytes) -> Path: ...

    def save_finished(self, picture: int, suffix: str, png: bytes) -> Path: ...

    def save_partial(self, picture: int, label: str, png: bytes, *, in_subfolder: bool = True) -> Path: ...

    def write_progress(self, png: bytes) -> Any: ...

    def write_status(self, status: Mapping[str, Any]) -> Any: ...


@dataclass(frozen=True)
class Batch:
    """The pictures rendered together. wanted: those still to be saved; folder: where all files go.

    start: in dd57 the random states at the picture's start, as text.
    saved: settings as they go into the PNGs. postprocess: of a frame of an animation: keeps what the next
    one needs of the last guess, [3, H, W], and returns what the PNG shows.
    """

    context: RunContext
    folder: ArtifactSink
    pictures: tuple[int, ...]
    wanted: frozenset[int]
    saved: Mapping[str, Any]
    stop: Stop
    stats: RunStats
    steps_after: int = 0  # executed steps of later batches, for the time left
    start: str | None = None
    steps: list[Step] = field(default_factory=list)
    postprocess: Callable[[Tensor], Tensor] | None = None
