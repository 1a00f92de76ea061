"""--plan of animations: frames, turbo, the video, steps and the room that they need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from disco.cli.plan import describe, disk_bytes
from disco.errors import InputError
from disco.settings.load import run_from_mapping
from disco.settings.model import Settings
from tests.animation_run import write_clip


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def plan(values: dict[str, Any], **how: Any) -> list[str]:
    """The lines of the plan before its list of settings, with the text of each row unindented."""
    base = {"text_prompts": ["red"], "width_height": [64, 64], "batch_name": "a", **values}
    text = describe([run_from_mapping(base)], Path("out"), **how)
    return [line.strip() for line in text.split("settings   (value")[0].splitlines()]


def test_turbo_and_steps() -> None:
    values = {"animation_mode": "3D", "max_frames": 12, "steps": 50, "turbo_mode": True, "turbo_preroll": 2}
    lines = plan(values | {"turbo_steps": 3})
    assert "animation  3D: 12 frames, 0 to 11" in lines
    assert "turbo renders 6; 6 are moved and blended" in lines
    assert "steps      50 for frame 0, 20 for each later one: 150 in all" in lines
    assert any(line.startswith("files      out/a/a(0)_0000.png ... a(0)_0011.png") for line in lines)
    assert not Path("out").exists()


def test_a_range() -> None:
    lines = plan({"animation_mode": "2D", "max_frames": 12, "steps": 50}, images=[4, 5, 6])
    assert "animation  2D: 3 frames, 4 to 6" in lines
    assert "steps      50 for frame 0, 20 for each later one: 60 in all" in lines


def test_what_is_found_of_a_video() -> None:
    write_clip(Path("clip"), n=9)
    values = {"animation_mode": "Video Input", "video_init_path": "clip", "video_init_flow_warp": False}
    lines = plan(values | {"extract_nth_frame": 2})
    assert "animation  Video Input: 5 frames, 0 to 4" in lines
    assert "clip: 5 frames found (1 frame in 2), max_frames is 5" in lines
    assert "no frame starts from another" in lines
    assert not Path("out").exists()
    with pytest.raises(InputError, match=r"this run has frames 0 to 4 \(max_frames: 5\)"):
        plan(values | {"extract_nth_frame": 2}, images=[5])


def test_a_mask_video_of_no_use_is_told_by_the_plan() -> None:
    write_clip(Path("clip"), n=3)
    Path("masks").mkdir()
    values = {"animation_mode": "Video Input", "video_init_path": "clip", "video_mask_path": "masks"}
    with pytest.raises(InputError) as caught:
        plan(values)
    assert str(caught.value) == (
        "masks: a folder without pictures: it is empty. "
        "Give a video file, or a folder of .png .jpg .jpeg .webp .bmp .tif .tiff."
    )
    write_clip(Path("masks"), n=3)
    assert "animation  Video Input: 2 frames, 0 to 1" in plan(values)  # every second one


def test_prompts_by_frame() -> None:
    lines = plan({"animation_mode": "2D", "text_prompts": {0: ["red"], 4: ["blue:2"]}})
    found = [line for line in lines if "tokens" in line]
    assert found[0].startswith('prompts    from frame 0: "red" weight 1: ')
    assert found[1].startswith('from frame 4: "blue" weight 2: ')


def test_disk_bytes() -> None:
    """A PNG is two thirds of its pixels, a frame's floats four times as many; eyes count thrice."""
    plain = Settings(animation_mode="2D", width_height=[100, 100])
    assert disk_bytes(plain, 10) == 10 * 19500 + 360000
    eyes = Settings(animation_mode="3D", width_height=[100, 100], vr_mode=True, turbo_mode=True)
    assert disk_bytes(eyes, 10) == 30 * 19500 + 720000
