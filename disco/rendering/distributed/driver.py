"""The runs of a command on many workers: assigns batches, writes the results, replaces lost workers."""

from __future__ import annotations

import platform
import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from disco import errors
from disco.errors import DiscoError, RunError, SettingsError
from disco.events import Event, Notice
from disco.rendering.batch import Ending, Stop
from disco.rendering.distributed.messages import (
    Done,
    Failed,
    Message,
    Ready,
    WorkerLost,
    WorkerPool,
    check_spread,
    idle_notice,
)
from disco.rendering.distributed.run import SpreadRun
from disco.runs.inputs import Pictures
from disco.runs.metadata import versions
from disco.runs.new_run import Job
from disco.runs.queue import Plan, PlannedJob, plan_jobs
from disco.runs.report import failure_noted

MOST_LOSSES = 3  # of workers, one after another, at the same step of a batch
MOST_FAILED_STARTS = 3
PATIENCE = 60.0  # seconds without a worker before a notice says so
GRACE = 60.0  # seconds that workers have to end their step when the run fails
SHAPING = ("disco", "torch", "torchvision", "open_clip_torch", "timm")  # packages whose versions are compared


def spread(
    plan: Plan, inputs: list[Pictures], pool: WorkerPool, ending: Ending
) -> Generator[Event, None, bool]:
    """Render all runs; the events of one run after those of the run before. Returns whether it was stopped.

    inputs: of each run, loaded already. Raises what a worker or the disk failed with, after the state of
    all other workers' last whole steps is saved.
    """
    check_spread(plan.runs, plan.again)
    stop, working = ending
    driver = _Driver(plan, inputs, pool, stop)
    with working():
        try:
            yield from driver.go()
        except (Exception, GeneratorExit) as error:
            driver.rescue()
            driver.note_failure(error)
            raise
        finally:
            driver.close()
    return driver.interrupted


@dataclass
class WorkerState:
    """A worker as the driver knows it. has_begun: steps of its batch may be done, which can be saved."""

    run: SpreadRun | None = None
    batch: tuple[int, ...] = ()
    host: str = ""
    is_ready: bool = False
    has_begun: bool = False


@dataclass
class _Driver:
    plan: Plan
    inputs: list[Pictures]
    pool: WorkerPool
    stop: Stop
    runs: list[SpreadRun] = field(default_factory=list)  # opened; not all of their events are yielded
    workers: dict[int, WorkerState] = field(default_factory=dict)
    losses: dict[tuple[object, ...], int] = field(default_factory=dict)
    failed_starts: int = 0
    halted: bool = False
    interrupted: bool = False
    failure: DiscoError | None = None  # of a run that could not begin
    failed: SpreadRun | None = None
    notified: set[str] = field(default_factory=set)
    notices: deque[str] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.planned: Iterator[PlannedJob] | None = plan_jobs(self.plan, lambda: self.halted)

    def go(self) -> Iterator[Event]:
        began = time.monotonic()
        while True:
            self._fill()
            yield from self._pop_events()
            if not self.runs and self.planned is None:
                if self.failure is not None:
                    raise self.failure
                return
            for worker, message in self.pool.pop_messages(0.2):
                self._handle(worker, message)
            if not self.halted and self.stop():
                self._halt()
            if self.halted and not any(state.has_begun for state in self.workers.values()):
                self._end_all()
                yield from self._pop_events()
                return
            if time.monotonic() - began > PATIENCE and not any(
                state.is_ready for state in self.workers.values()
            ):
                self._notify("no worker has started yet: the machines are busy or still starting")

    def rescue(self) -> None:
        """Something failed: the others finish their step, and their states are saved."""
        self._halt()
        until = time.monotonic() + GRACE
        while any(state.has_begun for state in self.workers.values()) and time.monotonic() < until:
            for worker, message in self.pool.pop_messages(0.2):
                with suppress(DiscoError, RuntimeError):  # the first failure is raised
                    self._handle(worker, message)

    def note_failure(self, error: BaseException) -> None:
        """Into the status of the run that failed, or of all if it was none's own; after all other writes."""
        if not isinstance(error, DiscoError):
            return
        for run in self.runs if self.failed is None else [self.failed]:
            with suppress(DiscoError), failure_noted(run.job.folder):
                raise error

    def close(self) -> None:
        for worker in list(self.workers):
            self.pool.dismiss(worker)
        for run in self.runs:
            run.job.folder.close()

    # ---- work for the workers ----

    def _fill(self) -> None:
        """Open runs while there are fewer batches than workers, start workers, assign batches."""
        if self.halted:
            return
        capacity = self.pool.capacity()
        while self.planned is not None and self._open_batches() < max(capacity, 1):
            self._open_next(capacity)
        wanted = min(capacity, self._open_batches())
        while len(self.workers) < wanted and self.failed_starts < MOST_FAILED_STARTS:
            self.workers[self.pool.hire(self.plan.runs, wanted)] = WorkerState()
        idle = [worker for worker, state in self.workers.items() if state.is_ready and state.run is None]
        for run in self.runs:
            while run.waiting and idle:
                self._give(idle.pop(0), run)

    def _open_next(self, capacity: int) -> None:
        assert self.planned is not None
        try:
            planned = next(self.planned, None)
            if planned is not None and planned.job is not None:
                self.runs.append(_opened(planned.job, self.inputs[planned.position]))
        except DiscoError as error:  # raised when the runs before it are done
            planned, self.failure = None, error
        if planned is None:
            self.planned = None
            notice = idle_notice(self.plan.runs, self._open_batches(), capacity)
            if notice is not None:
                self._notify(notice)
        elif planned.job is None:
            self.notices.extend(planned.notices)

    def _open_batches(self) -> int:
        return sum(len(run.waiting) + len(run.in_progress) for run in self.runs)

    def _give(self, worker: int, run: SpreadRun) -> None:
        item = run.next_item()
        state = self.workers[worker]
        state.run, state.batch, state.has_begun = run, item.batch, False
        self.pool.give(worker, item)

    # ---- messages of the workers ----

    def _handle(self, worker: int, message: Message) -> None:
        state = self.workers.get(worker)
        if state is None:
            return  # it was dismissed
        run = state.run
        try:
            self._handle_of(worker, state, message)
        except DiscoError:
            self.failed = self.failed or run
            raise

    def _handle_of(self, worker: int, state: WorkerState, message: Message) -> None:
        if isinstance(message, Ready):
            state.is_ready, state.host, self.failed_starts = True, message.host, 0
            self._compare(message)
        elif isinstance(message, WorkerLost):
            self._lost(worker, state, message.why)
        elif isinstance(message, Failed):
            state.run, state.has_begun = None, False
            raise _error(message, state.host)
        else:
            assert state.run is not None
            state.run.handle(state.batch, message)
            state.has_begun = state.has_begun or state.run.has_begun(state.batch)
            if isinstance(message, Done):
                state.run, state.has_begun = None, False

    def _lost(self, worker: int, state: WorkerState, why: str) -> None:
        del self.workers[worker]
        if not state.is_ready:
            self.failed_starts += 1
            if self.failed_starts >= MOST_FAILED_STARTS and not self.workers:
                raise RunError(f"no worker can be started: {why}")
            return
        self.failed_starts = 0
        if state.run is None:
            return
        run, batch = state.run, state.batch
        left, step = run.lost(batch)
        loss = f"a worker on {state.host} was lost ({_first_line(why)})"
        pictures = _words(left or batch, run.is_animation)
        key = (run.job.folder.names.settings, left or batch, step)
        self.losses[key] = self.losses.get(key, 0) + 1
        if self.losses[key] >= MOST_LOSSES:
            raise RunError(
                f"{loss}, the third in a row at {pictures} after step {step}. If its memory is "
                "short, use fewer workers: gpus_per_picture: 1, on CPUs a higher OMP_NUM_THREADS. "
                "Finished steps are saved: --resume goes on"
            )
        if not self.halted and left:
            run.notify(f"{loss}: {pictures} goes on with another worker after step {step}")

    def _compare(self, ready: Ready) -> None:
        here = versions()
        other = [
            f"{name} {there} (here {here.get(name)})"
            for name, there in ready.versions.items()
            if name in SHAPING and there != here.get(name)
        ]
        if other:
            self._notify(f"pictures from {ready.host} may differ in details: it has {', '.join(other)}")

    # ---- events ----

    def _notify(self, text: str) -> None:
        if text not in self.notified:
            self.notified.add(text)
            self.notices.append(text)

    def _pop_events(self) -> Iterator[Event]:
        """The events of the first run until its end, then of the next."""
        while self.notices:
            yield Notice(self.notices.popleft())
        while self.runs:
            run = self.runs[0]
            run.in_front = True
            yield from run.pop_events()
            if not run.is_over:
                return
            self.runs.pop(0).job.folder.close()

    # ---- the end ----

    def _halt(self) -> None:
        self.halted = True
        for worker, state in self.workers.items():
            if state.has_begun:
                self.pool.stop(worker)

    def _end_all(self) -> None:
        self.planned = None
        for run in self.runs:
            self.interrupted = self.interrupted or not run.is_over
            run.end(stopped=True)


def _opened(job: Job, inputs: Pictures) -> SpreadRun:
    try:
        with failure_noted(job.folder):
            return SpreadRun(job, inputs)
    except DiscoError:
        job.folder.close()
        raise


def _error(message: Failed, host: str) -> Exception:
    """Our own errors as if they had happened here."""
    if message.kind == "SettingsError":
        return SettingsError(message.text.splitlines())
    kind: Any = getattr(errors, message.kind, None) if message.kind else None
    if kind is None:
        return RuntimeError(f"on {host}:\n{message.text}")
    is_elsewhere = kind is RunError and host != platform.node()
    error: Exception = kind(f"on {host}: {message.text}" if is_elsewhere else message.text)
    return error


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[0][:200]


def _words(pictures: tuple[int, ...], are_frames: bool) -> str:
    if are_frames:
        return f"frame {pictures[0]}"
    return f"picture {pictures[0]}" if len(pictures) == 1 else f"pictures {pictures[0]}-{pictures[-1]}"
