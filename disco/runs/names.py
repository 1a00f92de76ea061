"""What the files of a run are called, the original's way, and how the names are read back. Never by glob."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

from disco.errors import InputError
from disco.files.atomic import disk_errors
from disco.settings.methods import upscaled_suffix

EYES = ("l", "r")


class RunNames:
    """The paths of run number `run` in a batch folder."""

    def __init__(self, folder: Path, batch_name: str, run: int) -> None:
        self.folder, self.batch_name, self.run = folder, batch_name, run
        self.prefix = f"{batch_name}({run})"
        self.settings = folder / f"{self.prefix}_settings.yaml"
        self.grid = folder / f"{self.prefix}_grid.png"
        self.sweep = folder / f"{self.prefix}_sweep.png"  # of several runs, beside the first
        self.progress = folder / f"{self.prefix}_progress.png"
        self.status = folder / f"{self.prefix}_status.json"
        self.partials = folder / "partials"
        self.retained = folder / "retained"
        self.state = folder / ".state" / str(run)

    def picture(self, picture: int) -> Path:
        return self.folder / f"{self.prefix}_{picture:04}.png"

    def eye(self, picture: int, side: str) -> Path:
        """side: l or r."""
        return self.folder / f"{self.prefix}_{picture:04}_{side}.png"

    def finished(self, picture: int, suffix: str) -> Path:
        """What a finisher makes of a picture, or of an eye's. suffix: such as _x4 or _l_x4."""
        return self.folder / f"{self.prefix}_{picture:04}{suffix}.png"

    def partial(self, picture: int, label: str, *, in_subfolder: bool = True) -> Path:
        folder = self.partials if in_subfolder else self.folder
        return folder / f"{self.prefix}_{picture:04}-{label}.png"

    def video(self, ending: str, what: str = "video") -> Path:
        return self.folder / f"{self.prefix}_{what}{ending}"

    def pictures_there(self) -> dict[int, Path]:
        """Files named as finished pictures, whole or not; partials have other names and never count."""
        return self._numbered("")

    def eyes_there(self, side: str) -> dict[int, Path]:
        """Files named as what an eye sees (side: l or r), whole or not."""
        return self._numbered(f"_{side}")

    def partials_there(self, picture: int) -> dict[str, Path]:
        """Files named as partials of a picture, by label; unsorted."""
        pattern = re.compile(re.escape(f"{self.prefix}_{picture:04}-") + r"(\d+%|\d{3,})\.png")
        folders = (self.folder, self.partials)
        matches = ((folder, pattern.fullmatch(name)) for folder in folders for name in names_in(folder))
        return {match[1]: folder / match[0] for folder, match in matches if match}

    def _numbered(self, after: str) -> dict[int, Path]:
        pattern = re.compile(re.escape(self.prefix) + r"_(\d{4,})" + re.escape(after) + r"\.png")
        pictures = {int(m[1]): self.folder / m[0] for m in map(pattern.fullmatch, names_in(self.folder)) if m}
        return dict(sorted(pictures.items()))

    def from_picture(self, first: int) -> list[Path]:
        """Pictures `first` and later with their partials, eyes and finished files, here and in partials/."""
        pattern = re.compile(
            re.escape(self.prefix) + r"_(\d{4,})(-(\d+%|\d{3,})|(_[a-z][a-z0-9]*){1,2})?\.png"
        )
        folders = (self.folder, self.partials)
        matches = (
            (folder, pattern.fullmatch(name)) for folder in folders for name in sorted(names_in(folder))
        )
        return [folder / match[0] for folder, match in matches if match and int(match[1]) >= first]


def run_of(name: str) -> tuple[str, int, int] | None:
    """(batch_name, run, picture) by the name of a finished picture; None for any other name."""
    match = re.fullmatch(r"(.+)\((\d+)\)_(\d{4,})\.png", name, re.DOTALL)
    return (match[1], int(match[2]), int(match[3])) if match else None


def picture_name(name: str) -> str:
    """The name of the picture that a finisher's file was made of; any other name stays as it is."""
    match = re.fullmatch(r"(.+\(\d+\)_\d{4,})(?:_[lr])?_[a-z][a-z0-9]+\.png", name, re.DOTALL)
    return f"{match[1]}.png" if match else name


def upscaled_path(picture: Path, upscale: str) -> Path:
    """Of the enlarged copy of a picture: NAME_x4.png. upscale: x2 or x4."""
    return picture.with_name(f"{picture.stem}{upscaled_suffix(upscale)}.png")


def check_batch_name(batch_name: str) -> str:
    """Return the name if it can be one folder's name, else raise InputError."""
    if not batch_name.strip() or batch_name.startswith(".") or re.search(r"[/\\\x00-\x1f]", batch_name):
        raise InputError(
            f"batch_name: {batch_name!r} cannot name a folder."
            " Allowed: a text without / and \\ that does not begin with a dot."
        )
    return batch_name


def next_number(folder: Path, batch_name: str) -> int:
    """One above the highest number of any file of this batch; Disco Diffusion's own files count too."""
    pattern = re.compile(re.escape(batch_name) + r"(?:\((\d+)\)_|-(\d+)_settings\.txt).*", re.DOTALL)
    used = set(state_numbers(folder))
    for inner in (folder, folder / "partials", folder / "retained"):
        matches = map(pattern.fullmatch, names_in(inner))
        used |= {int(match[1] or match[2]) for match in matches if match}
    return max(used, default=-1) + 1


def state_numbers(folder: Path) -> list[int]:
    """The numbers of the runs that have a state folder, lowest first."""
    return sorted(int(name) for name in names_in(folder / ".state") if re.fullmatch(r"\d+", name))


def names_in(folder: Path) -> list[str]:
    """The names in a folder, none if there is no such folder."""
    with disk_errors(folder):
        try:
            return os.listdir(folder)
        except FileNotFoundError:
            return []


def partial_steps(
    intermediate_saves: int | Sequence[int], n: int, *, compat: str = "fixed"
) -> dict[int, str]:
    """Executed step j (0-based) -> label in the file's name, for a picture of n executed steps.

    A number k: k partials, evenly spread, labelled in percent; a list: these steps, labelled as 079 is.
    In dd57 also what the original saves besides: every k-th part to the end, the last step too.
    Source: Disco Diffusion 5.7, disco.py 1486-1495 and 2759-2776.
    """
    last = n - 1
    if not isinstance(intermediate_saves, int):
        until = last if compat == "dd57" else last - 1
        return {j: f"{j:03}" for j in sorted(set(intermediate_saves)) if 0 <= j <= until}
    if intermediate_saves <= 0 or last < 1:
        return {}
    every = max(1, last // (intermediate_saves + 1))
    until = last if compat == "dd57" else min(last - 1, every * intermediate_saves)
    return {j: f"{math.ceil(j / last * 100):02}%" for j in range(every, until + 1, every)}
