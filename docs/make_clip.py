"""Draws settings/clips/sunrise.gif: a sun that rises while hills pass by. python docs/make_clip.py"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

TARGET = Path(__file__).parent.parent / "settings" / "clips" / "sunrise.gif"
WIDTH, HEIGHT, FRAMES = 128, 96, 24


def frame(t: float) -> np.ndarray:
    """The picture at time t, 0..1, [HEIGHT, WIDTH, 3] uint8."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(float)
    dusk, day = np.array([70, 40, 90.0]), np.array([250, 190, 130.0])
    high = (y / HEIGHT)[..., None]
    picture = (dusk * (1 - t) + np.array([90, 140, 210]) * t) * (1 - high) + day * high
    sun = np.hypot(x - 44 - 30 * t, y - 74 + 52 * t) < 12
    picture[sun] = (255, 225, 120)
    for depth, (speed, base, colour) in enumerate([(8, 58, (96, 84, 120)), (22, 70, (52, 66, 70))]):
        along = x + speed * t
        ridge = base - 9 * np.sin(along / 17 + 2 * depth) - 5 * np.sin(along / 7 + depth)
        picture[y > ridge] = colour
    return picture.round().clip(0, 255).astype(np.uint8)


def main() -> None:
    """Write the file, with one palette for all frames."""
    TARGET.parent.mkdir(exist_ok=True)
    pictures = [Image.fromarray(frame(k / (FRAMES - 1))) for k in range(FRAMES)]
    palette = Image.fromarray(np.concatenate([np.asarray(p) for p in pictures[::6]])).quantize(48)
    few = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    few[0].save(TARGET, save_all=True, append_images=few[1:], duration=80, loop=0, optimize=True)
    print(TARGET, TARGET.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
