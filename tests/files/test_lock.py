"""A lock has one holder and dies with it."""

from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from disco.files.lock import FileLock

HOLDER = """
import sys, time
from pathlib import Path
from disco.files.lock import FileLock
lock = FileLock(Path(sys.argv[1]))
print(lock.acquire(), flush=True)
time.sleep(60)
"""


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert not first.is_held()
    assert first.acquire()
    assert first.is_held()
    assert second.is_held()
    assert not second.acquire(wait=0.1)
    first.release()
    assert not second.is_held()
    assert second.acquire(wait=0)
    second.release()
    second.release()


def test_kill_9_gives_the_lock_back(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"True\n"
        assert FileLock(path).is_held()
        assert not FileLock(path).acquire(wait=0.1)
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    lock = FileLock(path)
    assert not lock.is_held()
    assert lock.acquire()
    lock.release()


def test_a_disk_without_locks_locks_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    lock = FileLock(tmp_path / "lock")
    assert lock.acquire(wait=0)
    assert not FileLock(tmp_path / "lock").is_held()
    lock.release()
