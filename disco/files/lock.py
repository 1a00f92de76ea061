"""A lock between processes that dies with its holder, so that nobody has to clear a stale one."""

from __future__ import annotations

import errno
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from disco.files.atomic import disk_errors, move_free


class FileLock:
    """An exclusive lock on a file, given back by `release` or by the death of the process, kill -9 too."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None

    def acquire(self, wait: float = 1.0) -> bool:
        """Take the lock; False if another holder keeps it for `wait` seconds. A disk without locks: True.

        A folder of the lock's name is renamed.
        """
        if self.path.is_dir():
            move_free(self.path, self.path)
        until = time.monotonic() + wait
        with disk_errors(self.path), ExitStack() as unless_taken:
            file = unless_taken.enter_context(open(self.path, "ab"))
            while not _try_lock(file):
                if time.monotonic() >= until:
                    return False
                time.sleep(0.05)
            unless_taken.pop_all()  # the lock lasts as long as the file is open
            self._file = file
        return True

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def is_held(self) -> bool:
        """Whether anybody holds it now, ourselves included."""
        if self._file is not None:
            return True
        if not self.path.exists():
            return False
        try:
            with open(self.path, "ab") as file:
                return not _try_lock(file)
        except OSError:
            return False


if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: IO[bytes]) -> bool:
        try:
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(file: IO[bytes]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EOPNOTSUPP):
                return True  # a disk without locks: two runs are kept apart by their numbers alone
            raise
        return True
