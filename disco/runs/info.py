"""run.json, what a run is, in two copies: a damaged one gives way to the other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, ValidationError

from disco.errors import ResumeError
from disco.files import atomic

NAMES = ("run.json", "run-copy.json")  # written in this order: the first is never the older one
START_NEW = " Start a new run; pictures stay."

_Number = Annotated[StrictInt, Field(ge=0)]


class _Queue(BaseModel):
    id: StrictStr
    position: _Number
    of: _Number


class _Info(BaseModel):
    """Keys of later versions are let through; no known one has another type."""

    model_config = ConfigDict(extra="allow")
    run: _Number
    status: StrictStr = ""
    seed: _Number = 0
    n_batches: _Number = 0
    groups: list[Annotated[list[_Number], Field(min_length=1)]] = []
    wanted: list[_Number] | None = None
    starts: dict[StrictStr, StrictStr] = {}
    settings: dict[StrictStr, Any] = {}
    base_dirs: list[StrictStr] = []
    again: StrictBool = False
    source: tuple[StrictStr, StrictStr, _Number] | None = None
    queue: _Queue | None = None
    memory: dict[StrictStr, Any] | None = None
    inputs: dict[StrictStr, StrictStr] | None = None


def read_info(state: Path) -> dict[str, Any]:
    """What was written last; empty if nothing was. Raises ResumeError if no copy of those there is whole."""
    why = ""
    for path in (state / name for name in NAMES):
        try:
            info = json.loads(path.read_bytes())
            _Info.model_validate(info)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, RecursionError) as error:
            why = why or f"{path}: cannot be read ({_cause(error)}).{START_NEW}"
        else:
            return dict(info)
    if why:
        raise ResumeError(why)
    return {}


def write_info(state: Path, info: Mapping[str, Any]) -> None:
    """Replace both copies, durable at return. Raises RunError."""
    data = json.dumps(info, indent=1).encode()
    for name in NAMES:
        atomic.replace(state / name, data)


def _cause(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    return ": ".join((*map(str, first["loc"]), first["msg"]))
