"""A step after the picture: its file lies beside each picture, and a resumed run makes those missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from disco.events import Event, PictureFinished, StepDone
from disco.media.images import Pixels, png_bytes, read_metadata, read_pixels
from disco.rendering.api import render
from disco.runs import finishers
from disco.runs.finishers import Finisher
from disco.runs.new_run import read_again
from tests.animation_run import animation
from tests.fake_pool import FakePool
from tests.small_run import closed_after, events_of, pictures, rendered, same, small_networks

TWO: dict[str, Any] = {"n_batches": 2}


class Half:
    """Every second pixel. calls: what it was given; fails_at: the call that fails, from 0."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.calls: list[Pixels] = []
        self.fails_at = fails_at

    def __call__(self, pixels: Pixels, *_: Any) -> Pixels:
        self.calls.append(pixels)
        if len(self.calls) - 1 == self.fails_at:
            raise RuntimeError("killed")
        return half(pixels)


def half(pixels: Pixels) -> Pixels:
    return np.ascontiguousarray(pixels[::2, ::2])


def use(monkeypatch: pytest.MonkeyPatch, run: Half | None = None, wanted: bool = True) -> Half:
    """One finisher, `_half`."""
    run = Half() if run is None else run
    monkeypatch.setattr(finishers, "FINISHERS", (Finisher("_half", lambda settings: wanted, run),))
    return run


def halves(out: Path, run: int = 0) -> dict[int, np.ndarray]:
    found = sorted((out / "small").glob(f"small({run})_[0-9][0-9][0-9][0-9]_half.png"))
    return {int(path.stem[-9:-5]): read_pixels(path) for path in found}


def are_all_finished(out: Path, n: int) -> bool:
    return len(pictures(out)) == n and same(halves(out), {k: half(p) for k, p in pictures(out).items()})


def of_kind(events: Sequence[Event], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def contents(out: Path) -> dict[Path, bytes]:
    return {path.relative_to(out): path.read_bytes() for path in sorted(out.rglob("*_0???.png"))}


def test_every_picture_has_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered(tmp_path / "without", TWO)
    use(monkeypatch)
    report = rendered(tmp_path / "with", TWO)
    assert report is not None and report.report["pictures"] == 2
    assert are_all_finished(tmp_path / "with", 2)
    assert contents(tmp_path / "with") == contents(tmp_path / "without"), "the pictures are not touched"
    metadata = read_metadata(tmp_path / "with" / "small" / "small(0)_0001_half.png")
    assert (metadata["picture"], metadata["finisher"]) == (1, "_half")
    assert metadata["settings"]["steps"] == 10


def test_nothing_is_made_where_the_settings_do_not_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = use(monkeypatch, wanted=False)
    rendered(tmp_path, TWO)
    assert not run.calls and not halves(tmp_path)


def test_a_run_goes_on_with_just_the_finisher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Half(fails_at=1))
    with pytest.raises(RuntimeError, match="killed"):
        rendered(tmp_path, TWO)
    before = contents(tmp_path)
    assert len(pictures(tmp_path)) == 2 and len(halves(tmp_path)) == 1
    run = use(monkeypatch)
    events = list(events_of(tmp_path, TWO, resume="latest"))
    assert not of_kind(events, StepDone) and not of_kind(events, PictureFinished)
    assert len(run.calls) == 1 and are_all_finished(tmp_path, 2)
    assert contents(tmp_path) == before and not list(tmp_path.rglob("checkpoint-*"))
    assert (tmp_path / "small" / "small(0)_grid.png").exists()
    assert rendered(tmp_path, TWO, resume="latest") is None, "nothing is left to do"


def test_a_picture_of_a_batch_is_finished_while_another_is_rendered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {**TWO, "batch_size": 2}
    use(monkeypatch, Half(fails_at=0))
    with pytest.raises(RuntimeError, match="killed"):
        rendered(tmp_path, values)
    assert list(pictures(tmp_path)) == [0] and not halves(tmp_path)
    use(monkeypatch)
    rendered(tmp_path, values, resume="latest")
    assert are_all_finished(tmp_path, 2)


def test_a_finisher_asked_for_later_finishes_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered(tmp_path, TWO)
    use(monkeypatch)
    assert rendered(tmp_path, TWO, resume="latest") is not None
    assert are_all_finished(tmp_path, 2)


def test_a_torn_file_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch)
    rendered(tmp_path, TWO)
    path = tmp_path / "small" / "small(0)_0001_half.png"
    path.write_bytes(path.read_bytes()[:-30])
    rendered(tmp_path, TWO, resume="latest")
    assert are_all_finished(tmp_path, 2)
    assert (tmp_path / "small" / "retained" / path.name).exists()


def test_a_stop_is_heeded_between_two_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered(tmp_path, TWO)
    use(monkeypatch)
    report = rendered(tmp_path, TWO, resume="latest", stop=lambda: True)
    assert report is not None and report.interrupted and len(halves(tmp_path)) == 1
    rendered(tmp_path, TWO, resume="latest", stop=lambda: True)
    assert are_all_finished(tmp_path, 2)


@pytest.mark.parametrize("kind", ["2D", "turbo"])
def test_frames_are_finished_too(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = animation(kind)
    rendered(tmp_path / "whole", values)
    whole = pictures(tmp_path / "whole")
    use(monkeypatch, Half(fails_at=2))
    with pytest.raises(RuntimeError, match="killed"):
        rendered(tmp_path / "cut", values)
    assert list(pictures(tmp_path / "cut")) == [0, 1, 2] and list(halves(tmp_path / "cut")) == [0, 1]
    run = use(monkeypatch)
    rendered(tmp_path / "cut", values, resume="latest")
    assert len(run.calls) == len(whole) - 2 and same(pictures(tmp_path / "cut"), whole)
    assert are_all_finished(tmp_path / "cut", len(whole))


def test_a_resume_from_a_frame_moves_them_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch)
    rendered(tmp_path, animation("2D"))
    rendered(tmp_path, animation("2D", resume_from_frame=1), resume="latest")
    assert are_all_finished(tmp_path, 4)
    moved = sorted(path.name for path in (tmp_path / "small" / "retained").glob("*_half.png"))
    assert moved == ["small(0)_0002_half.png", "small(0)_0003_half.png"]


def test_a_finished_file_is_rendered_again_as_its_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch)
    rendered(tmp_path, animation("2D"))
    again = read_again(tmp_path / "small" / "small(0)_0003_half.png")
    list(render(again.run, out=tmp_path, again=again, networks=small_networks()))
    assert np.array_equal(pictures(tmp_path, run=1)[3], pictures(tmp_path)[3])
    assert np.array_equal(halves(tmp_path, run=1)[3], halves(tmp_path)[3])


# ---- workers ----


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, bytes]:
    """What one process makes of TWO."""
    out = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        use(patch)
        rendered(out, TWO)
    return {path.relative_to(out): path.read_bytes() for path in out.rglob("*_half.png")}


def of_workers(out: Path) -> dict[Path, bytes]:
    return {path.relative_to(out): path.read_bytes() for path in out.rglob("*_half.png")}


@pytest.mark.parametrize("death", [*range(14, 22, 2), None])
def test_workers_finish_too_whoever_is_lost(
    death: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: dict[Path, bytes]
) -> None:
    use(monkeypatch)
    rendered(tmp_path, TWO, networks=FakePool(deaths={} if death is None else {0: death, 1: death + 1}))
    assert of_workers(tmp_path) == alone and are_all_finished(tmp_path, 2)


def test_a_worker_lost_before_the_finisher_costs_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: dict[Path, bytes]
) -> None:
    """Of all moments at which it may be lost, one is just then: the next worker has only that to do."""
    use(monkeypatch)
    only_finished = 0
    for death in range(22, 27):
        out = tmp_path / str(death)
        pool = FakePool(room=1, deaths={0: death})
        rendered(out, TWO, networks=pool)
        assert of_workers(out) == alone
        only_finished += sum(not order.wanted for _, order in pool.orders)
    assert only_finished >= 1


def test_workers_go_on_with_just_the_finisher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: dict[Path, bytes]
) -> None:
    rendered(tmp_path, TWO)
    use(monkeypatch)
    events = list(events_of(tmp_path, TWO, resume="latest", networks=FakePool()))
    assert not of_kind(events, StepDone) and are_all_finished(tmp_path, 2)
    assert of_workers(tmp_path) == alone and not list(tmp_path.rglob("checkpoint-*"))


# ---- names ----


@pytest.mark.parametrize("suffix", ["", "half", "_l", "_Half", "_a-b", "_34%", "_0"])
def test_a_suffix_that_means_something_else_is_refused(suffix: str) -> None:
    with pytest.raises(ValueError, match=r"^suffix is .*; allowed is _ and two or more of a-z0-9$"):
        Finisher(suffix, lambda settings: True, Half())


def test_a_closed_listener_loses_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event of a picture comes before its file."""
    use(monkeypatch)
    events = events_of(tmp_path, TWO)
    for event in events:
        if isinstance(event, PictureFinished):
            break
    events.close()  # type: ignore[attr-defined]
    assert len(pictures(tmp_path)) == 1 and not halves(tmp_path)
    closed_after(tmp_path, 3, TWO, resume="latest")
    assert list(halves(tmp_path)) == [0]
    rendered(tmp_path, TWO, resume="latest")
    assert are_all_finished(tmp_path, 2)


def test_the_png_that_a_finisher_reads_is_the_saved_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = use(monkeypatch)
    rendered(tmp_path, TWO)
    assert [png_bytes(pixels) for pixels in run.calls] == [png_bytes(p) for p in pictures(tmp_path).values()]
