"""video_init_steady in whole runs: what the last frame showed is painted lightly, what is new as ever."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from disco.animation import consistency
from disco.errors import SettingsError
from disco.media.images import png_bytes
from disco.settings.load import run_from_mapping
from tests.animation_run import animation, blob, frames_of, mean_difference, write_clip
from tests.small_run import StopAfter, pictures, rendered, same

UNGUIDED = {"video_init_clip_guidance_scale": 0, "video_init_tv_scale": 0, "video_init_frames_scale": 0}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "clip")


def frames(out: Path, steady: float, **values: Any) -> dict[int, np.ndarray]:
    frames_of(out, animation("video", **({"max_frames": 3} | values), video_init_steady=steady))
    return pictures(out)


def write_still(clip: Path) -> None:
    for k in range(4):
        (clip / f"{k}.png").write_bytes(png_bytes(blob(12)))


def test_a_still_scene_stands_stiller(tmp_path: Path) -> None:
    write_still(tmp_path / "clip")
    how = {"video_init_steps": 12, "video_init_frames_skip_steps": "50%"}
    changes = []
    for steady in (0, 0.4, 0.8, 1):
        made = frames(tmp_path / str(steady), steady, **how)
        changes.append(mean_difference(made[1], made[2]))
    assert changes == sorted(changes, reverse=True)
    assert changes[3] < 0.4 * changes[0]


def test_what_is_new_is_painted_as_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The left half of each frame was to be seen in the last one; in truth nothing moves."""
    write_still(tmp_path / "clip")
    left = torch.zeros(1, 1, 32, 32)
    left[..., :16] = 1
    monkeypatch.setattr(consistency, "shared", lambda raw, last, there, back: left)
    none, half, all_ = (frames(tmp_path / str(k), k, **UNGUIDED, max_frames=2) for k in (0, 0.5, 1))
    assert np.array_equal(none[0], all_[0]), "the first frame has none before it"
    assert np.array_equal(none[1][:, 16:], half[1][:, 16:])
    assert np.array_equal(none[1][:, 16:], all_[1][:, 16:])
    away = [mean_difference(made[1][:, :16], none[0][:, :16]) for made in (none, half, all_)]
    assert away == sorted(away, reverse=True) and away[2] < away[0]


@pytest.mark.parametrize(
    "values",
    [
        {"video_init_check_consistency": False},
        {"compat": "dd57"},
        {"video_init_flow_warp": False},
        {"animation_mode": "2D"},
    ],
)
def test_where_it_does_not_act(values: dict[str, Any], tmp_path: Path) -> None:
    assert same(frames(tmp_path / "0", 0, **values), frames(tmp_path / "1", 1, **values))


def test_0_touches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("disco.rendering.steps.make_steady")
    assert len(frames(tmp_path / "0", 0)) == 3
    with pytest.raises(NameError):
        frames(tmp_path / "1", 0.5)


@pytest.mark.parametrize("sampler", ["ddim", "plms"])
def test_stopped_inside_a_steady_frame(sampler: str, tmp_path: Path) -> None:
    values = animation("video", max_frames=2, video_init_steady=0.7, diffusion_sampling_mode=sampler)
    rendered(tmp_path / "whole", values)
    for steps in (4, 5):  # inside frame 1: frame 0 has 4, of which the last does not ask
        out = tmp_path / str(steps)
        assert rendered(out, values, stop=StopAfter(steps)).interrupted
        rendered(out, values, resume="latest")
        assert same(pictures(out), pictures(tmp_path / "whole"))


def test_a_mask_has_the_last_word(tmp_path: Path) -> None:
    """Beside it, what it keeps is still the video's very picture where nothing is carried along."""
    (tmp_path / "masks").mkdir()
    half = torch.ones(3, 32, 32)
    half[..., :16] = -1
    for k in range(4):
        (tmp_path / "masks" / f"{k}.png").write_bytes(png_bytes(half))
    how = {"video_mask_path": "masks", "mask_blur": 0, **UNGUIDED}
    held, free = frames(tmp_path / "1", 1, **how), frames(tmp_path / "0", 0, **how)
    assert np.array_equal(held[1][:, :16], free[1][:, :16])
    assert not np.array_equal(held[1][:, 16:], free[1][:, 16:])


@pytest.mark.parametrize("value", [1.5, -0.1, "much", True])
def test_values_that_are_none(value: Any) -> None:
    with pytest.raises(SettingsError) as caught:
        run_from_mapping({"video_init_steady": value})
    assert str(caught.value) == (
        f"settings: video_init_steady: {json.dumps(value)} is not allowed: write a number from 0 to 1"
    )
