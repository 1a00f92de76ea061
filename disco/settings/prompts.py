"""Prompts: "a lighthouse:2" -> Prompt("a lighthouse", weight 2), and the ways to write several of them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from disco.errors import FieldError, ValueErrors, faults_of, key_number, missing_blank, show
from disco.settings.schedules import Schedule

_WEIGHT = re.compile(r"\s*[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d{1,3})?\s*")
_SIGNS = {ord(sign): "-" for sign in "\u2212\u2013\ufe63\uff0d"} | {ord("\uff0b"): "+"}  # typed for - and +
# What ends a prompt like a weight and is none: "fog:-1,5", "fog\uff1a-1", "fog:2x", "fog:50%".
_LOOKALIKE = re.compile(
    r"(?P<words>.*\S)\s*[:\uff1a\ufe55\u2236]\s*"
    r"(?P<weight>[-+x\u00d7*~\u2010-\u2015\u2212\ufe63\uff0d]?[.,]?\d[\d.,/]*[x\u00d7%]?)\s*",
    re.DOTALL,
)
_ONE = Schedule.parse(1)
_UNUSUAL = 20.0  # a weight above it is more likely a year or a score


@dataclass(frozen=True)
class Prompt:
    """A text and its weight over the noise levels (any sign). clip_models: only those look for it; () is all.

    raw: the text as typed with its ":weight", which `compat: dd57` gives to the tokenizer.
    """

    text: str
    weight: Schedule = _ONE
    clip_models: tuple[str, ...] = ()
    raw: str = ""

    def __post_init__(self) -> None:
        if not self.raw:
            object.__setattr__(self, "raw", self.text)


@dataclass(frozen=True)
class ImagePrompt:
    """A picture (path or URL) as a prompt; the rest as in Prompt."""

    source: str
    weight: Schedule = _ONE
    clip_models: tuple[str, ...] = ()


AnyPrompt = TypeVar("AnyPrompt", Prompt, ImagePrompt)


def split_weight(text: str) -> tuple[str, float]:
    """ "a cat:-0.5" -> ("a cat", -0.5). What follows the last colon is a weight only if it is a number.

    "a castle: at night", Windows paths and addresses with a port therefore stay whole, with weight 1.
    """
    head, colon, tail = text.rpartition(":")
    tail = tail.translate(_SIGNS)
    if not colon or not _WEIGHT.fullmatch(tail) or math.isinf(float(tail)):
        return text, 1.0
    return head, float(tail)


def text_prompt(text: str) -> Prompt:
    """One prompt as typed."""
    words, weight = split_weight(text)
    return Prompt(words, Schedule.parse(weight), raw=text)


def image_prompt(text: str) -> ImagePrompt:
    """One picture prompt as typed: "castle.png:2", "https://example.org/castle.png"."""
    source, weight = split_weight(text)
    return ImagePrompt(source.strip(), Schedule.parse(weight))


def weight_warning(prompt: Prompt) -> str | None:
    """For a text that may have meant the number after its colon as words: how to write each."""
    words, weight = split_weight(prompt.raw)
    if prompt.raw == prompt.text or words == prompt.raw:
        return None
    tail = prompt.raw[len(words) + 1 :]
    if not (tail != tail.strip() or words[-1:].isspace() or words[-1:].isdigit() or abs(weight) > _UNUSUAL):
        return None
    return (
        f'"{prompt.raw}" is read as "{words}" with weight {weight:g}. Write {{text: "{words}", weight: '
        f'{weight:g}}} to say so, or {{text: "{prompt.raw}"}} if the number belongs to the text'
    )


def lookalike_warning(prompt: Prompt) -> str | None:
    """For a text that ends in what looks like a weight but is read as words: how to write each."""
    text = prompt.raw
    match = _LOOKALIKE.fullmatch(text)
    if prompt.raw != prompt.text or match is None or match["words"][-1:].isdigit():
        return None
    number = match["weight"].translate(_SIGNS).strip("x\u00d7*~%").replace(",", ".")
    weight = number if _WEIGHT.fullmatch(number) else "-0.5"
    weight = f"{float(weight) / 100:g}" if match["weight"].endswith("%") else weight
    words = match["words"].rstrip()
    return (
        f'"{text}" has the weight 1: "{match["weight"]}" is read as words. Write "{words}:{weight}" for a '
        f'weight, or {{text: "{text}"}} if it belongs to the text'
    )


def parse_prompts(value: Any) -> dict[int, tuple[Prompt, ...]]:
    """A text, a list, {text, weight, clip_models}, or Disco's {0: [...], 100: [...]} -> prompts by frame.

    None and empty lists give no prompts. Raises ValueErrors with the path and a sentence for every fault.
    """
    return _by_frame(value, "text", _text_entry)


def parse_image_prompts(value: Any) -> dict[int, tuple[ImagePrompt, ...]]:
    """As parse_prompts, for "path-or-URL:weight" and {image, weight, clip_models}."""
    return _by_frame(value, "image", _image_entry)


def prompts_at(prompts: Mapping[int, tuple[AnyPrompt, ...]], frame: int) -> tuple[AnyPrompt, ...]:
    """The prompts of a frame: of the last key at or before it, of the first key before that. Stills: 0."""
    if not prompts:
        return ()
    held = [key for key in prompts if key <= frame]
    return prompts[max(held) if held else min(prompts)]


def unused_frames(prompts: Mapping[int, Any]) -> list[int]:
    """The keys that a still does not use."""
    used = 0 if 0 in prompts else min(prompts, default=0)
    return sorted(key for key in prompts if key != used)


def prompt_path(value: Any, frame: int, index: int) -> tuple[Any, ...]:
    """The keys that lead to a prompt inside what the user wrote, for the line of a message."""
    path: tuple[Any, ...] = ()
    if isinstance(value, Mapping) and not any(_is_entry_key(key) for key in value):
        path = tuple(key for key in value if key_number(key) == frame)
        value = value[path[0]] if path else None
    return (*path, index) if isinstance(value, (list, tuple)) else path


def dump_prompts(prompts: Mapping[int, Sequence[Prompt | ImagePrompt]]) -> dict[int, list[Any]]:
    """Plain values that YAML can hold and parse_prompts / parse_image_prompts read back to equal prompts."""
    return {frame: [_dump(prompt) for prompt in group] for frame, group in prompts.items()}


def _dump(prompt: Prompt | ImagePrompt) -> Any:
    if isinstance(prompt, Prompt):
        words, typed, again = prompt.text, prompt.raw, text_prompt(prompt.raw.rstrip("\n"))
        if prompt == again and words.strip():
            return typed
        entry: dict[str, Any] = {"text": words}
        if prompt.raw != words:
            entry["raw"] = prompt.raw
    else:
        if prompt == image_prompt(prompt.source):
            return prompt.source
        entry = {"image": prompt.source}
    if prompt.weight != _ONE:
        entry["weight"] = prompt.weight.to_yaml()
    if prompt.clip_models:
        entry["clip_models"] = list(prompt.clip_models)
    return entry


def _by_frame(value: Any, word: str, read: Callable[[Any], AnyPrompt]) -> dict[int, tuple[AnyPrompt, ...]]:
    if isinstance(value, Mapping) and value and not any(_is_entry_key(key) for key in value):
        faults: list[FieldError] = []
        frames: dict[int, tuple[AnyPrompt, ...]] = {}
        for key, group in value.items():
            frame = key_number(key)
            if frame is None:
                faults.append(((key,), _wrong_key(key, group, word)))
                continue
            if frame in frames:
                faults.append(((key,), f"frame {frame} is written twice"))
                continue
            try:
                frames[frame] = _group(group, read)
            except ValueError as error:
                faults += faults_of(error, key)
        if faults:
            raise ValueErrors(*faults)
        return {frame: frames[frame] for frame in sorted(frames) if frames[frame]}
    blank = missing_blank(value) if isinstance(value, str) else ""
    if blank and re.match(r"\s*\d+:[\[{\"']", value):
        raise ValueError(blank)
    group = _group(value, read)
    return {0: group} if group else {}


def _is_entry_key(key: Any) -> bool:
    return key in ("text", "image", "weight", "clip_models", "raw")


def _wrong_key(key: Any, value: Any, word: str) -> str:
    if isinstance(key, str) and missing_blank(key):
        return missing_blank(key if value is None else f"{key}: {value}")
    if isinstance(key, str) and value is None:
        return f'{show(key)} is no frame number. A {word} in curly brackets needs quotes: "{{{key}}}"'
    if isinstance(key, str) and not isinstance(value, (list, tuple, Mapping)):
        whole = f"{key}: {value}"
        return f'{show(key)} is no frame number. A {word} with ": " in it needs quotes: "{whole}"'
    return f"{show(key)} is no frame number: a whole number from 0"


def _group(value: Any, read: Callable[[Any], AnyPrompt]) -> tuple[AnyPrompt, ...]:
    if value is None or (isinstance(value, Mapping) and not value):
        return ()
    if not isinstance(value, (list, tuple)):
        return (read(value),)
    faults: list[FieldError] = []
    prompts: list[AnyPrompt] = []
    for index, entry in enumerate(value):
        try:
            prompts.append(read(entry))
        except ValueError as error:
            faults += faults_of(error, index)
    if faults:
        raise ValueErrors(*faults)
    return tuple(prompts)


def _text_entry(entry: Any) -> Prompt:
    if isinstance(entry, Prompt):
        return entry
    prompt = text_prompt(entry.rstrip("\n")) if isinstance(entry, str) else None
    if prompt is None:
        words, weight, models = _entry(entry, "text")
        raw = entry.get("raw", words)
        prompt = Prompt(words, weight, models, raw if isinstance(raw, str) else words)
    if not prompt.text.strip():
        raise ValueError("an empty prompt: write some words")
    return prompt


def _image_entry(entry: Any) -> ImagePrompt:
    if isinstance(entry, ImagePrompt):
        return entry
    prompt = image_prompt(entry) if isinstance(entry, str) else ImagePrompt(*_entry(entry, "image"))
    if not prompt.source:
        raise ValueError("an empty image prompt: write a path or an address")
    return prompt


def _entry(entry: Any, word: str) -> tuple[str, Schedule, tuple[str, ...]]:
    """{text, weight, clip_models} -> its three parts."""
    if not isinstance(entry, Mapping):
        hint = f'; a number as a {word} needs quotes: "{entry}"' if isinstance(entry, (int, float)) else ""
        raise ValueError(
            f"{show(entry)} is no prompt: write a {word} or {{{word}, weight, clip_models}}{hint}"
        )
    allowed = (word, "weight", "clip_models", "raw") if word == "text" else (word, "weight", "clip_models")
    faults = list(_entry_faults(entry, word, allowed))
    weight, models = _ONE, entry.get("clip_models", ())
    if "weight" in entry:
        try:
            weight = Schedule.parse(entry["weight"])
        except ValueError as error:
            faults += [(path, f"weight: {text}") for path, text in faults_of(error, "weight")]
    if isinstance(models, str):
        models = (models,)
    if not isinstance(models, (list, tuple)) or not all(isinstance(name, str) for name in models):
        faults.append((("clip_models",), "clip_models: write a list of names, each one of clip_models"))
    if faults:
        raise ValueErrors(*faults)
    return entry[word], weight, tuple(models)


def _entry_faults(entry: Mapping[Any, Any], word: str, allowed: tuple[str, ...]) -> Iterator[FieldError]:
    if word not in entry:
        if len(entry) == 1:
            ((key, value),) = entry.items()
            if isinstance(key, str) and key not in allowed and not isinstance(value, (list, Mapping)):
                yield (), f'a {word} with ": " in it needs quotes: "{key}: {"" if value is None else value}"'
                return
        yield (), f"a prompt needs {word}: write {{{word}, weight, clip_models}}"
    elif not isinstance(entry[word], str):
        yield (word,), f'{word}: must be text; put it in quotes: "{entry[word]}"'
    for key in entry:
        if key not in allowed:
            yield (key,), f"{show(key)} is no part of a prompt: allowed are {word}, weight, clip_models"


WEIGHT_SCHEMA = {"anyOf": [{"type": "number"}, {"$ref": "#/$defs/schedule_of_float"}]}
_NAMES_SCHEMA = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
PROMPT_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "description": '"a lighthouse" or, with a weight, "a lighthouse:2"'},
        {
            "type": "object",
            "properties": {
                "text": {"type": "string"},
                "image": {"type": "string"},
                "raw": {"type": "string"},
                "weight": WEIGHT_SCHEMA,
                "clip_models": _NAMES_SCHEMA,
            },
            "additionalProperties": False,
        },
    ]
}
_GROUP_SCHEMA = {
    "anyOf": [{"$ref": "#/$defs/prompt"}, {"type": "array", "items": {"$ref": "#/$defs/prompt"}}]
}
PROMPTS_SCHEMA: dict[str, Any] = {
    "anyOf": [
        _GROUP_SCHEMA,
        {"type": "object", "patternProperties": {"^[0-9]+$": _GROUP_SCHEMA}, "additionalProperties": False},
    ]
}
"""The JSON schema of what parse_prompts and parse_image_prompts read."""
