"""The runs of a command on many workers: hands out batches, writes what comes back, replaces who is lost."""

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

MOST_LOSSES = 3  # of workers, one after another, at the same step of a batch
MOST_FAILED_STARTS = 3
PATIENCE = 60.0  # seconds for a first worker before it is told that there is none yet
LAST_WORDS = 60.0  # seconds that workers have for their step when the run fails
SHAPING = ("disco", "torch", "torchvision", "open_clip_torch", "timm")  # packages whose versions are compared


def spread(
    plan: Plan, given: list[Pictures], pool: WorkerPool, ending: Ending
) -> Generator[Event, None, bool]:
    """Render all runs; the events of one run after those of the run before. Returns whether it was stopped.

    given: what each run is given, read already. Raises what a worker or the disk failed with, after all
    others have handed in the state of their last whole step.
    """
    check_spread(plan.runs, plan.again)
    stop, working = ending
    driver = _Driver(plan, given, pool, stop)
    with working():
        try:
            yield from driver.go()
        except (Exception, GeneratorExit):
            driver.rescue()
            raise
        finally:
            driver.close()
    return driver.interrupted


@dataclass
class _Hand:
    """A worker as the driver knows it. has_begun: its batch is at its steps: what is done can be kept."""

    of: SpreadRun | None = None
    batch: tuple[int, ...] = ()
    host: str = ""
    is_there: bool = False
    has_begun: bool = False


@dataclass
class _Driver:
    plan: Plan
    given: list[Pictures]
    pool: WorkerPool
    stop: Stop
    runs: list[SpreadRun] = field(default_factory=list)  # opened, not told of to the end
    hands: dict[int, _Hand] = field(default_factory=dict)
    losses: dict[tuple[object, ...], int] = field(default_factory=dict)
    failed_starts: int = 0
    halted: bool = False
    interrupted: bool = False
    failure: DiscoError | None = None  # of a run that could not begin
    said: set[str] = field(default_factory=set)
    notices: deque[str] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.places: Iterator[PlannedJob] | None = plan_jobs(self.plan, lambda: self.halted)

    def go(self) -> Iterator[Event]:
        began = time.monotonic()
        while True:
            self._fill()
            yield from self._told()
            if not self.runs and self.places is None:
                if self.failure is not None:
                    raise self.failure
                return
            for worker, message in self.pool.pop_messages(0.2):
                self._hear(worker, message)
            if not self.halted and self.stop():
                self._halt()
            if self.halted and not any(hand.has_begun for hand in self.hands.values()):
                self._end_all()
                yield from self._told()
                return
            if time.monotonic() - began > PATIENCE and not any(h.is_there for h in self.hands.values()):
                self._say("no worker has started yet: the machines are busy or still starting")

    def rescue(self) -> None:
        """Something failed: the others finish their step, and its state is written down."""
        self._halt()
        until = time.monotonic() + LAST_WORDS
        while any(hand.has_begun for hand in self.hands.values()) and time.monotonic() < until:
            for worker, message in self.pool.pop_messages(0.2):
                with suppress(DiscoError, RuntimeError):  # what failed first is what is told
                    self._hear(worker, message)

    def close(self) -> None:
        for worker in list(self.hands):
            self.pool.dismiss(worker)
        for run in self.runs:
            run.job.folder.close()

    # ---- what there is to do, and who does it ----

    def _fill(self) -> None:
        """Open runs while there are fewer batches than workers, hire for them, hand them out."""
        if self.halted:
            return
        capacity = self.pool.capacity()
        while self.places is not None and self._open_batches() < max(capacity, 1):
            self._open_next(capacity)
        wanted = min(capacity, self._open_batches())
        while len(self.hands) < wanted and self.failed_starts < MOST_FAILED_STARTS:
            self.hands[self.pool.hire(self.plan.runs, wanted)] = _Hand()
        idle = [worker for worker, hand in self.hands.items() if hand.is_there and hand.of is None]
        for run in self.runs:
            while run.waiting and idle:
                self._give(idle.pop(0), run)

    def _open_next(self, capacity: int) -> None:
        assert self.places is not None
        try:
            place = next(self.places, None)
            if place is not None and place.job is not None:
                self.runs.append(_opened(place.job, self.given[place.position]))
        except DiscoError as error:  # told when the runs before it are done
            place, self.failure = None, error
        if place is None:
            self.places = None
            notice = idle_notice(self.plan.runs, self._open_batches(), capacity)
            if notice is not None:
                self._say(notice)
        elif place.job is None:
            self.notices.extend(place.notices)

    def _open_batches(self) -> int:
        return sum(len(run.waiting) + len(run.at_work) for run in self.runs)

    def _give(self, worker: int, run: SpreadRun) -> None:
        order = run.next_order()
        hand = self.hands[worker]
        hand.of, hand.batch, hand.has_begun = run, order.batch, False
        self.pool.give(worker, order)

    # ---- what the workers say ----

    def _hear(self, worker: int, message: Message) -> None:
        hand = self.hands.get(worker)
        if hand is None:
            return  # it was dismissed
        if isinstance(message, Ready):
            hand.is_there, hand.host, self.failed_starts = True, message.host, 0
            self._compare(message)
        elif isinstance(message, WorkerLost):
            self._lost(worker, hand, message.why)
        elif isinstance(message, Failed):
            hand.of, hand.has_begun = None, False
            raise _error(message, hand.host)
        else:
            assert hand.of is not None
            hand.of.handle(hand.batch, message)
            hand.has_begun = hand.has_begun or hand.of.has_begun(hand.batch)
            if isinstance(message, Done):
                hand.of, hand.has_begun = None, False

    def _lost(self, worker: int, hand: _Hand, why: str) -> None:
        del self.hands[worker]
        if not hand.is_there:
            self.failed_starts += 1
            if self.failed_starts >= MOST_FAILED_STARTS and not self.hands:
                raise RunError(f"no worker can be started: {why}")
            return
        self.failed_starts = 0
        if hand.of is None:
            return
        run, batch = hand.of, hand.batch
        step = run.lost(batch)
        where = f"a worker on {hand.host} was lost ({_first_line(why)})"
        key = (run.job.folder.names.settings, batch, step)
        self.losses[key] = self.losses.get(key, 0) + 1
        if self.losses[key] >= MOST_LOSSES:
            raise RunError(
                f"{where}, the third in a row at {_named(batch)} after step {step}. If its memory is "
                "short, use fewer workers: gpus_per_picture: 1, on CPUs a higher OMP_NUM_THREADS. "
                "Finished steps are saved: --resume goes on"
            )
        if not self.halted and batch in run.waiting:
            run.say(f"{where}: {_named(batch)} goes on with another worker after step {step}")

    def _compare(self, hello: Ready) -> None:
        here = versions()
        other = [
            f"{name} {there} (here {here.get(name)})"
            for name, there in hello.versions.items()
            if name in SHAPING and there != here.get(name)
        ]
        if other:
            self._say(f"pictures from {hello.host} may differ in details: it has {', '.join(other)}")

    # ---- what is told ----

    def _say(self, text: str) -> None:
        if text not in self.said:
            self.said.add(text)
            self.notices.append(text)

    def _told(self) -> Iterator[Event]:
        """The events of the first run that is not told to its end, then of the next."""
        while self.notices:
            yield Notice(self.notices.popleft())
        while self.runs:
            run = self.runs[0]
            run.in_front = True
            yield from run.taken()
            if not run.is_over:
                return
            self.runs.pop(0).job.folder.close()

    # ---- the end ----

    def _halt(self) -> None:
        self.halted = True
        for worker, hand in self.hands.items():
            if hand.has_begun:
                self.pool.stop(worker)

    def _end_all(self) -> None:
        self.places = None
        for run in self.runs:
            self.interrupted = self.interrupted or not run.is_over
            run.end(stopped=True)


def _opened(job: Job, given: Pictures) -> SpreadRun:
    try:
        return SpreadRun(job, given)
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


def _named(batch: tuple[int, ...]) -> str:
    if len(batch) == 1:
        return f"picture {batch[0]}"
    return f"pictures {batch[0]}-{batch[-1]}"
