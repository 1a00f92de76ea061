"""--plan for animations: how many frames, which of them are rendered, and the room that they need."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from disco.animation.turbo import turbo_of
from disco.runs.inputs import find_input
from disco.settings.frame import executed, is_chained
from disco.settings.load import Run
from disco.settings.model import Settings
from disco.weights.fetch import readable_size

_PNG_SHARE = 0.65  # of the bytes of raw pixels that a PNG of such pictures takes


def count_video_frames(run: Run) -> int | None:
    """How many frames of its video a run would use, max_frames apart; None without one.

    The mask video, if there is one, is read too. Raises InputError for either.
    """
    path = run.settings.video_init_path
    if run.settings.animation_mode != "Video Input" or path is None:
        return None
    if run.settings.video_mask_path is not None:
        _frames_of(run.settings.video_mask_path, run)
    return _frames_of(path, run)


def _frames_of(path: str, run: Run) -> int:
    from disco.animation.video import open_video

    with tempfile.TemporaryDirectory() as folder:  # small frames, which nobody looks at
        found = find_input(path, run.base_dirs)
        video = open_video(found, nth=run.settings.extract_nth_frame, size=(16, 16), cache_dir=Path(folder))
        return len(video)


def frame_lines(settings: Settings, frames: Sequence[int], in_video: int | None) -> Iterator[str]:
    """What stands under `animation`."""
    turbo = turbo_of(settings)
    rendered = [frame for frame in frames if turbo is None or turbo.is_rendered(frame)]
    yield f"{settings.animation_mode}: {len(frames)} frames, {_span(frames)}"
    if in_video is not None:
        nth = settings.extract_nth_frame
        used = f"1 frame in {nth}" if nth > 1 else "every frame"
        found = f"{in_video} frames found ({used})"
        yield f"{settings.video_init_path}: {found}, max_frames is {settings.max_frames}"
    if turbo is not None:
        yield f"turbo renders {len(rendered)}; {len(frames) - len(rendered)} are moved and blended"
    if not is_chained(settings):
        yield "no frame starts from another"
    yield "about " + readable_size(disk(settings, len(frames))) + " on disk"


def steps_line(settings: Settings, frames: Sequence[int]) -> str:
    """What stands under `steps`."""
    turbo = turbo_of(settings)
    first, later = executed(settings, 0), executed(settings, 1)
    rendered = [frame for frame in frames if turbo is None or turbo.is_rendered(frame)]
    work = sum(first if frame == 0 else later for frame in rendered)
    return f"{first} for frame 0, {later} for each later one: {work} in all"


def disk(settings: Settings, n_frames: int) -> int:
    """Bytes for the frames, their eyes, the frames of a video, and what is kept for a resume."""
    width, height = settings.width_height
    raw = width * height * 3
    kinds = 1 + (2 if settings.vr_mode else 0) + (1 if settings.animation_mode == "Video Input" else 0)
    states = 3 * 4 * raw * (2 if settings.turbo_mode else 1)
    return int(n_frames * kinds * raw * _PNG_SHARE) + states


def _span(frames: Sequence[int]) -> str:
    return f"{frames[0]} to {frames[-1]}" if len(frames) > 1 else f"number {frames[0]}"
