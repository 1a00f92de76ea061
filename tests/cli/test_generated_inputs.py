"""Thousands of generated inputs through every verb: the code, one sentence, no traceback, nothing written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from disco.__main__ import main
from disco.cli import command
from disco.settings.load import Run, load_runs
from disco.settings.model import Settings, plain_values
from tests.generated_inputs import Input, inputs

Capture = pytest.CaptureFixture[str]


def plain(settings: Settings) -> dict[str, Any]:
    """The settings; prompts as the texts that were written."""
    prompts = {frame: [prompt.raw for prompt in group] for frame, group in settings.text_prompts.items()}
    return {**plain_values(settings), "text_prompts": prompts}


def agrees(settings: Settings, expected: dict[str, Any]) -> list[str]:
    """The keys that mean something else than expected."""
    here = plain(settings)
    wanted = plain(Settings(**expected))
    return [
        key
        for key in expected
        if here[key] != wanted[key] or (here[key] != expected[key] and _simple(expected[key]))
    ]


def _simple(value: Any) -> bool:
    return isinstance(value, (bool, int, float, list))


def run_one(one: Input, folder: Path, planned: list[Run], capsys: Capture) -> None:
    folder.mkdir()
    for name, data in one.files.items():
        (folder / name).write_bytes(data)
    planned.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        try:
            code = main(list(one.words))
        except SystemExit as error:  # argparse
            code = error.code if isinstance(error.code, int) else 2
        out, err = capsys.readouterr()
        said = f"{one.words}\n{one.files.get('a.yaml') or one.files.get('old.txt')!r}\n{code}\n{err}"
        assert code in (0, 1, 2) and "Traceback" not in err + out, said
        assert code == 0 or err.strip(), said
        allowed = {*one.files, *([one.made] if one.made and code == 0 else [])}
        assert {path.name for path in folder.iterdir()} <= allowed, said
        if one.expected is not None:
            assert code == 0, said
            (run,) = load_runs([one.made]) if one.made else planned or [None]
            assert run is None or agrees(run.settings, dict(one.expected)) == [], said


def run_all(count: int, seed: int, folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many of them were valid."""
    planned: list[Run] = []

    def plan(options: Any, runs: Sequence[Run], again: Any) -> str:
        planned[:] = runs
        return "a plan"

    monkeypatch.setattr(command, "_plan", plan)
    monkeypatch.setattr(command, "_check_torch", lambda: None)
    valid = 0
    for n, one in enumerate(inputs(count, seed)):
        run_one(one, folder / str(n), planned, capsys)
        valid += one.expected is not None
    return valid


def test_a_hundred_and_fifty(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_all(150, 1, tmp_path, capsys, monkeypatch) >= 45


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_thousand(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_all(2000, 2, tmp_path, capsys, monkeypatch) >= 600
