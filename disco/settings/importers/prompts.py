"""text_prompts in every form that the old tools and their forks write."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from disco.errors import key_number, shortened, show
from disco.settings.importers.builder import ImportBuilder
from disco.settings.importers.clips import clip_name
from disco.settings.importers.old_values import fold, spell_out, tidy_schedule
from disco.settings.prompts import parse_prompts

KEY = "text_prompts"


def put_text_prompts(builder: ImportBuilder, value: Any) -> None:
    """Hand the prompts over; every one that cannot be read is named.

    A text; a list of texts, of [text, weight] or of {text, weight, ...}; {text: weight}; {version, prompts};
    or {frame: one of these}.
    """
    if isinstance(value, Mapping) and "prompts" in value:
        value = value["prompts"]
    if isinstance(value, Mapping) and value and not _is_entry(value):
        frames = _frames(builder, value)
    else:
        frames = {0: _group(builder, value)}
    frames = {frame: group for frame, group in frames.items() if group}
    if len(frames) > 1:
        builder.notes[KEY] = f"a still uses frame {min(frames)} only"
    if frames:
        builder.keep(KEY, frames[0] if list(frames) == [0] else frames)


def _frames(builder: ImportBuilder, value: Mapping[Any, Any]) -> dict[int, list[Any]]:
    """{frame: group}; what stands under a text and not a number is that text's weight, at frame 0."""
    frames: dict[int, list[Any]] = {}
    for key, part in value.items():
        frame = key_number(key)
        if frame is not None:
            frames.setdefault(frame, []).extend(_group(builder, part))
        elif _is_weight(part):
            frames.setdefault(0, []).extend(_read(builder, {"text": str(key), "weight": part}))
        else:
            _drop(builder, {key: part}, "a frame number and its prompts, or a text and its weight")
    return frames


def _group(builder: ImportBuilder, value: Any) -> list[Any]:
    """The prompts of one frame."""
    if value is None:
        return []
    if isinstance(value, Mapping) and not _is_entry(value):
        return [prompt for text, weight in value.items() for prompt in _weighed(builder, text, weight)]
    if isinstance(value, (list, tuple)):
        return [prompt for entry in value for prompt in _read(builder, entry)]
    return _read(builder, value)


def _weighed(builder: ImportBuilder, text: Any, weight: Any) -> list[Any]:
    if not _is_weight(weight):
        _drop(builder, {text: weight}, "a text and its weight")
        return []
    return _read(builder, {"text": str(text), "weight": weight})


def _read(builder: ImportBuilder, entry: Any) -> list[Any]:
    """One prompt as ours: [it], or [] for what is no prompt, which is named."""
    try:
        prompt = _prompt(builder, entry)
        parse_prompts(prompt)
    except (ValueError, TypeError):
        _drop(builder, entry, 'some words, "words:weight" or {text, weight}')
        return []
    return [prompt]


def _prompt(builder: ImportBuilder, entry: Any) -> Any:
    if isinstance(entry, Mapping) and not _is_entry(entry) and len(entry) == 1:
        ((text, weight),) = entry.items()
        entry = {"text": str(text), "weight": weight}
    if isinstance(entry, (list, tuple)) and len(entry) == 2:
        return {"text": str(entry[0]), "weight": tidy_schedule(entry[1])[0]}
    if not isinstance(entry, Mapping):
        if entry is None or isinstance(entry, (bool, list, tuple)):
            raise ValueError("no prompt")
        return str(entry)
    ours: dict[str, Any] = {"text": str(entry.get("text", ""))}
    weight, switch = entry.get("weight"), entry.get("schedule")
    if weight is None:
        match = re.fullmatch(r"(?P<text>.*):\s*(?P<weight>[-+]?[\d.]+)\s*", ours["text"], re.DOTALL)
        ours["text"], weight = (match["text"], float(match["weight"])) if match else (ours["text"], 1)
    ours["weight"] = tidy_schedule(weight)[0]
    if switch is not None:
        pairs = zip(spell_out(weight), spell_out(switch), strict=True)
        ours["weight"] = fold([float(a) * bool(b) for a, b in pairs])
    if entry.get("clip_guidance"):
        ours["clip_models"] = [clip_name(name) or name for name in entry["clip_guidance"]]
    if entry.get("spellcheck") not in (None, "ignore"):
        builder.drop("spellcheck", "there is no spelling check here")
    return ours


def _is_entry(value: Mapping[Any, Any]) -> bool:
    return "text" in value


def _is_weight(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return False
    try:
        tidy_schedule(value)
    except ValueError:
        return False
    return True


def _drop(builder: ImportBuilder, entry: Any, allowed: str) -> None:
    shown = "an empty one" if entry in (None, "", [], {}) else show(shortened(entry))
    builder.dropped.append(f"{KEY}: {shown} is no prompt: write {allowed}")
