"""A newcomer adds a finisher and its setting in two files; a run killed before its file is there makes it.

finisher.diff is laid over a copy of disco/, which processes of their own then use.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from disco.media.images import read_metadata, read_pixels
from tests.places import ROOT

DIFF = Path(__file__).with_name("finisher.diff")
RUN = """
import os, signal, sys
from pathlib import Path
import disco
from disco.events import StepDone
from disco.runs.folder import RunFolder
from tests.small_run import events_of
out, moment = Path(sys.argv[1]), sys.argv[2]
assert Path(disco.__file__).parents[1] == out.parent, "the copy is used"
if moment == "killed":
    RunFolder.save_finished = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
values = {"n_batches": 1, "save_half": True}
events = list(events_of(out, values, resume=None if moment == "killed" else "latest"))
print(sum(isinstance(event, StepDone) for event in events))
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with a copy of disco/ that has the diff."""
    ignored = shutil.ignore_patterns("__pycache__", "*.safetensors")  # the run brings networks of its own
    shutil.copytree(ROOT / "disco", tmp_path / "disco", ignore=ignored)
    subprocess.run(["git", "apply", str(DIFF)], cwd=tmp_path, check=True)
    return tmp_path


def run(copy: Path, moment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(copy), str(ROOT)])}
    command = [sys.executable, "-c", RUN, str(copy / "out"), moment]
    return subprocess.run(command, cwd=copy, env=env, capture_output=True, text=True)


def test_the_diff_touches_two_files() -> None:
    changed = [line for line in DIFF.read_text().splitlines() if line.startswith("+++ ")]
    assert changed == ["+++ b/disco/runs/finishers.py", "+++ b/disco/settings/model.py"]


def test_a_killed_run_goes_on_with_the_finisher(copy: Path) -> None:
    killed = run(copy, "killed")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    picture = copy / "out" / "small" / "small(0)_0000.png"
    before, half = picture.read_bytes(), picture.with_name("small(0)_0000_half.png")
    assert not half.exists()
    resumed = run(copy, "resumed")
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.strip() == "0", "no step is done again"
    assert picture.read_bytes() == before
    assert np.array_equal(read_pixels(half), read_pixels(picture)[::2, ::2])
    assert read_metadata(half)["settings"]["save_half"] is True
