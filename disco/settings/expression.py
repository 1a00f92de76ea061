"""Expressions of the frame t such as "1 + 0.02*sin(2*pi*t/24)", read into a tree; no code is run.

Numbers, t, pi, + - * / **, brackets, sin cos abs min max clip floor; angles in radians; nothing else.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from disco.errors import show
from disco.settings.syntax import NO_OPERATOR, Source, chain

Tree = tuple[Any, ...]
ALLOWED = "numbers, t (the frame), pi, + - * / ** ( ), sin, cos, abs, min, max, clip(x, low, high), floor"
_LONGEST, _DEEPEST = 2000, 40  # characters; powers of powers
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


_NAMES = frozenset(("t", "pi", *_CALLS))
_CHAINS: dict[str, dict[type[ast.operator], Any]] = {
    "sum": {ast.Add: 1, ast.Sub: -1},
    "product": {ast.Mult: "*", ast.Div: "/"},
}


@dataclass(frozen=True)
class Expression:
    """A number for each frame; `text` is what the user wrote, without needless blanks and outer brackets."""

    text: str
    tree: Tree = field(compare=False, repr=False)

    @staticmethod
    def parse(text: str) -> Expression:
        """The whole text as one expression. Raises ValueError with a sentence for the user."""
        source = _source(text)
        return Expression(_bare(text), _tree(source.tree, source))

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
        at_frame = f" at frame {frame:g}" if self.moves else ""
        raise ValueError(f"{show(self.text)} has no value{at_frame}: {why}")


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


# ---- reading ----


def _source(text: str) -> Source:
    def sentence(at: str, why: str) -> str:
        why = why or _HINTS.get(at.removeprefix('at "')[:1], "")
        return f"{show(text)} cannot be read {at}{why and ': ' + why}; allowed are {ALLOWED}"

    return Source(text, _NAMES, _LONGEST, sentence)


def _tree(node: ast.expr, source: Source, depth: int = 0) -> Tree:
    """A node of Python's tree as ours. depth: of powers of powers."""
    if isinstance(node, ast.Constant):
        return "number", _number(node, source)
    if isinstance(node, ast.Name):
        if node.id in _CALLS:
            raise source.fault(source.end(node), '"(" is missing')
        return ("t",) if node.id == "t" else ("number", math.pi)
    if isinstance(node, ast.UnaryOp):
        return _signed(node, source, depth)
    if isinstance(node, ast.BinOp):
        return _operation(node, source, depth)
    if isinstance(node, ast.Call):
        return _call(node, source, depth)
    if isinstance(node, ast.Tuple) and node.elts:
        raise source.fault_after(node.elts[0], "commas stand between the values of min, max and clip only")
    raise source.fault_at(node)


def _number(node: ast.Constant, source: Source) -> float:
    assert isinstance(node.value, (int, float))
    try:
        number = float(node.value)
    except OverflowError:
        number = math.inf
    if math.isinf(number):
        raise source.fault_at(node, "the number is too large")
    return number


def _signed(node: ast.UnaryOp, source: Source, depth: int) -> Tree:
    sign, operand = 1, cast(ast.expr, node)
    while isinstance(operand, ast.UnaryOp):
        sign = -sign if isinstance(operand.op, ast.USub) else sign
        operand = operand.operand
    tree = _tree(operand, source, depth)
    return tree if sign == 1 else ("sum", (-1, tree))


def _operation(node: ast.BinOp, source: Source, depth: int) -> Tree:
    if isinstance(node.op, ast.Pow):
        if depth == _DEEPEST:
            raise source.fault_after(node.left, "too many powers of powers")
        return "power", _tree(node.left, source, depth + 1), _tree(node.right, source, depth + 1)
    for kind, operators in _CHAINS.items():
        if isinstance(node.op, tuple(operators)):
            first, rest = chain(node, tuple(operators))
            parts = [(operators[type(operator)], _tree(part, source, depth)) for operator, part in rest]
            return kind, (1 if kind == "sum" else "*", _tree(first, source, depth)), *parts
    raise source.fault_after(node.left)


def _call(node: ast.Call, source: Source, depth: int) -> Tree:
    assert isinstance(node.func, ast.Name)
    name = node.func.id
    if name not in _CALLS:
        raise source.fault(source.end(node.func), NO_OPERATOR)
    if node.keywords:
        raise source.fault_at(node)
    _, fewest, most = _CALLS[name]
    count = len(node.args)
    if not fewest <= count <= most:
        wanted = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        raise source.fault_at(node, f"{name} takes {wanted} values in its brackets, not {count}")
    return "call", name, *(_tree(argument, source, depth) for argument in node.args)


def _bare(text: str) -> str:
    """Single blanks, and no brackets around the whole."""
    text = " ".join(text.split())
    while text.startswith("(") and _closing(text) == len(text) - 1:
        text = text[1:-1].strip()
    return text


def _closing(text: str) -> int:
    """Where the bracket closes that the text opens with."""
    depth = 0
    for position, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return position
    return -1
