"""The animation settings of Disco Diffusion and its descendants, which have kept their names here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from disco.settings.aliases import IGNORED
from disco.settings.animation import (
    AnimationSettings,
    Motion3dSettings,
    VideoInitSettings,
    VideoOutSettings,
)
from disco.settings.frame import OF_VIDEO
from disco.settings.importers.builder import ImportBuilder
from disco.settings.importers.old_values import nothing, picture
from disco.settings.kinds import read_value
from disco.settings.model import Settings, facts_of

SECTIONS = (AnimationSettings, Motion3dSettings, VideoInitSettings, VideoOutSettings)
KEYS = tuple(key for section in SECTIONS for key in section.model_fields if key != "animation_mode")
OURS = (
    *("border_mode", "prompt_crossfade", "color_coherence", "color_coherence_to", "second_depth_model"),
    *("video_init_steady", "flow_model", "make_video", "video_codec", "video_blend", "video_loop"),
)
ORIGINAL = tuple(key for key in ("animation_mode", *KEYS) if key not in OURS)
_ENTRY = re.compile(r"(\d+)\s*:\s*\(([^()]*)\)")  # "10: (1.05)"
DEFAULT_VIDEOS = (
    "init.mp4",
    "training.mp4",
    "/content/training.mp4",
)  # in the original until somebody names one


def put_animation(builder: ImportBuilder) -> list[str]:
    """Hand over what is not at its default; the rest is named in one line. Returns the keys handed over."""
    for key in KEYS:
        if key in builder.old and facts_of(key)["kind"] == "keyframes":
            _tidy_key_frames(builder, key)
    usual = [key for key in KEYS if key in builder.old and _is_usual(key, builder.old[key])]
    moved = [key for key in KEYS if key in builder.old and key not in usual]
    builder.drop(usual, "of animations, at their defaults")
    builder.drop_group(IGNORED, "used by the original's notebook only")
    for key in moved:
        builder.keep(key, builder.take(key))
    return [key for key in moved if key in builder.run]


def _tidy_key_frames(builder: ImportBuilder, key: str) -> None:
    """As the original read them: without quotes around the text, and the last entry of a frame counts."""
    text = builder.old[key]
    entries = _ENTRY.findall(text) if isinstance(text, str) else []
    if not entries or _ENTRY.sub("", text).strip(" ,\"'"):
        return
    tidy = ", ".join(f"{frame}: ({value})" for frame, value in dict(entries).items())
    is_repeated = len(dict(entries)) < len(entries)
    if is_repeated or '"' in text or "'" in text:
        builder.old[key] = tidy
        builder.changed.append(f"{key}: {text} -> {tidy} (as the original read it)")


def put_mode(builder: ImportBuilder, folder: Path) -> None:
    """animation_mode; a video that is not here makes a still of it, since our settings must load."""
    mode = builder.take("animation_mode", "None")
    if nothing(mode):
        return
    path = builder.run.get("video_init_path")
    video = None if path is None else picture(str(path), folder)
    if mode == "Video Input" and video is None:
        why = "its video is not here; name it in video_init_path and write Video Input"
        builder.change("animation_mode", "None", why, old=mode)
        return
    builder.keep("animation_mode", mode)
    if mode == "Video Input":
        builder.run["video_init_path"] = video
        for key, name in {**OF_VIDEO, "skip_steps": "video_init_skip_steps"}.items():
            if key in builder.run and name not in builder.run:
                builder.change(name, builder.run.pop(key), f"Video Input has it in place of {key}")


def _is_usual(key: str, value: Any) -> bool:
    if (
        value is None
        or "no_effect" in facts_of(key)
        or (key == "video_init_path" and value in DEFAULT_VIDEOS)
    ):
        return True
    try:
        return bool(read_value(value, facts_of(key)) == Settings.model_fields[key].default)
    except ValueError:
        return False
