"""What a video is made of: the frames of a run, the pictures of a folder, or the partials of one picture."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from disco.animation.video import ENDINGS, pictures_in
from disco.errors import InputError, closest
from disco.files.paths import shell_quoted
from disco.media.png import check_png, read_metadata
from disco.runs.names import RunNames, names_in, run_of, upscaled_path
from disco.runs.record import check_metadata
from disco.settings.animation import VideoOutSettings

FrameFiles: TypeAlias = tuple[Path, ...]  # one frame: a picture, or several side by side
Eyes = Literal["", "left", "right", "side-by-side"]
_SIDES: Mapping[str, tuple[str, ...]] = {"left": ("l",), "right": ("r",), "side-by-side": ("l", "r")}


@dataclass(frozen=True)
class VideoSource:
    """shots: in order; target: the video's path without its ending."""

    shots: tuple[FrameFiles, ...]
    target: Path


def find_run(source: Path, run: int | None = None) -> RunNames | None:
    """The run that a path means: by its settings file, or the newest with pictures of a batch's folder.

    run: its number instead. None if the path is a folder of other pictures. Raises InputError: no such
    path, another kind of file, no such run, runs of several batches.
    """
    if not os.path.exists(source):
        near = closest(source.name, names_in(source.parent)) if os.path.isdir(source.parent) else None
        hint = f"Did you mean {source.with_name(near)}?" if near else "Check the path."
        raise InputError(f"{source}: no such folder. {hint}")
    if not os.path.isdir(source):
        return _by_settings(source, run)
    try:
        os.listdir(source)
    except OSError as error:
        raise InputError(f"{source}: cannot be read: {error.strerror}.") from error
    batches = _batches(source)
    name = source.resolve().name
    if not batches:
        if run is not None or (source / ".state").is_dir():
            which = "a run" if run is None else f"run {run}"
            raise InputError(f"{source}: no pictures of {which} in it. Render some first.")
        return None
    if name not in batches and len(batches) > 1:
        raise InputError(
            f"{source}: runs of several batches in it: {', '.join(sorted(batches))}. "
            "Give the settings file of one of the runs."
        )
    runs = sorted(batches.get(name) or next(iter(batches.values())))
    batch_name = name if name in batches else next(iter(batches))
    if run is not None and run not in runs:
        raise InputError(f"{source}: no pictures of run {run} in it. Runs here: {spans(runs)}.")
    return RunNames(source, batch_name, runs[-1] if run is None else run)


def run_footage(
    names: RunNames,
    settings: VideoOutSettings,
    *,
    eyes: Eyes = "",
    first: int | None = None,
    last: int | None = None,
) -> VideoSource:
    """The frames of a run, in order. first, last: in place of the settings' init_frame and last_frame.

    eyes: what an eye sees in place of the frame itself. Raises InputError: no frames, none with that number,
    some missing in between.
    """
    shots = _shots(names, eyes)
    there = list(shots)
    for option, value in (("--first", first), ("--last", last)):
        if value is not None and not there[0] <= value <= there[-1]:
            raise InputError(f"{option}: {value}: run {names.run} has frames {spans(there)}")
    from_frame = max(there[0], settings.init_frame) if first is None else first
    until = there[-1] if last is None else last
    if last is None and isinstance(settings.last_frame, int):
        until = min(until, settings.last_frame)
    if until < from_frame:
        raise InputError(
            f"no frames from {from_frame} to {until}: run {names.run} has frames {spans(there)}. "
            "Choose others with --first and --last."
        )
    missing = [frame for frame in range(from_frame, until + 1) if frame not in shots]
    if missing:
        raise InputError(
            f"{names.folder}: frames of run {names.run} are missing: {spans(missing)}. Render them, or "
            "choose a part without gaps by --first and --last."
        )
    what = "video" if not eyes else "vr" if eyes == "side-by-side" else eyes
    return VideoSource(tuple(shots[k] for k in range(from_frame, until + 1)), names.video("", what))


def as_upscaled(source: VideoSource, upscale: str) -> VideoSource:
    """The same frames enlarged, if all of them are there enlarged. upscale: none, x2 or x4."""
    shots = tuple(tuple(upscaled_path(path, upscale) for path in shot) for shot in source.shots)
    there = upscale != "none" and all(path.exists() for shot in shots for path in shot)
    return replace(source, shots=shots) if there else source


def folder_footage(folder: Path, *, first: int | None = None, last: int | None = None) -> VideoSource:
    """All pictures of any folder, in the natural order of their names. first, last: by place, from 0."""
    if not any(Path(name).suffix.lower() in ENDINGS for name in names_in(folder)):
        batch = next(
            (inner for inner in sorted(folder.iterdir()) if inner.is_dir() and _batches(inner)), None
        )
        like = f", like {batch}" if batch else ""
        raise InputError(
            f"{folder}: no pictures in it. Give a batch's folder{like}, or any folder of pictures."
        )
    pictures = pictures_in(folder)
    for option, value in (("--first", first), ("--last", last)):
        if value is not None and not 0 <= value < len(pictures):
            raise InputError(f"{option}: {value}: {folder} has pictures 0 to {len(pictures) - 1}")
    start, end = first or 0, len(pictures) if last is None else last + 1
    if end <= start:
        raise InputError(f"--last: {last} is before --first: {first}")
    return VideoSource(tuple((path,) for path in pictures[start:end]), folder / folder.resolve().name)


def partials_footage(picture: Path) -> VideoSource:
    """The partials of a finished picture, noisiest first, then the picture. Raises InputError if none."""
    parts = run_of(picture.name)
    if parts is None:
        partial = re.fullmatch(r"(.+\(\d+\)_\d{4,})-(\d+%|\d{3,})\.png", picture.name, re.DOTALL)
        advice = f"Give {partial[1]}.png" if partial else "Give one as the run named it: name(0)_0000.png"
        what = "a partial" if partial else "not named as a finished picture of a run"
        raise InputError(f"{picture}: {what}. {advice}.")
    check_png(picture)
    names = RunNames(picture.parent, *parts[:2])
    partials = names.partials_there(parts[2])
    if not partials:
        raise InputError(
            f"{picture}: no partials of it, here or in {names.partials}. intermediate_saves makes them: "
            f"render it again by python run.py {shell_quoted(picture)} --set intermediate_saves=20"
        )
    shots = tuple((path,) for path in (*_in_order(partials), picture))
    return VideoSource(shots, names.video("", f"{parts[2]:04}_timelapse"))


def saved_values(picture: Path) -> dict[str, Any]:
    """The settings and the seed that a picture carries; none if it is not one of ours."""
    try:
        metadata = read_metadata(picture)
        check_metadata(metadata, str(picture))
    except InputError:
        return {}
    return {**metadata["settings"], "set_seed": metadata["seed"]}


def spans(numbers: Iterable[int]) -> str:
    """[3, 7, 8, 9] -> "3, 7-9"; of many the first five spans, and dots."""
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and number == ranges[-1][-1] + 1:
            ranges[-1] = [ranges[-1][0], number]
        else:
            ranges.append([number])
    texts = ["-".join(map(str, span)) for span in ranges]
    return ", ".join(texts[:5]) + (" ..." if len(texts) > 5 else "")


def _by_settings(path: Path, run: int | None) -> RunNames:
    match = re.fullmatch(r"(.+)\((\d+)\)_settings\.(?:yaml|txt)", path.name, re.DOTALL)
    if match is None:
        raise InputError(
            f"{path}: neither a folder nor the settings file of a run, name(0)_settings.yaml. "
            "Give the batch's folder, or any folder of pictures."
        )
    if run not in (None, int(match[2])):
        raise InputError(f"--run: {run}: {path.name} is of run {match[2]}. Leave one of them out.")
    return RunNames(path.parent, match[1], int(match[2]))


def _batches(folder: Path) -> dict[str, set[int]]:
    """Which batches have pictures in a folder: name -> numbers of runs."""
    batches: dict[str, set[int]] = {}
    for parts in map(run_of, names_in(folder)):
        if parts is not None:
            batches.setdefault(parts[0], set()).add(parts[1])
    return batches


def _shots(names: RunNames, eyes: Eyes) -> dict[int, FrameFiles]:
    """Frame -> its pictures, at least one frame."""
    if not eyes:
        shots: dict[int, FrameFiles] = {frame: (path,) for frame, path in names.pictures_there().items()}
        lacking = f"no pictures of run {names.run} in it. Render some first"
    else:
        sides = [names.eyes_there(side) for side in _SIDES[eyes]]
        both = set(sides[0]).intersection(*sides)
        shots = {frame: tuple(side[frame] for side in sides) for frame in sorted(both)}
        lacking = f"run {names.run} has no pictures of each eye. vr_mode: true makes them, in 3D animations"
    if not shots:
        raise InputError(f"{names.folder}: {lacking}.")
    return shots


def _in_order(partials: Mapping[str, Path]) -> list[Path]:
    """By the number in the label; where percents and steps are mixed, by the step that each carries."""
    if len({label.endswith("%") for label in partials}) == 1:
        return [partials[label] for label in sorted(partials, key=lambda label: int(label.rstrip("%")))]
    return sorted(partials.values(), key=_step_of)


def _step_of(partial: Path) -> int:
    metadata = read_metadata(partial)
    check_metadata(metadata, str(partial))
    return metadata.get("partial") or 0
