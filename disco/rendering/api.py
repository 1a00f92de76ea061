"""render(): settings -> jobs -> events, in this process or on workers."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from disco.events import Event, Notice, RunFinished, of_run
from disco.memory.devices import allow_exact, exactly, pick_device, use
from disco.memory.oom import at_stage
from disco.memory.policy import Stage
from disco.memory.retry import OomRetry
from disco.networks.load import Networks
from disco.networks.required import networks_key
from disco.rendering.animate import check_frames, render_frames
from disco.rendering.batch import ActiveScope, Batch, Ending, Stop
from disco.rendering.checkpoint_writer import keep_start
from disco.rendering.distributed.driver import spread
from disco.rendering.distributed.messages import WorkerPool, check_spread
from disco.rendering.finish import finish_group
from disco.rendering.memory import check_start_noise, make_oom_retry
from disco.rendering.prepare import RunContext, load_for, loading, open_run
from disco.rendering.still import executed_steps, machine_report, render_batch
from disco.runs.inputs import Pictures, load_pictures, with_frames
from disco.runs.metadata import differences, other_weights
from disco.runs.new_run import Job, RerenderRequest, check_inputs, saved_values
from disco.runs.queue import Plan, plan_jobs, sweep_sheet
from disco.runs.report import RunStats, announced, failure_noted, film, finished, keep_inputs
from disco.settings.frame import at_frame
from disco.settings.load import Run, load_runs, run_from_mapping, runs_from_mapping
from disco.settings.model import Settings, is_animation, plain_values

Source = str | Path | Mapping[str, Any] | Settings | Run


def never() -> bool:
    return False


@dataclass
class _Shared:
    """What the runs of one call share: the networks loaded last. passed_in: by the caller."""

    networks: Networks | None = None
    key: tuple[object, ...] = ()
    passed_in: bool = False


def render(
    settings: Source | Sequence[Source],
    *,
    out: str | Path = "images_out",
    images: Sequence[int] | None = None,
    resume: int | str | None = None,
    again: RerenderRequest | None = None,
    networks: Networks | WorkerPool | None = None,
    stop: Stop = never,
    working: ActiveScope = nullcontext,
) -> Iterator[Event]:
    """Render one run or several, one after another; yields events, the finished pictures among them.

    settings: a settings file, flat keys, Settings, a Run (or a sequence of these). out: replaces images_out.
    images: only these pictures, by index. resume: "latest" or a run's number: go on with it (the settings'
    resume_run does the same, but starts a new run where there is none). again: render one finished picture
    once more. networks: loaded ones to use in place of those that the settings name, or a worker pool
    (ray_pool.connect), whose workers load their own and render in place of this process. stop: asked after
    each step; on yes the state is saved and the last event says `interrupted`. working: entered while
    pictures are rendered, when it is `stop` that ends a run. Closing the generator saves the state too.
    Raises SettingsError, InputError, ResumeError before anything is loaded; WeightsError; RunError.
    """
    runs = [run for source in _listed(settings) for run in _runs(source)]
    pool = None if networks is None or isinstance(networks, Networks) else networks
    if pool is not None:
        check_spread(runs, again)
    for run in runs if pool is None else ():
        pick_device(run.settings.device)  # an error before a folder is made
        check_start_noise(run, images, () if again is None else again.batch)
    allow_exact(run.settings for run in runs)
    frames = Path(out) / ".video_frames"
    with at_stage(Stage.START):
        pictures = [load_pictures(run.settings, run.base_dirs, frames) for run in runs]
    runs = [with_frames(run, inputs) for run, inputs in zip(runs, pictures, strict=True)]
    plan = Plan(runs, Path(out), images=images, resume=resume, again=again)
    if again is not None:
        check_inputs(again.metadata.get("inputs", {}), pictures[0].inputs)
    if pool is None:
        assert networks is None or isinstance(networks, Networks)
        shared = _Shared(networks, passed_in=networks is not None)
        interrupted = yield from _in_turn(plan, pictures, shared, (stop, working))
    else:
        interrupted = yield from spread(plan, pictures, pool, (stop, working))
    sheet = None if interrupted else sweep_sheet(plan)
    if sheet is not None:
        yield Notice(f"grid of the sweep: {sheet}")


def _in_turn(
    plan: Plan, pictures: Sequence[Pictures], shared: _Shared, ending: Ending
) -> Generator[Event, None, bool]:
    """One run after another, in this process. Returns whether it was stopped."""
    for planned in plan_jobs(plan, ending[0]):
        if planned.job is None:
            yield from (Notice(text) for text in planned.notices)
            continue
        with planned.job.folder as folder, failure_noted(folder):
            interrupted, stats = False, RunStats()
            for event in _render_job(planned.job, stats, pictures[planned.position], shared, plan, ending):
                yield of_run(stats.note(event), folder.names.prefix)
                interrupted = isinstance(event, RunFinished) and event.interrupted
        if interrupted:
            return True
    return False


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


def _render_job(
    job: Job, stats: RunStats, pictures: Pictures, shared: _Shared, plan: Plan, ending: Ending
) -> Iterator[Event]:
    settings, (stop, working) = job.run.settings, ending
    keep_inputs(job, pictures.inputs)
    if is_animation(settings):
        check_frames(job)
    yield from announced(job)
    began = time.monotonic()
    if shared.networks is None or (
        not shared.passed_in and shared.key != networks_key(settings, job.run.base_dirs)
    ):
        shared.networks = None  # let go of the old ones before the new ones come
        shared.networks = yield from loading(job.run, plan.runs, load_for)
        shared.key = networks_key(settings, job.run.base_dirs)
    use(shared.networks.device)
    with exactly(settings), closing(_oom_retry(job, shared, plan.again)) as oom_retry:
        yield from (Notice(text) for text in oom_retry.pop_messages())
        context = open_run(at_frame(settings, 0), job.seed, shared.networks, oom_retry, pictures)
        yield from _tell_differences(plan.again, context)
        with working():
            if is_animation(settings):
                yield from render_frames(job, context, pictures, stats, stop)
            else:
                yield from _render_groups(job, context, stats, stop)
        if not stats.stopped:
            yield from film(job.folder, settings)
        yield from (Notice(text) for text in oom_retry.pop_messages())
        yield finished(job, stats, time.monotonic() - began, machine_report(context))


def _oom_retry(job: Job, shared: _Shared, again: RerenderRequest | None) -> OomRetry:
    """A resumed run begins with the memory saving it had, a picture rendered again with that of then."""
    assert shared.networks is not None
    was = job.folder.info.get("memory")
    if was is None and again is not None:
        machine = again.metadata.get("machine", {})
        was = {"device": machine.get("device"), **machine.get("memory", {})}

    def remember(saved_by: Mapping[str, Any]) -> None:
        job.folder.update_info(memory=dict(saved_by))

    return make_oom_retry(job.run, shared.networks, was, remember, known=not shared.passed_in)


def _render_groups(job: Job, context: RunContext, stats: RunStats, stop: Stop) -> Iterator[Event]:
    steps = executed_steps(context)
    if context.stream is not None and not job.starts:
        keep_start(job.folder, job.groups[0][0], context.stream)
    for position, group in enumerate(job.groups):
        if not finish_group(job, context, group):
            stats.stopped = group != job.groups[-1] and stop()
            if stats.stopped:
                return
            continue
        start = (dict(job.starts) | job.folder.info.get("starts", {})).get(str(group[0]))
        batch = Batch(
            context,
            job.folder,
            group,
            job.wanted & frozenset(group),
            saved_values(job.run),
            stop,
            stats,
            steps_after=len(steps) * (len(job.groups) - position - 1),
            start=start,
            steps=steps,
        )
        yield from render_batch(batch)
        if stats.stopped:
            return


def _tell_differences(again: RerenderRequest | None, context: RunContext) -> Iterator[Event]:
    """A picture rendered again: what is not as it was then, and what that means."""
    if again is None:
        return
    yield from (Notice(text) for text in other_weights(again.metadata, context.networks.hashes))
    for text in differences(again.metadata, context.machine):
        yield Notice(f"the picture may differ in details: {text}")
