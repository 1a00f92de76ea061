"""Animations killed with SIGKILL at any event and between any two lines, and resumed: the same frames."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.animation_run import write_clip
from tests.test_kill import SETTINGS, Worker, pictures, was_killed, without_resume

ANIMATION: dict[str, Any] = {key: value for key, value in SETTINGS.items() if key != "n_batches"} | {
    "checkpoint_every": 1,
    "max_frames": 3,
    "frames_skip_steps": 1,
}
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
        "video_init_steps": 4,
        "video_init_skip_steps": 1,
        "video_init_frames_skip_steps": 1,
        "video_init_cutn_batches": 1,
    },
    "dd57": {"animation_mode": "2D", "compat": "dd57", "zoom": 1.2, "perlin_init": True},
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


def check_resumed(worker: Worker, out: Path, settings: dict[str, Any], files: dict[str, bytes]) -> None:
    said = worker.render(out, {**settings, "resume_run": True})
    assert any(message.get("end") for message in said), said
    told = [message["notice"] for message in said if "notice" in message]
    assert not any("read back" in notice for notice in told), told
    found = frames(out)
    assert found.keys() == files.keys()
    assert not [n for n in files if without_resume(n, found[n]) != without_resume(n, files[n])]


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
@pytest.mark.parametrize("n", [3, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_between_two_lines(n: int, variant: str, worker: Worker, whole: Any, tmp_path: Path) -> None:
    """In the middle of saving a frame too, at moments drawn at random."""
    settings, files, lines = whole(variant)
    for k, line in enumerate(random.Random(variant).sample(range(lines), n)):
        said = worker.order("go_to_line", out=str(tmp_path / str(k)), settings=settings, line=line)
        assert was_killed(said), said
        check_resumed(worker, tmp_path / str(k), settings, files)


def test_killed_again_and_again(worker: Worker, whole: Any, tmp_path: Path) -> None:
    settings, files, _ = whole("turbo")
    settings = {**settings, "resume_run": True}
    for _ in range(20):
        if not was_killed(worker.render(tmp_path, settings, die_at_event=6)):
            break
    found = frames(tmp_path)
    assert not [n for n in files if without_resume(n, found[n]) != without_resume(n, files[n])]
