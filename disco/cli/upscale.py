"""The verb of the command line that enlarges finished pictures: upscale."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from disco.cli.parser import Parser
from disco.errors import InputError
from disco.files.paths import path_argument
from disco.settings.methods import UPSCALES, original_name, too_large, upscaled_suffix

if TYPE_CHECKING:
    from disco.networks.upscaler import Upscaler


@dataclass(frozen=True)
class _Copy:
    """What is made: of which picture, where to."""

    picture: Path
    target: Path


def upscale(words: Sequence[str]) -> int:
    """Enlarge pictures: NAME_x4.png beside each NAME.png. Those that are there already are kept."""
    parser = Parser(prog="run.py upscale", description=upscale.__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("pictures", nargs="+", type=path_argument, metavar="PICTURE.png", help="PNGs, such as NAME/*.png")
    add(
        "--model", default="pocket_upscale", metavar="NAME|FILE", help="a registry name, or a file of weights"
    )
    add("--scale", choices=tuple(UPSCALES), default="x4", help="times that each side grows; default: x4")
    add("--device", default="auto", metavar="auto|cpu|cuda[:N]|mps", help="where to compute")
    options = parser.parse_args(words)
    run = _run_of(options)  # an error in the options comes before one in the pictures
    copies = [copy for path in options.pictures for copy in _copies(path, options.scale)]
    if copies:
        upscaler = _loaded(run, options.scale)
        for copy in copies:
            _write(copy, upscaler, options.scale)
    return 0


def _run_of(options: argparse.Namespace) -> Any:
    """A run whose settings ask for this upscaler. Raises SettingsError."""
    from disco.networks.required import check_packages
    from disco.settings.load import run_from_mapping

    chosen = {"upscale": options.scale, "upscale_model": options.model}
    run = run_from_mapping(chosen, overrides=[f"device={options.device}"], name="--model")
    check_packages(run)
    return run


def _copies(picture: Path, scale: str) -> list[_Copy]:
    """What is to be made of a picture; nothing, and a line for the user, where that is there already.

    Raises InputError for what is no whole PNG, and for a picture that would grow too large.
    """
    from disco.media.png import check_png, png_size

    check_png(picture)
    original = picture.with_name(original_name(picture.name))
    target = picture.with_name(f"{picture.stem}{upscaled_suffix(scale)}.png")
    if original != picture and original.exists():
        print(f"{picture}: left out: an enlarged copy of {original.name}", file=sys.stderr)
        return []
    if target.exists():
        print(f"{target}: kept: it is there already", file=sys.stderr)
        return []
    fault = too_large(png_size(picture), scale)
    if fault:
        raise InputError(f"{picture}: {fault}. Give a smaller picture")
    return [_Copy(picture, target)]


def _loaded(run: Any, scale: str) -> Upscaler:
    """Fetch and load it alone. Raises WeightsError, SettingsError, InputError."""
    from disco.memory.devices import pick_device
    from disco.networks.load import LOADERS, Loader
    from disco.networks.required import required
    from disco.networks.upscaler import upscaler_of

    loader = Loader(
        run.settings, pick_device(run.settings.device), notice=lambda text: print(text, file=sys.stderr)
    )
    needs = required(run.settings, run.base_dirs)
    return upscaler_of(loader.load(needs, {"upscale": LOADERS["upscale"]})["upscale"], scale)


def _write(copy: _Copy, upscaler: Upscaler, scale: str) -> None:
    """Raises RunError if the disk is full. A file that came there since is kept."""
    from disco.files.atomic import write_new
    from disco.media.images import png_bytes, rgb_pixels
    from disco.runs.finishers import copied_metadata

    png = copy.picture.read_bytes()
    pixels = upscaler(rgb_pixels(png, str(copy.picture)), scale)
    metadata = copied_metadata(png, {"upscaler": upscaler.facts(), "finisher": upscaled_suffix(scale)})
    try:
        write_new(copy.target, png_bytes(pixels, metadata))
        print(copy.target)
    except FileExistsError:
        print(f"{copy.target}: kept: it is there already", file=sys.stderr)


VERBS: dict[str, Callable[[Sequence[str]], int]] = {"upscale": upscale}
