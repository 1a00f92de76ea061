"""Files are absent or whole, nothing is overwritten by accident, and a disk that refuses is explained."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import time
from pathlib import Path

import pytest

from disco.errors import RunError
from disco.files import atomic

ENDING = " Files written before are kept."


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_new_file_is_written_and_no_other_is_left(tmp_path: Path) -> None:
    atomic.write_new(tmp_path / "a.png", b"abc")
    assert (tmp_path / "a.png").read_bytes() == b"abc"
    assert names(tmp_path) == ["a.png"]


def test_an_existing_file_stays(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"first")
    with pytest.raises(FileExistsError):
        atomic.write_new(tmp_path / "a.png", b"second")
    assert (tmp_path / "a.png").read_bytes() == b"first"
    assert names(tmp_path) == ["a.png"]


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS])
def test_disks_without_hard_links_work_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "link", raiser(number))
    atomic.write_new(tmp_path / "a", b"abc")
    assert (tmp_path / "a").read_bytes() == b"abc"
    with pytest.raises(FileExistsError):
        atomic.write_new(tmp_path / "a", b"def")
    assert (tmp_path / "a").read_bytes() == b"abc"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("durable", [True, False])
def test_replacing_leaves_one_file(tmp_path: Path, durable: bool) -> None:
    for data in (b"one", b"two"):
        atomic.replace(tmp_path / "a", data, durable=durable)
        assert (tmp_path / "a").read_bytes() == data
        assert names(tmp_path) == ["a"]


def test_moving_aside_never_takes_a_name_twice(tmp_path: Path) -> None:
    aside = tmp_path / "retained"
    for data in (b"0", b"1", b"2"):
        (tmp_path / "x_0001-34%.png").write_bytes(data)
        atomic.move_aside(tmp_path / "x_0001-34%.png", aside)
    assert names(tmp_path) == ["retained"]
    assert {path.name: path.read_bytes() for path in aside.iterdir()} == {
        "x_0001-34%.png": b"0",
        "x_0001-34%-2.png": b"1",
        "x_0001-34%-3.png": b"2",
    }


def test_a_part_file_is_gone_unless_it_was_moved(tmp_path: Path) -> None:
    for data in (b"0", b"1", b"2"):
        with atomic.part_file(tmp_path) as part:
            part.write_bytes(data)
            atomic.move_free(part, tmp_path / "a(0).b.mp4")
    with pytest.raises(KeyError), atomic.part_file(tmp_path) as part:
        part.write_bytes(b"3")
        raise KeyError
    with atomic.part_file(tmp_path):
        pass
    whole = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert whole == {"a(0).b.mp4": b"0", "a(0).b-2.mp4": b"1", "a(0).b-3.mp4": b"2"}


def raiser(number: int):  # type: ignore[no-untyped-def]
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("number", "cause"),
    [
        (errno.ENOSPC, "the disk is full. Free some space and run again with --resume."),
        (errno.EDQUOT, "your disk quota is used up. Free some space and run again with --resume."),
        (
            errno.EACCES,
            "no permission to write there. Change the folder's owner or mode, or choose another --out.",
        ),
        (errno.EROFS, "the disk is read-only. Choose another --out."),
        (errno.ENAMETOOLONG, "the name is too long. Choose a shorter batch_name."),
        (errno.ENOENT, "the folder is gone. Do not move or delete it during a run."),
        (errno.EIO, "the disk reports an error. Check it, and choose another --out."),
        (errno.EMFILE, "Too many open files. Choose another --out."),
    ],
)
@pytest.mark.parametrize("call", ["fsync", "link"])
def test_a_refusing_disk_is_explained_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, cause: str, call: str
) -> None:
    path = tmp_path / "a.png"
    (tmp_path / "old.png").write_bytes(b"old")
    monkeypatch.setattr(os, call, raiser(number))
    with pytest.raises(RunError) as caught:
        atomic.write_new(path, b"abc")
    assert str(caught.value) == f"{path}: cannot be written: {cause}{ENDING}"
    assert names(tmp_path) == ["old.png"]
    assert (tmp_path / "old.png").read_bytes() == b"old"


def test_replacing_on_a_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    atomic.replace(tmp_path / "a", b"old")
    for call in ("fsync", "replace"):
        with monkeypatch.context() as patch, pytest.raises(RunError, match="the disk is full"):
            patch.setattr(os, call, raiser(errno.ENOSPC))
            atomic.replace(tmp_path / "a", b"new")
        assert (tmp_path / "a").read_bytes() == b"old"
        assert names(tmp_path) == ["a"]


def test_a_write_that_stops_half_way_leaves_nothing(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))  # the kernel itself refuses, after 5000 bytes
    try:
        with pytest.raises(RunError, match="larger than the disk or `ulimit -f` allows"):
            atomic.write_new(tmp_path / "a", b"x" * 1_000_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == []


def test_a_file_in_the_folders_place_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RunError) as caught:
        atomic.check_writable(tmp_path / "file")
    path = tmp_path / "file"
    cause = "a file stands where a folder is needed. Move it away, or choose another --out."
    assert str(caught.value) == f"{path}: cannot be written: {cause}{ENDING}"


def test_an_unwritable_folder_is_explained() -> None:
    with pytest.raises(RunError, match=r"/proc: cannot be written: .* Files written before are kept\."):
        atomic.check_writable(Path("/proc"))  # nobody can create files there, root neither


def test_leftovers_of_the_dead_are_cleaned_and_of_the_living_not(tmp_path: Path) -> None:
    host = atomic._HOST
    dead = subprocess.Popen(["true"])
    dead.wait()
    alive = subprocess.Popen(["sleep", "60"])
    try:
        old = tmp_path / ".disco-elsewhere-1-b0-0.tmp"
        ours = f".disco-{host}-{os.getpid()}-{atomic._TOKEN}-99999.tmp"
        keep = [
            ours,
            f".disco-{host}-{alive.pid}-a0-0.tmp",
            ".disco-elsewhere-1-b0-1.tmp",
            ".disco-1.tmp",
            "a",
        ]
        same_number = f".disco-{host}-{os.getpid()}-abc-0.tmp"  # in a container started anew
        for name in [*keep, same_number, f".disco-{host}-{dead.pid}-c0-7.tmp", old.name]:
            (tmp_path / name).write_bytes(b"")
        os.utime(old, (0, time.time() - 25 * 3600))
        atomic.clean_temporaries(tmp_path)
        assert names(tmp_path) == sorted(keep)
    finally:
        alive.kill()
        alive.wait()
    atomic.clean_temporaries(tmp_path / "none")
