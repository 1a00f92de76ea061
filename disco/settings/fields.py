"""How one setting is read: kinds of values and their ranges.

Each field of settings.py carries its facts in `json_schema_extra`:
kind, ge, le, choices, unit, schedulable, pixels (changed by it?), section, no_effect (why, if it has none).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from disco.errors import FieldError, ValueErrors, faults_of, show
from disco.settings.keyframes import KeyFrames
from disco.settings.prompts import parse_image_prompts, parse_prompts
from disco.settings.schedules import Schedule, short

__all__ = ["ClipChoice", "allowed", "read_value", "setting"]

NOTHING = ("", "none", "null")


@dataclass(frozen=True)
class ClipChoice:
    """One CLIP network by its registry name; weight: its share in the guidance, over the noise levels."""

    name: str
    weight: Schedule = Schedule.parse(1)  # noqa: RUF009 - a schedule is immutable


def setting(default: Any, kind: str, description: str, **facts: Any) -> Any:
    """A field of a Section; facts: ge, le, choices, unit, pixels (default True), no_effect."""
    name, _, number = kind.partition(":")
    if name == "schedule":
        default = Schedule.parse(default, _TYPES[number])
    if name == "keyframes":
        default = KeyFrames.parse(default)
    if name == "float":
        default = float(default)
    extra = {"kind": kind, "pixels": True, "schedulable": name == "schedule", **facts}
    return Field(default, description=description, json_schema_extra=extra)


def read_value(value: Any, facts: Mapping[str, Any]) -> Any:
    """What the user wrote -> the field's value. Raises ValueError or ValueErrors with a sentence."""
    name, _, number = facts["kind"].partition(":")
    if name == "schedule":
        return _schedule(value, number, facts)
    return _READERS[name](value, facts)


# ---- numbers ----

_TYPES: dict[str, type] = {"float": float, "int": int, "bool": bool}
_TRUE, _FALSE = ("true", "yes", "on"), ("false", "no", "off")


def _refuse(value: Any, facts: Mapping[str, Any]) -> ValueError:
    return ValueError(f"{show(value)} is not allowed: write {allowed(facts)}")


def _schedule(value: Any, number: str, facts: Mapping[str, Any]) -> Schedule:
    schedule = Schedule.parse(value, _TYPES[number])
    versions = [schedule] if schedule.frames is None else [part for _, part in schedule.frames.keys]
    for version in versions:
        for index, entry in enumerate(version.values):
            if outside(entry, facts):
                place = "" if version.constant else f" (at index {index})"
                raise ValueError(f"{show(short(entry))}{place} is not allowed: write {allowed(facts)}")
    return schedule


def _whole(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if isinstance(value, int) or value.is_integer() else None


def _int(value: Any, facts: Mapping[str, Any]) -> int:
    number = _whole(value)
    if number is None or outside(number, facts):
        raise _refuse(value, facts)
    return number


def _digits(value: Any, facts: Mapping[str, Any]) -> int:
    """A whole number that the original writes as a text: "3"."""
    is_number = isinstance(value, str) and re.fullmatch(r"\s*\d{1,9}\s*", value)
    return _int(int(value), facts) if is_number else _int(value, facts)


def _float(value: Any, facts: Mapping[str, Any]) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > 1e300:
        raise _refuse(value, facts)
    if not math.isfinite(value) or outside(value, facts):
        raise _refuse(value, facts)
    return float(value)


def _bool(value: Any, facts: Mapping[str, Any]) -> bool:
    word = value.lower() if isinstance(value, str) else ""
    if isinstance(value, bool) or word in _TRUE or word in _FALSE:
        return value if isinstance(value, bool) else word in _TRUE
    raise _refuse(value, facts)


# ---- words ----


def _choice(value: Any, facts: Mapping[str, Any]) -> str:
    word = "none" if value is None else value
    for choice in facts["choices"]:
        if isinstance(word, str) and word.lower() == choice.lower():
            return str(choice)
    raise _refuse(value, facts)


def _text(value: Any, facts: Mapping[str, Any]) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _refuse(value, facts)
    return value.strip()


def _path(value: Any, facts: Mapping[str, Any]) -> str | None:
    if value is None or (isinstance(value, str) and value.strip().lower() in NOTHING):
        return None
    return _text(value, facts)


def _device(value: Any, facts: Mapping[str, Any]) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,3})?", value):
        raise _refuse(value, facts)
    return value


def _mapping(value: Any, facts: Mapping[str, Any]) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise _refuse(value, facts)
    return dict(value)


_BAD_CHARACTERS = re.compile(r'[\x00-\x1f<>:"/\\|?*]')


def _file_name(value: Any, facts: Mapping[str, Any]) -> str:
    name = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(name, str) or not name.strip():
        raise _refuse(value, facts)
    name = name.strip()
    wrong = _BAD_CHARACTERS.search(name)
    if wrong:
        raise ValueError(f'{show(name)} is no file name: "{wrong.group()}" cannot stand in one')
    if name.startswith(".") or name.endswith("."):
        raise ValueError(f"{show(name)} is no file name: it must not start or end with a dot")
    if len(name.encode()) > 100:
        raise ValueError(f"{show(name)} has {len(name.encode())} bytes: a name may have 100")
    return name


# ---- numbers or words ----


def _auto_bool(value: Any, facts: Mapping[str, Any]) -> bool | str:
    return "auto" if isinstance(value, str) and value.strip().lower() == "auto" else _bool(value, facts)


def _word_or_int(word: str) -> Callable[[Any, Mapping[str, Any]], Any]:
    def read(value: Any, facts: Mapping[str, Any]) -> Any:
        if isinstance(value, str) and value.strip().lower() == word:
            return word
        return _int(value, facts)

    return read


def _size(value: Any, facts: Mapping[str, Any]) -> tuple[int, int]:
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d{1,6})\s*[x×,*]\s*(\d{1,6})\s*", value)
        value = [int(match[1]), int(match[2])] if match else value
    sides = [_whole(side) for side in value] if isinstance(value, (list, tuple)) else []
    if len(sides) != 2 or any(side is None or outside(side, facts) for side in sides):
        raise _refuse(value, facts)
    return int(sides[0] or 0), int(sides[1] or 0)


def _saves(value: Any, facts: Mapping[str, Any]) -> int | tuple[int, ...]:
    if isinstance(value, (list, tuple)):
        return tuple(sorted({_at(index, _int, entry, facts) for index, entry in enumerate(value)}))
    return _int(value, facts)


def _at(index: int, read: Callable[..., Any], value: Any, facts: Mapping[str, Any]) -> Any:
    try:
        return read(value, facts)
    except ValueError as error:
        raise ValueErrors(*faults_of(error, index)) from None


def _shares(value: Any, facts: Mapping[str, Any]) -> tuple[float, ...]:
    if not isinstance(value, (list, tuple)):
        value = [value]
    return tuple(_at(index, _float, entry, facts) for index, entry in enumerate(value))


# ---- of animations ----


def _steps(value: Any, facts: Mapping[str, Any]) -> str | int:
    """A share of the steps, "60%", or their number."""
    match = re.fullmatch(r"\s*(\d{1,3})\s*%\s*", value) if isinstance(value, str) else None
    if match is None:
        return _int(value, facts)
    if int(match[1]) > 100:
        raise _refuse(value, facts)
    return f"{int(match[1])}%"


# ---- networks and prompts ----


def _clips(value: Any, facts: Mapping[str, Any]) -> tuple[ClipChoice, ...]:
    entries = [value] if isinstance(value, (str, Mapping)) else value
    if not isinstance(entries, (list, tuple)):
        raise _refuse(value, facts)
    faults: list[FieldError] = []
    choices: list[ClipChoice] = []
    for index, entry in enumerate(entries):
        try:
            choices.append(_clip(entry, facts))
        except ValueError as error:
            faults += faults_of(error, index)
    if faults:
        raise ValueErrors(*faults)
    return tuple(choices)


def _clip(entry: Any, facts: Mapping[str, Any]) -> ClipChoice:
    if isinstance(entry, ClipChoice):
        return entry
    if isinstance(entry, str) and entry.strip():
        return ClipChoice(entry.strip())
    if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
        raise _refuse(entry, facts)
    faults: list[FieldError] = [
        ((key,), f"{show(key)} is no part of a CLIP: allowed are name, weight")
        for key in entry
        if key not in ("name", "weight")
    ]
    weight = Schedule.parse(1)
    try:
        weight = _schedule(entry.get("weight", 1), "float", {"kind": "schedule:float", "ge": 0})
    except ValueError as error:
        faults += [(path, f"weight: {text}") for path, text in faults_of(error, "weight")]
    if faults:
        raise ValueErrors(*faults)
    return ClipChoice(entry["name"].strip(), weight)


_READERS: dict[str, Callable[[Any, Mapping[str, Any]], Any]] = {
    "int": _int,
    "digits": _digits,
    "float": _float,
    "bool": _bool,
    "choice": _choice,
    "text": _text,
    "path": _path,
    "device": _device,
    "mapping": _mapping,
    "file_name": _file_name,
    "seed": _word_or_int("random_seed"),
    "auto_int": _word_or_int("auto"),
    "auto_bool": _auto_bool,
    "latest_int": _word_or_int("latest"),
    "final_int": _word_or_int("final_frame"),
    "keyframes": lambda value, _facts: KeyFrames.parse(value),
    "steps": _steps,
    "size": _size,
    "saves": _saves,
    "shares": _shares,
    "clips": _clips,
    "prompts": lambda value, _facts: parse_prompts(value),
    "image_prompts": lambda value, _facts: parse_image_prompts(value),
}


def allowed(facts: Mapping[str, Any]) -> str:
    """The values that a setting accepts, in words: "a whole number from 2 to 1000"."""
    name, _, number = facts["kind"].partition(":")
    unit = f" ({facts['unit']})" if facts.get("unit") else ""
    if name == "schedule" and number == "bool":
        return "true, false or a schedule of them"
    if name in ("schedule", "int", "float"):
        noun = "whole number" if "int" in (name, number) else "number"
        plan = " or a schedule of them" if name == "schedule" else ""
        return f"a {noun}{_limits(facts)}{plan}{unit}"
    if name == "choice":
        return "one of " + ", ".join(facts["choices"])
    return f"{_WORDS[name]}{_limits(facts)}{unit}"


def _limits(facts: Mapping[str, Any]) -> str:
    ge, le = facts.get("ge"), facts.get("le")
    if ge is not None and le is not None:
        return f" from {ge} to {le}"
    return f" from {ge} up" if ge is not None else f" up to {le}" if le is not None else ""


def outside(number: float, facts: Mapping[str, Any]) -> bool:
    """Is it below ge or above le?"""
    ge, le = facts.get("ge"), facts.get("le")
    return (ge is not None and number < ge) or (le is not None and number > le)


_WORDS = {
    "bool": "true or false",
    "text": "some text",
    "path": "a path or none",
    "device": "auto, cpu, cuda, cuda:0 or mps",
    "mapping": "a map of names to values",
    "file_name": "a name for files",
    "seed": "random_seed or a whole number",
    "auto_int": "auto or a whole number",
    "auto_bool": "auto, true or false",
    "latest_int": "latest or a whole number",
    "final_int": "final_frame or a whole number",
    "keyframes": 'a number, key frames such as "0: (1), 10: (1.05)" or {0: 1, 10: 1.05}, or a formula of t',
    "steps": 'a share of the steps such as "60%", or a number of steps',
    "digits": "a whole number",
    "size": "two sides such as [1280, 768], each a whole number",
    "saves": "a whole number or a list of steps, each",
    "shares": "a list of numbers, each",
    "clips": "a list of names or {name, weight}",
    "prompts": "a text, a list of them, or {0: [...], 100: [...]}",
    "image_prompts": "a path or address, a list of them, or {0: [...], 100: [...]}",
}


class Section(BaseModel):
    """One concern's settings. Every value goes through fields.read_value, whatever wrote it."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)
    title: ClassVar[str] = ""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        for field in cls.model_fields.values():
            if isinstance(field.json_schema_extra, dict):
                field.json_schema_extra.setdefault("section", cls.title)

    @field_validator("*", mode="before")
    @classmethod
    def _read(cls, value: Any, info: ValidationInfo) -> Any:
        return read_value(value, section_facts(info.field_name or "", cls))


def section_facts(key: str, section: type[Section]) -> dict[str, Any]:
    """What fields.setting() noted about a setting of a section. Raises KeyError."""
    extra = section.model_fields[key].json_schema_extra
    assert isinstance(extra, dict)
    return extra
