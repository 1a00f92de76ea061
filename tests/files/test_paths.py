"""disco.files.paths: a path that the user wrote, looked up in folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from disco.files.paths import candidates, find


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
