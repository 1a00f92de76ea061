"""The recipes of animations as they are, on the bundled networks, with smaller pictures and fewer steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import disco
from disco.events import Notice, PictureFinished, RunFinished, StepDone
from disco.media.images import read_pixels
from disco.settings.load import load_runs
from tests.animation_run import mean_difference
from tests.places import SETTINGS

NAMES = {"2d": "spiral", "3d": "flight", "video": "sunrise"}
SMALLER = [
    "width_height=[32, 32]",
    "steps=4",
    "video_init_steps=4",
    "video_init_skip_steps=1",
    "cut_overview=1",
    "cut_innercut=1",
    "clip_models=[pocket-conv]",
    "video_codec=gif",
]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[object]]:
    """All three in one queue, which loads the networks once; and its events but for single steps."""
    folder = tmp_path_factory.mktemp("out")
    runs = load_runs([SETTINGS / f"animation_{kind}.yaml" for kind in NAMES], overrides=SMALLER)
    events = [event for event in disco.render(runs, out=folder) if not isinstance(event, StepDone)]
    return folder, events


def frames(out: Path, kind: str) -> list[np.ndarray]:
    paths = sorted((out / NAMES[kind]).glob(f"{NAMES[kind]}(0)_[0-9][0-9][0-9][0-9].png"))
    return [read_pixels(path) for path in paths]


@pytest.mark.parametrize("kind", NAMES)
def test_24_frames_and_their_video(kind: str, out: tuple[Path, list[object]]) -> None:
    folder, events = out
    assert len(frames(folder, kind)) == 24
    path = folder / NAMES[kind] / f"{NAMES[kind]}(0)_video.gif"
    assert Notice(f"video: {path}") in events
    with Image.open(path) as video:
        assert (video.n_frames, video.size) == (24, (32, 32))


def test_what_is_told(out: tuple[Path, list[object]]) -> None:
    finished = [event for event in out[1] if isinstance(event, PictureFinished)]
    assert [event.picture for event in finished] == 3 * list(range(24))
    reports = [event.report for event in out[1] if isinstance(event, RunFinished)]
    assert [report["pictures"] for report in reports] == [24, 24, 24]
    # 4 steps for frame 0 and 2 for later ones; the flight's turbo renders 0 to 4 and then every second one
    assert [report["steps"] for report in reports] == [4 + 23 * 2, 4 + 13 * 2, 3 + 23 * 2]
    assert [report["nan_steps"] for report in reports] == [0, 0, 0]


@pytest.mark.parametrize("kind", NAMES)
def test_a_frame_is_more_like_the_last_one_than_like_early_ones(
    kind: str, out: tuple[Path, list[object]]
) -> None:
    made = frames(out[0], kind)
    near = np.mean([mean_difference(made[k], made[k - 1]) for k in range(12, 24)])
    far = np.mean([mean_difference(made[k], made[k - 12]) for k in range(12, 24)])
    assert 0 < near < far


def test_the_video_is_followed(out: tuple[Path, list[object]]) -> None:
    """Each frame resembles the clip's own of that time more than one of another time."""
    with Image.open(SETTINGS / "clips" / "sunrise.gif") as clip:
        own = []
        for k in range(24):
            clip.seek(k)
            own.append(np.asarray(clip.convert("RGB").resize((32, 32), Image.Resampling.LANCZOS)))
    made = frames(out[0], "video")
    now = np.mean([mean_difference(made[k], own[k]) for k in range(24)])
    then = np.mean([mean_difference(made[k], own[(k + 12) % 24]) for k in range(24)])
    assert now < 0.9 * then
