"""What `disco.render` yields. Pictures are arrays [H, W, 3] uint8: a listener needs no other library."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pixels: TypeAlias = NDArray[np.uint8]  # [H, W, 3]


@dataclass(frozen=True)
class Notice:
    """One sentence that the user should read."""

    text: str


@dataclass(frozen=True)
class RunStarted:
    """The folder is there, the settings are saved, nothing is loaded yet."""

    folder: Path
    run: int
    settings_path: Path
    pictures: tuple[int, ...]  # those still to be rendered
    steps: int  # executed steps per picture
    notices: tuple[str, ...] = ()
    resumed: bool = False


@dataclass(frozen=True)
class Download:
    """Bytes of one weight file so far; `total` is None where the server does not say."""

    name: str
    done: int
    total: int | None


@dataclass(frozen=True)
class NetworksLoaded:
    names: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class PictureStarted:
    """Pictures rendered together; `step` is above 0 when they go on from a checkpoint."""

    pictures: tuple[int, ...]
    step: int = 0


@dataclass(frozen=True)
class StepDone:
    """One executed step of `n`; `losses` and `preview` are computed on call: both wait for the device."""

    pictures: tuple[int, ...]
    step: int  # 0 .. n - 1
    n: int
    losses: Callable[[], Mapping[str, Sequence[float]]]  # name -> one number per picture
    preview: Callable[[], list[Pixels]]
    seconds_left: float | None = None  # of the whole run


@dataclass(frozen=True)
class PartialSaved:
    path: Path


@dataclass(frozen=True)
class PictureFinished:
    picture: int
    path: Path
    seconds: float


@dataclass(frozen=True)
class VideoProgress:
    """A video file is being written after the last frame: so many of its frames so far."""

    name: str
    done: int
    total: int


@dataclass(frozen=True)
class RunFinished:
    """The last event, also of an interrupted run, whose checkpoint is then on disk."""

    report: Mapping[str, Any] = field(default_factory=dict)
    grid: Path | None = None
    interrupted: bool = False


Event: TypeAlias = (
    Notice
    | RunStarted
    | Download
    | NetworksLoaded
    | PictureStarted
    | StepDone
    | PartialSaved
    | PictureFinished
    | VideoProgress
    | RunFinished
)
