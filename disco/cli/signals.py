"""SIGINT and SIGTERM: during a picture a flag that is read after each step, else an exception."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interrupted(BaseException):
    """A signal that came while no picture was being rendered. Not an Exception: nothing may swallow it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


class StopFlag:
    """Set by a signal while a picture is rendered. exit_code: 0, or 130 after SIGINT, 143 after SIGTERM."""

    def __init__(self) -> None:
        self.exit_code = 0
        self._is_working = False

    def is_set(self) -> bool:
        return self.exit_code != 0

    @contextmanager
    def working(self) -> Iterator[None]:
        """For the time that a picture is rendered or saved: a signal waits for the end of the step."""
        self._is_working = True
        try:
            yield
        finally:
            self._is_working = False

    @contextmanager
    def catching(self) -> Iterator[None]:
        """Handle both signals in the block; outside of working(), and the second time, by Interrupted."""
        before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> Any:
        if self.is_set() or not self._is_working:
            raise Interrupted(number)
        self.exit_code = 128 + number
