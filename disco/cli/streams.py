"""stdout and stderr that end no command (closed, full, a pipe that nobody reads) and steer no terminal."""

from __future__ import annotations

import errno
import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

_LEFT = {errno.EPIPE, errno.EBADF, errno.ECONNRESET}  # closed or left on purpose: `>&-`, `| head -1`


# Controls but tab and line feed, C1 controls, marks that turn the direction of writing, line separators.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_MOVES = re.compile(r"(?:\n|\x1b\[A)*\r?")  # how progress bars go to their line: before a text, never in it


def is_terminal(stream: TextIO | None) -> bool:
    """Does a person watch this stream?"""
    try:
        return stream is not None and stream.isatty()
    except (ValueError, OSError):  # closed
        return False


def printable(text: str) -> str:
    """The text with escapes in place of what steers a terminal: names, metadata and answers of servers come
    from outside. Only the moves of progress bars at its beginning stay.
    """
    moves = _MOVES.match(text)
    assert moves is not None
    end = moves.end() if text[: moves.end()].endswith("\r") or moves.end() == len(text) else 0
    return text[:end] + _UNPRINTABLE.sub(lambda match: _escape(match[0]), text[end:])


def _escape(character: str) -> str:
    """As YAML and Python read it."""
    number = ord(character)
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"


class SafeStream:
    """A text stream whose errors are noted, once; what cannot be written from then on is discarded, and
    what is written is printable.

    error: the first one, or None. Everything but writing is the stream's own.
    """

    def __init__(self, stream: TextIO) -> None:
        self.error: OSError | None = None
        self._stream = stream
        if isinstance(stream, io.TextIOWrapper):  # what the console's encoding lacks becomes an escape
            stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        try:
            self._stream.write(printable(text))
        except (OSError, ValueError) as error:
            self._lose(error)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._lose(error)

    def isatty(self) -> bool:
        return not self._stream.closed and self._stream.isatty()

    def _lose(self, error: OSError | ValueError) -> None:
        if isinstance(error, UnicodeError):
            raise error
        if isinstance(error, BlockingIOError):  # a terminal or pipe that takes no more just now
            return
        if self.error is None:
            self.error = error if isinstance(error, OSError) else OSError(errno.EBADF, str(error))
        try:
            discard(self._stream)
        except (OSError, ValueError):
            self._stream = _Nowhere()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Nowhere(io.StringIO):
    """Keeps nothing."""

    def write(self, text: str) -> int:
        return len(text)


def discard(stream: TextIO) -> None:
    """Nobody reads this stream: what is written from now on goes to the null device, without an error."""
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, stream.fileno())
    finally:
        os.close(null)


@contextmanager
def safe_streams() -> Iterator[None]:
    """sys.stdout and sys.stderr as SafeStream in the block."""
    _open_closed()
    before = sys.stdout, sys.stderr
    streams = [SafeStream(stream or _Nowhere()) for stream in before]
    sys.stdout, sys.stderr = (cast(TextIO, stream) for stream in streams)
    try:
        yield
    finally:
        for stream in streams:
            stream.flush()
        sys.stdout, sys.stderr = before


def _open_closed() -> None:
    """Give the numbers 0 to 2, where closed, to the null device: a picture's file must not get one of them,
    since libraries print to them.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            os.set_inheritable(opened, True)


def unsaid(stream: TextIO) -> str:
    """Why not all that was printed to the stream arrived; "" if it did, or if nobody wanted it."""
    stream.flush()
    error = stream.error if isinstance(stream, SafeStream) else None
    if error is None or error.errno in _LEFT:
        return ""
    return error.strerror or str(error)
