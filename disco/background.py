"""Work beside the main thread: one thing after another, in the order given, a few waiting at most."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait


class Background:
    """One thread of its own, begun when it is first needed. An error comes back at the next call of a method.

    on: else all is done at once, by whoever asks. room: how much may be under way; who adds more waits.
    """

    def __init__(self, on: bool = True, room: int = 2) -> None:
        self.on, self.room = on, room
        self._thread: ThreadPoolExecutor | None = None
        self._under_way: deque[Future[None]] = deque()

    def do(self, work: Callable[[], None]) -> None:
        """Have it done. work must not touch what the main thread will change."""
        if not self.on:
            work()
            return
        while self._under_way and (self._under_way[0].done() or len(self._under_way) >= self.room):
            self._under_way.popleft().result()
        if self._thread is None:
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="disco-writer")
        self._under_way.append(self._thread.submit(work))

    def finish(self) -> None:
        """Wait until all is done, also where some of it failed; then the first error, if there is one."""
        wait(self._under_way)
        under_way, self._under_way = self._under_way, deque()
        for one in under_way:
            one.result()

    def close(self) -> None:
        """finish(), and let the thread go."""
        try:
            self.finish()
        finally:
            if self._thread is not None:
                self._thread.shutdown()
                self._thread = None
