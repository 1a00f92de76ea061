"""benchmarks.scale: what counts as the pace."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import scale
from disco.events import PictureFinished, PictureStarted, StepDone


def test_the_pace_is_that_of_all_workers_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers, three batches of two pictures: counted is from the second worker's first step on, until
    the first worker has nothing more to do."""
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    pace = scale.Pace(workers=2, batches=3)
    first, second, third = (0, 1), (2, 3), (4, 5)

    def step(batch: tuple[int, ...]) -> StepDone:
        return StepDone(batch, 0, 4, dict, list)

    done = PictureFinished(1, Path("a.png"), 1.0)
    heard: list[object] = [PictureStarted(first), step(first), step(first), PictureStarted(second)]
    heard += [step(second), step(first), step(first), done, PictureStarted(third), step(second), step(third)]
    heard += [PictureFinished(3, Path("b.png"), 1.0), step(third), step(third)]
    for event in heard:
        now += 1
        pace.handle(event)
    assert (pace.from_, pace.until) == (5.0, 12.0)
    assert pace.per_minute(steps=4) == pytest.approx(60 * (4 * 2 / 4) / 7)


def test_rows_are_compared_with_the_first() -> None:
    rows = scale.with_gain([{"pictures a minute": 2.0}, {"pictures a minute": 3.0}])
    assert [row["times the first"] for row in rows] == [1.0, 1.5]


def test_one_process_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    small = ["width_height=[64, 64]", "steps=3", "clip_models=[pocket-conv]", "cutn_batches=1"]
    monkeypatch.setattr(scale, "BATCHES", 2)
    row = scale.measure(0, 2, [*small, "cut_overview=1", "cut_innercut=1"], None)
    assert (row["workers"], row["batch_size"]) == (0, 2) and row["pictures a minute"] > 0
    assert row["start, s"] > 0
