"""The kinds of values that settings have: how each is read, the words for what is allowed, its JSON schema.

KINDS holds one row a kind; the facts of a setting (see fields.setting) name its kind and its limits.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from disco.errors import FieldError, ValueErrors, faults_of, show
from disco.settings import custom_network, keyframes, prompts, schedules
from disco.settings.keyframes import KeyFrames
from disco.settings.prompts import parse_image_prompts, parse_prompts
from disco.settings.schedules import Schedule, short
from disco.settings.syntax import numeral

NOTHING = ("", "none", "null")

Facts: TypeAlias = Mapping[str, Any]
Read: TypeAlias = Callable[[Any, Facts], Any]
Schema: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """One kind of value.

    read(value, facts): what the user wrote -> the field's value. Raises ValueError or ValueErrors.
    words(facts): the values that are allowed, such as "a whole number from 2 to 1000".
    schema(facts): the same as a JSON schema, which may refer to DEFINITIONS.
    is_text: --set takes the value as it is written, not as YAML, unless it begins like a list or map.
    """

    read: Read
    words: Callable[[Facts], str]
    schema: Callable[[Facts], Schema]
    is_text: bool = False


@dataclass(frozen=True)
class ClipChoice:
    """One CLIP network by its registry name; weight: its share in the guidance, over the noise levels."""

    name: str
    weight: Schedule = Schedule.parse(1)  # noqa: RUF009 - a schedule is immutable


# ---- numbers ----

_TRUE, _FALSE = ("true", "yes", "on"), ("false", "no", "off")


def _refuse(value: Any, facts: Facts) -> ValueError:
    return ValueError(f"{show(value)} is not allowed: write {allowed(facts)}")


def _schedule_of(number: type) -> Read:
    def read(value: Any, facts: Facts) -> Schedule:
        schedule = Schedule.parse(value, number)
        versions = [schedule] if schedule.frames is None else [part for _, part in schedule.frames.keys]
        for version in versions:
            for index, entry in enumerate(version.values):
                if _is_outside(entry, facts):
                    position = "" if version.constant else f" (at index {index})"
                    raise ValueError(f"{show(short(entry))}{position} is not allowed: write {allowed(facts)}")
        return schedule

    return read


def _listed(value: Any) -> Any:
    """The parts of a list written as a text, "[0.1, 0.5]"; anything else as it is."""
    text = value.strip() if isinstance(value, str) else ""
    if text[:1] not in ("[", "(") or text[-1:] not in ("]", ")"):
        return value
    parts = [part.strip() for part in text[1:-1].split(",")]
    return [part for part in parts if part]


def _whole(value: Any) -> int | None:
    value = numeral(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if isinstance(value, int) or value.is_integer() else None


def _int(value: Any, facts: Facts) -> int:
    number = _whole(value)
    if number is None or _is_outside(number, facts):
        raise _refuse(value, facts)
    return number


def _float(value: Any, facts: Facts) -> float:
    number = numeral(value)
    if isinstance(number, bool) or not isinstance(number, (int, float)) or abs(number) > 1e300:
        raise _refuse(value, facts)
    if not math.isfinite(number) or _is_outside(number, facts):
        raise _refuse(value, facts)
    return float(number)


def _bool(value: Any, facts: Facts) -> bool:
    """true, false, their usual words, and the numbers 1 and 0 that other tools write."""
    number = numeral(value)
    if isinstance(number, (int, float)) and number in (0, 1):
        return bool(number)
    word = value.strip().lower() if isinstance(value, str) else ""
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise _refuse(value, facts)


# ---- words ----


def _choice(value: Any, facts: Facts) -> str:
    word = "none" if value is None else value
    for choice in facts["choices"]:
        if isinstance(word, str) and word.lower() == choice.lower():
            return str(choice)
    raise _refuse(value, facts)


def _text(value: Any, facts: Facts) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _refuse(value, facts)
    return value.strip()


def _path(value: Any, facts: Facts) -> str | None:
    if value is None or (isinstance(value, str) and value.strip().lower() in NOTHING):
        return None
    return _text(value, facts)


def _device(value: Any, facts: Facts) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,3})?", value):
        raise _refuse(value, facts)
    return value


def _custom_network(value: Any, facts: Facts) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise _refuse(value, facts)
    faults: list[FieldError] = []
    config: dict[str, Any] = {}
    for key, part in value.items():
        try:
            config[key] = _part_of_network(key, part)
        except ValueError as error:
            faults += [((key,), f"{key}: {text}") for _, text in faults_of(error)]
    if faults:
        raise ValueErrors(*faults)
    return config


def _part_of_network(key: str, value: Any) -> Any:
    if key not in custom_network.PARTS:
        told = sorted(custom_network.PARTS.keys() - set(custom_network.UNTOLD))
        raise ValueError(f"no such key. Allowed: {', '.join(told)}")
    return read_value(value, custom_network.PARTS[key])


def _numbers(value: Any, facts: Facts) -> Any:
    """A list of numbers, or the same as a text, as guided-diffusion has it; "" leaves it to the size."""
    parts = _listed(value)
    if isinstance(parts, str):
        parts = parts.split(",") if parts.strip() else []
    parts = parts if isinstance(parts, (list, tuple)) else [parts]
    try:
        for part in parts:
            _float(part, facts)
    except ValueError:
        raise _refuse(value, facts) from None
    if len(parts) > facts["most"]:
        raise _refuse(value, facts)
    return list(value) if isinstance(value, (list, tuple)) else value


_BAD_CHARACTERS = re.compile(r'[\x00-\x1f<>:"/\\|?*]')


def _file_name(value: Any, facts: Facts) -> str:
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


def _auto_bool(value: Any, facts: Facts) -> bool | str:
    return "auto" if isinstance(value, str) and value.strip().lower() == "auto" else _bool(value, facts)


def _word_or_int(word: str) -> Kind:
    """The kind of values that are a whole number or this word, in any case."""

    def read(value: Any, facts: Facts) -> Any:
        if isinstance(value, str) and value.strip().lower() == word:
            return word
        return _int(value, facts)

    return Kind(read, _words(f"{word} or a whole number"), _whole_or({"const": word}))


def _size(value: Any, facts: Facts) -> tuple[int, int]:
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d{1,6})\s*[x×,*]\s*(\d{1,6})\s*", value)
        value = [int(match[1]), int(match[2])] if match else _listed(value)
    sides = [_whole(side) for side in value] if isinstance(value, (list, tuple)) else []
    if len(sides) != 2 or any(side is None or _is_outside(side, facts) for side in sides):
        raise _refuse(value, facts)
    return int(sides[0] or 0), int(sides[1] or 0)


def _optional_size(value: Any, facts: Facts) -> tuple[int, int] | None:
    if value is None or (isinstance(value, str) and value.strip().lower() in NOTHING):
        return None
    return _size(value, facts)


def _saves(value: Any, facts: Facts) -> int | tuple[int, ...]:
    value = _listed(value)
    if isinstance(value, (list, tuple)):
        return tuple(sorted({_at(index, _int, entry, facts) for index, entry in enumerate(value)}))
    return _int(value, facts)


def _at(index: int, read: Callable[..., Any], value: Any, facts: Facts) -> Any:
    try:
        return read(value, facts)
    except ValueError as error:
        raise ValueErrors(*faults_of(error, index)) from None


def _shares(value: Any, facts: Facts) -> tuple[float, ...]:
    value = _listed(value)
    if not isinstance(value, (list, tuple)):
        value = [value]
    return tuple(_at(index, _float, entry, facts) for index, entry in enumerate(value))


def _steps(value: Any, facts: Facts) -> str | int:
    """A share of the steps, "60%", or their number."""
    match = re.fullmatch(r"\s*(\d{1,3})\s*%\s*", value) if isinstance(value, str) else None
    if match is None:
        return _int(value, facts)
    if int(match[1]) > 100:
        raise _refuse(value, facts)
    return f"{int(match[1])}%"


# ---- networks and prompts ----


def _clips(value: Any, facts: Facts) -> tuple[ClipChoice, ...]:
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


def _clip(entry: Any, facts: Facts) -> ClipChoice:
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
        weight = read_value(entry.get("weight", 1), {"kind": "schedule:float", "ge": 0})
    except ValueError as error:
        faults += [(path, f"weight: {text}") for path, text in faults_of(error, "weight")]
    if faults:
        raise ValueErrors(*faults)
    return ClipChoice(entry["name"].strip(), weight)


# ---- what is allowed: in words, and as JSON schemas ----


def _words(noun: str, after: str = "") -> Callable[[Facts], str]:
    """The noun, the limits of the setting, what comes after them, and the unit."""

    def words(facts: Facts) -> str:
        unit = f" ({facts['unit']})" if facts.get("unit") else ""
        return f"{noun}{_limits(facts)}{after}{unit}"

    return words


def _choices_in_words(facts: Facts) -> str:
    return "one of " + ", ".join(facts["choices"])


def _always(schema: Schema) -> Callable[[Facts], Schema]:
    """The same schema for every setting of the kind."""
    return lambda facts: schema


def _limited(schema: Schema) -> Callable[[Facts], Schema]:
    """The schema of a number, with the limits of the setting."""
    limits = (("ge", "minimum"), ("le", "maximum"))
    return lambda facts: schema | {word: facts[key] for key, word in limits if key in facts}


_whole_schema, _number_schema = _limited({"type": "integer"}), _limited({"type": "number"})


def _whole_or(*others: Schema) -> Callable[[Facts], Schema]:
    return lambda facts: {"anyOf": [_whole_schema(facts), *others]}


def _sides_schema(facts: Facts) -> Schema:
    sides = {"type": "array", "items": _whole_schema(facts), "minItems": 2, "maxItems": 2}
    return {"anyOf": [sides, {"type": "string"}]}


def _sides_or_null(facts: Facts) -> Schema:
    return {"anyOf": [*_sides_schema(facts)["anyOf"], {"type": "null"}]}


def _one_or_list(single: Callable[[Facts], Schema]) -> Callable[[Facts], Schema]:
    return lambda facts: {"anyOf": [single(facts), {"type": "array", "items": single(facts)}]}


def _or_schedule(single: Callable[[Facts], Schema], number: str) -> Callable[[Facts], Schema]:
    return lambda facts: {"anyOf": [single(facts), {"$ref": f"#/$defs/schedule_of_{number}"}]}


def _numbers_schema(facts: Facts) -> Schema:
    return {
        "anyOf": [_number_schema(facts), {"type": "string"}, {"type": "array", "maxItems": facts["most"]}]
    }


def _custom_network_schema() -> Schema:
    parts = {key: schema_of(part) for key, part in custom_network.PARTS.items()}
    return {"type": ["object", "null"], "properties": parts, "additionalProperties": False}


_CLIP_SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "weight": prompts.WEIGHT_SCHEMA},
    "required": ["name"],
    "additionalProperties": False,
}
_CLIPS_SCHEMA: Schema = {
    "anyOf": [
        {"type": "string"},
        {"type": "array", "items": {"anyOf": [{"type": "string"}, _CLIP_SCHEMA]}},
    ]
}
DEFINITIONS: dict[str, Schema] = {
    "schedule_of_float": schedules.schema({"type": "number"}),
    "schedule_of_int": schedules.schema({"type": "integer"}),
    "schedule_of_bool": schedules.schema({"type": "boolean"}),
    "prompt": prompts.PROMPT_SCHEMA,
    "keyframes": keyframes.SCHEMA,
}
"""What the schemas refer to as #/$defs/..."""


def _limits(facts: Facts) -> str:
    ge, le = facts.get("ge"), facts.get("le")
    if ge is not None and le is not None:
        return f" from {ge} to {le}"
    return f" from {ge} up" if ge is not None else f" up to {le}" if le is not None else ""


def _is_outside(number: float, facts: Facts) -> bool:
    """Is it below ge or above le?"""
    ge, le = facts.get("ge"), facts.get("le")
    return (ge is not None and number < ge) or (le is not None and number > le)


_BOOL = _always({"type": "boolean"})
KINDS: dict[str, Kind] = {
    "int": Kind(_int, _words("a whole number"), _whole_schema),
    "digits": Kind(_int, _words("a whole number"), _whole_or({"type": "string", "pattern": "^[0-9]+$"})),
    "float": Kind(_float, _words("a number"), _number_schema),
    "bool": Kind(_bool, _words("true or false"), _BOOL),
    "schedule:int": Kind(
        _schedule_of(int),
        _words("a whole number", " or a schedule of them"),
        _or_schedule(_whole_schema, "int"),
    ),
    "schedule:float": Kind(
        _schedule_of(float),
        _words("a number", " or a schedule of them"),
        _or_schedule(_number_schema, "float"),
    ),
    "schedule:bool": Kind(
        _schedule_of(bool), _words("true, false or a schedule of them"), _or_schedule(_BOOL, "bool")
    ),
    "choice": Kind(_choice, _choices_in_words, lambda facts: {"enum": list(facts["choices"])}),
    "text": Kind(_text, _words("some text"), _always({"type": "string"}), is_text=True),
    "path": Kind(_path, _words("a path or none"), _always({"type": ["string", "null"]}), is_text=True),
    "device": Kind(
        _device,
        _words("auto, cpu, cuda, cuda:0 or mps"),
        _always({"type": "string", "pattern": "^(auto|cpu|mps|cuda(:[0-9]{1,3})?)$"}),
    ),
    "custom_network": Kind(
        _custom_network, _words("a map of names to values"), lambda facts: _custom_network_schema()
    ),
    "numbers": Kind(
        _numbers, lambda facts: f"up to {facts['most']} numbers, each{_limits(facts)}", _numbers_schema
    ),
    "file_name": Kind(
        _file_name, _words("a name for files"), _always({"type": ["string", "integer"]}), is_text=True
    ),
    "seed": _word_or_int("random_seed"),
    "auto_int": _word_or_int("auto"),
    "latest_int": _word_or_int("latest"),
    "final_int": _word_or_int("final_frame"),
    "auto_bool": Kind(_auto_bool, _words("auto, true or false"), _always({"enum": ["auto", True, False]})),
    "steps": Kind(
        _steps,
        _words('a share of the steps such as "60%", or a number of steps'),
        _whole_or({"type": "string", "pattern": "^[0-9]{1,3} *%$"}),
    ),
    "size": Kind(_size, _words("two sides such as [1280, 768], each a whole number"), _sides_schema),
    "optional_size": Kind(
        _optional_size, _words("two sides such as [128, 128] or none, each a whole number"), _sides_or_null
    ),
    "saves": Kind(_saves, _words("a whole number or a list of steps, each"), _one_or_list(_whole_schema)),
    "shares": Kind(_shares, _words("a list of numbers, each"), _one_or_list(_number_schema)),
    "keyframes": Kind(
        lambda value, facts: KeyFrames.parse(value),
        _words('a number, key frames such as "0: (1), 10: (1.05)" or {0: 1, 10: 1.05}, or a formula of t'),
        _always({"$ref": "#/$defs/keyframes"}),
    ),
    "clips": Kind(_clips, _words("a list of names or {name, weight}"), _always(_CLIPS_SCHEMA)),
    "prompts": Kind(
        lambda value, facts: parse_prompts(value),
        _words("a text, a list of them, or {0: [...], 100: [...]}"),
        _always(prompts.PROMPTS_SCHEMA),
        is_text=True,
    ),
    "image_prompts": Kind(
        lambda value, facts: parse_image_prompts(value),
        _words("a path or address, a list of them, or {0: [...], 100: [...]}"),
        _always(prompts.PROMPTS_SCHEMA),
        is_text=True,
    ),
}


def read_value(value: Any, facts: Facts) -> Any:
    """What the user wrote -> the field's value. Raises ValueError or ValueErrors with a sentence."""
    return KINDS[facts["kind"]].read(value, facts)


def allowed(facts: Facts) -> str:
    """The values that a setting accepts, in words: "a whole number from 2 to 1000"."""
    return KINDS[facts["kind"]].words(facts)


def schema_of(facts: Facts) -> Schema:
    """The values that a setting accepts, as a JSON schema that may refer to DEFINITIONS."""
    return KINDS[facts["kind"]].schema(facts)
