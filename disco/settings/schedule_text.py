"""The grammar of "[12]*400+[4]*600": sums, products with a count, lists, brackets. Nothing is evaluated."""

from __future__ import annotations

import re
from typing import Any

from disco.errors import show

NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
FORMS = 'a number, "[12]*400+[4]*600" or {0: 12, 400: 4}'
_TOKEN = re.compile(rf"\s*(?:({NUMBER})|(True|False|true|false)|([\[\]()+*,-]))")
_NUMERAL = re.compile(rf"\s*[-+]?{NUMBER}\s*", re.ASCII)
_MOST = 1_000_000


class TooLong(ValueError):
    """The expression spells out more values than any schedule could want; `length` says how many."""

    def __init__(self, length: int) -> None:
        self.length = length
        super().__init__(f"{length} values")


def parse_expression(text: str) -> list[Any]:
    """The numbers and bools that the expression spells out, of whatever length up to a million.

    Raises TooLong beyond that, and ValueError with a sentence for anything else.
    """
    parser = _Parser(text)
    values = parser.sum()
    if parser.token is not None:
        raise parser.fault()
    return values


def literal(text: str) -> float:
    """The text of a number as int or float."""
    digits = text.lstrip("+-").isdigit() and len(text) < 400
    return int(text) if digits else float(text)


def numeral(value: Any) -> Any:
    """The number that a text spells, "60" or " 0.8"; anything else as it is."""
    if isinstance(value, str) and len(value) < 400 and _NUMERAL.fullmatch(value):
        return literal(value.strip())
    return value


class _Parser:
    """Recursive descent over the tokens of one expression."""

    def __init__(self, text: str) -> None:
        self.text, self.place, self.start, self.depth = text, 0, 0, 0
        self.token: str | None = None
        self.next()

    def fault(self) -> ValueError:
        place = f"at {show(self.text[self.start :])}" if self.text[self.start :].strip() else "at its end"
        return ValueError(f"{show(self.text)} is no schedule ({place}); write {FORMS}")

    def next(self) -> str | None:
        """Step to the next token and return the one before it."""
        before, self.start = self.token, self.place
        if not self.text[self.place :].strip():
            self.token = None
            return before
        match = _TOKEN.match(self.text, self.place)
        if match is None:
            raise self.fault()
        self.place, self.token = match.end(), match.group().strip()
        return before

    def expect(self, token: str) -> None:
        if self.token != token:
            raise self.fault()
        self.next()

    def sum(self) -> list[Any]:
        values = self.product()
        while self.token == "+":
            self.next()
            values = values + self.product()
            if len(values) > _MOST:
                raise TooLong(len(values))
        return values

    def product(self) -> list[Any]:
        """A list times a count, in either order."""
        if self.token is not None and self.token.isdigit():
            count = self.count()
            self.expect("*")
            return self.repeat(self.atom(), count)
        values = self.atom()
        while self.token == "*":
            self.next()
            values = self.repeat(values, self.count())
        return values

    def count(self) -> int:
        if self.token is None or not self.token.isdigit() or len(self.token) > 9:
            raise self.fault()
        return int(self.next() or 0)

    def repeat(self, values: list[Any], count: int) -> list[Any]:
        if len(values) * count > _MOST:
            raise TooLong(len(values) * count)
        return values * count

    def atom(self) -> list[Any]:
        if self.token == "(":
            self.next()
            self.depth += 1
            if self.depth > 20:
                raise self.fault()
            values = self.sum()
            self.depth -= 1
            self.expect(")")
            return values
        self.expect("[")
        values = []
        while self.token != "]":
            values.append(self.value())
            if self.token != "]":
                self.expect(",")
        self.next()
        return values

    def value(self) -> Any:
        sign = self.next() if self.token in ("+", "-") else ""
        token = self.next()
        if token is not None and token.lower() in ("true", "false") and not sign:
            return token.lower() == "true"
        if token is None or not re.fullmatch(NUMBER, token):
            raise self.fault()
        return literal(f"{sign}{token}")
