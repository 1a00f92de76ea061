"""Schedules: one number for each noise level. "[12]*400+[4]*600" is parsed here, never evaluated.

A schedule holds 1000 values. Index 0 belongs to the noisiest step and 999 to the last one: index = 999 - t,
as in the original, so a schedule follows the noise level and not the progress of a run that skips steps.
"""

from __future__ import annotations

import ast
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from disco.errors import FieldError, ValueErrors, faults_of, key_number, missing_blank, show
from disco.settings.syntax import Source, chain, numeral

LENGTH = 1000
FORMS = 'a number, "[12]*400+[4]*600" or {0: 12, 400: 4}'
_MOST = 1_000_000  # values that a text may spell out
_LONGEST = 100_000  # characters of a text
_WORDS: dict[type, str] = {int: "whole number", float: "number", bool: "true or false"}


@dataclass(frozen=True)
class FrameMap:
    """A schedule for each of some frames of an animation, held until the next one; at least one."""

    keys: tuple[tuple[int, Schedule], ...]

    def at(self, frame: int) -> Schedule:
        """The schedule of a frame: the last key at or before it, the first key before that."""
        held = [schedule for key, schedule in self.keys if key <= frame]
        return held[-1] if held else self.keys[0][1]


@dataclass(frozen=True)
class Schedule:
    """1000 values indexed by noise, index = 999 - t; `source` is what the user wrote.

    values are of the kind asked for (float, int or bool). Schedules are equal when they give the same values.
    frames: set by the form {frames: {0: ..., 40: ...}}; values are then those of frame 0.
    """

    values: tuple[float, ...]
    source: Any = field(default=None, compare=False, repr=False)
    frames: FrameMap | None = None

    @staticmethod
    def parse(value: Any, kind: type = float) -> Schedule:
        """A number, "[12]*400+[4]*600", {0: 12, 400: 4}, a list of 1000 or {frames: {...}} -> Schedule.

        kind: float, int or bool, the type of every value. A Schedule is checked and returned as it is.
        Raises ValueError (ValueErrors, with the path of the faulty part) with a sentence for the user.
        """
        if isinstance(value, Schedule):
            return Schedule(_checked(value.values, kind), value.source, value.frames)
        if isinstance(value, Mapping) and "frames" in value:
            return _with_frames(value, kind)
        if isinstance(value, Mapping):
            return Schedule(_from_map(value, kind), dict(value))
        if isinstance(value, str):
            return Schedule(_from_text(value, kind), value)
        if isinstance(value, Sequence):
            return Schedule(_from_list(value, kind), list(value))
        try:
            return Schedule((_number(value, kind),) * LENGTH, value)
        except ValueError as error:
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            raise error if number else ValueError(f"{error}; write {FORMS}") from None

    def at(self, index: int) -> float:
        """The value at a noise index 0..999 (999 - t)."""
        if not 0 <= index < LENGTH:
            raise IndexError(f"schedule index {index}: must be from 0 to {LENGTH - 1}")
        return self.values[index]

    @property
    def constant(self) -> bool:
        """Is it the same value everywhere?"""
        return all(value == self.values[0] for value in self.values)

    def max(self) -> float:
        """The largest value."""
        return max(self.values)

    def min(self) -> float:
        """The smallest value."""
        return min(self.values)

    def to_yaml(self) -> Any:
        """The shortest form that YAML can hold and parse() reads back to an equal schedule."""
        if self.frames is not None:
            return {"frames": {key: schedule.to_yaml() for key, schedule in self.frames.keys}}
        return short(self.values[0]) if self.constant else _fold(self.values)

    def __str__(self) -> str:
        return str(self.to_yaml())

    def __repr__(self) -> str:
        return f"Schedule.parse({self.to_yaml()!r})"


def short(value: float) -> float:
    """12.0 -> 12: equal, and what people write."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else value


def _fold(values: Sequence[float]) -> str:
    """[12, 12, 4, 5] -> "[12]*2+[4, 5]"."""
    terms: list[str] = []
    singles: list[str] = []
    for value, run in itertools.groupby(values):
        count = len(list(run))
        if count == 1:
            singles.append(repr(short(value)))
            continue
        if singles:
            terms.append(f"[{', '.join(singles)}]")
            singles = []
        terms.append(f"[{short(value)!r}]*{count}")
    if singles:
        terms.append(f"[{', '.join(singles)}]")
    return "+".join(terms)


def _number(value: Any, kind: type) -> float:
    """One value of the kind asked for; ValueError says what it should be."""
    number: float
    value = numeral(value)
    if kind is bool:
        if isinstance(value, str) and value.lower() in ("true", "yes", "on", "false", "no", "off"):
            return value.lower() in ("true", "yes", "on")
        if not isinstance(value, bool) and value not in (0, 1):
            raise ValueError(f"{show(value)} is not true or false")
        return bool(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{show(value)} is not a {_WORDS[kind]}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not a finite number")
    if kind is int:
        if value != int(value):
            raise ValueError(f"{value} is not a whole number")
        return int(value)
    try:
        number = float(value)
    except OverflowError:
        raise ValueError("the number is too large") from None
    return number


def _checked(values: Sequence[Any], kind: type) -> tuple[float, ...]:
    faults: list[FieldError] = []
    good: list[float] = []
    for index, value in enumerate(values):
        try:
            good.append(_number(value, kind))
        except ValueError as error:
            faults.append(((index,), f"{error} (at index {index})"))
    if faults:
        raise ValueErrors(faults[0])  # a thousand lines of the same complaint help nobody
    return tuple(good)


def _check_length(length: int) -> None:
    if length != LENGTH:
        much = f"{abs(length - LENGTH)} too {'many' if length > LENGTH else 'few'}"
        raise ValueError(f"the schedule has {length} values, {much}; it needs exactly {LENGTH}")


def _from_list(value: Sequence[Any], kind: type) -> tuple[float, ...]:
    _check_length(len(value))
    return _checked(value, kind)


def _numbered(value: Mapping[Any, Any], most: int | None, what: str) -> list[tuple[int, Any, Any]]:
    """The entries as (number, original key, entry), sorted; ValueErrors for keys that are no such number."""
    if not value:
        raise ValueError(f"an empty map; write {FORMS}")
    limits = f"from 0 to {most}" if most is not None else "from 0"
    entries: list[tuple[int, Any, Any]] = []
    faults: list[FieldError] = []
    for key, entry in value.items():
        number = key_number(key)
        if number is None or (most is not None and number > most):
            faults.append(
                ((key,), missing_blank(str(key)) or f"{show(key)} is no {what}: a whole number {limits}")
            )
        elif any(number == other for other, _, _ in entries):
            faults.append(((key,), f"{what} {number} is written twice"))
        else:
            entries.append((number, key, entry))
    if faults:
        raise ValueErrors(*faults)
    return sorted(entries, key=lambda entry: entry[0])


def _from_map(value: Mapping[Any, Any], kind: type) -> tuple[float, ...]:
    """{0: 12, 400: 4}: each value held until the next key; the first also before its key."""
    entries = _numbered(value, LENGTH - 1, "schedule index")
    faults: list[FieldError] = []
    points: list[tuple[int, float]] = []
    for index, key, entry in entries:
        try:
            points.append((index, _number(entry, kind)))
        except ValueError as error:
            faults.append(((key,), f"{error} (at index {index})"))
    if faults:
        raise ValueErrors(*faults)
    values = [points[0][1]] * LENGTH
    for (start, number), (end, _) in itertools.zip_longest(points, points[1:], fillvalue=(LENGTH, 0.0)):
        values[start:end] = [number] * (end - start)
    return tuple(values)


def _with_frames(value: Mapping[Any, Any], kind: type) -> Schedule:
    """{frames: {0: 5000, 40: 8000}}: a schedule for each frame; the values are those of the first."""
    others = [key for key in value if key != "frames"]
    if others:
        raise ValueErrors(*(((key,), f"{show(key)} beside frames: put it under frames") for key in others))
    if not isinstance(value["frames"], Mapping):
        raise ValueErrors((("frames",), "frames needs a map such as {0: 5000, 40: 8000}"))
    faults: list[FieldError] = []
    keys: list[tuple[int, Schedule]] = []
    try:
        entries = _numbered(value["frames"], None, "frame number")
    except ValueError as error:
        raise ValueErrors(*faults_of(error, "frames")) from None
    for frame, key, entry in entries:
        try:
            if isinstance(entry, Mapping) and "frames" in entry:
                raise ValueError("frames inside frames")
            keys.append((frame, Schedule.parse(entry, kind)))
        except ValueError as error:
            faults += faults_of(error, "frames", key)
    if faults:
        raise ValueErrors(*faults)
    frames = FrameMap(tuple(keys))
    return Schedule(frames.at(0).values, dict(value), frames)


def _from_text(text: str, kind: type) -> tuple[float, ...]:
    stripped = text.strip()
    if kind is bool and stripped.lower() in ("yes", "no", "on", "off", "true", "false"):
        return (_number(stripped, bool),) * LENGTH
    number = numeral(stripped)
    if number is not stripped:
        return (_number(number, kind),) * LENGTH
    try:
        values = spell_out(stripped)
    except _TooLong as error:
        _check_length(error.length)
        raise
    _check_length(len(values))
    return _checked(values, kind)


# ---- "[12]*400+[4]*600" ----


class _TooLong(ValueError):
    """The text spells out more values than any schedule could want; `length` says how many."""

    def __init__(self, length: int) -> None:
        self.length = length
        super().__init__(f"{length} values")


def spell_out(text: str) -> list[Any]:
    """The numbers and bools of "[12]*400+[4]*600": sums of lists, each times a count; at most a million.

    Raises ValueError with a sentence for the user.
    """

    def sentence(at: str, why: str) -> str:
        return f"{show(text)} is no schedule ({at}); write {FORMS}"

    source = Source(text, ("True", "False", "true", "false"), _LONGEST, sentence)
    return _values(source.tree, source)


def _values(node: ast.expr, source: Source) -> list[Any]:
    if isinstance(node, ast.List):
        return [_entry(entry, source) for entry in node.elts]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        first, rest = chain(node, (ast.Add,))
        values = _values(first, source)
        for _, part in rest:
            values = _short_enough(len(values), values) + _values(part, source)
        return _short_enough(len(values), values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return _product(node, source)
    raise source.fault_after(node.left) if isinstance(node, ast.BinOp) else source.fault_at(node)


def _product(node: ast.BinOp, source: Source) -> list[Any]:
    """A list times counts, or a count times a list."""
    first, rest = chain(node, (ast.Mult,))
    parts = [first, *(part for _, part in rest)]
    if isinstance(first, ast.Constant):
        parts[:2] = parts[1::-1]
    values = _values(parts[0], source)
    for part in parts[1:]:
        if not isinstance(part, ast.Constant) or type(part.value) is not int or part.value >= 10**9:
            raise source.fault_at(part)
        values = _short_enough(len(values) * part.value, values) * part.value
    return values


def _short_enough(length: int, values: list[Any]) -> list[Any]:
    """The values, unless their number becomes too large."""
    if length > _MOST:
        raise _TooLong(length)
    return values


def _entry(node: ast.expr, source: Source) -> Any:
    """A number with at most one sign, or a bool."""
    if isinstance(node, ast.Name):
        return node.id == "true"
    number = node.operand if isinstance(node, ast.UnaryOp) else node
    if not isinstance(number, ast.Constant) or (number is not node and isinstance(number.value, bool)):
        raise source.fault_at(number)
    assert isinstance(number.value, (int, float))
    return -number.value if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) else number.value


def schema(value: dict[str, Any]) -> dict[str, Any]:
    """The JSON schema of the forms of a schedule besides the single value; value: the schema of that one."""
    by_index = {"type": "object", "patternProperties": {"^[0-9]{1,3}$": value}, "additionalProperties": False}
    one_frame = {"anyOf": [value, {"type": "string"}, by_index]}
    by_frame = {"type": "object", "patternProperties": {"^[0-9]+$": one_frame}, "additionalProperties": False}
    return {
        "anyOf": [
            {"type": "string", "description": '"[12]*400+[4]*600": 1000 values, the noisiest first'},
            {
                **by_index,
                "minProperties": 1,
                "description": "{0: 12, 400: 4}: each held until the next index",
            },
            {"type": "array", "items": value, "minItems": LENGTH, "maxItems": LENGTH},
            {
                "type": "object",
                "properties": {"frames": by_frame},
                "required": ["frames"],
                "additionalProperties": False,
                "description": "{frames: {0: ..., 40: ...}}: over the frames of an animation",
            },
        ]
    }
