"""Events are plain data, also as JSON: a listener that imports them loads no other library."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from disco import events
from disco.events import (
    Download,
    Event,
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
    of_run,
)
from tests.fake_crew import FakeCrew
from tests.small_run import events_of, small_networks

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


@pytest.mark.parametrize("networks", [small_networks, FakeCrew])
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
