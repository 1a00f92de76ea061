"""The depth of a frame: by name, from one network or two mixed, or from none at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from disco.animation.depth_dpt import load_dpt
from disco.animation.depth_onnx import load_onnx
from disco.weights.fetch import fetch_paths
from disco.weights.registry import Entry

if TYPE_CHECKING:
    from disco.networks.depth_and_flow import Depth

_SOFTNESS = 0.05  # of the plane's horizon, as a share of the height


@dataclass(frozen=True)
class PlaneDepth:
    """A level ground under a sky, whatever the picture shows: needs no network.

    near: depth at the lower edge; far: of the sky; horizon: its place from the top, a share of the height.
    Below it 1/depth grows evenly, as on a plane.
    """

    near: float
    far: float
    horizon: float

    def __call__(self, frame: Tensor) -> Tensor:
        height, width = frame.shape[-2:]
        down = (torch.arange(height, device=frame.device) + 0.5) / height - self.horizon
        rise = F.softplus(torch.cat([down, down.new_tensor([1 - self.horizon])]) / _SOFTNESS)
        ground = rise[:-1] / rise[-1]  # [H], from 0 in the sky to 1 at the lower edge
        depth = 1 / (1 / self.far + ground * (1 / self.near - 1 / self.far))
        return depth[:, None].expand(1, 1, height, width).contiguous()


@dataclass(frozen=True)
class MixedDepth:
    """A weighted sum of depths."""

    parts: tuple[tuple[float, Depth], ...]

    @torch.no_grad()
    def __call__(self, frame: Tensor) -> Tensor:
        return reduce(add, (weight * depth(frame) for weight, depth in self.parts))


def load_depth(
    parts: Sequence[tuple[float, Entry]],
    fetched: Callable[[Entry], Sequence[Path]] = fetch_paths,
    *,
    device: torch.device | str = "cpu",
) -> MixedDepth:
    """The sum of (factor, network of the registry), as required.depth_factors gives them.

    fetched: gives the files of an entry. Raises WeightsError; call required.check_packages before.
    """
    depths = [(weight, _load(entry.architecture, fetched(entry), device)) for weight, entry in parts]
    return MixedDepth(tuple(depths))


def _load(facts: Mapping[str, Any], paths: Sequence[Path], device: torch.device | str) -> Depth:
    if facts["family"] == "plane":
        return PlaneDepth(facts["near"], facts["far"], facts["horizon"])
    return load_onnx(*paths) if facts["family"] == "onnx" else load_dpt(*paths, device=device)
