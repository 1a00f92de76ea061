"""Steps after a picture is saved, each of which leaves a file beside it; a resumed run makes those missing.

To add one: a row in FINISHERS, and a setting that asks for it, with pixels=False.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from disco.errors import InputError
from disco.media.images import Pixels, decode_png, png_bytes
from disco.media.png import metadata_in
from disco.networks.load import Networks
from disco.networks.upscaler import upscaler_of
from disco.runs.folder import RunFolder
from disco.runs.names import EYES
from disco.settings.methods import upscaled_suffix
from disco.settings.model import Settings

_SUFFIX = re.compile(r"_[a-z][a-z0-9]+")  # a single letter would be an eye's


@dataclass(frozen=True)
class Finisher:
    """What is made of a saved picture and lies beside it as NAME(0)_0000<suffix>.png.

    suffix: "_" and two or more of a-z0-9. wanted: do these settings ask for it?
    run: the picture's pixels, [H, W, 3] uint8 -> those of the file, of any size. It must use no random
    numbers, so that a resumed run makes the same file. Raises ValueError for another suffix.
    """

    suffix: str
    wanted: Callable[[Settings], bool]
    run: Callable[[Pixels, Settings, Networks], Pixels]
    facts: Callable[[Networks], Mapping[str, Any]] = lambda networks: {}
    """What the file's metadata says beside that of the picture."""

    def __post_init__(self) -> None:
        if not _SUFFIX.fullmatch(self.suffix):
            raise ValueError(f"suffix is {self.suffix!r}; allowed is _ and two or more of a-z0-9")


def _upscaled(pixels: Pixels, settings: Settings, networks: Networks) -> Pixels:
    return upscaler_of(networks.of("upscale"), settings.upscale)(pixels, settings.upscale)


def _upscaler_facts(networks: Networks) -> dict[str, Any]:
    return {"upscaler": networks.of("upscale")[0].facts()}


def _wants(upscale: str) -> Callable[[Settings], bool]:
    return lambda settings: settings.upscale == upscale


FINISHERS: tuple[Finisher, ...] = (
    Finisher(upscaled_suffix("x2"), _wants("x2"), _upscaled, _upscaler_facts),
    Finisher(upscaled_suffix("x4"), _wants("x4"), _upscaled, _upscaler_facts),
)


def wanted_suffixes(settings: Settings) -> tuple[str, ...]:
    """Of the finishers that the settings ask for, in the order in which they run."""
    return tuple(finisher.suffix for finisher in FINISHERS if finisher.wanted(settings))


def eye_suffix(side: str, suffix: str) -> str:
    """Of what a finisher makes of what an eye ("l" or "r") sees: NAME(0)_0000_l_x4.png."""
    return f"_{side}{suffix}"


def finished_png(suffix: str, png: bytes, settings: Settings, networks: Networks) -> bytes:
    """The file of a finisher, from the bytes of a saved picture, whose metadata it carries on.

    suffix: the finisher's, or an eye's.
    """
    (finisher,) = (finisher for finisher in FINISHERS if suffix in _suffixes(finisher))
    pixels = finisher.run(decode_png(png), settings, networks)
    return png_bytes(pixels, copied_metadata(png, {**finisher.facts(networks), "finisher": suffix}))


def copied_metadata(png: bytes, more: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a PNG carries, with more facts; None for one that carries nothing."""
    try:
        return {**metadata_in(png), **more}
    except InputError:
        return None


def _suffixes(finisher: Finisher) -> tuple[str, ...]:
    return finisher.suffix, *(eye_suffix(side, finisher.suffix) for side in EYES)


def missing_files(folder: RunFolder, settings: Settings, picture: int) -> dict[str, Path]:
    """Suffix of a wanted file that a saved picture lacks -> the picture, or the eye's, that it is made of.

    A torn file moves to retained/ and is missing.
    """
    names, wanted = folder.names, wanted_suffixes(settings)
    sources = {suffix: names.picture(picture) for suffix in wanted}
    for side in EYES:
        eye = names.eye(picture, side)
        if eye.exists():
            sources |= {eye_suffix(side, suffix): eye for suffix in wanted}
    return {suffix: path for suffix, path in sources.items() if not folder.has_finished(picture, suffix)}


def unfinished_pictures(folder: RunFolder, settings: Settings, pictures: Iterable[int]) -> frozenset[int]:
    """Those of these saved pictures that lack a wanted file."""
    return frozenset(picture for picture in pictures if missing_files(folder, settings, picture))
