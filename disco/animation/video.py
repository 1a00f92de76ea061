"""The frames of a video or of a folder of pictures, kept on disk as PNGs of the size to be rendered."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from disco.errors import InputError, RunError
from disco.files.atomic import clean_temporaries, disk_errors, replace
from disco.files.urls import is_url
from disco.media.ffmpeg_read import NO_FRAMES, Pixels, Probe, probe, read_frames
from disco.media.images import check_png, from_uint8, load_picture, png_bytes, read_pixels, resize_lanczos
from disco.settings.methods import original_name
from disco.weights.local import hash_file

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
_INDEX = "frames.json"
_FORM = 1  # of the cache: another one is made anew


@dataclass(frozen=True)
class VideoFrames:
    """Frames of one size, in `folder`. fps: of these frames, None for a folder of pictures.

    digest: SHA-256 of the file, or of the pictures in their order.
    """

    folder: Path
    count: int
    fps: float | None
    digest: str

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, frame: int) -> Tensor:
        """Frame 0, 1, ...: [1, 3, H, W] float32 in [-1, 1]. Raises IndexError, RunError."""
        if not 0 <= frame < self.count:
            raise IndexError(f"frame {frame} of {self.count}")
        path = self.folder / _name(frame)
        try:
            return from_uint8(read_pixels(path))
        except InputError as error:
            raise RunError(
                f"{path}: damaged since the run began. Run again: it is extracted anew."
            ) from error


def open_video(
    path: str | Path,
    *,
    nth: int = 1,
    size: tuple[int, int],
    cache_dir: Path,
    most: int | None = None,
    paper: str = "white",
) -> VideoFrames:
    """Frames 0, nth, 2 * nth, ... of a video file, an animated GIF or a folder of pictures in natural order.

    size: (width, height) to resize to, Lanczos, whatever the shape, as the original. most: frames to take at
    most. paper: the colour on which transparent parts of a folder's pictures lie. The frames are kept under
    `cache_dir` in a folder named by content, nth, size and paper, and taken from there the next time; what is
    missing or damaged in it is made anew.
    Raises InputError: missing, no video, sound only, no frames, damaged, nth larger than the clip, pictures
    of differing sizes; RunError if the cache cannot be written.
    """
    if nth < 1:
        raise ValueError(f"nth is {nth}; allowed are numbers from 1")
    if is_url(str(path)):
        raise InputError(f"{path}: a web address; only local videos can be read. Download it first.")
    source = _open(Path(os.path.expanduser(path)), paper)
    on_paper = "" if paper == "white" else f"-{paper}"
    folder = Path(cache_dir) / f"{source.digest[:16]}-{nth}-{size[0]}x{size[1]}{on_paper}"
    index = _kept(folder, source.digest, most)
    if index is None:
        index = _keep(folder, source, nth, size, most)
    count = index["count"] if most is None else min(index["count"], most)
    fps = index["fps"] / nth if index["fps"] else None
    return VideoFrames(folder, count, fps, source.digest)


@dataclass(frozen=True)
class _Clip:
    path: Path
    head: Probe
    digest: str

    def fps(self) -> float | None:
        return self.head.fps

    def frames(self, nth: int) -> Generator[Pixels, None, None]:
        """Every nth of its frames. Raises InputError if there is none, or not even nth."""
        count = 0
        with closing(read_frames(self.path, is_old=self.head.is_old)) as frames:
            for count, pixels in enumerate(frames, 1):
                if (count - 1) % nth == 0:
                    yield pixels
        _check_count(self.path, count, nth)


@dataclass(frozen=True)
class _Folder:
    path: Path
    digest: str
    pictures: Sequence[Path]
    paper: str

    def fps(self) -> None:
        return None

    def frames(self, nth: int) -> Generator[Pixels, None, None]:
        """Every nth of its pictures. Raises InputError if their sizes differ, or there are less than nth."""
        _check_count(self.path, len(self.pictures), nth)
        first: Pixels | None = None
        for path in self.pictures[::nth]:
            unit = load_picture(str(path.absolute()), paper=self.paper).tensor.add(1).mul(127.5).round()
            pixels: Pixels = unit.byte()[0].permute(1, 2, 0).numpy()
            first = pixels if first is None else first
            if pixels.shape != first.shape:
                raise InputError(
                    f"{path}: its size is {_size(pixels)}, that of {self.pictures[0].name} {_size(first)}. "
                    "The pictures of a folder are the frames of one video: give them one size."
                )
            yield pixels


def _open(path: Path, paper: str) -> _Clip | _Folder:
    """What lies at the path, its content hashed."""
    try:
        if path.is_dir():
            return _open_folder(path, paper)
        if not path.exists():
            raise InputError(f"{path}: no such video. Check the path; a folder of pictures will do too.")
        if not path.is_file():
            raise InputError(f"{path}: a device, not a file. Give a video or a folder of pictures.")
        return _Clip(path, probe(path), hash_file(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}.") from error


def _open_folder(path: Path, paper: str) -> _Folder:
    pictures = pictures_in(path)
    digest = hashlib.sha256()
    for picture in pictures:
        digest.update(bytes.fromhex(hash_file(picture)))
    return _Folder(path, digest.hexdigest(), pictures, paper)


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder in the natural order of their names, without enlarged copies of them.

    Raises InputError if there are none.
    """
    files = [file for file in folder.iterdir() if file.is_file() and not file.name.startswith(".")]
    names = {file.name for file in files}
    pictures = sorted(
        (
            file
            for file in files
            if file.suffix.lower() in ENDINGS and original_name(file.name) not in names - {file.name}
        ),
        key=_natural,
    )
    if not pictures:
        held = f"it holds {len(files)} other files, such as {min(files).name}" if files else "it is empty"
        raise InputError(
            f"{folder}: a folder without pictures: {held}. "
            f"Give a video file, or a folder of {' '.join(ENDINGS)}."
        )
    return pictures


def _natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    """frame2 before frame10, whatever the case of letters."""
    parts = re.findall(r"\d+|\D+", path.name.lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], path.name


def _check_count(path: Path, count: int, nth: int) -> None:
    if count == 0:
        raise InputError(f"{path}: {NO_FRAMES}")
    if nth > count:
        raise InputError(
            f"{path}: extract_nth_frame: {nth} is more than the {count} frames there are. "
            f"Give 1 to use all of them, at most {count}."
        )


def _keep(
    folder: Path, source: _Clip | _Folder, nth: int, size: tuple[int, int], most: int | None
) -> dict[str, Any]:
    """Write the frames, then the index that says they are all there."""
    fps = source.fps()
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    clean_temporaries(folder)
    count = 0
    with closing(source.frames(nth)) as frames:
        for count, pixels in enumerate(islice(frames, most), 1):
            resized = np.asarray(resize_lanczos(pixels, size))
            replace(folder / _name(count - 1), png_bytes(resized), durable=False)
    whole = most is None or count < most
    index = {"form": _FORM, "digest": source.digest, "count": count, "whole": whole, "fps": fps}
    replace(folder / _INDEX, json.dumps(index).encode())
    return index


def _kept(folder: Path, digest: str, most: int | None) -> dict[str, Any] | None:
    """The index of a cache that has all frames asked for, each of them whole; else None."""
    try:
        index: Any = json.loads((folder / _INDEX).read_bytes())
        if (index["form"], index["digest"]) != (_FORM, digest):
            return None
        count = index["count"]
        if not index["whole"] and (most is None or most > count):
            return None
        for frame in range(count if most is None else min(most, count)):
            check_png(folder / _name(frame))
    except (OSError, ValueError, TypeError, KeyError, InputError):
        return None
    return dict(index)


def _name(frame: int) -> str:
    return f"{frame:06}.png"


def _size(pixels: Pixels) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"
