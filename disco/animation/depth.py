"""The depth of a frame: by name, from one network or two mixed, or from none at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from importlib.util import find_spec
from operator import add
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from disco.animation.depth_dpt import load_dpt
from disco.animation.depth_onnx import load_onnx
from disco.registry import Entry, registry
from disco.weights import fetch, sha256_of

if TYPE_CHECKING:
    from disco.weights import Progress

_SOFTNESS = 0.05  # of the plane's horizon, as a share of the height


class Depth(Protocol):
    """frame [B, 3, H, W] in [-1, 1] -> depth [1 or B, 1, H, W] float32: larger = farther, above 0.

    In the units of the warp, where the picture is 2 wide and 2 high.
    """

    def __call__(self, frame: Tensor) -> Tensor: ...


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
    """A weighted sum of depths. hashes: "network/file" -> SHA-256 of every file that was read."""

    parts: tuple[tuple[float, Depth], ...]
    hashes: Mapping[str, str] = field(default_factory=dict)

    @torch.no_grad()
    def __call__(self, frame: Tensor) -> Tensor:
        return reduce(add, (share * depth(frame) for share, depth in self.parts))


def depth_entries(name: str, weight: float = 1.0, second: str | None = None) -> list[tuple[float, Entry]]:
    """(share, network) of weight * name + (1 - weight) * second, without what would count nothing.

    Without a second one the first counts fully, whatever the weight. Raises InputError for an unknown name.
    """
    first = registry().get("depth", name)
    other = None if second is None else registry().get("depth", second)
    if other is None or other == first:
        return [(1.0, first)]
    return [(share, entry) for share, entry in ((weight, first), (1 - weight, other)) if share > 0]


def load_depth(
    name: str,
    weight: float = 1.0,
    second: str | None = None,
    *,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
    notice: Callable[[str], None] | None = None,
) -> MixedDepth:
    """The depth called `name`; with a second one weight * name + (1 - weight) * second (midas_weight).

    What would count nothing is neither fetched nor loaded. progress, notice: told of downloads, as by
    weights.fetch. Raises InputError (no such name) and WeightsError; ask missing_packages before.
    """
    wanted = depth_entries(name, weight, second)
    hashes: dict[str, str] = {}
    parts = []
    for share, entry in wanted:
        paths = fetch(entry, progress, notice)
        for file in entry.files:
            hashes[f"{entry.name}/{file.name}"] = file.sha256 or sha256_of(paths[file.name])
        parts.append((share, _load(entry.architecture, list(paths.values()), device)))
    return MixedDepth(tuple(parts), hashes)


def _load(facts: Mapping[str, Any], paths: list[Any], device: torch.device | str) -> Depth:
    if facts["family"] == "plane":
        return PlaneDepth(facts["near"], facts["far"], facts["horizon"])
    return load_onnx(*paths) if facts["family"] == "onnx" else load_dpt(*paths, device=device)


def missing_packages(name: str, weight: float = 1.0, second: str | None = None) -> dict[str, str]:
    """Network -> the Python package that reads it, of the wanted ones whose package is not installed."""
    return {
        entry.name: entry.architecture["package"]
        for _, entry in depth_entries(name, weight, second)
        if "package" in entry.architecture and find_spec(entry.architecture["package"]) is None
    }
