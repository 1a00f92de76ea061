"""Where an earlier frame comes from: the run itself, or the run that a range of frames goes on from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from disco.errors import InputError
from disco.media.images import from_uint8, read_pixels
from disco.runs.folder import RunFolder
from disco.runs.frames import FrameState, FrameStore
from disco.runs.names import RunNames, picture_name, run_of
from disco.runs.new_run import RerenderRequest
from disco.runs.resume import pixel_differences, resumable, saved_run
from disco.settings.frame import is_chained
from disco.settings.load import Run
from disco.settings.model import Settings


def needed_frames(settings: Settings, frames: Sequence[int]) -> list[int]:
    """Which earlier frames must be there before these can be rendered in order."""
    if not is_chained(settings):
        return []
    needed = {frame - 1 for frame in frames if frame > 0} - set(frames)
    is_matched = settings.color_coherence != "none" and settings.color_coherence_to == "first"
    if is_matched and frames and 0 not in frames:
        needed.add(0)
    return sorted(needed)


def load_frame(runs: Iterable[RunNames], frame: int) -> FrameState | None:
    """A frame of the first of these runs that has it: as floats, else from its PNG. Raises InputError."""
    for names in runs:
        state = FrameStore(names.state).load(frame)
        if state is not None:
            return state
        path = names.picture(frame)
        if path.is_file():
            return FrameState(frame, from_uint8(read_pixels(path)), exact=False)
    return None


def has_frame(names: RunNames, frame: int) -> bool:
    """Has a run this frame, in either form?"""
    return names.picture(frame).is_file() or frame in FrameStore(names.state).frames()


def range_source(
    run: Run, out: Path, images: Sequence[int] | None, again: RerenderRequest | None
) -> RunNames | None:
    """The run whose frames a range goes on from; None if it needs none.

    That of the finished picture, or the newest run of the batch with these settings that has the frames.
    Raises InputError, which says what to do, if there is none.
    """
    frames = list(again.batch) if again is not None else list(images or ())
    needed = needed_frames(run.settings, frames)
    if not needed:
        return None
    listed = ", ".join(map(str, needed))
    if again is not None:
        names = names_of(again.path)
        if names is not None and all(has_frame(names, frame) for frame in needed):
            return names
        raise InputError(
            f"{again.path}: frame {again.picture} starts from frame {listed}, which is not beside it. "
            "Put its picture there under its own name, or render the animation from its settings"
        )
    name = run.settings.batch_name
    for summary in reversed(resumable(out, name)):
        folder = RunFolder(out / name, name, summary.run)
        if all(has_frame(folder.names, frame) for frame in needed) and not pixel_differences(
            run, saved_run(folder.info, str(folder.names.settings))
        ):
            return folder.names
    raise InputError(
        f"--images: frame {frames[0]} starts from frame {listed}, and no run of {name} in {out} with these "
        f"settings has it. Render the frames before it first: --images 0-{frames[-1]}, or without --images"
    )


def seed_of(names: RunNames) -> int:
    """The seed of a run, for frames that go on from it."""
    return int(RunFolder(names.folder, names.batch_name, names.run).info["seed"])


def names_of(path: Path | None) -> RunNames | None:
    """The run that a picture belongs to, by its file's name."""
    parts = run_of(picture_name(path.name)) if path is not None else None
    return RunNames(path.parent, parts[0], parts[1]) if path is not None and parts else None
