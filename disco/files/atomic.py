"""Files that are either absent or whole, whatever kills the process; nothing is overwritten by accident."""

from __future__ import annotations

import errno
import itertools
import os
import platform
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from disco.errors import RunError

_counter = itertools.count()
_HOST = re.sub(r"[^A-Za-z0-9]", "", platform.node())[:24] or "host"
# In a container each start has the same name and process number: only this tells ours from those of the dead.
_TOKEN = os.urandom(6).hex()
_TEMPORARY = re.compile(r"\.disco-([A-Za-z0-9]+)-(\d+)-([0-9a-f]+)-\d+\.tmp")
_STALE = 24 * 3600  # seconds: a temporary file of another machine is left alone until then
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK, errno.EINVAL}
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_CAUSES = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "your disk quota is used up",
    errno.EACCES: "no permission to write there",
    errno.EPERM: "no permission to write there",
    errno.EROFS: "the disk is read-only",
    errno.ENOTDIR: "a file stands where a folder is needed",
    errno.EEXIST: "a file stands where a folder is needed",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENOENT: "the folder is gone",
    errno.EFBIG: "larger than the disk or `ulimit -f` allows",
    errno.EIO: "the disk reports an error",
}
_ADVICE = dict.fromkeys(FULL, "Free some space and run again with --resume") | {
    errno.EACCES: "Change the folder's owner or mode, or choose another --out",
    errno.EPERM: "Change the folder's owner or mode, or choose another --out",
    errno.ENOTDIR: "Move it away, or choose another --out",
    errno.EEXIST: "Move it away, or choose another --out",
    errno.ENAMETOOLONG: "Choose a shorter batch_name",
    errno.ENOENT: "Do not move or delete it during a run",
    errno.EFBIG: "Raise the limit, or choose another --out",
    errno.EIO: "Check it, and choose another --out",
}


def disk_cause(error: OSError) -> str:
    """What the disk refuses, in words, without a full stop."""
    return _CAUSES.get(error.errno or 0, error.strerror or str(error))


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an OSError inside into a RunError that names the path and says what to do."""
    try:
        yield
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, "Choose another --out")
        raise RunError(
            f"{path}: cannot be written: {disk_cause(error)}. {advice}. Files written before are kept."
        ) from error


def check_writable(folder: Path) -> None:
    """Raise RunError if no file can be written in `folder`."""
    with disk_errors(folder):
        _write_temporary(folder, b"probe").unlink()


def write_new(path: Path, data: bytes) -> None:
    """Write a file that must not exist yet: durable when this returns, absent or whole at any other moment.

    Raises FileExistsError if `path` exists (it is left as it is), RunError if the disk refuses.
    """
    with disk_errors(path):
        temporary = _write_temporary(path.parent, data)
    try:
        move_new(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def replace(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write or replace a file: old or new, never a mixture. Not durable: a power cut may take it.

    A folder of its name is renamed: it gets -2, -3 ... Raises RunError.
    """
    with disk_errors(path):
        if path.is_dir():
            move_free(path, path)
        temporary = _write_temporary(path.parent, data, durable=durable)
        try:
            os.replace(temporary, path)
            if durable:
                sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def move_new(source: Path, target: Path) -> None:
    """Rename to a name that must not exist yet, on the same disk. Raises FileExistsError, else RunError."""
    taken = False
    with disk_errors(target):
        try:
            os.link(source, target)
        except FileExistsError:
            taken = True
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            # No hard links here (FAT, some network disks): the run's lock keeps other runs out of its names.
            taken = target.exists()
            if not taken:
                os.rename(source, target)
        else:
            source.unlink()
        sync_folder(target.parent)
    if taken:
        raise FileExistsError(errno.EEXIST, "exists already", str(target))


@contextmanager
def part_file(folder: Path) -> Iterator[Path]:
    """A path in `folder` for what another program writes; at the end the file is gone unless it was moved."""
    path = _temporary(folder)
    try:
        yield path
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def move_aside(path: Path, folder: Path) -> Path:
    """Move a file into `folder` under its own name, or with -2, -3 ... if that is taken. Returns the path."""
    with disk_errors(folder):
        folder.mkdir(exist_ok=True)
    return move_free(path, folder / path.name)


def move_free(source: Path, target: Path) -> Path:
    """Rename to `target`, or with -2, -3 ... before the ending if that is taken. Returns the path."""
    for n in itertools.count(1):
        path = target if n == 1 else target.with_name(f"{target.stem}-{n}{target.suffix}")
        try:
            move_new(source, path)
        except FileExistsError:
            continue
        return path
    raise AssertionError("endless")


def clean_temporaries(folder: Path) -> None:
    """Remove what killed processes left in `folder`; leave the files of living ones and of other machines."""
    with disk_errors(folder):
        for entry in list(os.scandir(folder)) if folder.exists() else ():
            match = _TEMPORARY.fullmatch(entry.name)
            if match is None:
                continue
            with suppress(FileNotFoundError):
                is_dead = match[1] == _HOST and not _is_alive(int(match[2]), match[3])
                if is_dead or time.time() - entry.stat().st_mtime > _STALE:
                    os.unlink(entry.path)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable, where the system can."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network disks cannot; their names are durable at once or never
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _temporary(folder: Path) -> Path:
    return folder / f".disco-{_HOST}-{os.getpid()}-{_TOKEN}-{next(_counter)}.tmp"


def _write_temporary(folder: Path, data: bytes, *, durable: bool = True) -> Path:
    path = _temporary(folder)
    try:
        with open(path, "xb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
    except BaseException:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise
    return path


def _is_alive(pid: int, token: str) -> bool:
    if pid == os.getpid():
        return token == _TOKEN
    if sys.platform == "win32":  # there os.kill(pid, 0) would stop it
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it lives and belongs to another user
        return True
    return True
