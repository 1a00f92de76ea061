"""A worker: renders the batches that it is ordered and says what happens; it writes nothing itself."""

from __future__ import annotations

import platform
import time
import traceback
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from disco.errors import DiscoError, SettingsError
from disco.events import Event, Notice, StepDone
from disco.memory.devices import allow_exact, exactly
from disco.networks.load import Networks
from disco.networks.required import networks_key
from disco.rendering.batch import Batch, Stop
from disco.rendering.distributed.messages import (
    Done,
    EventMessage,
    Failed,
    Message,
    PolicyMessage,
    Ready,
    StepMessage,
    WorkItem,
    WriteMessage,
)
from disco.rendering.finish import finish_picture
from disco.rendering.memory import govern
from disco.rendering.prepare import Load, RunContext, load_for, loading, open_run
from disco.rendering.still import executed_steps, render_batch, where
from disco.runs.checkpoints import Checkpoint
from disco.runs.metadata import versions
from disco.runs.names import RunNames
from disco.runs.new_run import saved_values
from disco.runs.report import RunStats
from disco.settings.load import Run

LOSSES_EVERY = 0.5  # seconds; reading them waits for the device


class Worker:
    """Keeps its networks, and the studio of a run, from one order to the next.

    runs: all that it may be asked for, so that their prompts are encoded at once. share: workers that use the
    same memory.
    """

    def __init__(self, runs: Sequence[Run], load: Load = load_for, share: int = 1) -> None:
        self.runs, self.load, self.share = runs, load, share
        self.networks: Networks | None = None
        self.key: tuple[object, ...] = ()
        self.context: RunContext | None = None
        self.studio_of: Path | None = None
        self.shelf: _Shelf | None = None  # of the order at work
        self._open = ExitStack()

    def hello(self) -> Ready:
        return Ready(platform.node(), versions())

    def work(self, order: WorkItem, stop: Stop) -> Iterator[Message]:
        """Carry it out, going on from its checkpoint; ends with Done or Failed."""
        shelf = self.shelf = _Shelf(order.names, order.checkpoint)
        try:
            for message in self._work(order, stop, shelf):
                yield from shelf.taken()  # what an event tells of is written before it is told
                yield message
        except Exception as error:
            yield from shelf.taken()
            yield failed(error)

    def close(self) -> None:
        """Let the studio go; its governor puts the networks back as they were."""
        self.context, self.studio_of = None, None
        self._open.close()

    def _work(self, order: WorkItem, stop: Stop, shelf: _Shelf) -> Iterator[Message]:
        allow_exact(run.settings for run in (*self.runs, order.run))
        yield from self._loaded(order)
        if self.studio_of != order.names.settings:
            self.close()
            self.context = self._studio(order)
            self.studio_of = order.names.settings
        context, stats, began = self.context, RunStats(), time.monotonic()
        assert context is not None
        yield from (EventMessage(Notice(text)) for text in context.oom_retry.pop_messages())
        for picture, (png, suffixes) in order.unfinished.items():
            finish_picture(context, shelf, picture, png, suffixes)
        batch = Batch(
            context,
            shelf,
            order.batch,
            order.wanted,
            saved_values(order.run),
            stop,
            stats,
            steps_after=order.steps_after,
            steps=executed_steps(context),
        )
        speaker = _Speaker(context.settings.display_rate)
        for event in render_batch(batch) if order.wanted else ():
            yield speaker.said(event)
        yield from (EventMessage(Notice(text)) for text in context.oom_retry.pop_messages())
        nan_steps = 0 if stats.nan_steps is None else int(stats.nan_steps)
        yield Done(stats.stopped, time.monotonic() - began, nan_steps, where(context))

    def _loaded(self, order: WorkItem) -> Iterator[Message]:
        key = networks_key(order.run.settings, order.run.base_dirs)
        if self.networks is not None and self.key == key:
            return
        self.close()
        self.networks = None  # let go of the old ones before the new ones come
        events = loading(order.run, self.runs, self.load)
        while True:
            try:
                yield EventMessage(next(events))
            except StopIteration as end:
                self.networks, self.key = end.value, key
                return

    def _studio(self, order: WorkItem) -> RunContext:
        assert self.networks is not None
        self._open.enter_context(exactly(order.run.settings))
        oom_retry = govern(order.run, self.networks, order.memory, self._remember, share=self.share)
        self._open.enter_context(closing(oom_retry))
        return open_run(order.run.settings, order.seed, self.networks, oom_retry, order.given)

    def _remember(self, memory: Mapping[str, Any]) -> None:
        assert self.shelf is not None
        self.shelf.messages.append(PolicyMessage(memory))


class _Shelf:
    """The run's folder as a batch sees it: what is written becomes messages. The names are the driver's."""

    def __init__(self, names: RunNames, checkpoint: Checkpoint | None) -> None:
        self.names, self.checkpoints = names, _States(self, checkpoint)
        self.messages: deque[Message] = deque()  # a thread may write beside the steps

    def taken(self) -> Iterator[Message]:
        """What came since it was asked last."""
        while self.messages:
            yield self.messages.popleft()

    def wrote(self, method: str, *args: Any, **options: Any) -> None:
        self.messages.append(WriteMessage(method, args, options))

    @property
    def info(self) -> dict[str, Any]:
        raise AssertionError("only compat: dd57 asks, which is never spread")

    def update_info(self, **values: Any) -> None:
        raise AssertionError("only compat: dd57 does this, which is never spread")

    def save_picture(self, picture: int, png: bytes) -> Path:
        self.wrote("save_picture", picture, png)
        return self.names.picture(picture)

    def save_finished(self, picture: int, suffix: str, png: bytes) -> Path:
        self.wrote("save_finished", picture, suffix, png)
        return self.names.finished(picture, suffix)

    def save_partial(self, picture: int, label: str, png: bytes, *, in_subfolder: bool = True) -> Path:
        self.wrote("save_partial", picture, label, png, in_subfolder=in_subfolder)
        return self.names.partial(picture, label, in_subfolder=in_subfolder)

    def write_progress(self, png: bytes) -> None:
        self.wrote("write_progress", png)

    def write_status(self, status: Mapping[str, Any]) -> None:
        self.wrote("write_status", dict(status))


class _States:
    """The checkpoint that came with the order; those that are saved go to the driver."""

    def __init__(self, shelf: _Shelf, found: Checkpoint | None) -> None:
        self.shelf, self.found = shelf, found

    def load(self, pictures: Sequence[int] | None = None) -> Checkpoint | None:
        return self.found

    def save(self, checkpoint: Checkpoint) -> None:
        self.shelf.wrote("save_checkpoint", _on_cpu(checkpoint))

    def clear(self, pictures: Sequence[int] | None = None) -> None:
        self.shelf.wrote("clear_checkpoints", pictures)


def _on_cpu(checkpoint: Checkpoint) -> Checkpoint:
    """Its tensors as they are now, whatever the next step does to them, where any machine can read them."""

    def copied(tensor: Tensor) -> Tensor:
        return tensor.detach().to("cpu", copy=True)

    guess = checkpoint.pred_x0
    return replace(
        checkpoint,
        x_t=copied(checkpoint.x_t),
        pred_x0=None if guess is None else copied(guess),
        history=tuple(copied(value) if isinstance(value, Tensor) else value for value in checkpoint.history),
        random_state={name: copied(tensor) for name, tensor in checkpoint.random_state.items()},
    )


class _Speaker:
    """Events -> messages: without functions, which no other machine could call."""

    def __init__(self, display_rate: int) -> None:
        self.display_rate, self.losses_at = display_rate, 0.0

    def said(self, event: Event) -> Message:
        if not isinstance(event, StepDone):
            return EventMessage(event)
        is_last = event.step + 1 == event.n
        is_shown = event.step == 0 or (event.step + 1) % self.display_rate == 0 or is_last
        losses = None
        if is_shown or time.monotonic() - self.losses_at > LOSSES_EVERY:
            losses, self.losses_at = event.losses(), time.monotonic()
        return StepMessage(event.pictures, event.step, event.n, losses, event.preview() if is_shown else None)


def failed(error: Exception) -> Failed:
    """Our own errors by their name and text; another one with all that Python says of it."""
    if isinstance(error, SettingsError):
        return Failed("SettingsError", "\n".join(error.problems))
    if not isinstance(error, DiscoError):
        return Failed("", "".join(traceback.format_exception(error)))
    kind = next(kind for kind in type(error).__mro__ if kind.__module__ == DiscoError.__module__)
    return Failed(kind.__name__, str(error))
