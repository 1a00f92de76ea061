"""A CLIP in one file, as OpenAI published them: its architecture, read off the tensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from disco.errors import WeightsError
from disco.networks.clip import ClipConfig, builtin_config

_LIKE = ("ViT-B-32", "openai")  # whose tokenizer and colours all of OpenAI's networks have
_HEAD = 64  # channels of an attention head


def file_config(state: Mapping[str, Tensor], path: Path) -> ClipConfig:
    """The configuration of a ViT or ResNet with OpenAI's names and QuickGELU. Raises WeightsError."""
    try:
        width = state["ln_final.weight"].shape[0]
        model_cfg = {
            "embed_dim": state["text_projection"].shape[1],
            "quick_gelu": True,
            "vision_cfg": _vit(state) if "visual.proj" in state else _resnet(state),
            "text_cfg": {
                "context_length": state["positional_embedding"].shape[0],
                "vocab_size": state["token_embedding.weight"].shape[0],
                "width": width,
                "heads": width // _HEAD,
                "layers": _count(state, "transformer.resblocks."),
            },
        }
    except (KeyError, IndexError) as error:
        told = f"no CLIP in OpenAI's format: {error} is missing"
        raise WeightsError(f"{path}: {told}. For others name a folder in open_clip's format") from None
    like = builtin_config(*_LIKE)
    return ClipConfig(model_cfg, like.mean, like.std, like.tokenizer)


def _vit(state: Mapping[str, Tensor]) -> dict[str, Any]:
    kernel = state["visual.conv1.weight"]
    return {
        "image_size": kernel.shape[-1] * _side(state["visual.positional_embedding"]),
        "layers": _count(state, "visual.transformer.resblocks."),
        "width": kernel.shape[0],
        "head_width": _HEAD,
        "patch_size": kernel.shape[-1],
    }


def _resnet(state: Mapping[str, Tensor]) -> dict[str, Any]:
    side = _side(state["visual.attnpool.positional_embedding"])
    return {
        "image_size": 32 * side,
        "layers": [_count(state, f"visual.layer{stage}.") for stage in (1, 2, 3, 4)],
        "width": state["visual.layer1.0.conv1.weight"].shape[0],
        "patch_size": None,
    }


def _side(places: Tensor) -> int:
    """Of the square grid that has so many places, beside one for the whole."""
    return round((places.shape[0] - 1) ** 0.5)


def _count(state: Mapping[str, Tensor], start: str) -> int:
    """How many numbered blocks there are whose names begin so."""
    return len({name.removeprefix(start).split(".")[0] for name in state if name.startswith(start)})
