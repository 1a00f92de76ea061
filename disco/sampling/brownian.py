"""Noise that belongs to a noise level and not to the number of a step: increments of a Brownian motion.

With SNR u = alpha^2 / sigma^2, an ancestral step (eta 1) from u_a to u_b adds noise whose sum over steps is a
Brownian motion W in u. So the noise of that step is (W(u_b) - W(u_a)) / sqrt(u_b - u_a): whatever levels a
run visits, it follows the same W, and a run of few steps tends to the picture that many steps give.
W is refined by Brownian bridges on a fixed binary tree over log-SNR (the idea of k-diffusion's tree noise).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

LOWEST, HIGHEST = -16.0, 16.0
"""The log-SNR that the tree spans. The linear schedule of 4000 steps reaches from -10.2 to 10.6."""
DEPTH = 14
"""2^14 cells of 1/512 in log-SNR: no two levels of a run, of up to 4000 steps, share one."""
_GRID = 2.0**32  # levels are rounded to 2^-32 in log-SNR
_MAX_KEPT_BYTES = 1 << 30

Normal = Callable[[str, int], Tensor]
"""normal(kind, number): the standard normal field of a node, always the same for the same arguments."""


@dataclass(frozen=True)
class _Interval:
    """A node of the tree: log-SNR from low to high, and W at both ends (None: zero)."""

    node: int
    low: float
    high: float
    at_low: Tensor | None
    at_high: Tensor

    def __contains__(self, level: float) -> bool:
        return self.low <= level < self.high

    def bridge(self, level: float, normal: Tensor) -> Tensor:
        """W at a level inside, given both ends: a Brownian bridge in SNR."""
        low, here, high = math.exp(self.low), math.exp(level), math.exp(self.high)
        fraction = (here - low) / (high - low)
        deviation = math.sqrt((here - low) * (high - here) / (high - low))
        if self.at_low is None:
            return fraction * self.at_high + deviation * normal
        return self.at_low + fraction * (self.at_high - self.at_low) + deviation * normal


class BrownianMotion:
    """W over SNR, drawn as levels are asked for. The values do not depend on which were asked for before.

    Levels that rise, as in a run, cost about 10 fields each at 50 steps. The intervals around the last level
    are kept while they take at most 1 GiB, else every level is drawn from the root.
    """

    def __init__(self, normal: Normal) -> None:
        self._normal = normal
        self._path: list[_Interval] = []
        self._recent: dict[int, Tensor] = {}

    def noise(self, log_snr: float, log_snr_next: float) -> Tensor:
        """The noise of the step between two levels, standard normal.

        Raises ValueError unless LOWEST <= log_snr < log_snr_next < HIGHEST.
        """
        first, second = rounded_level(log_snr), rounded_level(log_snr_next)
        if not LOWEST * _GRID <= first < second < HIGHEST * _GRID:
            raise ValueError(
                f"noise from log-SNR {log_snr:g} to {log_snr_next:g}: "
                f"both must rise within {LOWEST:g} to {HIGHEST:g}"
            )
        change = self._at(second) - self._at(first)
        self._recent = {level: self._recent[level] for level in (first, second)}
        return change / math.sqrt(math.exp(second / _GRID) - math.exp(first / _GRID))

    def _at(self, rounded: int) -> Tensor:
        if rounded not in self._recent:
            level = rounded / _GRID
            cell = self._cell(level)
            self._recent[rounded] = cell.bridge(level, self._normal("level", rounded))
        return self._recent[rounded]

    def _cell(self, level: float) -> _Interval:
        """The smallest interval around a level."""
        while self._path and level not in self._path[-1]:
            self._path.pop()
        interval = self._path[-1] if self._path else self._root()
        while interval.node < 2**DEPTH:
            interval = self._half(interval, level)
            if DEPTH * interval.at_high.nbytes <= _MAX_KEPT_BYTES:
                self._path.append(interval)
        return interval

    def _root(self) -> _Interval:
        deviation = math.sqrt(math.exp(HIGHEST) - math.exp(LOWEST))
        return _Interval(1, LOWEST, HIGHEST, None, deviation * self._normal("node", 0))

    def _half(self, interval: _Interval, level: float) -> _Interval:
        """The half of an interval that holds the level."""
        middle = (interval.low + interval.high) / 2
        value = interval.bridge(middle, self._normal("node", interval.node))
        if level < middle:
            return _Interval(2 * interval.node, interval.low, middle, interval.at_low, value)
        return _Interval(2 * interval.node + 1, middle, interval.high, value, interval.at_high)


def rounded_level(log_snr: float) -> int:
    """A noise level as a whole number: log-SNR in units of 2^-32."""
    return round(log_snr * _GRID)
