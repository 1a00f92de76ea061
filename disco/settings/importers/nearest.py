"""The allowed value nearest to one that is out of range."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from disco.settings.kinds import read_value
from disco.settings.schedules import Schedule, short


def nearest(value: Any, facts: Mapping[str, Any]) -> Any:
    """A number, a list of numbers or a schedule with each number moved into the range; None if it has none.

    facts: see fields.setting. Only the range is mended: a text that is no number has no nearest value.
    """
    name, _, number = facts["kind"].partition(":")
    free = {key: fact for key, fact in facts.items() if key not in ("ge", "le")}
    try:
        loose = read_value(value, free)
    except ValueError:
        return None
    if name == "schedule" and number in ("int", "float"):
        return _schedule(loose, facts)
    near = [_inside(part, facts) for part in loose] if isinstance(loose, tuple) else _inside(loose, facts)
    try:
        read_value(near, facts)
    except ValueError:
        return None
    return near


def _schedule(loose: Schedule, facts: Mapping[str, Any]) -> Any:
    if loose.frames is not None:
        return {"frames": {frame: _schedule(part, facts) for frame, part in loose.frames.keys}}
    return Schedule(tuple(_inside(entry, facts) for entry in loose.values)).to_yaml()


def _inside(entry: Any, facts: Mapping[str, Any]) -> Any:
    if not isinstance(entry, (int, float)) or isinstance(entry, bool):
        return entry
    low, high = facts.get("ge", -math.inf), facts.get("le", math.inf)
    return short(min(max(entry, low), high))
