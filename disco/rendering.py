"""Settings -> jobs -> pictures: the one place where all parts meet."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from disco.again import Again, check_inputs
from disco.batch import Batch, Stop, Tally
from disco.devices import pick_device
from disco.economy import Stage
from disco.events import Download, Event, NetworksLoaded, Notice, RunFinished, RunStarted
from disco.frame_loop import check_frames, render_frames
from disco.frame_settings import at_frame, executed
from disco.governor import Governor
from disco.inputs import Pictures, load_pictures, with_frames
from disco.jobs import Job, saved_values
from disco.keeper import keep_start
from disco.memory_stages import at_stage
from disco.metadata import differences, other_weights
from disco.models import Networks
from disco.pictures import executed_steps, peak_memory, render_batch
from disco.run_memory import govern
from disco.run_queue import Plan, plan_jobs, sweep_sheet
from disco.settings import Settings, is_animation, picture_count, plain_values
from disco.settings_load import Run, load_runs, run_from_mapping, runs_from_mapping
from disco.sheets import film, write_sheet
from disco.studio import Studio, load_for, networks_key, open_studio, share_texts

Working = Callable[[], AbstractContextManager[None]]
Ending = tuple[Stop, Working]
Source = str | Path | Mapping[str, Any] | Settings | Run


def never() -> bool:
    return False


@dataclass
class _Shared:
    """What the runs of one call hand on: the networks loaded last, and whether they were handed in."""

    networks: Networks | None = None
    key: tuple[object, ...] = ()
    given: bool = False


def render(
    settings: Source | Sequence[Source],
    *,
    out: str | Path = "images_out",
    images: Sequence[int] | None = None,
    resume: int | str | None = None,
    again: Again | None = None,
    networks: Networks | None = None,
    stop: Stop = never,
    working: Working = nullcontext,
) -> Iterator[Event]:
    """Render one run or several, one after another; yields events, the finished pictures among them.

    settings: a settings file, flat keys, Settings, a Run (or a sequence of these). out: replaces images_out.
    images: only these pictures, by index. resume: "latest" or a run's number: go on with it (the settings'
    resume_run does the same, but starts a new run where there is none). again: render one finished picture
    once more. networks: loaded ones to use in place of those that the settings name. stop: asked after each
    step; when it says yes the state is saved and the last event says `interrupted`. working: entered while
    pictures are rendered, when it is `stop` that ends a run.
    Closing the generator in the middle saves the state too.
    Raises SettingsError, InputError, ResumeError before anything is loaded; WeightsError; RunError.
    """
    runs = [run for source in _listed(settings) for run in _runs(source)]
    shared = _Shared(networks, given=networks is not None)
    for run in runs:
        pick_device(run.settings.device)  # one that is not here is told before a folder is made
    frames = Path(out) / ".video_frames"
    pictures = [load_pictures(run.settings, run.base_dirs, frames) for run in runs]
    runs = [with_frames(run, given) for run, given in zip(runs, pictures, strict=True)]
    plan = Plan(runs, Path(out), images=images, resume=resume, again=again)
    if again is not None:
        check_inputs(again.metadata.get("inputs", {}), pictures[0].inputs)
    for place in plan_jobs(plan, stop):
        if place.job is None:
            yield from (Notice(text) for text in place.notices)
            continue
        with place.job.folder:
            interrupted = False
            for event in _render_job(place.job, pictures[place.position], shared, plan, (stop, working)):
                yield event
                interrupted = isinstance(event, RunFinished) and event.interrupted
        if interrupted:
            return
    sheet = sweep_sheet(plan)
    if sheet is not None:
        yield Notice(f"the sweep side by side: {sheet}")


def _listed(settings: Source | Sequence[Source]) -> Sequence[Source]:
    return settings if isinstance(settings, (list, tuple)) else [settings]  # type: ignore[list-item]


def _runs(source: Source) -> list[Run]:
    if isinstance(source, Run):
        return [source]
    if isinstance(source, Settings):
        values = plain_values(source)  # what was not set is left to the network's own defaults
        return [run_from_mapping({key: values[key] for key in source.model_fields_set})]
    if isinstance(source, Mapping):
        return runs_from_mapping(source)
    return load_runs([source])


def _render_job(job: Job, pictures: Pictures, shared: _Shared, plan: Plan, ending: Ending) -> Iterator[Event]:
    settings, tally, (stop, working) = job.run.settings, Tally(), ending
    _keep_inputs(job, pictures.inputs)
    if is_animation(settings):
        check_frames(job)
    yield RunStarted(
        folder=job.folder.folder,
        run=job.folder.run,
        settings_path=job.folder.names.settings,
        pictures=tuple(sorted(job.wanted)),
        steps=executed(settings, min(job.wanted)),
        notices=job.run.notices,
        resumed=job.resumed,
    )
    for path in job.moved:
        yield Notice(f"moved to {path}")
    began = time.monotonic()
    if shared.networks is None or (not shared.given and shared.key != networks_key(settings)):
        shared.networks = None  # let go of the old ones before the new ones come
        shared.networks = yield from _loading(job.run)
        shared.key = networks_key(settings)
        with at_stage(Stage.LOADING):
            share_texts(
                shared.networks, [run for run in plan.runs if networks_key(run.settings) == shared.key]
            )
        yield from (Notice(text) for text in shared.networks.notices)
    with _exactly(settings), closing(_govern(job, shared, plan.again)) as governor:
        yield from (Notice(text) for text in governor.news())
        studio = open_studio(at_frame(settings, 0), job.seed, governor, pictures)
        yield from _tell_differences(plan.again, studio)
        with working():
            if is_animation(settings):
                yield from render_frames(job, studio, pictures, tally, stop)
            else:
                yield from _render_groups(job, studio, tally, stop)
        if not tally.stopped:
            yield from film(job.folder, settings)
        yield from (Notice(text) for text in governor.news())
        yield _finished(job, studio, tally, time.monotonic() - began)


def _govern(job: Job, shared: _Shared, again: Again | None) -> Governor:
    """A run goes on with what it gave up before, a picture rendered again with what it was made with."""
    assert shared.networks is not None
    was = job.folder.info.get("memory")
    if was is None and again is not None:
        machine = again.metadata.get("machine", {})
        was = {"device": machine.get("device"), **machine.get("memory", {})}

    def remember(given_up: Mapping[str, Any]) -> None:
        job.folder.update_info(memory=dict(given_up))

    return govern(job.run, shared.networks, was, remember, known=not shared.given)


def _keep_inputs(job: Job, inputs: Mapping[str, str]) -> None:
    """A run goes on with the pictures and videos that it began with. Raises InputError."""
    was = job.folder.info.get("inputs")
    if was is None:
        job.folder.update_info(inputs=dict(inputs))
    else:
        check_inputs(was, inputs, "start a new run without --resume and resume_run")


def _loading(run: Run) -> Generator[Event, None, Networks]:
    """Load in a thread, so that downloads can be watched (and interrupted) while they run."""
    began = time.monotonic()
    news: queue.SimpleQueue[Download | Notice] = queue.SimpleQueue()
    result: list[Networks | BaseException] = []

    def work() -> None:
        try:
            result.append(
                load_for(
                    run,
                    progress=lambda name, done, total: news.put(Download(name, done, total)),
                    notice=lambda text: news.put(Notice(text)),
                )
            )
        except BaseException as error:  # handed to the caller's thread, where it is raised
            result.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.1)
        while not news.empty():
            yield news.get()
    loaded = result[0]
    if isinstance(loaded, BaseException):
        with at_stage(Stage.LOADING):
            raise loaded
    yield NetworksLoaded(tuple(sorted(loaded.hashes)), time.monotonic() - began)
    return loaded


def _render_groups(job: Job, studio: Studio, tally: Tally, stop: Stop) -> Iterator[Event]:
    steps = executed_steps(studio)
    if studio.stream is not None and not job.starts:
        keep_start(job.folder, job.groups[0][0], studio.stream)
    for place, group in enumerate(job.groups):
        start = (dict(job.starts) | job.folder.info.get("starts", {})).get(str(group[0]))
        batch = Batch(
            studio,
            job.folder,
            group,
            job.wanted & frozenset(group),
            saved_values(job.run),
            stop,
            tally,
            steps_after=len(steps) * (len(job.groups) - place - 1),
            start=start,
            steps=steps,
        )
        yield from render_batch(batch)
        if tally.stopped:
            return


def _tell_differences(again: Again | None, studio: Studio) -> Iterator[Event]:
    """A picture rendered again: what is not as it was then, and what that means."""
    if again is None:
        return
    yield from (Notice(text) for text in other_weights(again.metadata, studio.networks.hashes))
    for text in differences(again.metadata, studio.machine):
        yield Notice(f"may differ in its last bits: {text}")


def _finished(job: Job, studio: Studio, tally: Tally, seconds: float) -> RunFinished:
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
        "device": str(studio.device),
        "deterministic": settings.deterministic,
        "clip_batch": settings.clip_batch,
        "memory": studio.governor.economy.plain(),
        "peak_memory": peak_memory(studio.device),
        "resumed": job.resumed,
        "notices": list(job.run.notices),
    }
    job.folder.write_status({"state": "interrupted" if tally.stopped else "finished", **report})
    return RunFinished(report, grid, tally.stopped)


@contextmanager
def _exactly(settings: Settings) -> Iterator[None]:
    """`deterministic: true` on CUDA: bit-equal kernels for the length of the run, then as it was."""
    if not settings.deterministic or pick_device(settings.device).type != "cuda":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # torch asks for it by name
    was, benchmark = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    # dd57's augmentations are torchvision's, whose backward on CUDA has no bit-equal kernel.
    torch.use_deterministic_algorithms(True, warn_only=settings.compat == "dd57")
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was)
        torch.backends.cudnn.benchmark = benchmark
