"""How a run is announced, and what it leaves at its end: contact sheet, status, report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from disco.again import check_inputs
from disco.events import Event, Notice, RunFinished, RunStarted
from disco.jobs import Job
from disco.settings.frame import executed
from disco.settings.model import picture_count
from disco.sheets import write_sheet


@dataclass
class Tally:
    """What the report counts."""

    seconds: float = 0.0
    steps: int = 0
    previews: int = 0
    checkpoints: int = 0
    partials: int = 0
    nan_steps: Tensor | None = None
    stopped: bool = False


def keep_inputs(job: Job, inputs: Mapping[str, str]) -> None:
    """A run goes on with the pictures and videos that it began with. Raises InputError."""
    was = job.folder.info.get("inputs")
    if was is None:
        job.folder.update_info(inputs=dict(inputs))
    else:
        check_inputs(was, inputs, "start a new run without --resume and resume_run")


def announced(job: Job) -> Iterator[Event]:
    """What is said before anything is loaded."""
    yield RunStarted(
        folder=job.folder.folder,
        run=job.folder.run,
        settings_path=job.folder.names.settings,
        pictures=tuple(sorted(job.wanted)),
        steps=executed(job.run.settings, min(job.wanted)),
        notices=job.run.notices,
        resumed=job.resumed,
    )
    for path in job.moved:
        yield Notice(f"moved to {path}")


def finished(job: Job, tally: Tally, seconds: float, where: Mapping[str, Any]) -> RunFinished:
    """Write the sheet, unless the run was stopped, and the status. where: device and memory, as reported."""
    settings = job.run.settings
    grid = None if tally.stopped else write_sheet(job.folder)
    job.folder.mark("interrupted" if tally.stopped else "finished")
    report = {
        "run": job.folder.run,
        "seed": job.seed,
        "pictures": len(job.folder.finished_pictures()),
        "of": picture_count(settings),
        "batches": len(job.groups),
        "seconds": round(seconds, 2),
        "seconds_per_step": round(tally.seconds / tally.steps, 4) if tally.steps else None,
        "steps": tally.steps,
        "checkpoints": tally.checkpoints,
        "previews": tally.previews,
        "partials": tally.partials,
        "nan_steps": 0 if tally.nan_steps is None else int(tally.nan_steps),
        "deterministic": settings.deterministic,
        "clip_batch": settings.clip_batch,
        **where,
        "resumed": job.resumed,
        "notices": list(job.run.notices),
    }
    job.folder.write_status({"state": "interrupted" if tally.stopped else "finished", **report})
    return RunFinished(report, grid, tally.stopped)
