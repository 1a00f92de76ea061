"""Depth from MiDaS 3.0, that is DPT (Ranftl et al. 2021, arXiv:2103.13413), as transformers has it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disco.errors import WeightsError
from disco.files.regular import MAX_JSON, read_regular
from disco.networks.state_dicts import load_strict, read_state_dict

_UNUSED = "neck.fusion_stage.layers.0.residual_layer1."  # in some releases' networks, in few files; never run
_SHALLOWEST = 1e-3


def midas_depth(prediction: Tensor) -> Tensor:
    """MiDaS' relative nearness -> depth in the units of the warp, as the original has it, but above 0."""
    return ((50 - prediction) / 19).clamp(min=_SHALLOWEST)


class DptDepth:
    """frame [B, 3, H, W] in [-1, 1] -> depth [B, 1, H, W], seen at the network's own size."""

    def __init__(self, network: nn.Module, size: tuple[int, int]) -> None:
        """network: pixels [B, 3, *size] in [-1, 1] -> .predicted_depth [B, h, w], larger = nearer."""
        self.network: Any = network.requires_grad_(False).eval()
        self.size = size

    @torch.no_grad()
    def __call__(self, frame: Tensor) -> Tensor:
        pixels = F.interpolate(frame, self.size, mode="bicubic", align_corners=False, antialias=True)
        nearness = self.network(pixels.clamp(-1, 1)).predicted_depth[:, None]
        nearness = F.interpolate(nearness, frame.shape[-2:], mode="bicubic", align_corners=False)
        return midas_depth(nearness)


def load_dpt(config: Path, weights: Path, *, device: torch.device | str = "cpu") -> DptDepth:
    """A network that transformers' save_pretrained wrote: its config.json, and its weights.

    Raises WeightsError: a file that is missing, damaged, or of another network.
    """
    from transformers import DPTConfig, DPTForDepthEstimation

    facts = _read_config(config)
    with torch.device("meta"):  # no memory and no random start values: the file brings all of it
        network = DPTForDepthEstimation(DPTConfig(**facts))
    state = _fitted(network, read_state_dict(weights))
    load_strict(network, state, weights, describe=lambda _: f"{config.name} describes another network")
    side = network.config.image_size
    size = (side, side) if isinstance(side, int) else (int(side[0]), int(side[1]))
    return DptDepth(network.to(device), size)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(read_regular(path, MAX_JSON))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be read as the config.json of a network ({error})") from error
    kind = facts.get("model_type") if isinstance(facts, dict) else None
    if kind != "dpt":
        raise WeightsError(f"{path}: its model_type is {kind}, expected dpt")
    return dict(facts)


def _fitted(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state with the one unused layer as this release of transformers wants it: zeros, or none."""
    fitted = {name: tensor for name, tensor in state.items() if not name.startswith(_UNUSED)}
    for name, own in network.state_dict().items():
        if name.startswith(_UNUSED):
            fitted[name] = torch.zeros(own.shape)
    return fitted
