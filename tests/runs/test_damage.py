"""Every file that a run writes and reads back, damaged in every way: same pixels, or the next run and why."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from disco.errors import ResumeError
from disco.events import Notice, RunStarted
from disco.runs.folder import RunFolder, list_runs
from tests.small_run import StopAfter, events_of, pictures, rendered, same

STILL: Mapping[str, Any] = {"n_batches": 2, "intermediate_saves": 2}
FRAMES: Mapping[str, Any] = {"animation_mode": "2D", "max_frames": 3, "zoom": "0:(1.05)", "skip_steps": 2}
KINDS = {"stills": (STILL, 16), "frames": (FRAMES, 10)}


def folder_instead(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()
    (path / "kept").write_text("a user's file")


def truncate(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


DAMAGES: Mapping[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "truncated": truncate,
    "random bytes": lambda path: path.write_bytes(bytes(range(255, 0, -1)) * 3),
    "a list": lambda path: path.write_text("[1]"),
    "wrong types": lambda path: path.write_text('{"run": "0", "settings": [], "groups": 5, "queue": 3}'),
    "a folder": folder_instead,
    "unreadable": lambda path: path.chmod(0),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, tuple[Any, Path]]:
    """Kind -> the pictures of an uninterrupted run, and the folder of a stopped one."""
    made = {}
    for kind, (values, steps) in KINDS.items():
        whole, stopped = (tmp_path_factory.mktemp(name) for name in ("whole", "stopped"))
        rendered(whole, values)
        ended = rendered(stopped, values, stop=StopAfter(steps))
        assert ended is not None and ended.interrupted
        made[kind] = pictures(whole), stopped
    return made


def files_of(out: Path) -> list[Path]:
    """The files that a run has written, but its finished pictures."""
    paths = (path.relative_to(out) for path in out.rglob("*") if path.is_file())
    return sorted(path for path in paths if not re.search(r"_\d{4}\.png$", path.name))


def damaged_one_by_one(
    runs: Mapping[str, tuple[Any, Path]], kind: str, damage: str, tmp_path: Path
) -> Iterator[tuple[str, Path]]:
    stopped = runs[kind][1]
    for number, path in enumerate(files_of(stopped)):
        out = tmp_path / str(number)
        shutil.copytree(stopped, out)
        DAMAGES[damage](out / path)
        yield f"{path}: {damage}", out


@pytest.mark.parametrize(
    ("kind", "damage"),
    [*(("frames", name) for name in DAMAGES), *(("stills", name) for name in ("truncated", "wrong types"))],
)
def test_one_damaged_file_changes_no_pixel(
    runs: Mapping[str, tuple[Any, Path]], kind: str, damage: str, tmp_path: Path
) -> None:
    if damage == "unreadable" and os.geteuid() == 0:
        pytest.skip("root reads everything")
    values = {**KINDS[kind][0], "resume_run": True}
    for what, out in damaged_one_by_one(runs, kind, damage, tmp_path):
        before = pictures(out)
        assert before, what
        events = list(events_of(out, values))
        assert [event.resumed for event in events if isinstance(event, RunStarted)] == [True], what
        assert not [event for event in events if isinstance(event, Notice) and "8-bit" in event.text], what
        assert same(pictures(out), runs[kind][0]), what
        if damage == "a folder":
            assert [path.read_text() for path in out.rglob("kept")] == ["a user's file"], what
        assert (out / "small" / "small(0)_settings.yaml").exists(), what


@pytest.mark.parametrize("damage", [name for name in DAMAGES if name != "unreadable"])
def test_with_no_copy_of_run_json_the_next_run_starts_and_says_so(
    runs: Mapping[str, tuple[Any, Path]], damage: str, tmp_path: Path
) -> None:
    whole, stopped = runs["stills"]
    out = tmp_path / "out"
    shutil.copytree(stopped, out)
    state = out / "small" / ".state" / "0"
    for name in ("run.json", "run-copy.json"):
        DAMAGES[damage](state / name)
    before = pictures(out)
    assert [summary.state for summary in list_runs(out, "small")] == ["damaged"]
    with pytest.raises(ResumeError) as refused:
        RunFolder.open(out, "small", 0)
    why = r"(is gone|cannot be read \([^\n]+\))\. Start a new run; pictures stay\."
    assert re.fullmatch(re.escape(f"{state / 'run.json'}: ") + why, str(refused.value))
    with pytest.raises(ResumeError, match=r"no unfinished run .*\n  run 0: damaged, 1 of "):
        list(events_of(out, STILL, resume="latest"))
    started = [e for e in events_of(out, {**STILL, "resume_run": True}) if isinstance(e, RunStarted)]
    told = str(refused.value).replace(
        "Start a new run; pictures stay.", "A new run starts; the pictures of run 0 stay."
    )
    assert [event.resumed for event in started] == [False] and told in started[0].notices
    assert same(pictures(out), before) and same(pictures(out, run=1), whole)
    assert rendered(out, {**STILL, "resume_run": True}) is None  # run 1 is whole: nothing is left
