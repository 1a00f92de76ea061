"""The finishers of saved pictures: those just rendered, and those that a killed run left without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from disco.memory.policy import Stage
from disco.rendering.batch import ArtifactSink
from disco.rendering.prepare import RunContext
from disco.runs.finishers import eye_suffix, finished_png, missing_files, wanted_suffixes
from disco.runs.new_run import Job


def finish_picture(context: RunContext, folder: ArtifactSink, picture: int, png: bytes) -> None:
    """Write the wanted files of a picture. png: the bytes of the saved picture.

    Raises RunError if the disk is full.
    """
    finish_files(context, folder, picture, dict.fromkeys(wanted_suffixes(context.settings), png))


def finish_eye(context: RunContext, folder: ArtifactSink, picture: int, side: str, png: bytes) -> None:
    """The same of what an eye ("l" or "r") sees."""
    suffixes = (eye_suffix(side, suffix) for suffix in wanted_suffixes(context.settings))
    finish_files(context, folder, picture, dict.fromkeys(suffixes, png))


def finish_files(
    context: RunContext, folder: ArtifactSink, picture: int, sources: Mapping[str, bytes]
) -> None:
    """Write these files of a picture. sources: suffix -> bytes of the PNG that the file is made of."""
    for suffix, png in sources.items():
        make = partial(finished_png, suffix, png, context.settings, context.networks)
        folder.save_finished(picture, suffix, context.oom_retry.run(make, stage=Stage.PICTURE))


def finish_group(job: Job, context: RunContext, group: Sequence[int]) -> bool:
    """Write what is missing beside the group's pictures that were saved before this process began.

    Returns whether others of the group are still to be rendered.
    """
    folder, pictures = job.folder, job.unfinished.intersection(group)
    for picture in sorted(pictures):
        files = missing_files(folder, context.settings, picture)
        finish_files(context, folder, picture, {suffix: path.read_bytes() for suffix, path in files.items()})
    if job.wanted.intersection(group):
        return True
    folder.checkpoints.clear(group)
    return False
