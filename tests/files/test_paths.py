"""disco.files.paths: a path that the user wrote, looked up in folders."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from disco.files.paths import candidates, find, shell_quoted


def test_the_first_that_is_there_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    monkeypatch.chdir(here)
    (there / "a").write_text("")
    assert find("a", [there]) == there / "a" and find("b", [there]) is None
    (here / "a").mkdir()
    assert find("a", [there]) == Path("a")
    assert find("a", [there], Path.is_file) == there / "a"
    assert find(str(there / "a"), [here]) == there / "a"


def test_home_and_names_that_no_file_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert candidates("~/a", [Path("x"), Path("y")]) == [tmp_path / "a"]
    assert candidates("~nobody-of-that-name/a", [Path("x")]) == [Path("x/~nobody-of-that-name/a")]
    assert find("a" * 5000, [tmp_path]) is None and find("a\0b", [tmp_path]) is None


@pytest.mark.skipif(os.name == "nt", reason="a POSIX shell")
@pytest.mark.parametrize("name", ["a.png", "a(0)_0001.png", "it's", 'a b $HOME `x` \\ "q"', "-x*?.png"])
def test_a_quoted_path_is_one_word_of_a_shell(name: str) -> None:
    done = subprocess.run(["sh", "-c", f"printf %s {shell_quoted(name)}"], capture_output=True, text=True)
    assert done.stdout == name
