"""Going on with a run that was stopped, by a wish or by a kill, from its saved settings."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from disco.errors import ResumeError, SettingsError, shortened
from disco.files.paths import names_of
from disco.runs.finishers import unfinished_pictures
from disco.runs.folder import RunFolder, RunSummary, list_runs, newest_unfinished, renamed_runs
from disco.runs.frames import FrameStore
from disco.runs.info import START_NEW
from disco.runs.names import RunNames
from disco.runs.new_run import Job, chunks, together
from disco.runs.report import write_sheet, write_videos
from disco.settings.load import Run, dump_yaml, run_from_mapping
from disco.settings.model import KEYS, changes_pixels, is_animation, picture_count, plain_values, with_earlier

Which = int | Literal["latest"]
_NEEDED = ("settings", "base_dirs", "seed", "n_batches", "groups", "wanted", "starts")


def resume_job(
    run: Run | None,
    out: Path,
    batch_name: str,
    which: Which = "latest",
    *,
    notice: Callable[[str], None] | None = None,
) -> Job | None:
    """Take a run up where it stopped, from its saved settings; None if all its files are there.

    run: the settings as they are now: those that change pixels must be the saved ones, a larger n_batches
    extends the run. notice: called with a sentence for each video that was still missing.
    Raises ResumeError: no such run, rendered by another process now, different settings.
    """
    folder = _open(out, batch_name, which)
    try:
        job = _continued(run, folder)
        if job is None:
            _finish(folder, run, notice)
    except BaseException:
        folder.close()
        raise
    if job is None:
        folder.close()
    return job


def resumable(out: Path, batch_name: str) -> list[RunSummary]:
    """The runs that "the newest" may mean: not damaged, nor of one finished picture rendered again."""
    runs = list_runs(out, batch_name)
    return [summary for summary in runs if not summary.again and summary.state != "damaged"]


def newest_damage(out: Path, batch_name: str) -> str:
    """Why the newest run of a batch cannot be resumed, and that another starts; "" if it can, or is none."""
    runs = list_runs(out, batch_name)
    if not runs or runs[-1].state != "damaged":
        return ""
    damage = RunFolder(out / batch_name, batch_name, runs[-1].run).damage()
    return f"{damage.removesuffix(START_NEW)} A new run starts; the pictures of run {runs[-1].run} stay."


def _finish(folder: RunFolder, run: Run | None, notice: Callable[[str], None] | None) -> None:
    """All pictures are there; a kill may have come before the sheet or the video."""
    if not folder.names.grid.exists():
        write_sheet(folder)
    if folder.info.get("status") != "finished":
        run = run or saved_run(folder.info, str(folder.names.settings))
        for text in write_videos(folder, run.settings):
            if notice is not None:
                notice(text)
        folder.mark("finished")
        folder.write_status({"state": "finished", "pictures": len(folder.finished_pictures())})


def _open(out: Path, batch_name: str, which: Which) -> RunFolder:
    if which == "latest":
        runs = resumable(out, batch_name)
        newest = newest_unfinished(runs)
        if runs:
            which = runs[-1].run if newest is None else newest
    return RunFolder.open(out, batch_name, which)


def _continued(run: Run | None, folder: RunFolder) -> Job | None:
    info = folder.info
    saved = saved_run(info, str(folder.names.settings))
    if not folder.names.settings.exists():
        folder.save_settings(dump_yaml(saved))
    if run is not None:
        run = _with_saved_defaults(run, saved, info["settings"])
        compare(run, saved, folder)
        key = "max_frames" if is_animation(run.settings) else "n_batches"
        values = {"set_seed": info["seed"], key: max(picture_count(run.settings), info["n_batches"])}
        saved = run.with_values(values)
    moved = _retire(folder, saved, info)
    finished = folder.finished_pictures()
    old = [tuple(group) for group in info["groups"]]
    known = {picture for group in old for picture in group}
    n_before, n_after = info["n_batches"], picture_count(saved.settings)
    added = [k for k in range(n_before, n_after) if k not in known]
    groups = (*old, *chunks(added, together(saved.settings)))
    wanted = {*info["wanted"], *added} - finished
    unfinished = unfinished_pictures(folder, saved.settings, finished & known)
    if not wanted | unfinished:
        return None
    folder.update_info(
        n_batches=n_after,
        groups=[list(group) for group in groups],
        wanted=sorted({*info["wanted"], *added}),
        status="running",
    )
    left = tuple(group for group in groups if (wanted | unfinished) & set(group))
    source = info.get("source")
    return Job(
        saved,
        info["seed"],
        folder,
        left,
        frozenset(wanted),
        info["starts"],
        resumed=True,
        source=None if source is None else RunNames(Path(source[0]), source[1], source[2]),
        moved=tuple(moved),
        unfinished=unfinished,
    )


def _retire(folder: RunFolder, run: Run, info: Mapping[str, Any]) -> list[Path]:
    """resume_from_frame: pictures after it move to retained/. Once: a restart loop must not do it again."""
    frame = run.settings.resume_from_frame
    if frame == "latest" or (info.get("resumed_from") == frame and info.get("status") != "finished"):
        return []
    moved = folder.retain(frame + 1)
    FrameStore(folder.names.state).drop_from(frame + 1)
    folder.update_info(resumed_from=frame)
    return moved


def saved_run(info: Mapping[str, Any], name: str) -> Run:
    """The settings that a run was started with. Raises ResumeError if they do not load any more."""
    try:
        _ = [info[key] for key in _NEEDED]
        run = run_from_mapping(with_earlier(info["settings"]), name=name, base_dirs=info["base_dirs"])
        return replace(run, notices=())
    except KeyError as error:
        raise ResumeError(
            f"{name}: the state of this run is incomplete ({error}). Start a new run."
        ) from None
    except SettingsError as error:
        lines = "\n  ".join(error.problems)
        raise ResumeError(f"{name}: the saved settings no longer load:\n  {lines}") from error


def _with_saved_defaults(now: Run, saved: Run, values: Mapping[str, Any]) -> Run:
    """Keys that are newer than the saved settings (`values`) and that nobody wrote: as the run began."""
    newer = with_earlier({}).keys() - values.keys()
    return now.with_values({key: saved.raw[key] for key in newer if not now.is_written(key)})


def pixel_differences(now: Run, saved: Run) -> list[str]:
    """Settings that change pixels and are not as saved, "key: saved X, now Y"; a random seed equals any."""
    was, new = plain_values(saved.settings), plain_values(now.settings)
    return [
        f"{key}: saved {shortened(repr(was[key]))}, now {shortened(repr(new[key]))}"
        for key in KEYS
        if changes_pixels(key)
        and getattr(now.settings, key) != getattr(saved.settings, key)
        and not (key == "set_seed" and now.settings.set_seed == "random_seed")
    ]


def compare(now: Run, saved: Run, folder: RunFolder) -> None:
    """Raises ResumeError that shows every difference that would change pixels."""
    different = pixel_differences(now, saved)
    if different:
        raise ResumeError(
            f"run {folder.run} of {folder.folder} was started with other settings:\n  "
            + "\n  ".join(different)
            + "\nUndo the change, or start a new run without --resume and resume_run."
        )


def last_worked_on(out: Path) -> tuple[str, RunSummary] | None:
    """Of all batches under `out`, the run that was worked on last and is not finished."""
    unfinished = [
        (folder.name, summary)
        for folder in _folders(out)
        for summary in resumable(out, folder.name)
        if summary.state == "unfinished"
    ]
    return max(unfinished, key=lambda pair: _began(pair[1].settings), default=None)


def _began(settings: Path) -> float:
    return os.path.getmtime(settings) if settings.exists() else 0.0  # a lost one is written when resumed


def all_runs(out: Path) -> list[str]:
    """One line per run of every batch under `out`."""
    return [
        f"{folder.name}: {summary}" for folder in _folders(out) for summary in list_runs(out, folder.name)
    ]


def _folders(out: Path) -> Iterable[Path]:
    return [out / name for name in names_of(out) if os.path.isdir(out / name / ".state")]


def unfinished_run(out: Path, overrides: Sequence[str], which: Which) -> Run:
    """`--resume` without a settings file: the newest unfinished run of any batch, as it was saved.

    Raises ResumeError, which lists the runs, if there is none, and for a number, which needs a batch.
    """
    latest = last_worked_on(out)
    if latest is None or which != "latest":
        listed = "".join(f"\n  {line}" for line in (*all_runs(out), *renamed_runs(out))) or " none"
        why = "no unfinished run" if latest is None else f"--resume={which} needs a settings file beside it"
        raise ResumeError(f"{out}: {why}. Runs here:{listed}")
    name, summary = latest
    info = RunFolder(out / name, name, summary.run).info
    saved = saved_run(info, str(summary.settings))
    run = run_from_mapping(saved.raw, overrides=overrides, name=str(summary.settings)) if overrides else saved
    return run.with_values({"run_to_resume": summary.run})
