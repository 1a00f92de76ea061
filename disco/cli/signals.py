"""SIGINT and SIGTERM: during a picture a flag that is read after each step, else an exception.

The exception never leaves a handler during an import, which might swallow it or leave half a module behind,
nor in a `__del__`, which swallows it: there the signal is noted and comes again once they are done.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

NUMBERS = (signal.SIGINT, signal.SIGTERM)
_AFTER_STEP = b"\nstopping once this step is done and saved; --resume goes on. Once more: stop at once\n"
_AFTER_IMPORTS = b"\nstopping once the libraries are loaded. Once more: stop at once\n"
_AGAIN = 0.02  # seconds after which a signal that had to wait comes again


class Interrupted(BaseException):
    """A signal that came while no picture was being rendered. Not an Exception: nothing may swallow it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


class StopFlag:
    """Set by a signal while a picture is rendered. exit_code: 0, or 130 after SIGINT, 143 after SIGTERM.

    raised: whether a signal has raised Interrupted.
    """

    def __init__(self) -> None:
        self.exit_code = 0
        self.raised = False
        self._is_working = False
        self._waiting = 0  # the number of a signal that came during an import
        self._comes_again = False  # the next call of the handler is that signal once more
        self._lock = _thread.allocate_lock()  # held while it is sent
        self._thread = _thread.get_ident()

    def is_set(self) -> bool:
        return self.exit_code != 0

    def check(self) -> None:
        """After imports: raise Interrupted if a signal came meanwhile."""
        if self._waiting:
            self._raise(self._waiting)

    @contextmanager
    def working(self) -> Iterator[None]:
        """For the time that a picture is rendered or saved: a signal waits for the end of the step."""
        self.check()
        self._is_working = True
        try:
            yield
        finally:
            self._is_working = False

    @contextmanager
    def catching(self) -> Iterator[None]:
        """Handle both signals in the block; outside of working(), and the second time, by Interrupted."""
        self._thread = _thread.get_ident()
        before = {number: signal.signal(number, self._handle) for number in NUMBERS}
        try:
            yield
        finally:
            self._waiting = 0  # nothing comes again
            with self._lock:  # what was being sent has come
                pass
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again, self._comes_again = self._comes_again, False
        if again and not self._waiting:
            return  # check() has raised it
        if self._is_working and not self.is_set():
            self.exit_code, self._waiting = 128 + number, 0
            _say(_AFTER_STEP)
        elif not _must_wait(frame):
            self._raise(number)
        elif self._waiting and not again:
            exit_at_once(number, frame)  # asked for twice: the imports are not waited for
        else:
            if not self._waiting:
                _say(_AFTER_IMPORTS)
            self._waiting = number
            _thread.start_new_thread(self._come_again, (number,))

    def _raise(self, number: int) -> NoReturn:
        self._waiting, self.raised = 0, True
        raise Interrupted(number)

    def _come_again(self, number: int) -> None:
        time.sleep(_AGAIN)
        with self._lock:
            if self._waiting:
                self._comes_again = True
                _send(number, self._thread)


def _say(text: bytes) -> None:
    """Onto stderr, from a handler: sys.stderr may be in the middle of a write."""
    try:
        os.write(2, text)
    except OSError:  # closed, or full
        pass


def _must_wait(frame: FrameType | None) -> bool:
    """Whether the handler was called inside an import or a `__del__`."""
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith("<frozen importlib") or code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


def _send(number: int, thread: int) -> None:
    """Send the signal to the main thread, whatever it waits for."""
    if sys.platform == "win32":  # there this wakes it
        signal.raise_signal(number)
    else:
        signal.pthread_kill(thread, number)


def exit_at_once(number: int, frame: FrameType | None = None) -> None:
    """Handler that ends the process without unwinding it, with 128 + number."""
    os._exit(128 + number)


def end_process(code: int, *, at_once: bool) -> int:
    """Before a command's process ends: from now on a signal ends it at once. Returns the code.

    at_once: end it here. Its threads may be inside a library, which aborts where the interpreter goes first.
    """
    for number in NUMBERS:
        signal.signal(number, exit_at_once)
    if at_once:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):  # closed, or never there
                pass
        os._exit(code)
    return code
