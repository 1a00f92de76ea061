"""The messages between a driver, which alone writes, and the workers that render batches for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from disco.errors import InputError, SettingsError
from disco.events import Event
from disco.runs.checkpoints import Checkpoint
from disco.runs.frames import FrameState
from disco.runs.inputs import Pictures
from disco.runs.names import RunNames
from disco.runs.new_run import together
from disco.settings.load import Run
from disco.settings.model import is_animation, picture_count

if TYPE_CHECKING:
    from disco.events import Pixels
    from disco.runs.new_run import RerenderRequest

# ---- from the driver to a worker ----


@dataclass(frozen=True)
class WorkItem:
    """One batch of pictures, or an animation's frames. names: of the run's files; wanted: those to be saved.

    inputs: of the run, loaded by the driver. memory: the run's memory saving before. checkpoint: where
    the batch goes on. steps_after: that this worker will probably have to do after it. unfinished: saved
    pictures of the batch that lack files of finishers: suffix -> bytes of the PNG that it is made of.
    frames: the states of frames that those of an animation start from.
    """

    names: RunNames
    run: Run
    seed: int
    batch: tuple[int, ...]
    wanted: frozenset[int]
    inputs: Pictures
    memory: Mapping[str, Any] | None = None
    checkpoint: Checkpoint | None = None
    steps_after: int = 0
    unfinished: Mapping[int, Mapping[str, bytes]] = field(default_factory=dict)
    frames: tuple[FrameState, ...] = ()


# ---- from a worker to the driver ----


@dataclass(frozen=True)
class Ready:
    """The worker is there and waits for work. versions: as a picture carries them."""

    host: str
    versions: Mapping[str, str]


@dataclass(frozen=True)
class WriteMessage:
    """A call of one of the methods of the run's folder or of its frames' states, with these arguments."""

    method: str
    args: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class EventMessage:
    """An event other than StepDone."""

    event: Event


@dataclass(frozen=True)
class StepMessage:
    """A step was done. losses, preview: now and then, since both wait for the device."""

    pictures: tuple[int, ...]
    step: int
    n: int
    losses: Mapping[str, Sequence[float]] | None = None
    preview: list[Pixels] | None = None


@dataclass(frozen=True)
class PolicyMessage:
    """The memory saving, as run.json has it."""

    memory: Mapping[str, Any]


@dataclass(frozen=True)
class Done:
    """The batch is done, or was stopped after a whole step. machine: device and memory, for the report."""

    stopped: bool
    seconds: float
    nan_steps: int
    machine: Mapping[str, Any]


@dataclass(frozen=True)
class Failed:
    """The batch failed. kind: the class of our error, or "" for another one."""

    kind: str
    text: str


@dataclass(frozen=True)
class WorkerLost:
    """The worker is gone: killed, or its machine was."""

    why: str


Message: TypeAlias = (
    Ready | WriteMessage | EventMessage | StepMessage | PolicyMessage | Done | Failed | WorkerLost
)


class WorkerPool(Protocol):
    """Starts workers and passes messages. A worker is known by its number."""

    def capacity(self) -> int:
        """How many workers there can be now, those that render among them."""

    def hire(self, runs: Sequence[Run], of: int) -> int:
        """Start a worker for these runs, one of so many; it sends Ready when it is there."""

    def give(self, worker: int, item: WorkItem) -> None:
        """Send it a batch; it has none."""

    def stop(self, worker: int) -> None:
        """Stop it after its current step; it sends Done."""

    def dismiss(self, worker: int) -> None:
        """End it."""

    def pop_messages(self, seconds: float) -> list[tuple[int, Message]]:
        """The messages that came, each worker's in order; waits so long at most."""


# ---- which runs workers can render ----


def check_spread(runs: Sequence[Run], again: RerenderRequest | None = None) -> None:
    """Raises SettingsError, InputError for what workers cannot render."""
    if again is not None:
        raise InputError("--ray: one PNG is rendered again by one process: leave --ray out")
    problems = []
    for run in runs:
        settings = run.settings
        if settings.compat == "dd57" and not is_animation(settings):
            problems.append(
                f"{run.origins['compat']}: compat: dd57 draws the random numbers of all pictures from one "
                "stream, so they cannot be rendered in parallel; --ray needs compat: fixed"
            )
        if is_animation(settings) and len(runs) == 1:
            problems.append(
                f"{run.origins['animation_mode']}: animation_mode: {settings.animation_mode}: each frame "
                "starts from the one before, so one animation cannot be rendered in parallel; leave --ray "
                "out, or give several animations at once (a queue, a sweep)"
            )
        if settings.device not in ("auto", "cpu", "cuda"):
            problems.append(
                f"{run.origins['device']}: device: {settings.device}: with --ray each worker has a GPU "
                "of its own; allowed are auto, cuda, cpu"
            )
    if problems:
        raise SettingsError(list(dict.fromkeys(problems)))


@dataclass(frozen=True)
class MemoryPlan:
    """What each worker needs: a share of a GPU where there is one, or the CPU alone."""

    gpus: float = 1.0
    cpu_only: bool = False


def needs_of(runs: Sequence[Run]) -> MemoryPlan:
    """Of all the runs of a command, since its workers are alike: the most that any asks for."""
    return MemoryPlan(
        max(run.settings.gpus_per_picture for run in runs),
        all(run.settings.device == "cpu" for run in runs),
    )


def spread_lines(
    runs: Sequence[Run], images: Sequence[int] | None, capacity: int, kind: str
) -> Iterator[str]:
    """What --plan says of it. kind: of the workers, in words."""
    pictures = [len(images) if images is not None else picture_count(run.settings) for run in runs]
    batches = sum(
        1 if is_animation(run.settings) else ceil(n / together(run.settings))
        for n, run in zip(pictures, runs, strict=True)
    )
    workers = min(batches, capacity)
    yield f"{_many(sum(pictures), 'picture')} in {_many(batches, 'batch', 'batches')}"
    animations = sum(is_animation(run.settings) for run in runs)
    if animations:
        yield f"{_many(animations, 'animation')} among them, each a batch: one worker renders all its frames"
    yield f"{_many(workers, 'worker')} of {capacity} possible, {kind}"
    yield f"at most {_many(ceil(batches / workers), 'batch', 'batches')} one after another on each"
    notice = idle_notice(runs, batches, capacity)
    if notice is not None:
        yield notice


def idle_notice(runs: Sequence[Run], batches: int, capacity: int) -> str | None:
    """Pictures that are rendered together keep workers idle."""
    largest = max(together(run.settings) for run in runs)
    if batches >= capacity or largest == 1:
        return None
    return (
        f"{_many(batches, 'batch', 'batches')} for {capacity} workers: a smaller batch_size (now {largest}) "
        "would keep more of them busy"
    )


def _many(n: int, one: str, more: str | None = None) -> str:
    return f"{n} {one if n == 1 else more or one + 's'}"
