"""The runs of one command, in order, each new or resumed; the labelled grid of a sweep."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from disco.errors import ResumeError
from disco.media.images import contact_sheet, png_bytes, read_pixels
from disco.networks.required import check_packages
from disco.runs.folder import RunFolder, list_runs, newest_unfinished
from disco.runs.frame_ranges import range_source, seed_of
from disco.runs.new_run import Job, RerenderRequest, check_images, new_job
from disco.runs.resume import (
    Which,
    newest_damage,
    pixel_differences,
    resumable,
    resume_job,
    saved_run,
)
from disco.runs.video import check_video
from disco.settings.load import Run
from disco.settings.model import is_animation


@dataclass
class Plan:
    """What a command asked for. folders: of the runs that came about, by position."""

    runs: Sequence[Run]
    out: Path
    images: Sequence[int] | None = None
    resume: int | str | None = None
    again: RerenderRequest | None = None
    folders: dict[int, RunFolder] = field(default_factory=dict)


@dataclass(frozen=True)
class PlannedJob:
    """One run of the command: its job, or None if nothing is left to do, which the notices then say."""

    position: int
    job: Job | None
    notices: tuple[str, ...] = ()


def plan_jobs(plan: Plan, stop: Callable[[], bool]) -> Iterator[PlannedJob]:
    """The jobs, each made when the one before is done and `stop` does not ask for an end.

    Raises SettingsError, ResumeError, InputError, RunError.
    """
    for run in plan.runs:
        check_packages(run)
        if plan.again is None:
            check_video(run.settings)
    queue_id = uuid.uuid4().hex
    old = _unfinished_queue(plan)
    if old is not None:
        queue_id = old
    for position, run in enumerate(plan.runs):
        if position and stop():
            return
        planned = _planned(plan, position, run, queue_id)
        if planned.job is not None:
            plan.folders[position] = planned.job.folder
        yield planned


def _planned(plan: Plan, position: int, run: Run, queue_id: str) -> PlannedJob:
    wants_resume = plan.resume is not None or run.settings.resume_run
    which = _which(plan, run)
    anew = run
    if wants_resume and plan.again is None:
        damage = newest_damage(plan.out, run.settings.batch_name) if which == "latest" else ""
        if damage:
            anew = replace(run, notices=(*run.notices, damage))
        if len(plan.runs) > 1 and which == "latest":
            number = _in_queue(plan, run, queue_id, position)
            if number is None:
                return PlannedJob(position, _new(plan, position, anew, queue_id))
            return _go_on(plan, position, run, number)
        if plan.resume is not None or (not damage and _can_resume(plan, run, which)):
            return _go_on(plan, position, run, which)
    return PlannedJob(position, _new(plan, position, anew, queue_id))


def _new(plan: Plan, position: int, run: Run, queue_id: str) -> Job:
    queue = {"id": queue_id, "position": position, "of": len(plan.runs)}
    check_images(run, plan.images)
    source = range_source(run, plan.out, plan.images, plan.again)
    if source is not None and run.settings.set_seed == "random_seed":
        run = run.with_values({"set_seed": seed_of(source)})
    return new_job(run, plan.out, images=plan.images, again=plan.again, source=source, queue=queue)


def _go_on(plan: Plan, position: int, run: Run, which: Which) -> PlannedJob:
    notices: list[str] = []
    job = resume_job(run, plan.out, run.settings.batch_name, which, notice=notices.append)
    if job is not None:
        return PlannedJob(position, job)
    name = run.settings.batch_name
    number = resumable(plan.out, name)[-1].run if which == "latest" else which
    plan.folders[position] = RunFolder(plan.out / name, name, number)
    key = "max_frames" if is_animation(run.settings) else "n_batches"
    text = f"{name}({number}) is finished: nothing to resume. A larger {key} extends it; a new run starts "
    return PlannedJob(position, None, (*notices, f"{text}without --resume and resume_run."))


def _which(plan: Plan, run: Run) -> Which:
    if plan.resume is not None and plan.resume != "latest":
        return int(plan.resume)
    return run.settings.run_to_resume


def _can_resume(plan: Plan, run: Run, which: Which) -> bool:
    """resume_run starts anew where nothing is unfinished, unless the newest run is this very one."""
    runs = resumable(plan.out, run.settings.batch_name)
    if which != "latest":
        if which in [summary.run for summary in runs]:
            return True
        listed = "".join(f"\n  {summary}" for summary in runs) or " none"
        raise ResumeError(f"run_to_resume: no run {which} of {run.settings.batch_name}. Runs here:{listed}")
    if not runs:
        return False
    if newest_unfinished(runs) is not None:
        return True
    folder = RunFolder(plan.out / run.settings.batch_name, run.settings.batch_name, runs[-1].run)
    return not pixel_differences(run, saved_run(folder.info, str(folder.names.settings)))


# ---- several runs ----


def _infos(plan: Plan) -> list[tuple[str, int, dict[str, Any]]]:
    """(batch name, run, run.json) of every run in the folders of this command's batches."""
    infos = []
    for name in dict.fromkeys(run.settings.batch_name for run in plan.runs):
        for summary in list_runs(plan.out, name):
            if summary.state == "damaged":
                continue
            infos.append((name, summary.run, RunFolder(plan.out / name, name, summary.run).info))
    return infos


def _unfinished_queue(plan: Plan) -> str | None:
    """The id of the newest queue of as many runs, to go on with it run by run."""
    if len(plan.runs) < 2 or not (
        plan.resume is not None or any(run.settings.resume_run for run in plan.runs)
    ):
        return None
    queues = [info for _, _, info in _infos(plan) if info.get("queue", {}).get("of") == len(plan.runs)]
    newest = max(queues, key=lambda info: str(info.get("updated", "")), default=None)
    if newest is not None and plan.resume is None and _is_done_otherwise(plan, newest["queue"]["id"], queues):
        return None
    if newest is None and plan.resume is not None:
        names = ", ".join(dict.fromkeys(run.settings.batch_name for run in plan.runs))
        raise ResumeError(f"no queue of {len(plan.runs)} runs to resume in {plan.out} ({names})")
    return None if newest is None else str(newest["queue"]["id"])


def _is_done_otherwise(plan: Plan, queue_id: str, infos: Sequence[Mapping[str, Any]]) -> bool:
    """A queue that is finished and was of other settings: resume_run starts anew, as with a single run."""
    mine = {info["queue"]["position"]: info for info in infos if info["queue"]["id"] == queue_id}
    if len(mine) < len(plan.runs) or any(info.get("status") != "finished" for info in mine.values()):
        return False
    return any(
        pixel_differences(run, saved_run(mine[n], "saved settings")) for n, run in enumerate(plan.runs)
    )


def _in_queue(plan: Plan, run: Run, queue_id: str, position: int) -> int | None:
    for name, number, info in _infos(plan):
        queue = info.get("queue", {})
        if name == run.settings.batch_name and (queue.get("id"), queue.get("position")) == (
            queue_id,
            position,
        ):
            return number
    return None


# ---- sweeps ----


def sweep_sheet(plan: Plan) -> Path | None:
    """One labelled grid of every sweep's first pictures, in the folder of the sweep's first run."""
    swept = [position for position, run in enumerate(plan.runs) if run.sweep is not None]
    folders = [plan.folders[position] for position in swept if position in plan.folders]
    if plan.again is not None or len(folders) != len(swept) or not folders:
        return None
    pixels, labels, columns = [], [], 1
    for position, folder in zip(swept, folders, strict=True):
        done = sorted(folder.finished_pictures())
        if done:
            sweep = plan.runs[position].sweep
            assert sweep is not None
            pixels.append(read_pixels(folder.names.picture(done[0])))
            labels.append(", ".join(_label(key, value) for key, value in sweep.values.items()))
            columns = len(sweep.axes[-1][1]) if len(sweep.axes) > 1 else 4  # the last axis from left to right
    if not pixels:
        return None
    return folders[0].save_sweep(png_bytes(contact_sheet(pixels, labels, min(columns, len(pixels)))))


def _label(key: str, value: Any) -> str:
    return str(value) if key == "text_prompts" else f"{key}: {value}"
