"""The events at the start and the end of a run; its contact sheet, video, status and report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from disco.errors import DiscoError, InputError, RunError
from disco.events import Event, Notice, RunFinished, RunStarted, VideoProgress
from disco.media.images import contact_sheet, png_bytes, read_pixels
from disco.runs.folder import RunFolder
from disco.runs.new_run import Job, check_inputs
from disco.settings.frame import executed
from disco.settings.model import Settings, is_animation, picture_count


@dataclass
class RunStats:
    """What the report counts. notices: what was said while the run went on."""

    seconds: float = 0.0
    steps: int = 0
    previews: int = 0
    checkpoints: int = 0
    partials: int = 0
    nan_steps: Tensor | None = None
    stopped: bool = False
    notices: list[str] = field(default_factory=list)

    def note(self, event: Event) -> Event:
        """Keep what is said for the report, where it can be read if nobody heard it."""
        if isinstance(event, Notice):
            self.notices.append(event.text)
        return event


def keep_inputs(job: Job, inputs: Mapping[str, str]) -> None:
    """A run goes on with the pictures and videos that it began with. Raises InputError."""
    was = job.folder.info.get("inputs")
    if was is None:
        job.folder.update_info(inputs=dict(inputs))
    else:
        check_inputs(was, inputs, "start a new run without --resume and resume_run")


def announced(job: Job) -> Iterator[Event]:
    """The events before anything is loaded."""
    yield RunStarted(
        folder=job.folder.folder,
        run=job.folder.run,
        settings_path=job.folder.names.settings,
        pictures=job.pictures,
        steps=executed(job.run.settings, job.pictures[0]),
        notices=job.run.notices,
        resumed=job.resumed,
    )
    for path in job.moved:
        yield Notice(f"moved to {path}")


def finished(job: Job, stats: RunStats, seconds: float, machine: Mapping[str, Any]) -> RunFinished:
    """Write the sheet, unless the run was stopped, and the status. machine: device and memory."""
    settings = job.run.settings
    grid = None if stats.stopped else write_sheet(job.folder)
    job.folder.mark("interrupted" if stats.stopped else "finished")
    report = {
        "run": job.folder.run,
        "seed": job.seed,
        "pictures": len(job.folder.finished_pictures()),
        "of": picture_count(settings),
        "batches": len(job.groups),
        "seconds": round(seconds, 2),
        "seconds_per_step": round(stats.seconds / stats.steps, 4) if stats.steps else None,
        "steps": stats.steps,
        "checkpoints": stats.checkpoints,
        "previews": stats.previews,
        "partials": stats.partials,
        "nan_steps": 0 if stats.nan_steps is None else int(stats.nan_steps),
        "deterministic": settings.deterministic,
        "clip_batch": settings.clip_batch,
        **machine,
        "resumed": job.resumed,
        "notices": [*job.run.notices, *stats.notices],
    }
    job.folder.write_status({"state": "interrupted" if stats.stopped else "finished", **report})
    return RunFinished(report, grid, stats.stopped)


@contextmanager
def failure_noted(folder: RunFolder) -> Iterator[None]:
    """Write the error that ends a run into its status, where it can be read if nobody saw it."""
    try:
        yield
    except DiscoError as error:
        with suppress(RunError):  # a full disk, say: that is the error
            folder.write_status({"state": "failed", "error": str(error)})
        raise


MOST_ON_A_SHEET = 100


def write_sheet(folder: RunFolder) -> Path | None:
    """All pictures of the run side by side, a hundred at most, the first ones of stills and evenly chosen
    frames of an animation; None, and no file, for fewer than two.


    A sheet from before the run was extended moves to retained/. Raises RunError.
    """
    shown = sorted(folder.finished_pictures())
    if folder.info.get("settings", {}).get("animation_mode", "None") != "None":
        n = min(MOST_ON_A_SHEET, len(shown))
        shown = [shown[k * len(shown) // n] for k in range(n)]
    shown = shown[:MOST_ON_A_SHEET]
    if len(shown) < 2:
        return None
    return folder.save_grid(png_bytes(contact_sheet([read_pixels(folder.names.picture(k)) for k in shown])))


def film(folder: RunFolder, settings: Settings) -> Iterator[VideoProgress | Notice]:
    """make_video: its progress, and a sentence for each video, or why there is none. Raises RunError."""
    if not settings.make_video or not is_animation(settings) or folder.info.get("again"):
        return
    from disco.runs.video import write_run_videos  # OpenCV is loaded only when a video is wanted

    try:
        yield from write_run_videos(folder.names, settings)
    except InputError as error:  # the frames are there all the same: some of a range, say
        yield Notice(f"no video: {error}")


def write_videos(folder: RunFolder, settings: Settings) -> list[str]:
    """film() at once; returns its sentences."""
    return [event.text for event in film(folder, settings) if isinstance(event, Notice)]
