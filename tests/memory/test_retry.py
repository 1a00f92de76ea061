"""memory.retry, in whole small runs: memory runs out at each stage of a step, and no picture changes."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from disco.animation.transition import FrameTransition
from disco.errors import RunError
from disco.events import Notice, RunFinished, StepDone
from disco.media.images import png_bytes
from disco.memory.policy import Stage
from disco.memory.retry import OomRetry, release
from disco.rendering.api import render
from disco.runs.new_run import read_again
from tests.animation_run import animation
from tests.short_memory import Shortage, short_networks
from tests.small_run import StopAfter, events_of, pictures, rendered, same

Pictures = Mapping[int, np.ndarray]
RUN: dict[str, Any] = {
    "n_batches": 2, "batch_size": 2, "cutn_batches": 2, "cut_overview": 4, "cut_innercut": 4, "steps": 4,
    "tv_scale": 10, "init_scale": 50, "display_rate": 2, "intermediate_saves": 2,
    "clip_guidance_scale": 2000, "checkpoint_every": 0,
}  # fmt: skip
ROOMS = {  # where it runs out, if not in a network: the function that is called there
    "cutouts": "disco.losses.clip.cut",
    "augmentations": "disco.losses.clip.augment",
    "losses": "disco.guidance._gradient",
    "sampler": "disco.sampling.samplers.ddim_step",
    "preview": "disco.rendering.checkpoint_writer.to_uint8",
    "picture": "disco.rendering.still.png_bytes",
    "prompts of the run": "disco.rendering.prepare.encode_targets",
}
ENDING = "finished steps are saved: --resume goes on when more memory is free"
NETWORKS = ["UNet", "CLIP forward", "CLIP backward", "LPIPS of the init", "LPIPS", "back", "prompts"]


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each sweep of the garbage collector takes longer than a run here."""
    monkeypatch.setattr("disco.memory.retry.release", lambda: None)


@pytest.fixture(scope="module")
def init_image(tmp_path_factory: pytest.TempPathFactory) -> str:
    init = tmp_path_factory.mktemp("init") / "init.png"
    init.write_bytes(png_bytes(torch.linspace(-1, 1, 3 * 32 * 32).reshape(3, 32, 32)))
    return str(init)


@pytest.fixture
def values(init_image: str) -> dict[str, Any]:
    return {**RUN, "init_image": init_image, "skip_steps": 1}


Whole = Callable[..., Pictures]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """whole(values, secondary) -> the pictures of a run with memory enough."""
    known: dict[str, Pictures] = {}

    def pictures_of(values: Mapping[str, Any], secondary: bool = True) -> Pictures:
        key = f"{secondary} {sorted(values.items())}"
        if key not in known:
            out = tmp_path_factory.mktemp("whole")
            run(out, values, Shortage(), secondary=secondary)
            known[key] = pictures(out)
        return known[key]

    return pictures_of


def agree(a: Pictures, b: Pictures) -> bool:
    """As docs/architecture.md, "Seeds and sameness", says of other splits."""
    near = (np.mean(np.abs(a[k].astype(int) - b[k]) <= 2) >= 0.99 for k in a)
    return a.keys() == b.keys() and len(a) > 0 and all(near)


def run(
    out: Path, values: Mapping[str, Any], shortage: Shortage, **how: Any
) -> tuple[RunFinished, list[str]]:
    """The end of the run, and the notices about memory."""
    secondary = how.pop("secondary", True)
    events = list(events_of(out, values, networks=short_networks(shortage, secondary=secondary), **how))
    notices = [event.text for event in events if isinstance(event, Notice) and "memory" in event.text]
    assert isinstance(events[-1], RunFinished)
    return events[-1], notices


@pytest.mark.parametrize("secondary", [True, False])
@pytest.mark.parametrize("here", [*NETWORKS, *ROOMS, "secondary forward"])
def test_memory_runs_out_once(
    here: str, secondary: bool, values: Any, whole: Whole, tmp_path: Path, monkeypatch: Any
) -> None:
    """At the second call there: within the first step of a picture, or in the one after it."""
    shortage = Shortage(here, at=1 if "of the" in here or here == "prompts" else 2)
    if here in ROOMS:
        where, _, name = ROOMS[here].rpartition(".")
        module = __import__(where, fromlist=[name])
        monkeypatch.setattr(module, name, shortage.around(here, getattr(module, name)))
    run(tmp_path / "short", values, shortage, secondary=secondary)
    expected = 0 if here == "secondary forward" and not secondary else 1
    assert shortage.failures == expected
    assert agree(whole(values, secondary), pictures(tmp_path / "short"))


@pytest.mark.parametrize("here", ["sampler", "back", "cutouts", "LPIPS"])
@pytest.mark.parametrize("compat", ["fixed", "dd57"])
def test_alone_a_picture_keeps_every_bit(
    here: str, compat: str, values: Any, whole: Whole, tmp_path: Path, monkeypatch
) -> None:
    """Nothing was split: the same step with the same random numbers; in dd57 the stream is turned back."""
    alone = {**values, "compat": compat, "batch_size": 1, "steps": 3}
    shortage = Shortage(here, at=3)
    if here in ROOMS:
        where, _, name = ROOMS[here].rpartition(".")
        module = __import__(where, fromlist=[name])
        monkeypatch.setattr(module, name, shortage.around(here, getattr(module, name)))
    run(tmp_path / "short", alone, shortage)
    assert shortage.failures == 1
    assert same(whole(alone), pictures(tmp_path / "short"))


@pytest.mark.parametrize("sampler", ["ddim", "plms"])
def test_what_a_clip_can_take_is_found_said_once_and_remembered(
    sampler: str, values: Any, whole: Whole, tmp_path: Path
) -> None:
    values |= {"n_batches": 4, "diffusion_sampling_mode": sampler}
    shortage = Shortage("CLIP forward", most=5)
    finished, notices = run(tmp_path / "short", values, shortage)
    assert shortage.failures == 3, "32 at once, 16, 8, and then never again"
    assert finished.report["memory"] == {"clip_batch": 4}
    assert notices == [
        "out of memory: retried with 4 cutouts seen by a CLIP at once; the run remembers this memory saving"
    ]
    info = json.loads((tmp_path / "short" / "small" / ".state" / "0" / "run.json").read_text())
    assert info["memory"] == {"device": "cpu", "clip_batch": 4}
    assert agree(whole(values), pictures(tmp_path / "short"))


def test_pictures_are_guided_one_by_one(values: Any, whole: Whole, tmp_path: Path) -> None:
    shortage = Shortage("UNet", most=1)
    finished, notices = run(tmp_path / "short", values, shortage)
    assert finished.report["memory"] == {"together": 1} and shortage.failures == 1
    assert "1 picture guided at once" in notices[0]
    assert agree(whole(values), pictures(tmp_path / "short"))


def test_perlin_inits_go_with_their_pictures(values: Any, whole: Whole, tmp_path: Path) -> None:
    values |= {"init_image": None, "perlin_init": True, "steps": 2}
    run(tmp_path / "short", values, Shortage("UNet", most=1))
    assert agree(whole(values), pictures(tmp_path / "short"))


def test_a_resumed_run_begins_with_what_it_gave_up(values: Any, whole: Whole, tmp_path: Path) -> None:
    """And a resumed one equals an uninterrupted one bit for bit, although both changed over in the middle."""
    values |= {"steps": 6}
    run(tmp_path / "whole", values, Shortage("CLIP forward", most=9, at=0))
    first = Shortage("CLIP forward", most=9)
    run(tmp_path / "stopped", values, first, stop=StopAfter(2))
    again = Shortage("CLIP forward", most=9)
    _, notices = run(tmp_path / "stopped", values, again, resume="latest")
    assert (first.failures, again.failures) == (2, 0)
    assert notices == ["memory saving as before: 8 cutouts seen by a CLIP at once"]
    assert same(pictures(tmp_path / "whole"), pictures(tmp_path / "stopped"))


def test_a_kill_after_memory_ran_out_changes_no_bit(values: Any, whole: Whole, tmp_path: Path) -> None:
    """The step before was written down with the savings in use: no step is done again as before."""
    values |= {"steps": 6, "n_batches": 1}
    late = {"at": 4}
    run(tmp_path / "whole", values, Shortage("CLIP forward", **late))
    events = events_of(tmp_path / "killed", values, networks=short_networks(Shortage("CLIP forward", **late)))
    for event in events:
        if isinstance(event, Notice) and "memory" in event.text:
            break
    state = {path.name: path.read_bytes() for path in (tmp_path / "killed/small/.state/0").iterdir()}
    events.close()  # type: ignore[attr-defined]
    for path in (tmp_path / "killed/small/.state/0").iterdir():  # as the kill would have left it
        path.unlink()
    for name, data in state.items():
        (tmp_path / "killed/small/.state/0" / name).write_bytes(data)
    run(tmp_path / "killed", values, Shortage(), resume="latest")
    assert same(pictures(tmp_path / "whole"), pictures(tmp_path / "killed"))


def test_a_picture_rendered_again_begins_with_what_it_was_made_with(
    values: Any, whole: Whole, tmp_path: Path
) -> None:
    run(tmp_path, {**values, "n_batches": 4}, Shortage("CLIP forward", most=9))
    again = read_again(tmp_path / "small" / "small(0)_0002.png")
    assert again.metadata["machine"]["memory"] == {"clip_batch": 8}
    shortage = Shortage("CLIP forward", most=9)
    events = list(render(again.run, out=tmp_path / "again", again=again, networks=short_networks(shortage)))
    finished = events[-1]
    assert isinstance(finished, RunFinished) and finished.report["memory"] == {"clip_batch": 8}
    assert shortage.failures == 0
    assert np.array_equal(pictures(tmp_path)[2], pictures(tmp_path / "again")[2])


STAGES = {
    "UNet": Stage.UNET,
    "secondary forward": Stage.SECONDARY,
    "CLIP forward": Stage.CLIP,
    "CLIP backward": Stage.CLIP,
    "LPIPS": Stage.PERCEPTUAL,
    "back": Stage.BACK,
}


@pytest.mark.parametrize("here", STAGES)
def test_nothing_left_to_give_up(here: str, values: Any, whole: Whole, tmp_path: Path) -> None:
    """A failed run, whose steps are saved; it goes on where there is more."""
    values |= {"steps": 6, "n_batches": 1}
    shortage = Shortage(here)
    events = events_of(tmp_path / "short", values, networks=short_networks(shortage))
    with pytest.raises(RunError, match=rf"^out of memory \({STAGES[here].value}\): ") as caught:
        for event in events:
            if isinstance(event, StepDone) and event.step == 2:
                shortage.most = 0
    assert caught.value.exit_code == 1
    lines = str(caught.value).splitlines()
    assert lines[1].startswith("memory saving tried: ") and lines[-1] == ENDING
    if here == "CLIP forward":
        assert lines[1].startswith("memory saving tried: 1 cutout seen by a CLIP at once, ")
    resumed = events_of(tmp_path / "short", values, networks=short_networks(Shortage()), resume="latest")
    assert [event.step for event in resumed if isinstance(event, StepDone)] == [3, 4]
    assert agree(whole(values), pictures(tmp_path / "short"))


def test_other_errors_are_not_caught(values: Any, whole: Whole, tmp_path: Path, monkeypatch: Any) -> None:
    def broken(*args: Any) -> Tensor:
        raise RuntimeError("The size of tensor a (3) must match the size of tensor b (4)")

    monkeypatch.setattr("disco.losses.clip.cut", broken)
    with pytest.raises(RuntimeError, match="must match the size"):
        run(tmp_path, values, Shortage())


@pytest.mark.parametrize("here", ["UNet", "CLIP forward", "moved", "back"])
def test_frames_of_an_animation(here: str, tmp_path: Path, monkeypatch: Any) -> None:
    shortage = Shortage(here, at=5 if here != "moved" else 2)
    monkeypatch.setattr(FrameTransition, "moved", shortage.around("moved", FrameTransition.moved))
    settings = animation("3D", max_frames=3, steps=4, clip_guidance_scale=2000)
    for name in ("short", "whole"):
        list(events_of(tmp_path / name, settings, networks=short_networks(shortage, secondary=False)))
    assert shortage.failures == 1
    assert agree(pictures(tmp_path / "whole"), pictures(tmp_path / "short"))


def test_an_attempt_without_a_lever_is_made_once_more() -> None:
    calls = []

    def do() -> None:
        calls.append(1)
        raise MemoryError

    oom_retry = OomRetry(short_networks(Shortage()), would_fit=lambda: "64x64 would fit")
    with pytest.raises(RunError) as caught:
        oom_retry.run(do)
    assert len(calls) == 2 and oom_retry.pop_messages() == []
    first, tried, fits, ending = str(caught.value).splitlines()
    assert first == "out of memory (the sampler): MemoryError"
    assert (tried, fits) == ("memory saving tried: none is possible here", "64x64 would fit")
    assert ending == ENDING


@pytest.mark.parametrize("failures", [1, 2])
def test_an_error_that_may_be_of_memory_is_retried_once(
    failures: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the next saving; savings are left when it comes again."""
    monkeypatch.setattr("disco.memory.oom.is_short", lambda: True)
    calls: list[str] = []

    def do() -> str:
        calls.append(oom_retry.saving.words())
        if len(calls) <= failures:
            raise RuntimeError("GET was unable to find an engine to execute this computation")
        return "done"

    oom_retry = OomRetry(short_networks(Shortage()))
    if failures == 1:
        assert oom_retry.run(do, stage=Stage.UNET, pictures=8) == "done"
    else:
        with pytest.raises(RunError) as caught:
            oom_retry.run(do, stage=Stage.UNET, pictures=8)
        assert str(caught.value).splitlines() == [
            "perhaps out of memory (the diffusion network): "
            "GET was unable to find an engine to execute this computation",
            "memory saving tried: 4 pictures guided at once",
            ENDING,
        ]
    assert calls == ["", "4 pictures guided at once"]


def test_what_a_failed_pass_held_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the second attempt none of its tensors is alive, in spite of a circle among its objects."""
    monkeypatch.setattr("disco.memory.retry.release", release)
    held: list[weakref.ref[Tensor]] = []

    def do() -> int:
        alive = sum(found() is not None for found in held)
        if held:
            return alive
        circle: list[Any] = [torch.zeros(3)]
        circle.append(circle)
        held.append(weakref.ref(circle[0]))
        raise MemoryError

    assert OomRetry(short_networks(Shortage())).run(do) == 0 and len(held) == 1


def test_rendered_reports_nothing_given_up(tmp_path: Path) -> None:
    finished = rendered(tmp_path, {"n_batches": 1, "steps": 2})
    assert finished is not None and finished.report["memory"] == {}
