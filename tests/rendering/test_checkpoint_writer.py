"""rendering.checkpoint_writer: nothing is lost, and errors come back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from disco.errors import RunError
from disco.events import PictureFinished
from disco.rendering.checkpoint_writer import Background, CheckpointWriter
from disco.runs.checkpoints import Checkpoint, Checkpoints
from tests.small_run import StopAfter, closed_after, events_of, pictures, rendered, same


def note(order: list[Any], name: Any, after: threading.Event | None = None) -> Callable[[], None]:
    def work() -> None:
        if after is not None:
            after.wait(20)
        order.append((name, threading.current_thread() is threading.main_thread()))

    return work


def fail() -> None:
    raise RunError("no room")


def test_work_is_done_in_order_beside_the_main_thread() -> None:
    background, order, gate = Background(limit=2), [], threading.Event()
    background.do(note(order, 0, gate))
    background.do(note(order, 1))
    assert order == []
    third = threading.Thread(target=background.do, args=(note(order, 2),))
    third.start()  # there is room for two
    third.join(0.2)
    assert third.is_alive() and order == []
    gate.set()
    third.join(20)
    background.close()
    assert order == [(0, False), (1, False), (2, False)]


def test_without_a_thread_it_is_done_at_once() -> None:
    background, order = Background(on=False), []
    background.do(note(order, 0))
    assert order == [(0, True)]
    with pytest.raises(RunError, match="no room"):
        background.do(fail)
    background.close()


def test_an_error_comes_back_when_all_is_done() -> None:
    background, order, gate = Background(limit=3), [], threading.Event()
    background.do(note(order, 0, gate))
    background.do(fail)
    background.do(note(order, 2))
    gate.set()
    with pytest.raises(RunError, match="no room"):
        background.finish()
    assert [name for name, _ in order] == [0, 2]
    background.finish()  # it is told once
    background.do(fail)
    with pytest.raises(RunError, match="no room"):
        background.close()
    background.close()


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("disco.rendering.still.CheckpointWriter", partial(CheckpointWriter, beside=True))


def everything(out: Path) -> set[str]:
    return {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}


def test_a_run_writes_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = rendered(tmp_path / "plain")
    monkeypatch.setattr("disco.rendering.still.CheckpointWriter", partial(CheckpointWriter, beside=True))
    other = rendered(tmp_path / "other")
    assert plain is not None and other is not None
    assert same(pictures(tmp_path / "plain"), pictures(tmp_path / "other"))
    assert everything(tmp_path / "plain") == everything(tmp_path / "other")
    for key in ("checkpoints", "previews", "steps"):
        assert plain.report[key] == other.report[key]
    progress = "small/small(0)_progress.png"
    assert (tmp_path / "plain" / progress).read_bytes() == (tmp_path / "other" / progress).read_bytes()


@pytest.mark.parametrize("stopped_by", ["stop", "close"])
def test_a_stopped_run_goes_on_exactly(tmp_path: Path, beside: None, stopped_by: str) -> None:
    rendered(tmp_path / "whole")
    if stopped_by == "stop":
        rendered(tmp_path / "cut", stop=StopAfter(14))
    else:
        closed_after(tmp_path / "cut", 14)
    rendered(tmp_path / "cut", resume="latest")
    assert same(pictures(tmp_path / "whole"), pictures(tmp_path / "cut"))


def test_a_picture_is_finished_after_all_before_it_is_written(
    tmp_path: Path, beside: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []
    save = Checkpoints.save

    def slow(self: Checkpoints, checkpoint: Checkpoint) -> Path:
        threading.Event().wait(0.1)
        path = save(self, checkpoint)
        saved.append(checkpoint.step)
        return path

    monkeypatch.setattr(Checkpoints, "save", slow)
    for event in events_of(tmp_path, {"n_batches": 1}):
        if isinstance(event, PictureFinished):
            assert saved == [3, 6, 9]
    assert not list((tmp_path / "small" / ".state").rglob("checkpoint-*"))


def test_an_error_of_the_writing_ends_the_run_and_the_last_step_is_kept(
    tmp_path: Path, beside: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered(tmp_path / "whole", {"n_batches": 1})
    save = Checkpoints.save

    def full(self: Checkpoints, checkpoint: Checkpoint) -> Path:
        if checkpoint.step == 3:
            raise RunError("no room")
        return save(self, checkpoint)

    monkeypatch.setattr(Checkpoints, "save", full)
    with pytest.raises(RunError, match="no room"):
        rendered(tmp_path / "cut", {"n_batches": 1})
    assert list((tmp_path / "cut" / "small" / ".state").rglob("checkpoint-*"))
    rendered(tmp_path / "cut", {"n_batches": 1}, resume="latest")
    assert same(pictures(tmp_path / "whole"), pictures(tmp_path / "cut"))
