"""A worker: renders batches and sends messages; it writes nothing itself."""

from __future__ import annotations

import platform
import time
import traceback
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from disco.errors import DiscoError, RunError, SettingsError
from disco.events import Event, Notice, StepDone
from disco.memory.devices import allow_exact, exactly
from disco.networks.load import Networks
from disco.networks.required import networks_key
from disco.rendering.animate import FrameChain, render_chain
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
from disco.rendering.finish import finish_files
from disco.rendering.memory import make_oom_retry
from disco.rendering.prepare import Load, RunContext, load_for, loading, open_run
from disco.rendering.still import executed_steps, machine_report, render_batch
from disco.runs.checkpoints import Checkpoint
from disco.runs.frames import FrameState
from disco.runs.metadata import versions
from disco.runs.names import RunNames
from disco.runs.new_run import saved_values
from disco.runs.report import RunStats
from disco.settings.frame import at_frame
from disco.settings.load import Run
from disco.settings.model import is_animation

LOSSES_EVERY = 0.5  # seconds; reading them waits for the device


class Worker:
    """Keeps its networks, and the context of a run, from one batch to the next.

    runs: all that it may get batches of, so that their prompts are encoded at once. sharing: how many workers
    use the same memory, this one among them.
    """

    def __init__(self, runs: Sequence[Run], load: Load = load_for, sharing: int = 1) -> None:
        self.runs, self.load, self.sharing = runs, load, sharing
        self.networks: Networks | None = None
        self.key: tuple[object, ...] = ()
        self.context: RunContext | None = None
        self.context_of: Path | None = None
        self.sink: MessageSink | None = None  # of the batch being rendered
        self._open = ExitStack()

    def ready(self) -> Ready:
        return Ready(platform.node(), versions())

    def work(self, item: WorkItem, stop: Stop) -> Iterator[Message]:
        """Render a batch, going on from its checkpoint; ends with Done or Failed."""
        sink = self.sink = MessageSink(item.names, item.checkpoint)
        try:
            for message in self._work(item, stop, sink):
                yield from sink.pop_messages()  # a file is written before the event that names it
                yield message
        except Exception as error:
            yield from sink.pop_messages()
            yield failed(error)

    def close(self) -> None:
        """Drop the context; its OomRetry puts the networks back as they were."""
        self.context, self.context_of = None, None
        self._open.close()

    def _work(self, item: WorkItem, stop: Stop, sink: MessageSink) -> Iterator[Message]:
        allow_exact(run.settings for run in (*self.runs, item.run))
        yield from self._loaded(item)
        if self.context_of != item.names.settings:
            self.close()
            self.context = self._open_context(item)
            self.context_of = item.names.settings
        context, stats, began = self.context, RunStats(), time.monotonic()
        assert context is not None
        yield from (EventMessage(Notice(text)) for text in context.oom_retry.pop_messages())
        for picture, sources in item.unfinished.items():
            finish_files(context, sink, picture, sources)
        encoder = _Encoder(context.settings.display_rate)
        render = _render_frames if is_animation(item.run.settings) else _render_pictures
        for event in render(item, context, sink, stats, stop) if item.wanted else ():
            yield encoder.encoded(event)
        yield from (EventMessage(Notice(text)) for text in context.oom_retry.pop_messages())
        nan_steps = 0 if stats.nan_steps is None else int(stats.nan_steps)
        yield Done(stats.stopped, time.monotonic() - began, nan_steps, machine_report(context))

    def _loaded(self, item: WorkItem) -> Iterator[Message]:
        key = networks_key(item.run.settings, item.run.base_dirs)
        if self.networks is not None and self.key == key:
            return
        self.close()
        self.networks = None  # let go of the old ones before the new ones come
        events = loading(item.run, self.runs, self.load)
        while True:
            try:
                yield EventMessage(next(events))
            except StopIteration as end:
                self.networks, self.key = end.value, key
                return

    def _open_context(self, item: WorkItem) -> RunContext:
        assert self.networks is not None
        self._open.enter_context(exactly(item.run.settings))
        oom_retry = make_oom_retry(
            item.run, self.networks, item.memory, self._remember, processes=self.sharing
        )
        self._open.enter_context(closing(oom_retry))
        return open_run(at_frame(item.run.settings, 0), item.seed, self.networks, oom_retry, item.inputs)

    def _remember(self, memory: Mapping[str, Any]) -> None:
        assert self.sink is not None
        self.sink.messages.append(PolicyMessage(memory))


def _render_pictures(
    item: WorkItem, context: RunContext, sink: MessageSink, stats: RunStats, stop: Stop
) -> Iterator[Event]:
    batch = Batch(
        context,
        sink,
        item.batch,
        item.wanted,
        saved_values(item.run),
        stop,
        stats,
        steps_after=item.steps_after,
        steps=executed_steps(context),
    )
    return render_batch(batch)


def _render_frames(
    item: WorkItem, context: RunContext, sink: MessageSink, stats: RunStats, stop: Stop
) -> Iterator[Event]:
    for video in (item.inputs.video, item.inputs.video_mask):
        if video is not None and not video.folder.is_dir():
            raise RunError(
                f"{video.folder}: the frames of the video are not on this machine. Let --out be a folder "
                "that all machines of the cluster have under the same path"
            )
    frames, store = tuple(sorted(item.wanted)), _FrameSink(sink, item.frames)
    chain = FrameChain(item.run, item.seed, sink, store, frames, item.wanted)
    return render_chain(chain, context, item.inputs, stats, stop)


class MessageSink:
    """An ArtifactSink whose writes become messages; the paths are the driver's."""

    def __init__(self, names: RunNames, checkpoint: Checkpoint | None) -> None:
        self.names, self.checkpoints = names, _CheckpointSink(self, checkpoint)
        self.messages: deque[Message] = deque()  # the writer thread appends too

    def pop_messages(self) -> Iterator[Message]:
        """Those that came since the last call."""
        while self.messages:
            yield self.messages.popleft()

    def write(self, method: str, *args: Any, **options: Any) -> None:
        self.messages.append(WriteMessage(method, args, options))

    @property
    def info(self) -> dict[str, Any]:
        raise AssertionError("only compat: dd57 reads it, which is never spread")

    def update_info(self, **values: Any) -> None:
        raise AssertionError("only compat: dd57 does this, which is never spread")

    def save_picture(self, picture: int, png: bytes) -> Path:
        self.write("save_picture", picture, png)
        return self.names.picture(picture)

    def save_eye(self, picture: int, side: str, png: bytes) -> Path:
        self.write("save_eye", picture, side, png)
        return self.names.eye(picture, side)

    def save_finished(self, picture: int, suffix: str, png: bytes) -> Path:
        self.write("save_finished", picture, suffix, png)
        return self.names.finished(picture, suffix)

    def save_partial(self, picture: int, label: str, png: bytes, *, in_subfolder: bool = True) -> Path:
        self.write("save_partial", picture, label, png, in_subfolder=in_subfolder)
        return self.names.partial(picture, label, in_subfolder=in_subfolder)

    def write_progress(self, png: bytes) -> None:
        self.write("write_progress", png)

    def write_status(self, status: Mapping[str, Any]) -> None:
        self.write("write_status", dict(status))


class _CheckpointSink:
    """The checkpoint that came with the batch; those that are saved go to the driver."""

    def __init__(self, sink: MessageSink, checkpoint: Checkpoint | None) -> None:
        self.sink, self.checkpoint = sink, checkpoint

    def load(self, pictures: Sequence[int] | None = None) -> Checkpoint | None:
        if self.checkpoint is None or pictures is None or self.checkpoint.pictures == tuple(pictures):
            return self.checkpoint
        return None

    def save(self, checkpoint: Checkpoint) -> None:
        self.sink.write("save_checkpoint", _on_cpu(checkpoint))

    def clear(self, pictures: Sequence[int] | None = None) -> None:
        self.sink.write("clear_checkpoints", pictures)


class _FrameSink:
    """The states of frames that came with the item; those that are saved go to the driver."""

    def __init__(self, sink: MessageSink, states: Sequence[FrameState]) -> None:
        self.sink, self.states = sink, {state.frame: state for state in states}

    def load(self, frame: int) -> FrameState | None:
        return self.states.get(frame)

    def save(self, state: FrameState) -> None:
        old = None if state.old is None else _copied(state.old)
        self.sink.write("save_frame", replace(state, picture=_copied(state.picture), old=old))

    def keep(self, frames: Collection[int]) -> None:
        self.sink.write("keep_frames", frozenset(frames))


def _on_cpu(checkpoint: Checkpoint) -> Checkpoint:
    """Its tensors as they are now, whatever the next step does to them, where any machine can read them."""
    guess = checkpoint.pred_x0
    return replace(
        checkpoint,
        x_t=_copied(checkpoint.x_t),
        pred_x0=None if guess is None else _copied(guess),
        history=tuple(_copied(value) if isinstance(value, Tensor) else value for value in checkpoint.history),
        random_state={name: _copied(tensor) for name, tensor in checkpoint.random_state.items()},
    )


def _copied(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True)


class _Encoder:
    """Events -> messages: without functions, which no other machine could call."""

    def __init__(self, display_rate: int) -> None:
        self.display_rate, self.losses_at = display_rate, 0.0

    def encoded(self, event: Event) -> Message:
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
