"""The error that ends a run stands in its status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from disco.errors import RunError
from disco.events import Notice
from disco.runs.folder import RunFolder
from disco.runs.report import RunStats, failure_noted


def test_the_error_of_a_run_is_in_its_status(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, "fog") as folder:
        with pytest.raises(RunError, match="the disk is full"), failure_noted(folder):
            raise RunError("fog: the disk is full")
        status = json.loads(folder.names.status.read_text())
    assert (status["state"], status["error"]) == ("failed", "fog: the disk is full")


def test_what_is_said_during_a_run_is_kept() -> None:
    stats = RunStats()
    event = Notice("a sentence")
    assert stats.note(event) is event and stats.notices == ["a sentence"]
