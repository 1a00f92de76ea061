"""Animations so small that a test can render many: fake networks, 32x32 pixels, a few steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from disco.events import Event, PictureFinished
from disco.media.images import png_bytes
from tests.small_run import SMALL, events_of, small_networks

BASE: dict[str, Any] = {key: value for key, value in SMALL.items() if key != "n_batches"} | {
    "steps": 6,
    "max_frames": 4,
    "frames_skip_steps": "50%",
    "frames_scale": 100,
    "checkpoint_every": 1,
    "animation_mode": "2D",
}
ANIMATIONS: dict[str, dict[str, Any]] = {
    "2D": {"angle": "0: (5), 3: (-5)", "zoom": 1.1, "color_coherence": "LAB"},
    "3D": {
        "animation_mode": "3D",
        "midas_depth_model": "plane",
        "translation_z": 20,
        "rotation_3d_y": {"0": 0, "3": 2},
        "vr_mode": True,
    },
    "turbo": {
        "animation_mode": "3D",
        "midas_depth_model": "plane",
        "max_frames": 6,
        "turbo_mode": True,
        "turbo_steps": 3,
        "turbo_preroll": 1,
    },
    "video": {
        "animation_mode": "Video Input",
        "video_init_path": "clip",
        "extract_nth_frame": 1,
        "video_init_steps": 6,
        "video_init_skip_steps": 2,
        "video_init_frames_skip_steps": "50%",
        "video_init_check_consistency": True,
        "video_init_cutn_batches": 1,
    },
    "dd57": {"compat": "dd57", "zoom": 1, "translation_x": 3, "text_prompts": {"0": "red", "2": "blue"}},
}


def animation(kind: str, **values: Any) -> dict[str, Any]:
    """The settings of one of ANIMATIONS with others laid over them."""
    return BASE | ANIMATIONS[kind] | values


def write_clip(folder: Path, n: int = 4, size: int = 32) -> Path:
    """A folder of pictures: a soft blob that moves to the right."""
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(n):
        (folder / f"{k}.png").write_bytes(png_bytes(blob(8 + 3 * k, size)))
    return folder


def blob(x: float, size: int = 32) -> Tensor:
    """[3, size, size] in [-1, 1]: bright around (x, size / 2), on a dark gradient."""
    columns, rows = torch.arange(size)[None, :], torch.arange(size)[:, None]
    light = torch.exp(-((columns - x) ** 2 + (rows - size / 2) ** 2) / (2 * (size / 8) ** 2))
    return torch.stack([light, 0.7 * light, 0.3 * rows / size + 0 * light]) * 1.6 - 0.8


def frames_of(out: Path, settings: dict[str, Any], **how: Any) -> dict[int, Path]:
    """Render; frame -> its PNG, of the frames that were made."""
    how.setdefault("networks", small_networks())
    return {
        event.picture: event.path
        for event in animated(out, settings, **how)
        if isinstance(event, PictureFinished)
    }


def animated(out: Path, settings: dict[str, Any], **how: Any) -> list[Event]:
    """All events of an animation."""
    return list(events_of(out, settings, **how))


def mean_difference(a: np.ndarray, b: np.ndarray) -> float:
    """In levels of 255."""
    return float(np.abs(a.astype(float) - b.astype(float)).mean())
