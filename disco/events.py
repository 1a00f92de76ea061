"""What `disco.render` yields, and who listens. Pictures are arrays [H, W, 3] uint8, without any library."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pixels: TypeAlias = NDArray[np.uint8]  # [H, W, 3]


@dataclass(frozen=True)
class _OfRun:
    """run_name: "<batch_name>(<run>)"; "" between runs. Two events that differ in it alone are equal."""

    run_name: str = field(default="", compare=False, kw_only=True)


@dataclass(frozen=True)
class Notice(_OfRun):
    """One sentence that the user should read."""

    text: str


@dataclass(frozen=True)
class RunStarted(_OfRun):
    """The folder is there, the settings are saved, nothing is loaded yet."""

    folder: Path
    run: int
    settings_path: Path
    pictures: tuple[int, ...]  # those still to be rendered
    steps: int  # executed steps per picture
    notices: tuple[str, ...] = ()
    resumed: bool = False


@dataclass(frozen=True)
class Download(_OfRun):
    """Bytes of one weight file so far; `total` is None where the server does not say."""

    name: str
    done: int
    total: int | None


@dataclass(frozen=True)
class NetworksLoaded(_OfRun):
    names: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class PictureStarted(_OfRun):
    """Pictures rendered together; `step` is above 0 when they go on from a checkpoint."""

    pictures: tuple[int, ...]
    step: int = 0


@dataclass(frozen=True)
class StepDone(_OfRun):
    """One executed step of `n`; `losses` and `preview` are computed on call: both wait for the device."""

    pictures: tuple[int, ...]
    step: int  # 0 .. n - 1
    n: int
    losses: Callable[[], Mapping[str, Sequence[float]]]  # name -> one number per picture
    preview: Callable[[], list[Pixels]]
    seconds_left: float | None = None  # of the whole run


@dataclass(frozen=True)
class PartialSaved(_OfRun):
    path: Path


@dataclass(frozen=True)
class PictureFinished(_OfRun):
    picture: int
    path: Path
    seconds: float


@dataclass(frozen=True)
class VideoProgress(_OfRun):
    """A video file is being written after the last frame: so many of its frames so far."""

    name: str
    done: int
    total: int


@dataclass(frozen=True)
class RunFinished(_OfRun):
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

E = TypeVar("E", bound=_OfRun)


def of_run(event: E, run_name: str) -> E:
    """The event with the name of its run."""
    return replace(event, run_name=run_name)


def as_json(event: Event, *, losses: bool = False) -> dict[str, Any]:
    """The event as JSON data: its class name under "event", then its fields, paths as text.

    Previews are left out. losses: call `losses()` too, which waits for the device; only in the thread that
    renders. Numbers that JSON does not know (NaN, infinities) become None.
    """
    values = {each.name: getattr(event, each.name) for each in fields(event)}
    if losses and isinstance(event, StepDone):
        values["losses"] = event.losses()
    plain = {name: _plain(value) for name, value in values.items() if not callable(value)}
    return {"event": type(event).__name__, **plain}


def _plain(value: Any) -> Any:
    """Raises TypeError for what JSON cannot hold."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{type(value).__name__} in an event: not JSON")


class Listener(Protocol):
    """Both methods are called by the thread that renders, which waits for them."""

    def handle(self, event: Event) -> None: ...

    def close(self) -> None: ...


def listen(events: Iterable[Event], *listeners: Listener) -> None:
    """Hand every event to every listener, in their order; close all of them whatever happens.

    An error of a listener ends the run, whose state is saved, and is raised.
    """
    with ExitStack() as stack:
        if isinstance(events, Generator):
            stack.callback(events.close)
        for listener in listeners:
            stack.callback(listener.close)
        for event in events:
            for listener in listeners:
                listener.handle(event)


class _Request:
    """Of one thread. answered: set when the pixels or an error are here, or none will come."""

    def __init__(self) -> None:
        self.answered = threading.Event()
        self.pixels: list[Pixels] | None = None
        self.error: Exception | None = None


class LatestPreview:
    """A listener that hands pixels to other threads, which must not call `StepDone.preview` themselves:
    it waits for the device, and retries with a memory saving where memory runs out.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: list[_Request] = []
        self._closed = False

    def request(self, timeout: float | None = None) -> list[Pixels] | None:
        """The guesses of the next finished step, one [H, W, 3] uint8 per picture; asked by another thread.

        None if no step is finished within `timeout` seconds, or none will be. Raises what the preview raised.
        """
        request = _Request()
        with self._lock:
            if self._closed:
                return None
            self._requests.append(request)
        if not request.answered.wait(timeout):
            with self._lock:
                if request in self._requests:
                    self._requests.remove(request)
        if request.error is not None:
            raise request.error
        return request.pixels

    def handle(self, event: Event) -> None:
        """Computes one preview for all who asked. Its error goes to them; the run goes on."""
        if not isinstance(event, StepDone):
            return
        requests = self._taken()
        try:
            pixels = event.preview() if requests else None
            for request in requests:
                request.pixels = pixels
        except Exception as error:
            for request in requests:
                request.error = error
        finally:
            _answer(requests)

    def close(self) -> None:
        """Whoever still waits gets None, as does whoever asks from now on."""
        with self._lock:
            self._closed = True
        _answer(self._taken())

    def _taken(self) -> list[_Request]:
        with self._lock:
            requests, self._requests = self._requests, []
        return requests


def _answer(requests: Iterable[_Request]) -> None:
    for request in requests:
        request.answered.set()
