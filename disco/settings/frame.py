"""The settings of frame k of an animation: schedules over frames, prompts, and what stands in for what."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from disco.settings.keyframes import KeyFrames, crossfade
from disco.settings.kinds import ClipChoice
from disco.settings.model import KEYS, Settings, is_animation
from disco.settings.prompts import AnyPrompt, prompts_at
from disco.settings.schedules import Schedule

# In Video Input these stand in for the settings of stills.
OF_VIDEO = {
    "steps": "video_init_steps",
    "clip_guidance_scale": "video_init_clip_guidance_scale",
    "tv_scale": "video_init_tv_scale",
    "range_scale": "video_init_range_scale",
    "sat_scale": "video_init_sat_scale",
    "cutn_batches": "video_init_cutn_batches",
    "frames_scale": "video_init_frames_scale",
    "frames_skip_steps": "video_init_frames_skip_steps",
}


def at_frame(settings: Settings, frame: int) -> Settings:
    """What frame `frame` is rendered with, as if it were a still; a still's settings as they are."""
    if not is_animation(settings):
        return settings
    is_video = settings.animation_mode == "Video Input"
    values: dict[str, Any] = {key: getattr(settings, key) for key in KEYS}
    if is_video:
        values |= {key: values[name] for key, name in OF_VIDEO.items()}
    values["skip_steps"] = values["steps"] - executed(settings, frame)
    if is_video or frame > 0:
        values["init_scale"] = values["frames_scale"]
    if frame > 0 and settings.compat == "fixed":
        values["perlin_init"] = False  # the original starts every frame from new Perlin noise
    values = {key: _held(value, frame) for key, value in values.items()}
    values |= {
        "text_prompts": prompts_of_frame(settings.text_prompts, frame, settings.prompt_crossfade),
        "image_prompts": prompts_of_frame(settings.image_prompts, frame, settings.prompt_crossfade),
    }
    return settings.model_copy(update=values)


def executed(settings: Settings, frame: int) -> int:
    """How many steps frame `frame` is rendered with; any picture of a run of stills."""
    if settings.animation_mode == "Video Input":
        steps, skip = settings.video_init_steps, settings.video_init_frames_skip_steps
        if frame == 0 and settings.video_init_flow_warp:
            skip = settings.video_init_skip_steps
    else:
        steps = settings.steps
        skip = settings.frames_skip_steps if frame > 0 and is_animation(settings) else settings.skip_steps
    return steps - step_count(skip, steps)


def step_count(steps: str | int, of: int) -> int:
    """A share such as "60%" of `of` steps, rounded down, or a number of them as it is."""
    if isinstance(steps, int):
        return steps
    return math.floor(of * (int(steps[:-1]) / 100))  # 58 % of 50 are 28 in floats, as in the original


def prompts_of_frame(
    prompts: Mapping[int, tuple[AnyPrompt, ...]], frame: int, fade: bool
) -> dict[int, tuple[AnyPrompt, ...]]:
    """The prompts of a frame as those of a still: held until the next key, or faded over to it."""
    if not prompts or not fade:
        held = prompts_at(prompts, frame)
        return {0: tuple(replace(prompt, weight=_held(prompt.weight, frame)) for prompt in held)}
    faded: dict[Any, AnyPrompt] = {}
    for key, fraction in crossfade(prompts, frame):
        for prompt in prompts[key]:
            scaled = replace(prompt, weight=_scaled(_held(prompt.weight, frame), fraction))
            name = (getattr(prompt, "text", None), getattr(prompt, "source", None), prompt.clip_models)
            if name in faded:  # a prompt of both keys goes over from its weight to its weight
                scaled = replace(scaled, weight=_sum(scaled.weight, faded[name].weight))
            faded[name] = scaled
    return {0: tuple(faded.values())}


def turning_frames(settings: Settings) -> list[int]:
    """The frames at which a setting changes, 0 and 1 always: what holds there holds in between."""
    frames = {0, 1, *settings.text_prompts, *settings.image_prompts}
    for key in KEYS:
        for schedule in _schedules(getattr(settings, key)):
            frames |= {frame for frame, _ in schedule.frames.keys} if schedule.frames else set()
    return sorted(frame for frame in frames if frame < settings.max_frames)


def key_frames(settings: Settings, key: str) -> KeyFrames:
    """A key frame setting as it acts: in dd57 keys past the end squeeze the motion, as they did."""
    frames: KeyFrames = getattr(settings, key)
    return frames.as_original(settings.max_frames) if settings.compat == "dd57" else frames


def motion(settings: Settings, key: str, frame: int) -> float:
    """The value of a key frame setting at a frame."""
    return key_frames(settings, key).at(frame, settings.interp_spline)


def is_chained(settings: Settings) -> bool:
    """Does a frame start from the one before it?"""
    if settings.animation_mode != "Video Input":
        return is_animation(settings)
    return settings.video_init_flow_warp and settings.video_init_flow_blend > 0


def border(settings: Settings) -> str:
    """border_mode; auto is wrap in dd57, as in the original (quirk Q15), reflect in fixed."""
    if settings.border_mode != "auto":
        return settings.border_mode
    return "wrap" if settings.compat == "dd57" else "reflect"


def stream_seed(settings: Settings, seed: int, frame: int) -> int:
    """The seed of a frame's random stream in compat dd57 (quirk Q11): it grows by one a frame."""
    if settings.animation_mode != "Video Input":
        return seed + frame
    return seed if settings.video_init_seed_continuity else seed + frame + 1


def random_place(settings: Settings, frame: int) -> int:
    """The picture whose random numbers a frame has: its own, or frame 0's for all of a video."""
    is_video = settings.animation_mode == "Video Input"
    return 0 if is_video and settings.video_init_seed_continuity else frame


def _held(value: Any, frame: int) -> Any:
    """{frames: ...} schedules at a frame, wherever they stand."""
    if isinstance(value, Schedule):
        return value.frames.at(frame) if value.frames else value
    if isinstance(value, tuple) and value and isinstance(value[0], ClipChoice):
        return tuple(replace(clip, weight=_held(clip.weight, frame)) for clip in value)
    return value


def _schedules(value: Any) -> Iterator[Schedule]:
    if isinstance(value, Schedule):
        yield value
    elif isinstance(value, Mapping):
        for group in value.values():
            yield from _schedules(group)
    elif isinstance(value, tuple):
        for part in value:
            yield from _schedules(getattr(part, "weight", None))


def _scaled(schedule: Schedule, factor: float) -> Schedule:
    return Schedule(tuple(value * factor for value in schedule.values))


def _sum(a: Schedule, b: Schedule) -> Schedule:
    return Schedule(tuple(x + y for x, y in zip(a.values, b.values, strict=True)))
