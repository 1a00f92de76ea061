"""What a network is built from, by its registry entry or the user's own files. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from disco.files.paths import candidates, find
from disco.settings.model import ModelSettings
from disco.settings.network_defaults import CLIP_FILES, CUSTOM
from disco.weights.fetch import locate
from disco.weights.registry import Entry, registry

CONFIG_FILE = "open_clip_config.json"  # of a CLIP's folder in open_clip's format


def diffusion_architecture(settings: ModelSettings) -> dict[str, Any]:
    """Of the chosen diffusion network."""
    if settings.diffusion_model == CUSTOM:
        return custom_architecture(settings.custom_config)
    return read_architecture(registry().get("diffusion", settings.diffusion_model))


def custom_architecture(config: Mapping[str, Any] | None) -> dict[str, Any]:
    """The registry's `custom` architecture with the user's keys laid over it."""
    return {**registry().get("diffusion", CUSTOM).architecture, **(config or {})}


def read_architecture(entry: Entry) -> dict[str, Any]:
    """The architecture of a diffusion entry. The .json that its training wrote, if on this machine, wins."""
    architecture = dict(entry.architecture)
    for file in entry.files:
        path = locate(file) if file.name.endswith(".json") else None
        if path is not None:
            architecture.update(json.loads(path.read_text(encoding="utf-8")))
    return architecture


def user_path(name: str, base_dirs: Sequence[Path] = ()) -> Path:
    """A user's own path: from the current directory, else from the first of `base_dirs` that has it."""
    return find(name, base_dirs) or candidates(name, (Path(),))[0]


def clip_path(name: str, base_dirs: Sequence[Path] = ()) -> Path | None:
    """What a CLIP's name means: a folder with open_clip_config.json, a file, or what is written as a path."""
    path = user_path(name, base_dirs)
    if name.startswith((".", "/", "~")) or (path / CONFIG_FILE).is_file():
        return path
    return path if path.suffix in CLIP_FILES and path.is_file() else None
