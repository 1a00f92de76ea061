"""Text -> the tree of Python's own parser, within limits; schedules and formulas are read from the tree.

Only numbers, known names, + - * / **, commas and brackets reach the parser: no texts, attributes or keywords.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Container, Iterator
from typing import Any

from disco.errors import show

NUMBER = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_NUMERAL = re.compile(rf"\s*[-+]?{NUMBER}\s*")
NO_OPERATOR = "an operator such as * is missing before it"
_TOKEN = re.compile(
    rf"\s*(?:(?P<number>{NUMBER})|(?P<name>[^\W\d]\w*)|(?P<sign>\*\*|[-+*/,])"
    r"|(?P<opening>[(\[])|(?P<closing>[)\]]))"
)
_CLOSING = {"(": ")", "[": "]"}
_DEEPEST = 40  # brackets inside brackets
_LONGEST_NUMBER = 400  # characters

Operators = tuple[type[ast.operator], ...]


class Source:
    """A text, its tree, and errors that quote the place in the text.

    names: those that may stand in it. longest: characters. sentence(at, why): the text of an error, of
    'at "x"' or "at its end" and of what is wrong there ("" if nobody knows). Raises ValueError with it.
    """

    def __init__(
        self, text: str, names: Container[str], longest: int, sentence: Callable[[str, str], str]
    ) -> None:
        self.text, self.sentence = text, sentence
        if len(text) > longest:
            raise ValueError(f"{show(text)} is too long: {longest} characters are allowed")
        self.tree = self._parsed("".join(self._tokens(names)))

    def fault(self, position: int, why: str = "") -> ValueError:
        """An error at a position in the text."""
        rest = self.text[max(position, 0) :].strip()
        return ValueError(self.sentence(f"at {show(rest)}" if rest else "at its end", why))

    def fault_at(self, node: ast.expr, why: str = "") -> ValueError:
        """An error at the beginning of a node."""
        return self.fault(node.col_offset - 1, why)

    def fault_after(self, node: ast.expr, why: str = "") -> ValueError:
        """An error at what follows a node and the brackets around it, such as the operator."""
        rest = self.text[self.end(node) :]
        return self.fault(len(self.text) - len(rest.lstrip(") \t\n")), why)

    @staticmethod
    def end(node: ast.expr) -> int:
        """The position after a node."""
        assert node.end_col_offset is not None
        return node.end_col_offset - 1

    def _parsed(self, text: str) -> ast.expr:
        """In brackets, for a text that begins with a blank."""
        try:
            return ast.parse(f"({text})", mode="eval").body
        except SyntaxError as error:
            raise self.fault((error.offset or 2) - 2) from None
        except (RecursionError, MemoryError):
            raise self.fault(0, "too many operations in a row") from None

    def _tokens(self, names: Container[str]) -> Iterator[str]:
        """The tokens of the text, each at its position; every kind of white space becomes blanks."""
        position, end, before = 0, len(self.text.rstrip()), ""
        brackets: list[str] = []
        while position < end:
            match = _TOKEN.match(self.text, position)
            if match is None:
                raise self.fault(position)
            kind = str(match.lastgroup)
            token, start = match[kind], match.start(kind)
            self._check_token(kind, token, start, names)
            if _no_operator(before, kind, token):
                raise self.fault(start, NO_OPERATOR)
            self._count_brackets(brackets, kind, token, start)
            shown = token.lstrip("0").rjust(1, "0") if token.isdecimal() else token  # Python refuses 007
            yield " " * (match.end() - position - len(shown)) + shown
            position, before = match.end(), kind
        if brackets or not before:
            raise self.fault(end, f'"{_CLOSING[brackets[-1]]}" is missing' if brackets else "")

    def _check_token(self, kind: str, token: str, start: int, names: Container[str]) -> None:
        if kind == "name" and token not in names:
            raise self.fault(start, f'no such name "{token}"')
        if kind == "number" and len(token) > _LONGEST_NUMBER:
            raise self.fault(start, "the number is too long")

    def _count_brackets(self, brackets: list[str], kind: str, token: str, start: int) -> None:
        """Keep the list of brackets that are open."""
        if kind == "opening":
            brackets.append(token)
            if len(brackets) > _DEEPEST:
                raise self.fault(start, "too many brackets inside brackets")
        elif kind == "closing":
            wanted = _CLOSING[brackets[-1]] if brackets else ""
            if token != wanted:
                raise self.fault(start, f'"{wanted}" is missing' if wanted else "")
            brackets.pop()


def _no_operator(before: str, kind: str, token: str) -> bool:
    """Do two values follow one another? A name before a round bracket is a call."""
    is_call = before == "name" and token == "("
    return before in ("number", "name", "closing") and kind in ("number", "name", "opening") and not is_call


def chain(node: ast.BinOp, operators: Operators) -> tuple[ast.expr, list[tuple[ast.operator, ast.expr]]]:
    """a + b - c: the first value, and each operator with the value after it. Brackets make one value."""
    first: ast.expr = node
    rest: list[tuple[ast.operator, ast.expr]] = []
    while isinstance(first, ast.BinOp) and isinstance(first.op, operators):
        rest.append((first.op, first.right))
        in_brackets = first.left.col_offset > first.col_offset
        first = first.left
        if in_brackets:
            break
    return first, rest[::-1]


def numeral(value: Any) -> Any:
    """The int or float that a text spells, "60" or " 0.8"; anything else as it is."""
    if not isinstance(value, str) or len(value) > _LONGEST_NUMBER or not _NUMERAL.fullmatch(value):
        return value
    text = value.strip()
    return int(text) if text.lstrip("+-").isdecimal() else float(text)
