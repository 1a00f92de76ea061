"""Values that the old tools wrote in other forms: schedules, sides, batch names, networks."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from disco.errors import InputError
from disco.files.paths import find
from disco.files.urls import is_url
from disco.settings.importers.builder import ImportBuilder
from disco.settings.kinds import allowed
from disco.settings.model import facts_of
from disco.settings.prompts import dump_prompts, parse_image_prompts
from disco.settings.schedules import LENGTH
from disco.settings.schedules import spell_out as spell_out_text
from disco.settings.syntax import numeral
from disco.weights.registry import registry

ORIGINAL_NETWORK = "512x512_diffusion_uncond_finetune_008100"
SIDE_STEP = 64

_FILE_NAME = re.compile(r"(?P<name>.+?)(?:\(\d+\)|-\d+)_settings")


def spell_out(value: Any) -> list[Any]:
    """A schedule in any of the old forms as its values: 1000 for a single one, else as many as it holds.

    5000, true, "0.5", "[12]*400+[4]*600", a list of numbers, or that list written as a string.
    Raises ValueError for anything else.
    """
    if isinstance(value, (bool, int, float)):
        return [value] * LENGTH
    if isinstance(value, list) and all(isinstance(item, (bool, int, float)) for item in value):
        return value
    text = str(value).strip()
    if text in ("True", "False"):
        return [text == "True"] * LENGTH
    try:
        return [float(text)] * LENGTH
    except ValueError:
        return spell_out_text(text)


def fold(values: Sequence[Any]) -> Any:
    """The values as one number when they are all the same, else as "[12]*400+[4]*600"."""
    runs = [(plain(value), len(list(run))) for value, run in itertools.groupby(values)]
    if len(runs) == 1:
        return runs[0][0]
    return "+".join(f"[{value}]*{count}" for value, count in runs)


def tidy_schedule(value: Any) -> tuple[Any, str | None]:
    """A schedule as short as it can be written, 1000 long, and what had to be done for that (or None).

    Raises ValueError if it cannot be read.
    """
    values = spell_out(value)
    if not values:
        raise ValueError("an empty schedule")
    if len(values) < LENGTH:
        remark = f"it held {len(values)} of 1000 values; the last one is held to the end"
        return fold([*values, *values[-1:] * (LENGTH - len(values))]), remark
    if len(values) > LENGTH:
        return fold(values[:LENGTH]), f"it held {len(values)} values; only the first 1000 were ever used"
    return fold(values), None


def ramp(first: float, last: float, *, whole: bool, parts: int = 20) -> Any:
    """A straight line over the 1000 values in `parts` steps; truncated to whole numbers if asked."""
    width = LENGTH // parts
    line = [first + (last - first) * (i + 0.5) / parts for i in range(parts)]
    return fold([int(v) if whole else round(v, 3) for v in line for _ in range(width)])


def plain(value: Any) -> Any:
    """12.0 as 12: the form a person would type."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def put_schedule(builder: ImportBuilder, key: str, value: Any) -> None:
    """Hand a schedulable key over; one that nobody can read is dropped, so that the default holds."""
    try:
        tidy, remark = tidy_schedule(value)
    except ValueError:
        builder.keep(key, value)  # a form of ours, or dropped with what is allowed
        return
    if remark:
        builder.change(key, tidy, remark, old=value)
    else:
        builder.keep(key, tidy)


def put_size(builder: ImportBuilder, sides: Sequence[Any], remark: str) -> None:
    """Sides go over in multiples of 64, rounded down as all three tools did."""
    numbers = [numeral(side) for side in sides] if isinstance(sides, (list, tuple)) else []
    typed = [int(side) for side in numbers if _is_side(side)]
    if len(typed) != 2 or len(numbers) != 2:
        builder.refuse("width_height", sides, allowed(facts_of("width_height")))
        return
    size = [max(SIDE_STEP, side // SIDE_STEP * SIDE_STEP) for side in typed]
    if size == typed:
        builder.keep("width_height", size)
    else:
        builder.change("width_height", size, remark, old=typed)


def _is_side(side: Any) -> bool:
    return isinstance(side, (int, float)) and not isinstance(side, bool) and math.isfinite(side)


def put_network(builder: ImportBuilder, value: Any) -> None:
    """The diffusion network by its name in our registry; the original's default for one that is not there."""
    name = str(value)
    known = network_name(name)
    if known == name:
        builder.keep("diffusion_model", name)
    elif known:
        builder.change("diffusion_model", known, "its name here", old=name)
    else:
        why = "not in the registry; for your own file: diffusion_model: custom, custom_path, custom_config"
        builder.change("diffusion_model", ORIGINAL_NETWORK, why, old=name)


def put_batch_name(builder: ImportBuilder, typed: Any, path: Path) -> None:
    """batch_name as the old file has it, or from a file name such as dream(3)_settings.txt, or its stem."""
    match = _FILE_NAME.match(path.stem)
    name = _file_name(typed or (match["name"] if match else path.stem))
    if not typed:
        builder.change("batch_name", name, "not in the file; taken from its name")
    elif name == typed:
        builder.keep("batch_name", name)
    else:
        builder.change("batch_name", name, "some characters cannot stand in a file name", old=typed)


def network_name(old: str) -> str | None:
    """Our name of a diffusion network by its name or alias; None if the registry has no weights of it."""
    try:
        entry = registry().get("diffusion", old)
    except InputError:
        return None
    return entry.name if entry.files else None  # custom has none


def nothing(value: Any) -> bool:
    """The old ways to say that there is none."""
    return value is None or str(value).strip().lower() in ("", "none", "null")


def put_init_image(builder: ImportBuilder, folder: Path) -> None:
    """A path or address; one that is not here is left out, because our settings name only files that are."""
    value = builder.take("init_image")
    if nothing(value):
        return
    init = picture(str(value), folder)
    if init is None:
        builder.dropped.append(f"init_image: {value} is not here; put it in place and add the line yourself")
    elif init == value:
        builder.keep("init_image", init)
    else:
        builder.change("init_image", init, "found beside the old settings file", old=value)


def put_image_prompts(builder: ImportBuilder, prompts: Any, folder: Path) -> None:
    """image_prompts with those pictures that are here."""
    here: dict[int, list[Any]] = {}
    try:
        frames = parse_image_prompts(prompts)
    except ValueError as error:
        builder.dropped.append(f"image_prompts: {error}; none of them is taken")
        return
    for frame, group in frames.items():
        for prompt in group:
            source = picture(prompt.source, folder)
            if source is None:
                builder.dropped.append(f"image_prompts: {prompt.source} is not here; add it yourself")
            else:
                here.setdefault(frame, []).extend(dump_prompts({0: [replace(prompt, source=source)]})[0])
    if here:
        builder.keep("image_prompts", here[0] if list(here) == [0] else here)


def picture(name: str, folder: Path) -> str | None:
    """An address as it is; a path that opens the picture from here, looked for beside the old file too."""
    if is_url(name):
        return name
    path = find(name, [folder], Path.is_file)
    return None if path is None else str(path)


def _file_name(text: Any) -> str:
    """The nearest name that files may have here."""
    name = re.sub(r'[\x00-\x1f<>:"/\\|?*]+', "_", str(text)).strip().strip(".")
    return name.encode()[:100].decode(errors="ignore").strip() or "imported"
