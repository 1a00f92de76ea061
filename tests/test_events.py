"""Events are plain data, also as JSON: a listener that imports them loads no other library."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import threading
import time
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from disco import events
from disco.events import (
    Download,
    Event,
    LatestPreview,
    NetworksLoaded,
    Notice,
    PartialSaved,
    PictureFinished,
    PictureStarted,
    RunFinished,
    RunStarted,
    StepDone,
    VideoProgress,
    as_json,
    listen,
    of_run,
)
from tests.fake_pool import FakePool
from tests.small_run import events_of, pictures, rendered, same, small_networks

FOLDER = Path("images_out/a lake")
CLASSES = typing.get_args(Event)


def never() -> Any:
    raise AssertionError("this waits for the device")


ONE_OF_EACH: list[tuple[Event, Mapping[str, Any]]] = [
    (Notice("a lake"), {"text": "a lake"}),
    (
        RunStarted(FOLDER, 3, FOLDER / "s.yaml", (0, 1), 50, ("a notice",), True),
        {
            "folder": "images_out/a lake",
            "run": 3,
            "settings_path": "images_out/a lake/s.yaml",
            "pictures": [0, 1],
            "steps": 50,
            "notices": ["a notice"],
            "resumed": True,
        },
    ),
    (Download("clip.pt", 5, None), {"name": "clip.pt", "done": 5, "total": None}),
    (NetworksLoaded(("a", "b"), 1.5), {"names": ["a", "b"], "seconds": 1.5}),
    (PictureStarted((2, 3), 7), {"pictures": [2, 3], "step": 7}),
    (
        StepDone((2, 3), 7, 50, never, never, 12.5),
        {"pictures": [2, 3], "step": 7, "n": 50, "seconds_left": 12.5},
    ),
    (PartialSaved(FOLDER / "p.png"), {"path": "images_out/a lake/p.png"}),
    (
        PictureFinished(2, FOLDER / "2.png", 3.5),
        {"picture": 2, "path": "images_out/a lake/2.png", "seconds": 3.5},
    ),
    (VideoProgress("v.mp4", 1, 9), {"name": "v.mp4", "done": 1, "total": 9}),
    (
        RunFinished({"memory": {"offload": True}, "seconds_per_step": None, "notices": []}, FOLDER / "g.png"),
        {
            "report": {"memory": {"offload": True}, "seconds_per_step": None, "notices": []},
            "grid": "images_out/a lake/g.png",
            "interrupted": False,
        },
    ),
]


def test_importing_events_loads_nothing_else() -> None:
    code = "import sys, disco.events; assert not {'torch', 'PIL', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_event_is_frozen_data_and_part_of_the_union() -> None:
    classes = {
        thing
        for name, thing in vars(events).items()
        if dataclasses.is_dataclass(thing) and not name.startswith("_")
    }
    assert classes == set(CLASSES)
    for event in classes:
        assert event.__dataclass_params__.frozen  # type: ignore[union-attr]


def test_every_event_class_is_written_as_json_here() -> None:
    assert [type(event) for event, _ in ONE_OF_EACH] == list(CLASSES)


@pytest.mark.parametrize("event, values", ONE_OF_EACH, ids=lambda one: type(one).__name__)
def test_json_holds_the_class_the_run_and_the_fields(event: Event, values: Mapping[str, Any]) -> None:
    data = as_json(of_run(event, "a lake(3)"))
    assert data == {"event": type(event).__name__, "run_name": "a lake(3)", **values}
    assert json.loads(json.dumps(data, allow_nan=False)) == data


@pytest.mark.parametrize("event", [event for event, _ in ONE_OF_EACH], ids=lambda one: type(one).__name__)
def test_an_event_can_be_made_again_from_its_json(event: Event) -> None:
    """All of it, but for what is computed on call."""
    data = json.loads(json.dumps(as_json(of_run(event, "a lake(3)"))))
    made = getattr(events, data.pop("event"))
    hints = typing.get_type_hints(made, {**vars(events), "Pixels": Any})
    values = {name: _typed(value, hints[name]) for name, value in data.items()}
    computed = {"losses": never, "preview": never} if made is StepDone else {}
    again = made(**values, **computed)
    assert again == event and again.run_name == "a lake(3)"


def _typed(value: Any, hint: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    return Path(value) if value is not None and Path in (hint, *typing.get_args(hint)) else value


def test_losses_are_computed_when_they_are_asked_for() -> None:
    step = StepDone((0, 1), 0, 2, lambda: {"clip": [1.5, float("nan")], "tv": (float("inf"), 0)}, never)
    assert "losses" not in as_json(step)
    data = as_json(step, losses=True)
    assert data["losses"] == {"clip": [1.5, None], "tv": [None, 0]}
    assert "preview" not in data and data["seconds_left"] is None
    json.dumps(data, allow_nan=False)


def test_what_json_cannot_hold_is_an_error() -> None:
    with pytest.raises(TypeError, match="set in an event: not JSON"):
        as_json(RunFinished({"devices": {"cpu"}}))


def test_the_run_name_is_no_part_of_what_users_construct_or_compare() -> None:
    named = of_run(Notice("a lake"), "a lake(3)")
    assert named == Notice("a lake") and hash(named) == hash(Notice("a lake"))
    assert named.run_name == "a lake(3)" and Notice("a lake").run_name == ""
    assert StepDone.__match_args__ == ("pictures", "step", "n", "losses", "preview", "seconds_left")


@pytest.mark.parametrize("networks", [small_networks, FakePool])
def test_every_event_of_a_render_names_its_run(networks: Callable[[], Any], tmp_path: Path) -> None:
    """Two runs of a sweep in one process, and on workers; the sweep's own grid belongs to neither."""
    values = {"n_batches": 1, "sweep": {"clip_guidance_scale": [0, 500]}}
    names = [(type(event), event.run_name) for event in events_of(tmp_path, values, networks=networks())]
    assert names.pop() == (Notice, "")
    begins = [k for k, (kind, _) in enumerate(names) if kind is RunStarted]
    first, second = names[: begins[1]], names[begins[1] :]
    assert {name for kind, name in first if kind is not Notice} == {"small(0)"}
    assert {name for _, name in second} == {"small(1)"}
    assert {StepDone, PictureFinished, RunFinished} <= {kind for kind, _ in first}


# listen


class Recorder:
    """Keeps what it is handed; raises an error at the event whose number is `fails_at`."""

    def __init__(self, fails_at: int | None = None, at_close: str = "") -> None:
        self.events: list[Event] = []
        self.fails_at, self.at_close, self.closed = fails_at, at_close, 0

    def handle(self, event: Event) -> None:
        if len(self.events) == self.fails_at:
            raise BrokenPipeError("nobody reads this")
        self.events.append(event)

    def close(self) -> None:
        self.closed += 1
        if self.at_close:
            raise RuntimeError(self.at_close)


def test_every_listener_gets_every_event_and_is_closed() -> None:
    events, listeners = [Notice(str(k)) for k in range(3)], [Recorder() for _ in range(3)]
    listen(events, *listeners)
    assert [(each.events, each.closed) for each in listeners] == [(events, 1)] * 3
    listen(events)


def test_an_error_of_a_listener_ends_the_run_and_closes_all() -> None:
    ended = []

    def run() -> Iterator[Event]:
        try:
            yield from (Notice(str(k)) for k in range(9))
        finally:
            ended.append(True)

    listeners = [Recorder(), Recorder(fails_at=2), Recorder(at_close="disk full")]
    with pytest.raises(RuntimeError, match="disk full") as caught:
        listen(run(), *listeners)
    assert isinstance(caught.value.__context__, BrokenPipeError)
    assert [each.closed for each in listeners] == [1, 1, 1] and ended == [True]
    assert [len(each.events) for each in listeners] == [3, 2, 2]


def test_an_error_of_the_run_closes_all() -> None:
    def run() -> Iterator[Event]:
        yield Notice("a lake")
        raise OSError("disk full")

    listeners = [Recorder(), Recorder()]
    with pytest.raises(OSError, match="disk full"):
        listen(run(), *listeners)
    assert [(len(each.events), each.closed) for each in listeners] == [(1, 1)] * 2


def test_a_listener_that_fails_leaves_a_run_that_goes_on(tmp_path: Path) -> None:
    """In dd57 too, whose one random stream listeners may draw from."""

    class Drawing(Recorder):
        def handle(self, event: Event) -> None:
            torch.randn(3)
            super().handle(event)

    values = {"compat": "dd57", "n_batches": 2}
    rendered(tmp_path / "alone", values)
    with pytest.raises(BrokenPipeError):
        listen(events_of(tmp_path / "stopped", values), Drawing(), Drawing(fails_at=6))
    listen(events_of(tmp_path / "stopped", values, resume="latest"), Drawing(), LatestPreview())
    assert same(pictures(tmp_path / "alone"), pictures(tmp_path / "stopped"))


# previews for other threads


class Asking:
    """A thread that asks for a preview. answer: the pixels, None, or the error."""

    def __init__(self, latest: LatestPreview, timeout: float | None = 60) -> None:
        self.answer: Any = "not yet"
        self.thread = threading.Thread(target=self._ask, args=(latest, timeout), daemon=True)
        self.thread.start()
        while self.thread.is_alive() and not latest._requests:
            time.sleep(0.001)

    def _ask(self, latest: LatestPreview, timeout: float | None) -> None:
        try:
            self.answer = latest.request(timeout)
        except Exception as error:
            self.answer = error

    def answered(self) -> Any:
        self.thread.join(60)
        assert not self.thread.is_alive()
        return self.answer


def step_with(preview: Callable[[], Any]) -> StepDone:
    return StepDone((0,), 0, 2, never, preview)


def test_previews_are_computed_by_the_thread_that_renders() -> None:
    latest, threads = LatestPreview(), []
    pixels: list[Any] = ["pixels"]

    def preview() -> list[Any]:
        threads.append(threading.current_thread())
        return pixels

    latest.handle(step_with(preview))
    assert not threads, "nobody asked"
    asking = Asking(latest)
    latest.handle(Notice("no step"))
    assert asking.thread.is_alive()
    latest.handle(step_with(preview))
    latest.handle(step_with(preview))
    assert asking.answered() is pixels
    assert threads == [threading.current_thread()], "once"


def test_several_threads_share_a_preview() -> None:
    latest, made = LatestPreview(), []
    asking = [Asking(latest) for _ in range(3)]
    while len(latest._requests) < 3:
        time.sleep(0.001)
    latest.handle(step_with(lambda: made.append(1) or ["pixels"]))  # type: ignore[func-returns-value]
    assert [one.answered() for one in asking] == [["pixels"]] * 3 and made == [1]


def test_an_error_of_the_preview_goes_to_who_asked() -> None:
    latest = LatestPreview()
    asking = Asking(latest)
    latest.handle(step_with(never))
    assert isinstance(asking.answered(), AssertionError)


def test_a_signal_in_the_preview_ends_the_run() -> None:
    def interrupted() -> Any:
        raise KeyboardInterrupt

    latest = LatestPreview()
    asking = Asking(latest)
    with pytest.raises(KeyboardInterrupt):
        latest.handle(step_with(interrupted))
    assert asking.answered() is None


def test_who_asks_too_late_or_too_briefly_gets_none() -> None:
    latest = LatestPreview()
    assert latest.request(timeout=0.01) is None
    latest.handle(step_with(never))  # who gave up is forgotten
    asking = Asking(latest)
    latest.close()
    assert asking.answered() is None
    assert latest.request() is None


def test_a_preview_during_a_render(tmp_path: Path) -> None:
    latest = LatestPreview()
    asking = Asking(latest)
    listen(events_of(tmp_path, {"n_batches": 1}), latest)
    (pixels,) = asking.answered()
    assert pixels.shape == (32, 32, 3) and pixels.dtype == "uint8"
