"""disco.settings.frame: what each frame is rendered with."""

from __future__ import annotations

import json
from typing import Any

import pytest

from disco.settings.frame import (
    at_frame,
    border,
    executed,
    is_chained,
    motion,
    random_place,
    step_count,
    stream_seed,
    turning_frames,
)
from disco.settings.load import run_from_mapping
from disco.settings.model import Settings
from disco.settings.schedules import Schedule
from tests.places import GOLDEN

GOLD = json.loads((GOLDEN / "g_text_and_schedules.json").read_text())


def settings(mode: str = "2D", **values: Any) -> Settings:
    return Settings(animation_mode=mode, **values)


@pytest.mark.parametrize(("steps", "share", "skipped"), GOLD["calc_frames_skip_steps"])
def test_shares_of_steps_as_the_original_counts_them(steps: int, share: str, skipped: int) -> None:
    assert step_count(share, steps) == skipped
    assert executed(settings(steps=steps, frames_skip_steps=share), 1) == steps - skipped


def test_a_still_is_what_it_is() -> None:
    still = Settings(eta={"frames": {0: 0, 9: 1}})
    assert at_frame(still, 5) is still


@pytest.mark.parametrize("mode", ["2D", "3D"])
def test_later_frames_have_a_start_of_their_own(mode: str) -> None:
    run = settings(mode, steps=100, skip_steps=7, init_scale=3, frames_scale=50, frames_skip_steps="60%")
    first, later = at_frame(run, 0), at_frame(run, 1)
    assert (first.skip_steps, first.init_scale.max()) == (7, 3)
    assert (later.skip_steps, later.init_scale.max()) == (60, 50)
    assert (executed(run, 0), executed(run, 3)) == (93, 40)


def test_video_input_has_settings_of_its_own_and_all_act() -> None:
    values = {
        "video_init_steps": 80,
        "video_init_clip_guidance_scale": 11,
        "video_init_tv_scale": 12,
        "video_init_range_scale": 13,
        "video_init_sat_scale": 14,
        "video_init_cutn_batches": 5,
        "video_init_skip_steps": 20,
        "video_init_frames_scale": 16,
        "video_init_frames_skip_steps": "70%",
    }
    run = settings("Video Input", video_init_path="a.mp4", **values)
    for frame, skip in ((0, 20), (1, 56)):
        got = at_frame(run, frame)
        assert (got.steps, got.skip_steps) == (80, skip)
        scales = (got.clip_guidance_scale, got.tv_scale, got.range_scale, got.sat_scale)
        assert [scale.max() for scale in scales] == [11, 12, 13, 14]
        assert (got.cutn_batches.max(), got.init_scale.max()) == (5, 16)
    raw = settings("Video Input", video_init_path="a.mp4", **values, video_init_flow_warp=False)
    assert at_frame(raw, 0).skip_steps == 56
    assert is_chained(run) and not is_chained(raw)


def test_schedules_over_frames_wherever_they_stand() -> None:
    run = settings(
        eta={"frames": {0: 0.1, 4: 0.9}},
        clip_models=[{"name": "a", "weight": {"frames": {0: 1, 4: 2}}}],
        text_prompts={0: [{"text": "x", "weight": {"frames": {2: 1, 3: 5}}}], 6: "y"},
    )
    assert [at_frame(run, k).eta.at(0) for k in (0, 3, 4, 9)] == [0.1, 0.1, 0.9, 0.9]
    assert [at_frame(run, k).clip_models[0].weight.at(0) for k in (3, 4)] == [1, 2]
    assert [at_frame(run, k).text_prompts[0][0].weight.at(0) for k in (0, 3, 6)] == [1, 5, 1]
    assert [at_frame(run, k).text_prompts[0][0].text for k in (5, 6)] == ["x", "y"]
    assert turning_frames(run) == [0, 1, 2, 3, 4, 6]


def test_prompts_fade_over_in_their_weights() -> None:
    run = settings(text_prompts={0: ["sea:2", "night"], 10: ["night:3"]}, prompt_crossfade=True)

    def weights(frame: int) -> dict[str, float]:
        return {prompt.text: prompt.weight.at(0) for prompt in at_frame(run, frame).text_prompts[0]}

    assert weights(0) == {"sea": 2, "night": 1}
    assert weights(5) == {"sea": 1, "night": 2}
    assert weights(10) == weights(99) == {"night": 3}
    assert Schedule.parse(3) == at_frame(run, 10).text_prompts[0][0].weight


def test_perlin_is_for_the_first_frame_unless_dd57() -> None:
    assert [at_frame(settings(perlin_init=True), k).perlin_init for k in (0, 1)] == [True, False]
    assert at_frame(settings(perlin_init=True, compat="dd57"), 1).perlin_init


def test_seeds_and_borders() -> None:
    plain, video = settings(), settings("Video Input", video_init_path="a")
    same = settings("Video Input", video_init_path="a", video_init_seed_continuity=True)
    # quirk Q11: a video's seed has grown before frame 0 already
    assert [stream_seed(run, 7, 3) for run in (plain, video, same)] == [10, 11, 7]
    assert [random_place(run, 3) for run in (plain, video, same)] == [3, 3, 0]
    assert [border(settings(compat=compat)) for compat in ("fixed", "dd57")] == ["reflect", "wrap"]
    assert border(settings(border_mode="replicate", compat="dd57")) == "replicate"


def test_keys_past_the_end_squeeze_the_motion_in_dd57_alone() -> None:
    values = {"animation_mode": "2D", "max_frames": 5, "angle": "0: (0), 10: (10)", "text_prompts": "a"}

    def angles(compat: str) -> list[float]:
        run = run_from_mapping(values | {"compat": compat})
        return [motion(run.settings, "angle", frame) for frame in range(5)]

    assert angles("fixed") == [0, 1, 2, 3, 4]
    assert angles("dd57") == [0, 2.5, 5, 7.5, 10]
