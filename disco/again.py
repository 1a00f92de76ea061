"""A finished picture rendered once more, from what its PNG carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from disco.errors import InputError
from disco.media.png import read_metadata
from disco.metadata import check_metadata
from disco.settings.load import Run, run_from_mapping
from disco.settings.model import is_animation


@dataclass(frozen=True)
class Again:
    """A finished picture that is to be rendered once more, as its PNG says."""

    run: Run
    picture: int
    batch: tuple[int, ...]
    starts: Mapping[str, str]
    metadata: Mapping[str, Any]
    path: Path | None = None


def read_again(path: Path, overrides: Sequence[str] = ()) -> Again:
    """What a PNG of ours says about itself, with `--set` overrides laid over it.

    Raises InputError for a picture without settings, SettingsError for wrong overrides.
    """
    metadata = read_metadata(path)
    check_metadata(metadata, str(path))
    values = dict(metadata["settings"])
    run = run_from_mapping(values, overrides=overrides, name=str(path), base_dirs=(path.parent,))
    picture, batch = int(metadata["picture"]), tuple(metadata["batch"])
    starts = {str(picture): metadata["stream"]} if "stream" in metadata else {}
    was = (values.get("set_seed"), values.get("compat"))
    is_stream = run.settings.compat == "dd57" and not is_animation(run.settings)
    if is_stream and was != (run.settings.set_seed, run.settings.compat):
        picture, batch, starts = 0, (0,), {}  # another stream: it has a first picture and no other yet
    run = replace(run, notices=())  # they were said when the picture was made
    return Again(run, picture, batch, starts, metadata, path)


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
