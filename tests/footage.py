"""Frames on disk, and what a video file shows, for the tests of videos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageSequence

from disco.media.ffmpeg_read import Pixels, read_frames
from disco.media.images import png_bytes
from disco.runs.names import RunNames

COLOURS = ((200, 40, 40), (40, 200, 40), (40, 40, 200), (200, 200, 40), (40, 200, 200))


def plain(colour: Sequence[int], size: tuple[int, int] = (32, 32)) -> Pixels:
    """size: (width, height)."""
    return np.broadcast_to(np.array(colour, np.uint8), (size[1], size[0], 3)).copy()


def metadata(frame: int, **settings: Any) -> dict[str, Any]:
    """As much of a picture's metadata as a video looks at."""
    known = {"animation_mode": "2D", "text_prompts": {"0": ["a lake"]}, "steps": 4, **settings}
    return {"format": 1, "settings": known, "seed": 5, "picture": frame, "batch": [frame]}


def make_run(
    folder: Path,
    frames: Sequence[int] = range(5),
    *,
    run: int = 0,
    size: tuple[int, int] = (32, 32),
    **settings: Any,
) -> RunNames:
    """Frame k has COLOURS[k % 5] all over."""
    folder.mkdir(parents=True, exist_ok=True)
    names = RunNames(folder, folder.name, run)
    for frame in frames:
        png = png_bytes(plain(COLOURS[frame % 5], size), metadata(frame, **settings))
        names.picture(frame).write_bytes(png)
    return names


def shown(path: Path) -> list[Pixels]:
    """All frames of a video file."""
    if path.suffix in (".mp4", ".webm"):
        return list(read_frames(path))
    with Image.open(path) as file:
        return [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(file)]


def means(path: Path) -> list[tuple[int, ...]]:
    """The mean colour of each frame, rounded to tens."""
    return [
        tuple(int(round(value, -1)) for value in pixels.reshape(-1, 3).mean(axis=0)) for pixels in shown(path)
    ]
