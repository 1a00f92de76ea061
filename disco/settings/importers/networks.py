"""Disco's diffusion network, published or one's own, with the architecture that the notebook's form gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from disco.settings.custom_network import PARTS
from disco.settings.importers.builder import ImportBuilder
from disco.settings.importers.old_values import ORIGINAL_NETWORK, nothing, put_network
from disco.settings.network_defaults import CUSTOM

CUSTOM_PREFIX = "custom_model_"  # the form's names of the parts of an architecture


def put_disco_network(builder: ImportBuilder, folder: Path) -> None:
    """diffusion_model; for `custom` its file, if it is here, and its custom_model_* as custom_config."""
    name = str(builder.take("diffusion_model", ORIGINAL_NETWORK))
    path = builder.take("custom_path")
    config = _config(builder)
    if name != CUSTOM:
        put_network(builder, name)
        names = [*(["custom_path"] if path else []), *(f"{CUSTOM_PREFIX}{part}" for part in config)]
        builder.drop(names, "has no effect without diffusion_model: custom")
        return
    path_here = None if nothing(path) else _file(str(path), folder)
    if path_here is None:
        put_network(builder, name)
        builder.dropped.append(
            f"custom_path: {path if path else 'not in the file'}: its weights are not here"
        )
    else:
        builder.keep("diffusion_model", CUSTOM)
        builder.keep("custom_path", path_here)
    if config:
        builder.keep("custom_config", config, was="custom_model_*")


def _config(builder: ImportBuilder) -> dict[str, Any]:
    """The parts of an architecture that the form names, without those that no architecture has."""
    architecture: dict[str, Any] = {}
    for key in [key for key in builder.old if key.startswith(CUSTOM_PREFIX)]:
        part = key.removeprefix(CUSTOM_PREFIX)
        value = builder.old[key]
        if part in PARTS and value is not None:
            architecture[part] = builder.take(key)
    return architecture


def _file(name: str, folder: Path) -> str | None:
    path = next((path for path in (Path(name), folder / name) if path.is_file()), None)
    return None if path is None else str(path)
