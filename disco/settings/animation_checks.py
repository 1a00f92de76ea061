"""What cannot work in an animation, and which of its settings have no effect as things are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from disco.settings.animation import (
    MOST_FPS,
    AnimationSettings,
    Motion3dSettings,
    VideoInitSettings,
    VideoOutSettings,
)
from disco.settings.checks import CheckContext, Issue, is_usual, of_one_picture
from disco.settings.frame import OF_VIDEO, at_frame, key_frames, step_count, turning_frames
from disco.settings.model import KEYS, Settings, is_animation

Idle = Callable[[Settings], object]
MOTION = ("angle", "zoom", "translation_x", "translation_y", "translation_z")
TURNS = ("rotation_3d_x", "rotation_3d_y", "rotation_3d_z")
_MOVES = {
    "2D": ("angle", "zoom", "translation_x", "translation_y"),
    "3D": ("translation_x", "translation_y", "translation_z", *TURNS),
}
_GROUPS = {
    "animation settings": tuple(key for key in AnimationSettings.model_fields if key != "animation_mode"),
    "3D settings": tuple(Motion3dSettings.model_fields),
    "video input settings": tuple(VideoInitSettings.model_fields),
    "video file settings": tuple(VideoOutSettings.model_fields),
}


# ---- what cannot work ----


def animation_problems(context: CheckContext) -> Iterator[Issue]:
    """What cannot work. Keys that could not be read are left alone."""
    if not is_animation(context.settings):
        return
    for check, keys in _PROBLEMS:
        if not context.unreadable & set(keys):
            yield from check(context.settings)
    if not context.unreadable:
        yield from _frames(context)


def _frames(context: CheckContext) -> Iterator[Issue]:
    """Every later frame at which something changes, looked at as the still that it is.

    What goes on to be wrong is told once; frame 0 is told where stills are.
    """
    told: set[tuple[str, str]] = set()
    for frame in turning_frames(context.settings):
        for issue in of_one_picture(replace(context, settings=at_frame(context.settings, frame))):
            if frame > 0 and (issue.key, issue.text) not in told:
                yield replace(issue, text=f"at frame {frame}: {issue.text}")
            told.add((issue.key, issue.text))


def _skips(settings: Settings) -> Iterator[Issue]:
    is_video = settings.animation_mode == "Video Input"
    steps = settings.video_init_steps if is_video else settings.steps
    names = ["video_init_skip_steps", "video_init_frames_skip_steps"] if is_video else ["frames_skip_steps"]
    for name in names:
        skip = getattr(settings, name)
        count = step_count(skip, steps)
        if count >= steps:
            beside = ("video_init_steps",) if is_video else ("steps",)
            shown = f'"{skip}"' if isinstance(skip, str) else f"{skip}"
            text = f"{shown} of {steps} steps leaves none: write at most {steps - 1}"
            yield Issue(name, text, beside=(*beside, "animation_mode"))


def _key_frames(settings: Settings) -> Iterator[Issue]:
    for key in (*MOTION, *TURNS):
        frames = key_frames(settings, key)
        try:
            values = (
                [frames.at(0)]
                if frames.constant
                else frames.check(settings.max_frames, settings.interp_spline)
            )
        except ValueError as error:
            yield Issue(key, str(error))
            continue
        wrong = next((frame for frame, value in enumerate(values) if key == "zoom" and value <= 0), None)
        if wrong is not None:
            text = f"{values[wrong]:g} at frame {wrong} is not allowed: write numbers above 0; 1 stands still"
            yield Issue("zoom", text)


def _planes(settings: Settings) -> Iterator[Issue]:
    near, far = settings.near_plane, settings.far_plane
    if settings.animation_mode == "3D" and near >= far:
        text = f"{near:g} is not before far_plane: {far:g}: write a smaller near_plane or a larger far_plane"
        yield Issue("near_plane", text, beside=("far_plane",))


def _only_3d(settings: Settings) -> Iterator[Issue]:
    for key in ("turbo_mode", "vr_mode"):
        if getattr(settings, key) and settings.animation_mode != "3D":
            text = f"needs animation_mode: 3D, here it is {settings.animation_mode}: write false, or 3D"
            yield Issue(key, text, beside=("animation_mode",))


def _video(settings: Settings) -> Iterator[Issue]:
    if settings.animation_mode == "Video Input" and settings.video_init_path is None:
        text = "animation_mode: Video Input needs the path of a video, or of a folder of pictures, here"
        yield Issue("video_init_path", text, beside=("animation_mode",))
    if settings.mask_path is not None and settings.video_mask_path is not None:
        text = "stands beside mask_path; keep one of them"
        yield Issue("video_mask_path", text, beside=("mask_path",))


def _video_frames(settings: Settings) -> Iterator[Issue]:
    last, first = settings.last_frame, settings.init_frame
    if not settings.make_video:
        return
    if isinstance(last, int) and last < first:
        yield Issue("last_frame", f"{last} is before init_frame: {first}", beside=("init_frame",))
    if first >= settings.max_frames:
        n_frames = settings.max_frames
        text = f"there is no frame {first}: with max_frames: {n_frames} the last is {n_frames - 1}"
        yield Issue("init_frame", text, beside=("max_frames",))
    most = MOST_FPS[settings.video_codec]
    if settings.fps > most:
        text = f"{settings.fps:g} is too fast for video_codec: {settings.video_codec}: write at most {most}"
        yield Issue("fps", text, beside=("video_codec",))


_PROBLEMS: tuple[tuple[Callable[[Settings], Iterator[Issue]], tuple[str, ...]], ...] = (
    (
        _skips,
        (
            "steps",
            "video_init_steps",
            "frames_skip_steps",
            "video_init_skip_steps",
            "video_init_frames_skip_steps",
        ),
    ),
    (_key_frames, (*MOTION, *TURNS, "max_frames", "interp_spline")),
    (_planes, ("near_plane", "far_plane", "animation_mode")),
    (_only_3d, ("turbo_mode", "vr_mode", "animation_mode")),
    (_video, ("video_init_path", "animation_mode", "mask_path", "video_mask_path")),
    (_video_frames, ("init_frame", "last_frame", "max_frames", "make_video", "fps", "video_codec")),
)


# ---- what has no effect ----


def animation_notices(context: CheckContext) -> Iterator[Issue]:
    """Settings written for nothing; a still's are gathered in a line for each group."""
    if context.unreadable:
        return
    # Saved settings hold every key, and nobody meant those at their defaults.
    keys = [key for key in context.layer if key in KEYS]
    written = [key for key in keys if key in context.written and not is_usual(context, key)]
    if not is_animation(context.settings):
        for group, members in _GROUPS.items():
            idle = [key for key in written if key in members]
            if idle:
                text = f"{group} have no effect on a still"
                yield Issue(", ".join(idle), text, beside=(idle[0],))
        return
    for key in written:
        why = next(
            (why for keys, why, is_idle in _IGNORED if key in keys and is_idle(context.settings)), None
        )
        if why is not None:
            yield Issue(key, f"has no effect {why}")
    yield from _few_keys(context.settings)


def _few_keys(settings: Settings) -> Iterator[Issue]:
    """A spline that some motions have too few keys for."""
    spline, least = settings.interp_spline, {"Quadratic": 3, "Cubic": 4}
    simpler = []
    for key in _MOVES.get(settings.animation_mode, ()):
        frames = key_frames(settings, key)
        if frames.is_drawn and frames.usable(spline) != spline:
            simpler.append(f"{key} has {frames.written} and is {frames.usable(spline)}")
    if simpler:
        yield Issue("interp_spline", f"{spline} needs {least[spline]} key frames: {', '.join(simpler)}")


def _not(*modes: str) -> Idle:
    return lambda settings: settings.animation_mode not in modes


def _video_input(settings: Settings) -> bool:
    return settings.animation_mode == "Video Input"


_IGNORED: tuple[tuple[tuple[str, ...], str, Idle], ...] = (
    (("angle", "zoom", "border_mode"), "without animation_mode: 2D", _not("2D")),
    (
        ("translation_x", "translation_y", "interp_spline", "frames_scale", "frames_skip_steps"),
        "with Video Input",
        _video_input,
    ),
    (("translation_z", *TURNS, *Motion3dSettings.model_fields), "without animation_mode: 3D", _not("3D")),
    (tuple(VideoInitSettings.model_fields), "without animation_mode: Video Input", _not("Video Input")),
    (
        ("video_init_blend_mode",),
        "without animation_mode: Video Input; use video_blend",
        _not("Video Input"),
    ),
    (("video_blend",), "with Video Input; use video_init_blend_mode", _video_input),
    *(((key,), f"with Video Input; use {name}", _video_input) for key, name in OF_VIDEO.items()),
    (("skip_steps",), "with Video Input; use video_init_skip_steps", _video_input),
    (("init_scale",), "with Video Input; use video_init_frames_scale", _video_input),
    (("init_image",), "with Video Input: its frames are the start", _video_input),
    (
        (
            "video_init_flow_blend",
            "video_init_check_consistency",
            "video_init_steady",
            "flow_model",
            "video_init_skip_steps",
        ),
        "without video_init_flow_warp: true",
        lambda s: not s.video_init_flow_warp,
    ),
    (
        ("flow_model", "video_init_check_consistency", "video_init_steady"),
        "with video_init_flow_blend: 0",
        lambda s: not s.video_init_flow_blend,
    ),
    (
        ("video_init_steady",),
        "without video_init_check_consistency: true",
        lambda s: not s.video_init_check_consistency,
    ),
    (
        ("near_plane", "far_plane", "video_init_steady"),
        "with compat: dd57, as in the original",
        lambda s: s.compat == "dd57",
    ),
    (("midas_weight",), "without a second_depth_model", lambda s: s.second_depth_model == "none"),
    (("turbo_steps", "turbo_preroll"), "without turbo_mode: true", lambda s: not s.turbo_mode),
    (("vr_eye_angle", "vr_ipd"), "without vr_mode: true", lambda s: not s.vr_mode),
    (("color_coherence_to",), "without color_coherence", lambda s: s.color_coherence == "none"),
    (("n_batches",), "in an animation; use max_frames", is_animation),
    (("batch_size",), "in an animation: each frame starts from the one before", is_animation),
)
