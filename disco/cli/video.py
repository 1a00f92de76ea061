"""The verbs of the command line that make videos of finished pictures: video, timelapse."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from disco.cli.parser import Parser
from disco.cli.streams import is_terminal
from disco.errors import InputError
from disco.files.paths import path_argument, shell_quoted
from disco.settings.animation import VideoOutSettings

if TYPE_CHECKING:
    from disco.runs.footage import VideoSource
    from disco.runs.video import VideoForm

_OFFERED = ("h264", "vp9", "gif", "webp")
_HOLD = 2.0  # seconds that a timelapse stays at its end
_TIMELAPSE_FPS = 8.0


def video(words: Sequence[str]) -> int:
    """Make a video of a run's frames, by default as its settings say, or of any folder of pictures."""
    parser = Parser(prog="run.py video", description=video.__doc__, allow_abbrev=False)
    add = parser.add_argument
    add(
        "source",
        type=path_argument,
        metavar="FOLDER",
        help="images_out/NAME, a run's settings file, or any folder",
    )
    add("--run", type=int, metavar="N", help="this run of the batch; default: the newest with pictures")
    _add_form(parser)
    add("--blend", choices=("none", "linear", "flow"), help="mix each frame with the one before it")
    add(
        "--loop",
        action=argparse.BooleanOptionalAction,
        help="GIF and WebP repeat forever; MP4 and WebM play forward and backward",
    )
    add("--first", type=int, metavar="K", help="first frame")
    add("--last", type=int, metavar="K", help="last frame")
    add(
        "--vr",
        choices=("left", "right", "side-by-side"),
        help="pictures of one eye or both, of a run with vr_mode",
    )
    options = parser.parse_args(words)
    source, form = _source(options)
    chosen = {"blend": options.blend, "loop": options.loop}
    form = replace(form, **{key: value for key, value in chosen.items() if value is not None})
    return _write(source, form, options)


def timelapse(words: Sequence[str]) -> int:
    """Make a time-lapse video of one picture, from the partials that intermediate_saves kept."""
    parser = Parser(prog="run.py timelapse", description=timelapse.__doc__, allow_abbrev=False)
    parser.add_argument(
        "picture", type=path_argument, metavar="PICTURE.png", help="a finished picture of a run"
    )
    _add_form(parser)
    options = parser.parse_args(words)
    from disco.runs.footage import partials_footage
    from disco.runs.video import VideoForm

    source = partials_footage(options.picture)
    return _write(source, VideoForm(fps=_TIMELAPSE_FPS, hold=_HOLD), options)


def _add_form(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--fps", type=_rate, metavar="24", help="frames per second")
    add("--codec", choices=_OFFERED, help="default: by the ending of --out, else h264")
    add(
        "--out",
        type=path_argument,
        metavar="FILE",
        help="output file; an existing file is kept, the new one gets a number",
    )
    add("--quiet", action="store_true", help="no progress bar")


def _rate(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}: write a number of frames per second, like 24")
    return number


def _source(options: argparse.Namespace) -> tuple[VideoSource, VideoForm]:
    from disco.runs.footage import find_run, folder_footage, run_footage, saved_values
    from disco.runs.video import form_of

    names = find_run(options.source, options.run)
    frames: dict[str, Any] = {"first": options.first, "last": options.last}
    if names is not None:
        pictures = list(names.pictures_there().values())
        values = saved_values(pictures[-1]) if pictures else {}
        settings = _settings(values, names.prefix)
        source = run_footage(names, settings, eyes=options.vr or "", **frames)
        return source, form_of(settings, values.get("animation_mode", "None"))
    if options.vr:
        raise InputError(f"--vr: {options.source} has no run with pictures of each eye, name(0)_0000_l.png")
    return folder_footage(options.source, **frames), form_of(VideoOutSettings(), "None")


def _settings(values: Mapping[str, Any], name: str) -> VideoOutSettings:
    """The settings of a video file, of the values that a picture carries. Raises InputError."""
    known = {key: values[key] for key in VideoOutSettings.model_fields if key in values}
    try:
        return VideoOutSettings(**known)
    except ValueError as error:
        raise InputError(
            f"{name}: its pictures carry video settings that this version does not know. "
            "Use the version of Disco that wrote them."
        ) from error


def _write(source: VideoSource, form: VideoForm, options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from disco.media.ffmpeg_write import CODECS
    from disco.runs.video import write_video

    by_ending = {codec.ending: name for name, codec in CODECS.items()}
    target: Path | None = options.out
    codec = options.codec or form.codec
    if target is not None:
        codec = options.codec or by_ending.get(target.suffix.lower(), codec)
        target = _target(target, codec, by_ending)
    form = replace(form, codec=codec, fps=options.fps or form.fps)
    bars: list[tqdm[Any]] = []  # one, made with the first frame: an error before it shows no bar

    def progress(done: int, total: int) -> None:
        if not bars:
            is_hidden = options.quiet or not is_terminal(sys.stderr)
            bars.append(tqdm(desc="video", unit="frame", file=sys.stderr, disable=is_hidden, total=total))
        bars[0].update(done - bars[0].n)

    try:
        path = write_video(source, form, target=target, progress=progress)
    finally:
        for bar in bars:
            bar.close()
    print(shell_quoted(path) if is_terminal(sys.stdout) else path)
    return 0


def _target(out: Path, codec: str, by_ending: dict[str, Any]) -> Path:
    """--out with the ending of the codec. Raises InputError for the ending of another one."""
    ending = next(ending for ending, name in by_ending.items() if name == codec)
    if os.path.isdir(out):
        raise InputError(f"--out: {out}: a folder. Give the name of a file, like {out / ('video' + ending)}")
    if out.suffix.lower() != ending:
        raise InputError(f"--out: {out}: a {codec} video ends in {ending}. Change it, or --codec.")
    return out


VERBS: dict[str, Callable[[Sequence[str]], int]] = {"video": video, "timelapse": timelapse}
