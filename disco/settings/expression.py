"""Expressions of the frame t such as "1 + 0.02*sin(2*pi*t/24)", read into a tree; no code is ever run.

Numbers, t, pi, + - * / **, brackets, sin cos abs min max clip floor; angles in radians; nothing else.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from disco.errors import show

Tree = tuple[Any, ...]
ALLOWED = "numbers, t (the frame), pi, + - * / ** ( ), sin, cos, abs, min, max, clip(x, low, high), floor"
_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_TOKEN = re.compile(rf"\s*({_NUMBER}|[^\W\d]\w*|\*\*|[-+*/(),:;])")
_LONGEST, _DEEPEST = 2000, 40
_HINTS = {"^": "write ** for a power", "%": "% is not known: write t - n*floor(t/n)"}


def _clip(x: float, low: float, high: float) -> float:
    return max(low, min(x, high))


# name -> function, fewest and most arguments
_CALLS: dict[str, tuple[Callable[..., float], int, int]] = {
    "sin": (math.sin, 1, 1),
    "cos": (math.cos, 1, 1),
    "abs": (abs, 1, 1),
    "floor": (math.floor, 1, 1),
    "clip": (_clip, 3, 3),
    "min": (min, 2, 20),
    "max": (max, 2, 20),
}


@dataclass(frozen=True)
class Expression:
    """A number for each frame; `text` is what the user wrote, without needless blanks and outer brackets."""

    text: str
    tree: Tree = field(compare=False, repr=False)

    @staticmethod
    def parse(text: str) -> Expression:
        """The whole text as one expression. Raises ValueError with a sentence for the user."""
        reader = Reader(text)
        expression = reader.expression()
        if reader.token is not None:
            raise reader.fault()
        return expression

    @property
    def moves(self) -> bool:
        """Does it name t?"""
        return _names_t(self.tree)

    def at(self, frame: float) -> float:
        """The value at a frame. Raises ValueError that names the frame, if there is none."""
        try:
            return _value(self.tree, float(frame))
        except ZeroDivisionError:
            why = "division by 0"
        except OverflowError:
            why = "a number too large"
        except ValueError as error:
            why = str(error)
        place = f" at frame {frame:g}" if self.moves else ""
        raise ValueError(f"{show(self.text)} has no value{place}: {why}")


def _names_t(tree: Tree) -> bool:
    return tree[0] == "t" or any(isinstance(part, tuple) and _names_t(part) for part in tree[1:])


def _value(tree: Tree, t: float) -> float:
    """The value of a tree; every result is finite."""
    kind, *parts = tree
    if kind == "number":
        return float(parts[0])
    if kind == "t":
        return t
    if kind == "call":
        return float(_CALLS[parts[0]][0](*(_value(part, t) for part in parts[1:])))
    if kind == "power":
        result = _value(parts[0], t) ** _value(parts[1], t)
        if isinstance(result, complex):
            raise ValueError("a negative number to a power that is not whole")
    elif kind == "sum":
        result = math.fsum(sign * _value(part, t) for sign, part in parts)
    else:
        result = 1.0
        for operator, part in parts:
            result = result * _value(part, t) if operator == "*" else result / _value(part, t)
    if not math.isfinite(result):
        raise OverflowError
    return float(result)


class Reader:
    """Recursive descent over the tokens of a text; keyframes reads its keys with it."""

    def __init__(self, text: str) -> None:
        if len(text) > _LONGEST:
            raise ValueError(f"{show(text)} is too long: {_LONGEST} characters are allowed")
        self.text, self.place, self.start, self.depth = text, 0, 0, 0
        self.token: str | None = None
        self.next()

    def fault(self, why: str = "") -> ValueError:
        """A sentence about the token that is next."""
        rest = self.text[self.start :].strip()
        why = why or _HINTS.get(rest[:1], "")
        place = f"at {show(rest)}" if rest else "at its end"
        return ValueError(
            f"{show(self.text)} cannot be read {place}{why and ': ' + why}; allowed are {ALLOWED}"
        )

    def next(self) -> str | None:
        """Step to the next token and return the one before it."""
        before, self.start = self.token, self.place
        if not self.text[self.place :].strip():
            self.token = None
            return before
        match = _TOKEN.match(self.text, self.place)
        if match is None:
            raise self.fault()
        self.place, self.token = match.end(), match[1]
        return before

    def accept(self, *tokens: str) -> str | None:
        """Step over the next token if it is one of these, and return it."""
        return self.next() if self.token in tokens else None

    def expect(self, token: str) -> None:
        if not self.accept(token):
            raise self.fault(f'"{token}" is missing')

    def expression(self) -> Expression:
        """As much of the text as one expression takes."""
        start = self.start
        tree = self._sum()
        return Expression(_bare(self.text[start : self.start]), tree)

    def _sum(self) -> Tree:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self.fault("too many brackets inside brackets")
        parts = [(1, self._product())]
        while operator := self.accept("+", "-"):
            parts.append((1 if operator == "+" else -1, self._product()))
        self.depth -= 1
        return parts[0][1] if len(parts) == 1 else ("sum", *parts)

    def _product(self) -> Tree:
        parts = [("*", self._signed())]
        while operator := self.accept("*", "/"):
            parts.append((operator, self._signed()))
        return parts[0][1] if len(parts) == 1 else ("product", *parts)

    def _signed(self) -> Tree:
        """Signs bind less than powers, as in Python: -2**2 is -4."""
        sign = 1
        while operator := self.accept("+", "-"):
            sign = -sign if operator == "-" else sign
        tree = self._power()
        return tree if sign == 1 else ("sum", (-1, tree))

    def _power(self) -> Tree:
        base = self._atom()
        if not self.accept("**"):
            return base
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self.fault("too many powers of powers")
        exponent = self._signed()
        self.depth -= 1
        return "power", base, exponent

    def _atom(self) -> Tree:
        if self.accept("("):
            tree = self._sum()
            self.expect(")")
            return tree
        if self.token is not None and re.fullmatch(_NUMBER, self.token):
            if not math.isfinite(float(self.token)):
                raise self.fault("the number is too large")
            return "number", float(self.next() or 0)
        if self.accept("t"):
            return ("t",)
        if self.accept("pi"):
            return "number", math.pi
        if self.token in _CALLS:
            return self._call()
        raise self.fault(f'no such name "{self.token}"' if (self.token or "").isidentifier() else "")

    def _call(self) -> Tree:
        begin, name = self.start, str(self.next())
        _, fewest, most = _CALLS[name]
        self.expect("(")
        arguments = [self._sum()]
        while self.accept(","):
            arguments.append(self._sum())
        self.expect(")")
        if not fewest <= len(arguments) <= most:
            self.start = begin
            wanted = f"{fewest}" if fewest == most else f"{fewest} to {most}"
            raise self.fault(f"{name} takes {wanted} values in its brackets, not {len(arguments)}")
        return "call", name, *arguments


def _bare(text: str) -> str:
    """Single blanks, and no brackets around the whole."""
    text = " ".join(text.split())
    while text.startswith("(") and _closing(text) == len(text) - 1:
        text = text[1:-1].strip()
    return text


def _closing(text: str) -> int:
    """Where the bracket closes that the text opens with."""
    depth = 0
    for place, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return place
    return -1
