"""Disco: the Disco Diffusion look as real software. Importing this package only defines names (PEP 562)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from disco import errors, events
    from disco.media.images import contact_sheet
    from disco.rendering.api import render
    from disco.rendering.distributed.messages import needs_of
    from disco.rendering.distributed.ray_pool import connect
    from disco.runs.new_run import read_again
    from disco.settings.load import load_runs, run_from_mapping
    from disco.settings.model import Settings

__version__ = "0.1.0"
__all__ = [
    "Settings",
    "__version__",
    "connect",
    "contact_sheet",
    "errors",
    "events",
    "load_runs",
    "needs_of",
    "read_again",
    "render",
    "run_from_mapping",
]

_MODULES = ("errors", "events")
_MODULE_OF = {
    "Settings": "disco.settings.model",
    "connect": "disco.rendering.distributed.ray_pool",
    "contact_sheet": "disco.media.images",
    "load_runs": "disco.settings.load",
    "needs_of": "disco.rendering.distributed.messages",
    "read_again": "disco.runs.new_run",
    "render": "disco.rendering.api",
    "run_from_mapping": "disco.settings.load",
}


def __getattr__(name: str) -> Any:
    """Import the name where it is defined, when it is first used. Raises AttributeError."""
    from importlib import import_module

    if name in _MODULES:
        return import_module(f"disco.{name}")
    if name in _MODULE_OF:
        return getattr(import_module(_MODULE_OF[name]), name)
    raise AttributeError(f"module 'disco' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
