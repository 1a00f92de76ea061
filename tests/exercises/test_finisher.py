"""A newcomer adds a finisher and its setting in two files; a run killed before its file is there makes it."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np

from disco.media.images import read_metadata, read_pixels
from tests.exercises.changed_copy import copy_with, files_of, run_in

DIFF = Path(__file__).with_name("finisher.diff")
RENDER = """
from pathlib import Path
from disco.events import StepDone
from tests.small_run import events_of
events = list(events_of(Path("out"), {"n_batches": 1, "save_half": True}, resume=RESUME))
print(sum(isinstance(event, StepDone) for event in events))
"""
KILLED = """
import os, signal
from disco.runs.folder import RunFolder
RunFolder.save_finished = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
RESUME = None
"""


def test_the_diff_touches_two_files() -> None:
    assert files_of(DIFF) == ["disco/runs/finishers.py", "disco/settings/model.py"]


def test_a_killed_run_goes_on_with_the_finisher(tmp_path: Path) -> None:
    copy_with(DIFF, tmp_path)
    run_in(tmp_path, KILLED + RENDER, -signal.SIGKILL)
    picture = tmp_path / "out" / "small" / "small(0)_0000.png"
    before, half = picture.read_bytes(), picture.with_name("small(0)_0000_half.png")
    assert not half.exists()
    assert run_in(tmp_path, 'RESUME = "latest"\n' + RENDER).strip() == "0", "no step is done again"
    assert picture.read_bytes() == before
    assert np.array_equal(read_pixels(half), read_pixels(picture)[::2, ::2])
    assert read_metadata(half)["settings"]["save_half"] is True
