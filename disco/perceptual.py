"""A perceptual net from its file: LPIPS with its VGG, or the small one that comes with Disco."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from disco.lpips_model import PerceptualNet, build_lpips, lpips_state
from disco.perceptual_model import PerceptualModel
from disco.recognise import looks_like
from disco.state_dicts import load_strict, read_state_dict


class SmallPerceptualNet(PerceptualNet):
    """The same around a PerceptualModel, whose features bring their weights along."""

    def features(self, pictures: Tensor) -> list[Tensor]:
        return list(self.network(pictures))

    def parts(self, layers: list[Tensor], targets: list[Tensor]) -> list[Tensor]:
        pairs = zip(layers, targets, strict=True)
        return [(layer - target).square().sum(dim=1).mean(dim=(1, 2)) for layer, target in pairs]


def build_perceptual(architecture: Mapping[str, Any]) -> PerceptualNet:
    """What a registry entry of the kind lpips describes, on the meta device."""
    if architecture["family"] == "lpips":
        return PerceptualNet(build_lpips())
    with torch.device("meta"):
        return SmallPerceptualNet(PerceptualModel(architecture["widths"]))


def load_perceptual(
    path: Path, architecture: Mapping[str, Any], *, device: torch.device | str = "cpu"
) -> PerceptualNet:
    """The net of a registry entry's architecture from its file. Raises WeightsError.

    For LPIPS that is torchvision's VGG16; the heads are lpips' own.
    """
    net = build_perceptual(architecture)
    state = read_state_dict(path)
    if architecture["family"] == "lpips":
        state = lpips_state(net.network, state)
        load_strict(net.network, state, path, looks_like=lambda _: _EXPECTED)
    else:
        load_strict(net.network, state, path, looks_like=lambda found: looks_like(found, []))
    net.network.requires_grad_(False).to(device)
    return net


_EXPECTED = "Expected is torchvision's vgg16-397923af.pth"
