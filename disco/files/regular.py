"""Bytes of a regular file up to a limit: no pipe that waits for ever, no device without an end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

MAX_SETTINGS = 1 << 20
"""Bytes of a settings file. 1000 values of every schedule are about 200 kB."""
MAX_JSON = 4 << 20
"""Bytes of a configuration that lies beside weights."""
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: str | Path) -> BinaryIO:
    """A file to read from; a pipe does not wait for its writer. Raises OSError, for all but regular files."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    file = os.fdopen(os.open(path, flags | getattr(os, "O_CLOEXEC", 0)), "rb")
    mode = os.fstat(file.fileno()).st_mode
    if stat.S_ISREG(mode):
        return file
    file.close()
    kind = _KINDS.get(stat.S_IFMT(mode), "something else")
    raise OSError(errno.EINVAL, f"{kind}, not a regular file")


def read_regular(path: str | Path, most: int) -> bytes:
    """All bytes of a file. Never waits, and never reads more than `most` bytes.

    Raises OSError whose strerror says it: not there, not to be read, not a regular file, more than `most`.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        data = b"" if size > most else file.read(most + 1)
        if max(size, len(data)) > most:
            raise OSError(errno.EFBIG, f"it has over {most} bytes, the most that is read of such a file")
        return data
