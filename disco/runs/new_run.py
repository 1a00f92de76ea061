"""Which pictures of a new run, in which folder; a finished picture rendered again from its PNG."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from disco.errors import InputError
from disco.media.png import read_metadata
from disco.runs.folder import RunFolder
from disco.runs.names import RunNames
from disco.runs.record import check_batch, check_metadata
from disco.settings.load import Run, dump_yaml, run_from_mapping
from disco.settings.model import Settings, is_animation, picture_count, plain_values, with_earlier

NOT_RESUMING = {"resume_run": False, "run_to_resume": "latest", "resume_from_frame": "latest"}


@dataclass(frozen=True)
class Job:
    """One run's work. groups: pictures rendered together, in order; wanted: those that are still to be saved.

    starts: random states at the start of pictures (compat dd57); resumed: whether the folder was there;
    source: the run whose frames those of a range go on from. unfinished: pictures of the groups that are
    saved, but lack a file of a finisher.
    """

    run: Run
    seed: int
    folder: RunFolder
    groups: tuple[tuple[int, ...], ...]
    wanted: frozenset[int]
    starts: Mapping[str, str]
    resumed: bool = False
    source: RunNames | None = None
    moved: tuple[Path, ...] = ()
    unfinished: frozenset[int] = frozenset()

    @property
    def pictures(self) -> tuple[int, ...]:
        """All that the job has to do with, in order; at least one."""
        return tuple(sorted(self.wanted | self.unfinished))


def new_job(
    run: Run,
    out: Path,
    *,
    images: Sequence[int] | None = None,
    again: RerenderRequest | None = None,
    source: RunNames | None = None,
    **info: Any,
) -> Job:
    """Take the next number in the batch's folder and save the settings there. Raises InputError, RunError."""
    settings = run.settings
    check_images(run, images)
    seed = draw_seed(run)
    run = run.with_values({"set_seed": seed})
    pictures = tuple(images) if images is not None else tuple(range(picture_count(settings)))
    groups, wanted = chunks(pictures, together(settings)), frozenset(pictures)
    starts: dict[str, str] = {}
    if again is not None:
        groups, wanted, starts = (again.batch,), frozenset({again.picture}), dict(again.starts)
    folder = RunFolder.create(out, settings.batch_name)
    try:
        folder.update_info(
            seed=seed,
            n_batches=picture_count(settings),
            groups=[list(group) for group in groups],
            wanted=sorted(wanted),
            starts=starts,
            settings=saved_values(run),
            base_dirs=[str(folder) for folder in run.base_dirs],
            status="running",
            again=again is not None,
            source=None if source is None else [str(source.folder.resolve()), source.batch_name, source.run],
            **info,
        )
        folder.save_settings(dump_yaml(run.with_values(NOT_RESUMING)))
    except BaseException:
        folder.close()
        raise
    return Job(run, seed, folder, groups, wanted, starts, source=source)


def saved_values(run: Run) -> dict[str, Any]:
    """The settings as pictures and the run's folder keep them: what they are used for next is no resume."""
    return plain_values(run.with_values(NOT_RESUMING).settings)


def draw_seed(run: Run) -> int:
    seed = run.settings.set_seed
    return secrets.randbelow(2**32) if seed == "random_seed" else int(seed)


def check_images(run: Run, images: Sequence[int] | None) -> None:
    """Raises InputError for pictures that the run does not have, and for later ones alone in dd57."""
    last = picture_count(run.settings) - 1
    wrong = [k for k in images or () if not 0 <= k <= last]
    if wrong:
        listed = ", ".join(map(str, wrong))
        word, key = ("frames", "max_frames") if is_animation(run.settings) else ("pictures", "n_batches")
        raise InputError(f"--images: {listed}: this run has {word} 0 to {last} ({key}: {last + 1})")
    if images and run.settings.compat == "dd57" and not is_animation(run.settings) and list(images) != [0]:
        raise InputError(
            "--images: with compat: dd57 only picture 0 can be rendered alone, since the others go on with "
            "its random stream. Render all, or render a finished one again: python run.py PICTURE.png"
        )


def together(settings: Settings) -> int:
    """How many pictures are rendered at once: each frame of an animation waits for the one before."""
    return 1 if is_animation(settings) else settings.batch_size


def chunks(pictures: Sequence[int], size: int) -> tuple[tuple[int, ...], ...]:
    """Pictures in batches of `size`, in order."""
    return tuple(tuple(pictures[at : at + size]) for at in range(0, len(pictures), size))


@dataclass(frozen=True)
class RerenderRequest:
    """A finished picture that is to be rendered once more, as its PNG says."""

    run: Run
    picture: int
    batch: tuple[int, ...]
    starts: Mapping[str, str]
    metadata: Mapping[str, Any]
    path: Path | None = None


def read_again(path: Path, overrides: Sequence[str] = ()) -> RerenderRequest:
    """What a PNG of ours says about itself, with `--set` overrides laid over it.

    Raises InputError for a picture without settings and for damaged ones, SettingsError for wrong overrides.
    """
    metadata = read_metadata(path)
    check_metadata(metadata, str(path))
    check_batch(metadata, str(path))
    values = with_earlier(metadata["settings"])
    run = run_from_mapping(values, overrides=overrides, name=str(path), base_dirs=(path.parent,))
    picture, batch = metadata["picture"], tuple(metadata["batch"])
    starts = {str(picture): metadata["stream"]} if metadata.get("stream") is not None else {}
    was = (values.get("set_seed"), values.get("compat"))
    is_stream = run.settings.compat == "dd57" and not is_animation(run.settings)
    if is_stream and was != (run.settings.set_seed, run.settings.compat):
        picture, batch, starts = 0, (0,), {}  # another stream: it has a first picture and no other yet
    run = replace(run, notices=())  # they were said when the picture was made
    return RerenderRequest(run, picture, batch, starts, metadata, path)


def check_inputs(
    was: Mapping[str, str], now: Mapping[str, str], cure: str = "name another with --set"
) -> None:
    """Raises InputError for a picture or video that is not the one used then. was, now: source -> SHA-256."""
    for source, then in was.items():
        here = now.get(source, then)
        if here != then:
            raise InputError(
                f"{source}: changed since: SHA-256 is {here[:12]}..., it was {then[:12]}... "
                f"Put the old one back, or {cure}."
            )
