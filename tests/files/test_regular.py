"""Only regular files are read, up to a limit: pipes and devices are refused at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from disco.files.regular import open_regular, read_regular


def refusal(path: Path, most: int = 100) -> str:
    with pytest.raises(OSError) as error:
        read_regular(path, most)
    return str(error.value.strerror)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path / "pipe") == "a named pipe, not a regular file"
    assert refusal(Path("/dev/zero")) == "a device, not a regular file"
    assert refusal(tmp_path) == "Is a directory"
    assert refusal(tmp_path / "none") == "No such file or directory"


def test_not_a_byte_more_than_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a" * 100)
    assert read_regular(path, 100) == b"a" * 100
    assert refusal(path, 99) == "it has over 99 bytes, the most that is read of such a file"
    os.truncate(path, 1 << 40)  # sparse: takes no room
    assert refusal(path) == "it has over 100 bytes, the most that is read of such a file"


def test_a_file_that_hides_its_size() -> None:
    assert read_regular("/proc/self/stat", 1 << 20).split()[0] == str(os.getpid()).encode()


def test_opened_files_are_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    with open_regular(tmp_path / "a") as file:
        assert file.read() == b"abc"
