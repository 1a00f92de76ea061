"""CLIP networks as the old tools name them: Disco's flags, `ViT-B-32::openai`; in our list, with weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from disco.errors import InputError
from disco.settings.importers.builder import ImportBuilder
from disco.weights.registry import Compat, registry


def clip_name(old: str, compat: Compat = "fixed") -> str | None:
    """Our name of a CLIP network by a flag or by another tool's name; None if the registry has none.

    DiscoArt reads ViT-B/32::laion2b_e16 and ViT-B-32::laion2b_e16 alike.
    """
    model, pair, weights = old.partition("::")
    try:
        return registry().find_clip(f"{model.replace('/', '-')}/{weights}" if pair else old, compat)[0].name
    except InputError:
        return None


def put_clips(
    builder: ImportBuilder, weights: Mapping[str, Any], *, was: str, compat: Compat = "fixed"
) -> None:
    """clip_models from {old name: weight}; a weight is a number or a schedule, and 1 need not be written."""
    chosen: list[Any] = []
    for old, weight in weights.items():
        name = clip_name(old, compat)
        if name is None:
            builder.dropped.append(f"clip_models: {old}: no such CLIP network in the registry")
        else:
            chosen.append(name if weight == 1 else {"name": name, "weight": weight})
    if chosen:
        builder.keep("clip_models", chosen, was=was)
