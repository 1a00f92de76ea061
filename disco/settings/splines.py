"""Splines through points, of degree 2 or 3, in plain Python: settings are checked without numpy or scipy.

B-splines by de Boor's recurrence, with the knots that scipy's make_interp_spline chooses: "not a knot" for
odd degrees, halfway between the points for even ones (de Boor, A Practical Guide to Splines, 1978).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Spline:
    """A spline of `degree` by its knots [n + degree + 1] and its coefficients [n]."""

    degree: int
    knots: tuple[float, ...]
    coefficients: tuple[float, ...]

    def at(self, x: float) -> float:
        """The value at x, within the first and the last point."""
        first, basis = _basis(self.knots, self.degree, x)
        return sum(weight * self.coefficients[first + j] for j, weight in enumerate(basis))


@lru_cache(maxsize=256)
def spline_through(points: Points, degree: int) -> Spline:
    """The spline through points (x, y) with rising x; there must be more of them than its degree."""
    count = len(points)
    assert degree in (2, 3) and count > degree, (degree, count)
    xs = [x for x, _ in points]
    knots = _knots(xs, degree)
    rows = [_basis(knots, degree, x) for x in xs]
    return Spline(degree, knots, tuple(_solve(rows, [y for _, y in points])))


def _knots(xs: Sequence[float], degree: int) -> tuple[float, ...]:
    halves = [(a + b) / 2 for a, b in pairwise(xs)]
    inner = xs[2:-2] if degree == 3 else halves[1:-1]
    return (*[xs[0]] * (degree + 1), *inner, *[xs[-1]] * (degree + 1))


def _basis(knots: Sequence[float], degree: int, x: float) -> tuple[int, list[float]]:
    """The degree + 1 basis functions that are not 0 at x: the index of the first, and their values."""
    last = len(knots) - degree - 2
    span = min(max(bisect_right(knots, x) - 1, degree), last)
    basis = [1.0]
    for level in range(1, degree + 1):
        higher = [0.0] * (level + 1)
        for j, value in enumerate(basis):
            left, right = knots[span - level + 1 + j], knots[span + 1 + j]
            fraction = (x - left) / (right - left)
            higher[j] += (1 - fraction) * value
            higher[j + 1] += fraction * value
        basis = higher
    return span - degree, basis


def _solve(rows: Sequence[tuple[int, Sequence[float]]], values: Sequence[float]) -> list[float]:
    """Elimination in a banded matrix; each row: its first column and the entries from there on.

    Matrices of B-splines are totally positive, so no pivots need to be looked for (de Boor and Pinkus 1977).
    """
    lines = [dict(enumerate(entries, first)) for first, entries in rows]
    right = list(values)
    for i, line in enumerate(lines):
        for k in range(i + 1, min(i + 4, len(lines))):
            factor = lines[k].pop(i, 0.0) / line[i]
            for column, entry in line.items() if factor else ():
                if column > i:
                    lines[k][column] = lines[k].get(column, 0.0) - factor * entry
            right[k] -= factor * right[i]
    for i in reversed(range(len(lines))):
        known = sum(entry * right[column] for column, entry in lines[i].items() if column > i)
        right[i] = (right[i] - known) / lines[i][i]
    return right
