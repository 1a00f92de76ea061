"""Animations killed with SIGKILL at any event and between any two lines, and resumed: the same frames."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from disco.runs.checkpoints import Checkpoints
from tests.animation_run import write_clip
from tests.rendering.test_kill import SETTINGS, Worker, pictures, was_killed, without_resume

ANIMATION: dict[str, Any] = {key: value for key, value in SETTINGS.items() if key != "n_batches"} | {
    "checkpoint_every": 1,
    "max_frames": 3,
    "frames_skip_steps": 1,
}
STEPS = 3  # of a later frame
VARIANTS: dict[str, dict[str, Any]] = {
    "2D": {"animation_mode": "2D", "angle": 8, "color_coherence": "RGB", "intermediate_saves": 1},
    "turbo": {
        "animation_mode": "3D",
        "midas_depth_model": "plane",
        "max_frames": 6,
        "turbo_mode": True,
        "turbo_preroll": 1,
        "turbo_steps": 3,
        "vr_mode": True,
    },
    "video": {
        "animation_mode": "Video Input",
        "extract_nth_frame": 1,
        "video_init_check_consistency": True,
        "video_init_steps": 4,
        "video_init_skip_steps": 1,
        "video_init_frames_skip_steps": 1,
        "video_init_cutn_batches": 1,
    },
    "dd57": {"animation_mode": "2D", "compat": "dd57", "zoom": 1.2},
}


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.close()


@pytest.fixture(scope="module")
def whole(worker: Worker, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """whole(variant) -> its settings, the files of the uninterrupted run, and how many lines it ran."""
    known: dict[str, Any] = {}
    clip = write_clip(tmp_path_factory.mktemp("clip") / "clip", n=3)

    def render(variant: str) -> tuple[dict[str, Any], dict[str, bytes], int]:
        if variant not in known:
            settings = ANIMATION | VARIANTS[variant]
            if variant == "video":
                settings["video_init_path"] = str(clip)
            out = tmp_path_factory.mktemp("whole")
            said = worker.order("go_to_line", out=str(out), settings=settings, line=10**9)
            lines = [message["lines"] for message in said if "lines" in message]
            assert lines, said
            known[variant] = settings, frames(out), lines[0]
        return known[variant]

    return render


def frames(out: Path) -> dict[str, bytes]:
    """What the run leaves for the user, its number left out; not the frames of the given video."""
    files = {name: data for name, data in pictures(out).items() if not name.startswith(".video_frames")}
    first = min((name.split("(")[1].split(")")[0] for name in files), key=int)
    return {name.replace(f"({first})", "(0)"): data for name, data in files.items()}


def check_resumed(worker: Worker, out: Path, settings: dict[str, Any], files: dict[str, bytes]) -> list[Any]:
    """Go on to the end, with the same files; returns what was said."""
    said = worker.render(out, {**settings, "resume_run": True})
    assert any(message.get("end") for message in said), said
    told = [message["notice"] for message in said if "notice" in message]
    assert not any("read back" in notice for notice in told), told
    found = frames(out)
    assert found.keys() == files.keys()
    assert not [n for n in files if without_resume(n, found[n]) != without_resume(n, files[n])]
    return said


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("every", [9, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_at_an_event(every: int, variant: str, worker: Worker, whole: Any, tmp_path: Path) -> None:
    """At every ninth event, or at every one: steps, frames that turbo leaves out, between frames."""
    settings, files, _ = whole(variant)
    event = 1 + list(VARIANTS).index(variant) % every
    while was_killed(worker.render(tmp_path / str(event), settings, die_at_event=event)):
        check_resumed(worker, tmp_path / str(event), settings, files)
        event += every
    assert event > 10


@pytest.mark.parametrize("variant", VARIANTS)
def test_killed_inside_a_later_frame(variant: str, worker: Worker, whole: Any, tmp_path: Path) -> None:
    """After some of its steps: it must go on from its checkpoint, towards the start that it had."""
    settings, files, _ = whole(variant)
    for frame, step in ((1, 1), (3 if variant == "turbo" else 2, 2)):
        out = tmp_path / f"{frame}"
        assert was_killed(worker.render(out, settings, die_in=[frame, step]))
        found = Checkpoints(out / "kill" / ".state" / "0").load()
        assert found is not None and (found.pictures, found.step) == ((frame,), step)
        said = check_resumed(worker, out, settings, files)
        steps = [message["step"] for message in said if message.get("pictures") == [frame]]
        assert steps == list(range(step, STEPS))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("n", [3, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_between_two_lines(n: int, variant: str, worker: Worker, whole: Any, tmp_path: Path) -> None:
    """In the middle of saving a frame too, at moments drawn at random."""
    settings, files, lines = whole(variant)
    for k, line in enumerate(random.Random(variant).sample(range(lines), n)):
        said = worker.order("go_to_line", out=str(tmp_path / str(k)), settings=settings, line=line)
        assert was_killed(said), said
        check_resumed(worker, tmp_path / str(k), settings, files)


def test_killed_inside_a_frame_of_perlin_noise(worker: Worker, tmp_path: Path) -> None:
    """In dd57 each frame begins with new noise of its own stream. It takes a second, hence no variant."""
    settings = ANIMATION | VARIANTS["dd57"] | {"perlin_init": True, "max_frames": 2}
    worker.render(tmp_path / "whole", settings)
    assert was_killed(worker.render(tmp_path / "killed", settings, die_in=[1, 1]))
    check_resumed(worker, tmp_path / "killed", settings, frames(tmp_path / "whole"))


def test_killed_again_and_again(worker: Worker, whole: Any, tmp_path: Path) -> None:
    settings, files, _ = whole("turbo")
    settings = {**settings, "resume_run": True}
    for _ in range(20):
        if not was_killed(worker.render(tmp_path, settings, die_at_event=6)):
            break
    found = frames(tmp_path)
    assert not [n for n in files if without_resume(n, found[n]) != without_resume(n, files[n])]
