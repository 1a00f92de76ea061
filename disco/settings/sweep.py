"""sweep: {eta: [0, 0.8], steps: [50, 100]} -> one run for every combination, the last key fastest."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from disco.errors import show
from disco.settings.aliases import translate
from disco.settings.layers import Layer, Report, SourcedValue

_MOST = 1000


@dataclass(frozen=True)
class SweepPoint:
    """A run's place in its sweep.

    values: each swept key -> its value in this run, as written. axes: each swept key with all its values.
    position: 0..total - 1; the last axis changes fastest, so rows and columns of a grid follow from it.
    """

    values: dict[str, Any]
    position: int
    total: int
    axes: tuple[tuple[str, tuple[Any, ...]], ...]


def sweep_points(layers: list[Layer], report: Report) -> list[tuple[list[Layer], SweepPoint | None]]:
    """The layers, as written, of every run that they describe; one run if there is no sweep."""
    last = max((index for index, layer in enumerate(layers) if "sweep" in layer), default=None)
    if last is None:
        return [(layers, None)]
    sourced = layers[last]["sweep"]
    layers = [{key: value for key, value in layer.items() if key != "sweep"} for layer in layers]
    axes = _axes(sourced, report)
    below, above = layers[: last + 1], layers[last + 1 :]
    over = {key for layer in above for key in translate(layer, Report())}
    axes = {key: values for key, values in axes.items() if not _overruled(key, values, over, sourced, report)}
    total = math.prod(len(values) for values in axes.values())
    if not axes:
        return [(layers, None)]
    if total > _MOST:
        report.problem(sourced.location, "sweep", f"{total} runs: at most {_MOST} are allowed")
        return [(layers, None)]
    shown = tuple((key, tuple(value.value for value in values)) for key, values in axes.items())
    points: list[tuple[list[Layer], SweepPoint | None]] = []
    for position, combination in enumerate(itertools.product(*axes.values())):
        chosen = dict(zip(axes, combination, strict=True))
        values = {key: value.value for key, value in chosen.items()}
        points.append(([*below, chosen, *above], SweepPoint(values, position, total, shown)))
    return points


def _axes(sourced: SourcedValue, report: Report) -> dict[str, list[SourcedValue]]:
    axes: dict[str, list[SourcedValue]] = {}
    if not isinstance(sourced.value, Mapping) or not sourced.value:
        report.problem(sourced.location, "sweep", "write a map of settings to lists, like {eta: [0, 0.8]}")
        return axes
    for key, values in sourced.value.items():
        if not isinstance(values, list) or not values:
            text = f"{key}: {show(values)} is no list of values to try"
            report.problem(sourced.location, "sweep", text, (key,))
        elif not isinstance(key, str) or key in ("sweep", "extends"):
            report.problem(sourced.location, "sweep", f"{show(key)} cannot be swept", (key,))
        else:
            axes[key] = [
                SourcedValue(value, sourced.location.under(key, index)) for index, value in enumerate(values)
            ]
    return axes


def _overruled(
    key: str, values: list[SourcedValue], over: set[str], sourced: SourcedValue, report: Report
) -> bool:
    """Does a later layer, such as --set, fix this key?"""
    if not over & set(translate({key: values[0]}, Report())):
        return False
    report.notice(sourced.location, "sweep", f"{key} is overruled, it is not swept", (key,))
    return True
