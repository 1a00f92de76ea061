"""One run whose batches are with workers: the batches left, its events, its writes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from disco.errors import RunError
from disco.events import Download, Event, NetworksLoaded, Notice, PictureStarted, StepDone, of_run
from disco.memory.policy import MemoryPolicy
from disco.rendering.animate import check_frames, states_before, steps_left
from disco.rendering.distributed.messages import (
    Done,
    EventMessage,
    Message,
    PolicyMessage,
    StepMessage,
    WorkItem,
    WriteMessage,
)
from disco.runs.finishers import missing_files
from disco.runs.frames import FrameStore
from disco.runs.inputs import Pictures
from disco.runs.new_run import Job
from disco.runs.report import RunStats, announced, film, finished, keep_inputs
from disco.settings.frame import executed
from disco.settings.model import is_animation

if TYPE_CHECKING:
    from disco.events import Pixels

Group = tuple[int, ...]


@dataclass
class _Progress:
    """Of a batch that a worker renders. left: steps; losses, preview: the last that came."""

    left: int
    has_begun: bool = False
    losses: dict[str, Any] = field(default_factory=dict)
    preview: list[Pixels] = field(default_factory=list)


class SpreadRun:
    """Made when its turn comes: its folder is locked, its inputs are compared.

    waiting: batches without a worker; in_progress: those with one. All frames of an animation are one batch,
    since each starts from the one before. in_front: all runs before it have ended;
    until then its steps give no events.
    """

    def __init__(self, job: Job, inputs: Pictures) -> None:
        self.job, self.inputs = job, inputs
        self.is_animation = is_animation(job.run.settings)
        self.waiting: deque[Group] = deque([job.pictures] if self.is_animation else job.groups)
        self.in_progress: dict[Group, _Progress] = {}
        self.saved: set[int] = set()
        self.unfinished = set(job.unfinished)  # saved, but without a file of a finisher
        self.in_front, self.is_over = False, False
        self._events: deque[Event] = deque()
        self._stats, self._began = RunStats(), time.monotonic()
        self._steps = executed(job.run.settings, job.pictures[0])
        self._pace: float | None = None  # when the first step was done
        self._machine: dict[str, Any] = {"device": "", "memory": {}, "peak_memory": None, "workers": 0}
        self._shown: tuple[Group, bytes] | None = None  # of the last batch that showed one
        self._notified: set[str] = set()
        self._downloads: dict[str, Group] = {}
        keep_inputs(job, inputs.inputs)
        if self.is_animation:
            check_frames(job)
        self._events.extend(announced(job))

    def next_item(self) -> WorkItem:
        """The batch that waits longest, for a worker."""
        batch = self.waiting.popleft()
        job, folder = self.job, self.job.folder
        checkpoint = folder.checkpoints.load(self._first(batch))
        self.in_progress[batch] = _Progress(self._steps_of(batch) - (checkpoint.step if checkpoint else 0))
        self._machine["workers"] = max(self._machine["workers"], len(self.in_progress))
        wanted = self._wanted(batch)
        memory = folder.info.get("memory")
        return WorkItem(
            folder.names,
            job.run,
            job.seed,
            batch,
            wanted,
            _absolute(self.inputs),
            memory,
            checkpoint,
            steps_after=self._steps * len(self.waiting) // len(self.in_progress),
            unfinished={k: self._missing(k) for k in sorted(self.unfinished.intersection(batch))},
            frames=states_before(job, sorted(wanted)) if self.is_animation else (),
        )

    def _wanted(self, batch: Group) -> frozenset[int]:
        """Which of its pictures are still to be saved."""
        return (self.job.wanted & frozenset(batch)) - self.saved

    def _left(self, batch: Group) -> Group:
        """What of it waits again when its worker is gone; () if only Done was left."""
        left = self._wanted(batch) | self.unfinished.intersection(batch)
        return tuple(sorted(left)) if self.is_animation or not left else batch

    def _first(self, batch: Group) -> Group:
        """The pictures that a checkpoint would be of."""
        return tuple(sorted(self._wanted(batch))[:1]) or batch[:1] if self.is_animation else batch

    def _steps_of(self, batch: Group, after: int = -1) -> int:
        """All its steps; of an animation those of frames after that one."""
        if not self.is_animation:
            return self._steps
        frames = [frame for frame in self._wanted(batch) if frame > after]
        return steps_left(self.job.run.settings, frames)

    def _missing(self, picture: int) -> dict[str, bytes]:
        """Suffix of a file that a saved picture lacks -> bytes of the PNG that it is made of."""
        files = missing_files(self.job.folder, self.job.run.settings, picture)
        return {suffix: path.read_bytes() for suffix, path in files.items()}

    def has_begun(self, batch: Group) -> bool:
        return batch in self.in_progress and self.in_progress[batch].has_begun

    def handle(self, batch: Group, message: Message) -> None:
        """A message from the worker of this batch. Raises RunError if it cannot be written."""
        if isinstance(message, WriteMessage):
            self._write(batch, message)
        elif isinstance(message, StepMessage):
            self._stepped(batch, message)
        elif isinstance(message, EventMessage):
            self._handle_event(batch, message.event)
        elif isinstance(message, PolicyMessage):
            self._join_policy(message)
        elif isinstance(message, Done):
            self._done(batch, message)

    def lost(self, batch: Group) -> tuple[Group, int]:
        """The worker of this batch is gone: what is left of it waits again.

        Returns the pictures that it goes on with, () where there are none, and after which of their steps.
        """
        del self.in_progress[batch]
        left = self._left(batch)
        if not left:
            self._clear(batch)
            self._end_if_all_is_done()
            return (), self._steps
        self.waiting.appendleft(left)
        checkpoint = self.job.folder.checkpoints.load(self._first(left))
        return self._first(left), checkpoint.step if checkpoint else 0

    def _clear(self, batch: Group) -> None:
        """Remove its checkpoints; a batch that was only finished may have had one."""
        for pictures in [(frame,) for frame in batch] if self.is_animation else [batch]:
            self.job.folder.checkpoints.clear(pictures)

    def notify(self, text: str) -> None:
        self._events.append(Notice(text))

    def pop_events(self) -> Iterator[Event]:
        while self._events:
            yield of_run(self._stats.note(self._events.popleft()), self.job.folder.names.prefix)

    def end(self, *, stopped: bool) -> None:
        """Sheet, status, report."""
        if self.is_over:
            return
        self._stats.stopped = stopped
        if not stopped:
            self._events.extend(film(self.job.folder, self.job.run.settings))
        if self._shown is not None and not stopped:
            with suppress(RunError):
                self.job.folder.write_progress(self._shown[1])  # as one process would leave it
        seconds = time.monotonic() - self._began
        for event in self._events:
            self._stats.note(event)
        self._events.append(finished(self.job, self._stats, seconds, self._machine))
        self.is_over = True

    # ---- each message ----

    def _write(self, batch: Group, message: WriteMessage) -> None:
        folder, stats = self.job.folder, self._stats
        if message.method == "save_picture":
            folder.save_picture(*message.args)
            self.saved.add(message.args[0])
            self._note_missing(message.args[0])
        elif message.method == "save_finished":
            folder.save_finished(*message.args)
            if message.args[0] in self.saved | self.unfinished:  # eyes' files come before their picture
                self._note_missing(message.args[0])
        elif message.method == "save_eye":
            folder.save_eye(*message.args)
        elif message.method in ("save_frame", "keep_frames"):
            getattr(FrameStore(folder.names.state), message.method.partition("_")[0])(*message.args)
        elif message.method == "save_partial":
            folder.save_partial(*message.args, **message.options)
            stats.partials += 1
        elif message.method == "save_checkpoint":
            folder.checkpoints.save(*message.args)
            stats.checkpoints += 1
        elif message.method == "clear_checkpoints":
            folder.checkpoints.clear(*message.args)
        else:
            self._show(batch, message)

    def _show(self, batch: Group, message: WriteMessage) -> None:
        folder = self.job.folder
        if message.method == "write_progress":
            if self._shown is None or batch >= self._shown[0]:
                self._shown = (batch, message.args[0])
            with suppress(RunError):  # no preview stops a run
                folder.write_progress(message.args[0])
            self._stats.previews += 1
        else:
            assert message.method == "write_status", message.method
            with suppress(RunError):
                folder.write_status({**message.args[0], "seconds_left": self._seconds_left()})

    def _note_missing(self, picture: int) -> None:
        if missing_files(self.job.folder, self.job.run.settings, picture):
            self.unfinished.add(picture)
        else:
            self.unfinished.discard(picture)

    def _stepped(self, batch: Group, message: StepMessage) -> None:
        progress = self.in_progress[batch]
        later = self._steps_of(batch, after=message.pictures[0]) if self.is_animation else 0
        progress.left = later + message.n - message.step - 1
        progress.losses = dict(message.losses or progress.losses)
        progress.preview = message.preview or progress.preview
        self._stats.steps += 1
        self._pace = self._pace or time.monotonic()
        if self.in_front:
            losses, preview = progress.losses, progress.preview
            self._events.append(
                StepDone(
                    message.pictures,
                    message.step,
                    message.n,
                    lambda: losses,
                    lambda: preview,
                    self._seconds_left(),
                )
            )

    def _seconds_left(self) -> float | None:
        """Of the run, by the steps since the first one, of all workers."""
        waiting = sum(self._steps_of(batch) for batch in self.waiting)
        left = waiting + sum(progress.left for progress in self.in_progress.values())
        if self._pace is None or self._stats.steps < 2:
            return None
        return left * (time.monotonic() - self._pace) / (self._stats.steps - 1)

    def _handle_event(self, batch: Group, event: Event) -> None:
        if isinstance(event, PictureStarted):
            self.in_progress[batch].has_begun = True
        if isinstance(event, Download):  # the workers of a machine wait for one and the same
            if self._downloads.setdefault(event.name, batch) != batch:
                return
        elif isinstance(event, (NetworksLoaded, Notice)):
            text = event.text if isinstance(event, Notice) else "loaded"
            if text in self._notified:
                return
            self._notified.add(text)
        self._events.append(event)

    def _join_policy(self, policy: PolicyMessage) -> None:
        """The memory saving of any worker on the same kind of device: the next batch begins with it."""
        now, was = dict(policy.memory), self.job.folder.info.get("memory")
        if was is not None and was.get("device") == now.get("device"):
            now |= MemoryPolicy.of(was).joined(MemoryPolicy.of(now)).plain()
        if now != was:
            self.job.folder.update_info(memory=now)

    def _done(self, batch: Group, done: Done) -> None:
        del self.in_progress[batch]
        stats, machine = self._stats, self._machine
        stats.seconds += done.seconds
        stats.nan_steps = torch.tensor(int(stats.nan_steps or 0) + done.nan_steps)
        machine |= _joined(machine, done.machine)
        if done.stopped:
            self.waiting.appendleft(self._left(batch))
        else:
            self._clear(batch)
            self._end_if_all_is_done()

    def _end_if_all_is_done(self) -> None:
        if not self.waiting and not self.in_progress:
            self.end(stopped=False)


def _absolute(inputs: Pictures) -> Pictures:
    """The same, with paths of the frames of videos that hold in any current folder."""
    video, mask = (
        None if frames is None else replace(frames, folder=frames.folder.resolve())
        for frames in (inputs.video, inputs.video_mask)
    )
    return replace(inputs, video=video, video_mask=mask)


def _joined(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The report on several workers: all devices, all memory saving, the highest peak."""
    devices = {*one["device"].split(", "), other["device"]} - {""}
    peaks = [machine["peak_memory"] for machine in (one, other) if machine["peak_memory"] is not None]
    saved_by = MemoryPolicy.of(one["memory"]).joined(MemoryPolicy.of(other["memory"]))
    return {
        "device": ", ".join(sorted(devices)),
        "memory": saved_by.plain(),
        "peak_memory": max(peaks, default=None),
    }
