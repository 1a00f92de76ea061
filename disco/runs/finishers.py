"""Steps after a picture is saved, each of which leaves a file beside it; a resumed run makes those missing.

To add one: a row in FINISHERS, and a setting that asks for it, with pixels=False.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from disco.media.images import Pixels, decode_png, png_bytes
from disco.media.png import metadata_in
from disco.networks.load import Networks
from disco.runs.folder import RunFolder
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

    def __post_init__(self) -> None:
        if not _SUFFIX.fullmatch(self.suffix):
            raise ValueError(f"suffix is {self.suffix!r}; allowed is _ and two or more of a-z0-9")


FINISHERS: tuple[Finisher, ...] = ()


def wanted_suffixes(settings: Settings) -> tuple[str, ...]:
    """Of the finishers that the settings ask for, in the order in which they run."""
    return tuple(finisher.suffix for finisher in FINISHERS if finisher.wanted(settings))


def finished_png(suffix: str, png: bytes, settings: Settings, networks: Networks) -> bytes:
    """The file of a finisher, from the bytes of a saved picture, whose metadata it carries on."""
    (finisher,) = (finisher for finisher in FINISHERS if finisher.suffix == suffix)
    pixels = finisher.run(decode_png(png), settings, networks)
    return png_bytes(pixels, {**metadata_in(png), "finisher": suffix})


def missing_suffixes(folder: RunFolder, settings: Settings, picture: int) -> tuple[str, ...]:
    """Those of the wanted files that a picture lacks. A torn file moves to retained/ and is missing."""
    return tuple(s for s in wanted_suffixes(settings) if not folder.has_finished(picture, s))


def unfinished_pictures(folder: RunFolder, settings: Settings, pictures: Iterable[int]) -> frozenset[int]:
    """Those of these saved pictures that lack a wanted file."""
    return frozenset(picture for picture in pictures if missing_suffixes(folder, settings, picture))
