"""Where the package's own files lie, and in a clone its recipes. No other module knows these paths."""

from __future__ import annotations

from pathlib import Path

import disco

PACKAGE = Path(disco.__file__).resolve().parent
REGISTRY = PACKAGE / "registry.yaml"
POCKET = PACKAGE / "pocket"
RECIPES = PACKAGE.parent / "settings"
