"""Bad settings files and exactly what is said about them: bad_settings/NAME.yaml and beside it NAME.txt.

HERE in a .txt stands for the folder of the files.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from disco.errors import SettingsError
from disco.settings.load import load_runs
from tests.places import ROOT, TESTS

FOLDER = TESTS / "bad_settings"
FILES = sorted(FOLDER.glob("*.yaml"))


def test_there_are_enough() -> None:
    assert len(FILES) >= 30


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_exact_messages(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    with pytest.raises(SettingsError) as caught:
        load_runs([path.name])
    expected = path.with_suffix(".txt").read_text(encoding="utf-8").replace("HERE", str(FOLDER))
    assert "\n".join(caught.value.problems) + "\n" == expected
    assert str(caught.value) + "\n" == expected
    assert caught.value.exit_code == 2


def test_all_files_are_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    with pytest.raises(SettingsError) as caught:
        load_runs(["skip_steps.yaml", "nix.yaml", "queue.yaml"], overrides=["stepz=5", "batch_size", "eta=7"])
    assert caught.value.problems == (
        f"nix.yaml: no such file (looked in {FOLDER})",
        "--set batch_size: batch_size: write --set key=value, like --set steps=100",
        "--set stepz=5: stepz: no such setting. Did you mean steps?",
        "--set eta=7: eta: 7 is not allowed: write a number from 0 to 1 or a schedule of them",
        "skip_steps.yaml:2: skip_steps: 100 of 100 steps leaves none: write at most 99",
        "queue.yaml:3: steps: 1 is not allowed: write a whole number from 2 to 4000",
    )


def test_a_typo_is_reported_fast_and_without_torch() -> None:
    code = (
        "import sys, time\n"
        "from disco.errors import SettingsError\n"
        "from disco.settings.load import load_runs\n"
        "try:\n    load_runs([sys.argv[1]])\n"
        "except SettingsError as error:\n    print(error)\n"
        "assert not {'torch', 'open_clip', 'numpy'} & set(sys.modules)\n"
        "assert time.process_time() < 2\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(FOLDER / "unknown_key.yaml")],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert done.stdout.endswith(
        ":2: clip_guidence_scale: no such setting. Did you mean clip_guidance_scale?\n"
    )
