"""A number for each frame: from "0: (1), 10: (1.05)", {0: 1, 10: 1.05}, 1.05 or "1 + 0.02*sin(t)"."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from disco.errors import FieldError, ValueErrors, key_number, missing_blank, show
from disco.settings.expression import Expression
from disco.settings.schedules import short
from disco.settings.splines import spline_through

SplineName = Literal["Linear", "Quadratic", "Cubic"]
SPLINES: tuple[SplineName, ...] = get_args(SplineName)
FORMS = 'a number, "0: (1), 10: (1.05)", {0: 1, 10: 1.05} or an expression of the frame such as "sin(t/10)"'
_FRAME_SCHEMA = {"anyOf": [{"type": "number"}, {"type": "string"}]}
SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "number"},
        {"type": "string", "description": '"0: (1), 10: (1.05)", or a formula of the frame t'},
        {"type": "object", "patternProperties": {"^[0-9]+$": _FRAME_SCHEMA}, "additionalProperties": False},
    ]
}
"""The JSON schema of FORMS."""

Rule = float | Expression


@dataclass(frozen=True)
class KeyFrames:
    """Numbers at some frames, held before the first and after the last, interpolated between.

    keys: (frame, number or expression of t), rising, at least one. An expression that names t rules every
    frame from its key until the next one; numbers are the points that the frames between are drawn through.
    written: how many keys the user wrote, which decides about the spline.
    """

    keys: tuple[tuple[int, Rule], ...]
    written: int

    @staticmethod
    def parse(value: Any) -> KeyFrames:
        """Any of FORMS -> KeyFrames. Raises ValueError (ValueErrors) with a sentence for the user.

        Expressions are computed at their own frames only: check() tries the others.
        """
        if isinstance(value, KeyFrames):
            return value
        if isinstance(value, Mapping):
            return _made(_from_map(value))
        if isinstance(value, str):
            return _made(_from_text(value))
        return _made({0: _rule(value)})

    def at(self, frame: int, spline: str = "Linear") -> float:
        """The number of a frame. spline: one of SPLINES; see usable() for what few keys make of it.

        Raises ValueError that names the frame, if its expression has no value there.
        """
        index = bisect_right(self.keys, frame, key=lambda key: key[0]) - 1
        if index < 0:
            return _number(*self.keys[0])
        key, rule = self.keys[index]
        if isinstance(rule, Expression):
            return rule.at(frame)
        if key == frame or index == len(self.keys) - 1:
            return rule
        degree = 1 + SPLINES.index(self.usable(spline))
        if degree > 1:
            return spline_through(self.points, degree).at(frame)
        (x, y), (next_x, next_y) = self.points[index], self.points[index + 1]
        return y + (next_y - y) * (frame - x) / (next_x - x)

    def usable(self, spline: str) -> str:
        """Cubic needs more than 3 keys and Quadratic more than 2; with fewer it is the next one below."""
        return SPLINES[min(SPLINES.index(spline), max(self.written - 2, 0))]

    def check(self, n_frames: int, spline: str = "Linear") -> list[float]:
        """The numbers of frames 0..n_frames - 1. Raises ValueError at the first that has none."""
        return [self.at(frame, spline) for frame in range(n_frames)]

    def as_original(self, max_frames: int) -> KeyFrames:
        """The same with the quirk of compat dd57: the first number stands at frame 0 as well, and the last at
        the last frame, so that keys past the end squeeze the motion, and splines pass through both.

        Expressions, which the original cannot read, stay as they are.
        """
        if any(isinstance(rule, Expression) for _, rule in self.keys):
            return self
        points = dict(self.keys)
        points[max_frames - 1] = self.keys[-1][1]
        points.setdefault(0, self.keys[0][1])
        return KeyFrames(tuple(sorted(points.items())), self.written)

    @property
    def points(self) -> tuple[tuple[int, float], ...]:
        """Every key with its number."""
        return tuple((frame, _number(frame, rule)) for frame, rule in self.keys)

    @property
    def constant(self) -> bool:
        """Is it the same number at every frame?"""
        rules = [rule for _, rule in self.keys]
        return not isinstance(rules[0], Expression) and all(rule == rules[0] for rule in rules)

    @property
    def is_drawn(self) -> bool:
        """Is any number drawn between two keys, so that the spline matters?"""
        return not self.constant and any(not isinstance(rule, Expression) for _, rule in self.keys[:-1])

    def to_yaml(self) -> Any:
        """What YAML can hold and parse() reads back to equal key frames."""
        texts = [rule.text if isinstance(rule, Expression) else repr(short(rule)) for _, rule in self.keys]
        if len(self.keys) > 1 or self.keys[0][0] > 0:
            return ", ".join(f"{frame}: ({text})" for (frame, _), text in zip(self.keys, texts, strict=True))
        rule = self.keys[0][1]
        return rule.text if isinstance(rule, Expression) else short(rule)

    def __str__(self) -> str:
        return str(self.to_yaml())


def crossfade(keys: Iterable[int], frame: int) -> tuple[tuple[int, float], ...]:
    """How much each of two neighbouring keys (of prompts, say) counts at a frame: ((key, weight), ...).

    The weights go evenly from one key to the next and sum to 1; keys of weight 0 are left out. Before the
    first key and after the last that one counts alone. Raises ValueError without keys.
    """
    before = [key for key in keys if key <= frame]
    after = [key for key in keys if key > frame]
    if not before or not after:
        return ((max(before) if before else min(after), 1.0),)
    last, following = max(before), min(after)
    fraction = (frame - last) / (following - last)
    return ((last, 1.0 - fraction), (following, fraction)) if fraction else ((last, 1.0),)


def _number(frame: int, rule: Rule) -> float:
    return rule.at(frame) if isinstance(rule, Expression) else rule


def _made(keys: Mapping[int, Rule]) -> KeyFrames:
    """Sorted; a single number is the same at every frame, whichever its key."""
    ordered = sorted(keys.items())
    if len(ordered) == 1 and not isinstance(ordered[0][1], Expression):
        ordered = [(0, ordered[0][1])]
    made = KeyFrames(tuple(ordered), len(ordered))
    _ = made.points  # every key has its number, or this says which has not
    return made


def _rule(value: Any) -> Rule:
    """One number, or the expression that a text holds."""
    if isinstance(value, str):
        return _settled(Expression.parse(value))
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{show(value)} is no number; write {FORMS}")
    if abs(value) > 1e300 or math.isnan(value):
        raise ValueError(f"{show(value)} is not a finite number")
    return float(value)


def _settled(expression: Expression) -> Rule:
    """Without t it is a number."""
    return expression if expression.moves else expression.at(0)


def _from_map(value: Mapping[Any, Any]) -> dict[int, Rule]:
    if not value:
        raise ValueError(f"an empty map; write {FORMS}")
    keys: dict[int, Rule] = {}
    faults: list[FieldError] = []
    for key, entry in value.items():
        frame = key_number(key)
        try:
            if frame is None:
                raise ValueError(
                    missing_blank(str(key)) or f"{show(key)} is no frame number: a whole number from 0"
                )
            if frame in keys:
                raise ValueError(f"frame {frame} is written twice")
            keys[frame] = _rule(entry)
        except ValueError as error:
            faults.append(((key,), str(error)))
    if faults:
        raise ValueErrors(*faults)
    return keys


_KEY = re.compile(r"(?:^|[,;]|(?<=[ )])) ?([^ ,;:()]+) ?:")
_LONGEST = 100_000  # characters of all keys together


def _from_text(text: str) -> dict[int, Rule]:
    """ "0: (1), 10: (1.05)", the original's form, or one expression. Commas and brackets may be missing."""
    if not text.strip():
        raise ValueError(f"an empty text; write {FORMS}")
    if ":" not in text:
        return {0: _rule(text)}
    if len(text) > _LONGEST:
        raise ValueError(f"{show(text)} is too long: {_LONGEST} characters are allowed")
    text = " ".join(text.split())
    end_of_keys = len(text) - text.endswith((",", ";"))
    matches = list(_KEY.finditer(text))
    if not matches or matches[0].start() > 0:
        raise _no_frame(text, 0)
    dangling = re.search(r"[,;] ?([0-9]+)$", text)
    if dangling and text.count("(") == text.count(")"):
        raise ValueError(f'{show(text)}: ":" is missing after {dangling[1]}')
    ends = [match.start() for match in matches[1:]] + [end_of_keys]
    keys: dict[int, Rule] = {}
    for match, end in zip(matches, ends, strict=True):
        frame = key_number(match[1])
        if frame is None:
            raise _no_frame(text, match.start(1))
        if frame in keys:
            raise ValueError(f"{show(text)}: frame {frame} is written twice")
        keys[frame] = _settled(Expression.parse(text[match.end() : end]))
    return keys


def _no_frame(text: str, position: int) -> ValueError:
    rest = show(text[position:].strip())
    return ValueError(f"{show(text)}: no frame number at {rest}: write a whole number from 0")
