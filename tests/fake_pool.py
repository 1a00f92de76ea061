"""Workers without a cluster: each says one message at a time, in turn, and dies when it is told to."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence

from disco.networks.load import Networks
from disco.rendering.distributed.messages import Done, Failed, Message, WorkerLost, WorkItem
from disco.rendering.distributed.worker import Worker
from disco.settings.load import Run
from tests.small_run import small_networks


class FakePool:
    """room: workers that it has place for. deaths: worker -> after how many messages of orders it is lost.

    All that is said travels as it would to another machine.
    """

    def __init__(
        self,
        room: int = 2,
        deaths: Mapping[int, int] | None = None,
        load: Callable[..., Networks] = lambda run, **_: small_networks(),
    ) -> None:
        self.room, self.deaths, self.load = room, dict(deaths or {}), load
        self.workers: dict[int, Worker] = {}
        self.at_work: dict[int, Iterator[Message]] = {}
        self.stopped: set[int] = set()
        self.said: dict[int, int] = {}
        self.new: list[int] = []
        self.orders: list[tuple[int, WorkItem]] = []
        self.starts = True  # or does every worker die at once?
        self.hired = 0

    def capacity(self) -> int:
        return self.room

    def hire(self, runs: Sequence[Run], of: int) -> int:
        worker = self.hired
        self.hired += 1
        assert len(self.workers) < self.room
        self.workers[worker], self.said[worker] = Worker(runs, self.load), 0
        self.new.append(worker)
        return worker

    def give(self, worker: int, order: WorkItem) -> None:
        assert worker not in self.at_work
        order = _travelled(order)
        self.orders.append((worker, order))
        self.at_work[worker] = self.workers[worker].work(order, lambda: worker in self.stopped)

    def stop(self, worker: int) -> None:
        self.stopped.add(worker)

    def dismiss(self, worker: int) -> None:
        del self.workers[worker]
        self.at_work.pop(worker, None)

    def pop_messages(self, seconds: float) -> list[tuple[int, Message]]:
        new, self.new = self.new, []
        if not self.starts:
            return [(worker, self._die(worker)) for worker in new]
        messages: list[tuple[int, Message]] = [(worker, self.workers[worker].ready()) for worker in new]
        for worker in list(self.at_work):
            if self.said[worker] == self.deaths.get(worker):
                messages.append((worker, self._die(worker)))
                continue
            message = next(self.at_work[worker])
            if isinstance(message, (Done, Failed)):
                del self.at_work[worker]
            self.said[worker] += 1
            messages.append((worker, _travelled(message)))
        return messages

    def _die(self, worker: int) -> WorkerLost:
        self.dismiss(worker)
        return WorkerLost("killed by the test\nand more about it")


def _travelled(thing):
    return pickle.loads(pickle.dumps(thing))
