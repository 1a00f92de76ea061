"""Disco: the Disco Diffusion look as real software. Importing this package only defines names (PEP 562)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from disco.rendering.api import render
    from disco.settings.load import load_runs, run_from_mapping
    from disco.settings.model import Settings

__version__ = "0.1.0"
__all__ = ["Settings", "__version__", "load_runs", "render", "run_from_mapping"]

_LAZY = {
    "render": "disco.rendering.api",
    "Settings": "disco.settings.model",
    "load_runs": "disco.settings.load",
    "run_from_mapping": "disco.settings.load",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'disco' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
