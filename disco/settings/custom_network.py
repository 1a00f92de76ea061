"""What custom_config may say: the architecture of diffusion_model: custom, in guided-diffusion's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Facts = Mapping[str, Any]


def _int(ge: int, le: int) -> Facts:
    return {"kind": "int", "ge": ge, "le": le}


_BOOL: Facts = {"kind": "bool"}
PARTS: dict[str, Facts] = {
    "family": {"kind": "choice", "choices": ("guided_diffusion",)},
    "image_size": _int(4, 4096),
    "num_channels": _int(1, 4096),
    "num_res_blocks": _int(1, 16),
    "channel_mult": {"kind": "numbers", "ge": 0.1, "le": 64, "most": 12},
    "attention_resolutions": {"kind": "numbers", "ge": 1, "le": 4096, "most": 12},
    "num_heads": _int(1, 256),
    "num_head_channels": _int(-1, 4096),
    "num_heads_upsample": _int(-1, 256),
    "resblock_updown": _BOOL,
    "use_scale_shift_norm": _BOOL,
    "use_new_attention_order": _BOOL,
    "learn_sigma": _BOOL,
    "use_fp16": _BOOL,
    "class_cond": _BOOL,
    "diffusion_steps": _int(1, 100_000),
    "noise_schedule": {"kind": "choice", "choices": ("linear",)},
    "rescale_timesteps": _BOOL,
    "patch": _int(1, 64),
    "prediction": {"kind": "choice", "choices": ("eps", "x0", "v")},
    "size_multiple": _int(1, 1024),
    "dropout": {"kind": "float", "ge": 0, "le": 1},
    "secondary": {"kind": "text"},
}
"""Key -> the facts of its value, as of a setting (kinds.KINDS)."""
UNTOLD = ("family", "secondary", "dropout")
"""Read, but of no use to a person, so no message names them."""
