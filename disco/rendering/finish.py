"""The finishers of pictures that are saved: those just rendered, and those that a killed run left without."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from disco.memory.policy import Stage
from disco.rendering.batch import ArtifactSink
from disco.rendering.prepare import RunContext
from disco.runs.finishers import finished_png, missing_suffixes, wanted_suffixes
from disco.runs.new_run import Job


def finish_picture(
    context: RunContext, folder: ArtifactSink, picture: int, png: bytes, suffixes: Sequence[str] | None = None
) -> None:
    """Write the wanted files of a picture, or those with these suffixes. png: the bytes of the saved picture.

    Raises RunError if the disk is full.
    """
    settings, networks = context.settings, context.networks
    for suffix in wanted_suffixes(settings) if suffixes is None else suffixes:
        make = partial(finished_png, suffix, png, settings, networks)
        folder.save_finished(picture, suffix, context.oom_retry.run(make, stage=Stage.PICTURE))


def finish_group(job: Job, context: RunContext, group: Sequence[int]) -> bool:
    """Write what is missing beside the group's pictures that were saved before this process began.

    Returns whether others of the group are still to be rendered.
    """
    folder, pictures = job.folder, job.unfinished.intersection(group)
    for picture in sorted(pictures):
        suffixes = missing_suffixes(folder, context.settings, picture)
        finish_picture(context, folder, picture, folder.names.picture(picture).read_bytes(), suffixes)
    if job.wanted.intersection(group):
        return True
    folder.checkpoints.clear(group)
    return False
