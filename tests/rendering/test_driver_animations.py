"""Animations of a queue on several workers, by a fake pool: one worker renders one; the same folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import disco
from disco.errors import RunError, SettingsError
from disco.events import Event, Notice, PictureStarted, RunFinished, StepDone
from disco.rendering.distributed.messages import check_spread, spread_lines
from disco.rendering.distributed.worker import Worker
from disco.settings.load import run_from_mapping
from tests.animation_run import animation, write_clip
from tests.fake_pool import FakePool
from tests.rendering.test_driver import same_folder
from tests.small_run import SMALL, StopAfter, small_networks

QUEUE = [
    animation("2D", batch_name="flat", max_frames=3, make_video=True),
    animation("turbo", batch_name="fast", intermediate_saves=1),
    animation("3D", batch_name="deep", max_frames=3, vr_mode=True, set_seed=7),
    animation("video", batch_name="clip"),
    animation("dd57", batch_name="old", max_frames=3),
    {**SMALL, "n_batches": 2, "batch_name": "still"},
]


def render(out: Path, queue: Sequence[dict[str, Any]], networks: Any, **how: Any) -> list[Event]:
    return list(disco.render(list(queue), out=out, networks=networks, **how))


def notices(events: Sequence[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Notice)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_clip(tmp_path_factory.mktemp("video") / "clip", n=3))


@pytest.fixture(scope="module")
def queue(clip: str) -> list[dict[str, Any]]:
    return [
        {**values, "video_init_path": clip} if "video_init_path" in values else values for values in QUEUE
    ]


@pytest.fixture(scope="module")
def alone(queue: Sequence[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alone")
    render(out, queue, small_networks())
    return out


def test_a_queue_is_as_from_one_process(queue: Sequence[dict[str, Any]], alone: Path, tmp_path: Path) -> None:
    pool = FakePool(room=3)
    events = render(tmp_path, queue, pool)
    same_folder(tmp_path, alone)
    items = [item for _, item in pool.orders]
    assert [item.names.batch_name for item in items] == "flat fast deep clip old still still".split()
    assert {worker for worker, _ in pool.orders} == {0, 1, 2}
    assert [len(item.batch) for item in items] == [3, 6, 3, 3, 3, 1, 1]
    assert any("flat(0)" in text and ".mp4" in text for text in notices(events)), "make_video"
    steps = [event for event in events if isinstance(event, StepDone) and event.run_name == "deep(0)"]
    assert all(len(event.pictures) == 1 for event in steps)
    left = [event.seconds_left for event in events if isinstance(event, StepDone)]
    assert all(seconds is None or seconds >= 0 for seconds in left)
    for run in ("flat", "fast", "deep", "clip", "old"):
        names = ({path.name for path in (out / run / ".state" / "0").iterdir()} for out in (tmp_path, alone))
        assert next(names) == next(names), "what a longer run would go on from"


@pytest.mark.parametrize("death", [2, 9, 17, 25])
@pytest.mark.parametrize("at", [0, 1])
def test_a_lost_worker(
    death: int, at: int, queue: Sequence[dict[str, Any]], alone: Path, tmp_path: Path
) -> None:
    """Another worker goes on with the animation, after the last checkpoint of its frame."""
    pool = FakePool(deaths={at: death})
    events = render(tmp_path, queue[:2], pool)
    for run in ("flat", "fast"):
        same_folder(tmp_path / run, alone / run)
    (text,) = [text for text in notices(events) if "was lost" in text]
    first, again = [item for _, item in pool.orders if item.names.batch_name == ("flat", "fast")[at]]
    assert set(again.wanted) <= set(first.wanted) and again.batch[-1] == first.batch[-1]
    step = again.checkpoint.step if again.checkpoint else 0
    assert text.endswith(f": frame {min(again.wanted)} goes on with another worker after step {step}")
    begun = [event for event in events if isinstance(event, PictureStarted) and event.step == step]
    assert any(event.pictures == (min(again.wanted),) for event in begun)


@pytest.mark.parametrize("then", ["alone", "by a pool"])
def test_a_stopped_queue_goes_on(
    then: str, queue: Sequence[dict[str, Any]], alone: Path, tmp_path: Path
) -> None:
    events = render(tmp_path, queue[:3], FakePool(), stop=StopAfter(14))
    assert isinstance(events[-1], RunFinished) and events[-1].interrupted
    render(tmp_path, queue[:3], small_networks() if then == "alone" else FakePool(), resume="latest")
    for run in ("flat", "fast", "deep"):
        same_folder(tmp_path / run, alone / run)


def test_frames_of_a_video_that_are_not_on_that_machine(tmp_path: Path, clip: str) -> None:
    pool = FakePool()
    values = [animation("video", batch_name=name, video_init_path=clip) for name in ("a", "b")]
    give = pool.give

    def elsewhere(worker: int, item: Any) -> None:
        video = replace(item.inputs.video, folder=tmp_path / "nowhere")
        give(worker, replace(item, inputs=replace(item.inputs, video=video)))

    pool.give = elsewhere  # type: ignore[method-assign]
    text = f"{tmp_path / 'nowhere'}: the frames of the video are not on this machine. Let --out be a folder"
    with pytest.raises(RunError) as caught:
        render(tmp_path / "out", values, pool)
    assert str(caught.value).startswith(text)


def test_only_one_animation_alone_is_refused() -> None:
    one, other = (run_from_mapping(animation("2D", batch_name=name)) for name in ("one", "other"))
    with pytest.raises(SettingsError) as caught:
        check_spread([one])
    assert caught.value.problems[0].endswith(
        "animation_mode: 2D: each frame starts from the one before, so one animation cannot be rendered in "
        "parallel; leave --ray out, or give several animations at once (a queue, a sweep)"
    )
    check_spread([one, other])
    assert list(spread_lines([one, other], None, 3, "each with 1 GPU")) == [
        "8 pictures in 2 batches",
        "2 animations among them, each a batch: one worker renders all its frames",
        "2 workers of 3 possible, each with 1 GPU",
        "at most 1 batch one after another on each",
    ]


@pytest.mark.parametrize("values", [{**SMALL, "n_batches": 2}, animation("2D")])
def test_the_status_has_the_error(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the run that failed, after all that other workers still write."""
    work, failing = Worker.work, {**values, "batch_name": "failing"}

    def broken(self: Worker, item: Any, stop: Any) -> Any:
        for n, message in enumerate(work(self, item, stop)):
            if item.names.batch_name == "failing" and item.batch[-1] != 0 and n > 8:
                raise AssertionError("asked again")
            if item.names.batch_name == "failing" and item.batch[-1] != 0 and n == 8:
                yield disco.rendering.distributed.messages.Failed("RunError", "no room")  # type: ignore[attr-defined]
                return
            yield message

    monkeypatch.setattr(Worker, "work", broken)
    with pytest.raises(RunError, match=r"^no room$"):
        render(tmp_path, [failing, {**values, "batch_name": "other"}], FakePool(room=3))
    status = json.loads((tmp_path / "failing" / "failing(0)_status.json").read_text())
    assert (status["state"], status["error"]) == ("failed", "no room")
    others = list(tmp_path.glob("other/*_status.json"))
    assert all(json.loads(path.read_text()).get("state") != "failed" for path in others)


def test_no_worker_can_be_started(tmp_path: Path) -> None:
    pool = FakePool()
    pool.starts = False
    with pytest.raises(RunError, match="no worker can be started"):
        render(tmp_path, [{**SMALL, "batch_name": "one"}], pool)
    status = json.loads((tmp_path / "one" / "one(0)_status.json").read_text())
    assert status["state"] == "failed" and status["error"].startswith("no worker can be started")
