"""Tiny videos for the tests, made by the ffmpeg that Disco reads them with."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np

from disco.media.ffmpeg_read import Pixels, executable

FPS = 12


def frame(k: int, width: int, height: int) -> Pixels:
    """Frame k of a clip: a slope in red, one in green, and 40 (k % 7) in blue."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = np.linspace(0, 255, width).astype(np.uint8)
    pixels[..., 1] = np.linspace(255, 0, height).astype(np.uint8)[:, None]
    pixels[..., 2] = 40 * (k % 7)
    return pixels


def make_clip(path: Path, *options: str, size: tuple[int, int] = (32, 32), count: int = 6) -> Path:
    """A clip of `count` frames; options: of ffmpeg, for the output. Lossless where the codec is."""
    width, height = size
    pictures = b"".join(frame(k, width, height).tobytes() for k in range(count))
    command = [executable(), "-y", "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += [
        "-video_size",
        f"{width}x{height}",
        "-framerate",
        str(FPS),
        "-i",
        "-",
        *options,
        f"file:{path}",
    ]
    subprocess.run(command, input=pictures, check=True)
    return path


def run_ffmpeg(*options: str) -> None:
    subprocess.run([executable(), "-y", "-v", "error", "-nostdin", *options], check=True)
