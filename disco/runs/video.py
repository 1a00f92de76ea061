"""Pictures -> one video file: whole or absent, and never in place of another."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from disco.animation.frame_blend import BlendMode, blended
from disco.errors import InputError
from disco.events import Notice, VideoProgress
from disco.files.atomic import check_writable, clean_temporaries, disk_errors, move_free, part_file
from disco.files.yaml_io import flow_yaml
from disco.media.ffmpeg_read import Pixels
from disco.media.ffmpeg_write import CODECS, CodecName, Encoder, check_encoder
from disco.media.images import load_picture
from disco.media.png import check_png, png_size
from disco.runs.footage import FrameFiles, VideoSource, as_upscaled, run_footage, saved_values
from disco.runs.names import RunNames
from disco.settings.animation import MOST_FPS, VideoOutSettings
from disco.settings.model import Settings, is_animation

Progress: TypeAlias = Callable[[int, int], None]
_SUMMARY = ("animation_mode", "text_prompts", "set_seed", "steps", "diffusion_model", "clip_models")
_MOST_COMMENT = 4000  # characters
_BLENDS: Mapping[str, BlendMode] = {"None": "none", "linear": "linear", "optical flow": "flow"}


@dataclass(frozen=True)
class VideoForm:
    """How a video is to be. amount: share of the frame before in a blend; hold: seconds that the end stays.

    loop: GIF and WebP repeat for ever; the other formats have no such flag and run forth and back.
    """

    fps: float = 12
    codec: CodecName = "h264"
    blend: BlendMode = "none"
    amount: float = 0.5
    loop: bool = False
    hold: float = 0


def form_of(settings: VideoOutSettings, animation_mode: str) -> VideoForm:
    """What the settings say; in Video Input under the original's name for the blend."""
    is_video = animation_mode == "Video Input"
    mode = _BLENDS[settings.video_init_blend_mode] if is_video else settings.video_blend
    return VideoForm(settings.fps, settings.video_codec, mode, settings.blend, settings.video_loop)


def check_video(settings: Settings) -> None:
    """Before a run: raises InputError if make_video could not be kept at its end."""
    if not settings.make_video or not is_animation(settings):
        return
    if settings.init_frame >= settings.max_frames:  # of a video, whose frames are counted by now
        last = settings.max_frames - 1
        raise InputError(f"init_frame: there is no frame {settings.init_frame}, the last is {last}")
    check_encoder(settings.video_codec)


def write_run_videos(names: RunNames, settings: Settings) -> Iterator[VideoProgress | Notice]:
    """make_video: the frames of a run as a video; with vr_mode a second one, of both eyes side by side.

    Yields each frame written, and where each video is. Raises InputError and RunError as `run_footage` and
    `write_video`.
    """
    form = form_of(settings, settings.animation_mode)
    footages = [run_footage(names, settings)]
    if settings.vr_mode:
        footages.append(run_footage(names, settings, eyes="side-by-side"))
    for footage in (as_upscaled(footage, settings.upscale) for footage in footages):
        path = yield from _written(footage, form)
        yield Notice(f"video: {path}")


def write_video(
    footage: VideoSource, form: VideoForm, *, target: Path | None = None, progress: Progress | None = None
) -> Path:
    """Write the video and return its path: `target`, or the next free one: name-2, name-3 ...

    target: in place of the footage's own, with the codec's ending. progress: called with the frames done and
    their number. Odd sides, which yuv420p cannot halve, grow by a row or column of edge pixels.
    Raises InputError: a rate or size that the format has not, pictures damaged or of differing sizes, no
    ffmpeg; RunError: the disk, or ffmpeg itself. No part of a file is left then.
    """
    writing = _written(footage, form, target)
    with closing(writing):
        while True:
            try:
                step = next(writing)
            except StopIteration as end:
                path: Path = end.value
                return path
            if progress is not None:
                progress(step.done, step.total)


def _written(
    footage: VideoSource, form: VideoForm, target: Path | None = None
) -> Generator[VideoProgress, None, Path]:
    """write_video, frame by frame. Closed before its end it leaves nothing, ffmpeg included."""
    codec = CODECS[form.codec]
    check_rate(form.fps, form.codec)
    first, size = _check_sizes(footage.shots, form.codec)
    target = target or footage.target.with_name(footage.target.name + codec.ending)
    with disk_errors(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        check_writable(target.parent)
    clean_temporaries(target.parent)
    shots = _as_shown(footage.shots, form)
    frames = blended(_pictures(shots, size, first), form.blend, form.amount)
    width, height = size[0] * len(shots[0]), size[1]
    if codec.is_yuv:
        width, height = width + width % 2, height + height % 2
    how: dict[str, Any] = {"loop": form.loop, "comment": summary(saved_values(footage.shots[-1][0]))}
    with part_file(target.parent) as part:
        with Encoder(part, form.codec, (width, height), form.fps, **how) as encoder:
            for done, frame in enumerate(frames, 1):
                encoder.write(_grown(_uint8(frame), width, height))
                yield VideoProgress(target.name, done, len(shots))
            encoder.finish()
        return move_free(part, target)


def check_rate(fps: float, codec: CodecName) -> None:
    """Raises InputError for a number of frames per second that the format cannot hold."""
    if not 0.1 <= fps <= MOST_FPS[codec]:
        raise InputError(
            f"fps: {fps:g}: a {codec} video has 0.1 to {MOST_FPS[codec]} frames per second. "
            "Choose another --fps, or another --codec."
        )


def summary(values: Mapping[str, Any]) -> str:
    """What made the frames, on one line, for the comment in the file; nothing where that is not known."""
    from disco import __version__

    known = {key: values[key] for key in _SUMMARY if key in values}
    return f"Disco {__version__}: {flow_yaml(known)}"[:_MOST_COMMENT] if known else ""


def _as_shown(shots: Sequence[FrameFiles], form: VideoForm) -> list[FrameFiles]:
    back = shots[-2:0:-1] if form.loop and CODECS[form.codec].repeats is None else ()
    shown = [*shots, *back]
    return shown + shown[-1:] * round(form.hold * form.fps)


def _check_sizes(shots: Sequence[FrameFiles], codec: CodecName) -> tuple[Path, tuple[int, int]]:
    """The first picture and (width, height) of all, by the heads of PNGs; other files come in their turn."""
    first = shots[0][0]
    size = png_size(first) if _is_png(first) else _size(_read(first))
    for path in (path for shot in shots for path in shot if _is_png(path)):
        _check_size(path, png_size(path), first, size)
    width, height, most = size[0] * len(shots[0]), size[1], CODECS[codec].most_side
    if max(width, height) > most:
        raise InputError(
            f"{first}: {width}x{height}: a {codec} video has at most {most} pixels a side. "
            "Choose another --codec."
        )
    return first, size


def _check_size(path: Path, size: tuple[int, int], first: Path, expected: tuple[int, int]) -> None:
    if size != expected:
        raise InputError(
            f"{path}: its size is {size[0]}x{size[1]}, that of {first.name} {expected[0]}x{expected[1]}. "
            "The frames of a video have one size: leave others out by --first and --last."
        )


def _pictures(shots: Sequence[FrameFiles], size: tuple[int, int], first: Path) -> Iterator[Tensor]:
    for shot in shots:
        parts = [_read(path) for path in shot]
        for path, part in zip(shot, parts, strict=True):
            _check_size(path, _size(part), first, size)
        yield torch.cat(parts, dim=3)


def _read(path: Path) -> Tensor:
    """[1, 3, H, W] in [-1, 1]. Raises InputError."""
    if _is_png(path):
        check_png(path)
    return load_picture(str(path.absolute())).tensor


def _is_png(path: Path) -> bool:
    return path.suffix.lower() == ".png"


def _size(frame: Tensor) -> tuple[int, int]:
    return frame.shape[3], frame.shape[2]


def _uint8(frame: Tensor) -> Pixels:
    """[1, 3, H, W] in [-1, 1] -> [H, W, 3], rounded: what came from a file is as it was."""
    unit = frame.add(1).mul(127.5).round().clamp(0, 255)
    pixels: Pixels = unit.byte()[0].permute(1, 2, 0).contiguous().numpy()
    return pixels


def _grown(pixels: Pixels, width: int, height: int) -> Pixels:
    below, right = height - pixels.shape[0], width - pixels.shape[1]
    return np.pad(pixels, ((0, below), (0, right), (0, 0)), mode="edge") if below or right else pixels
