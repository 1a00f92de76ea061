"""Pictures as the guidance shows them to a CLIP: relit, half denoised, blurred, noised, cut, squeezed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from disco.secondary_model import SecondaryModel
from training import data, light

SHARES = {"scenes": 0.46, "flowers": 0.36, "caltech": 0.13, "tiny": 0.05}
SIDE = 128


@dataclass
class Batch:
    """Views [B, 3, S, S] in [0, 1], label indices [B], light labels [B, len(light.WORDS)]."""

    views: Tensor
    labels: Tensor
    lights: Tensor


class Labelled:
    """The labelled pictures of one split of all sources."""

    def __init__(self, folder: Path, labels: list[str], split: str, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.words = labels
        self.index = {label: k for k, label in enumerate(labels)}
        self.arrays, self.rows, self.labels = {}, {}, {}
        for name in SHARES:
            self.arrays[name], words, splits = data.load(folder, name)
            if name == "tiny":  # its own held-out labels are in another place: every 25th picture instead
                splits = ["test" if k % 25 == 0 else "train" for k in range(len(words))]
            keep = [k for k, word in enumerate(words) if word is not None and splits[k] == split]
            self.rows[name] = np.array(keep)
            self.labels[name] = np.array([self.index[f"{name}/{words[k]}"] for k in keep])

    def pictures(self, name: str, chosen: np.ndarray) -> Tensor:
        """[n, 3, 128, 128] in [0, 1]"""
        stacked = self.arrays[name][np.sort(self.rows[name][chosen])]
        pictures = torch.from_numpy(np.ascontiguousarray(stacked)).permute(0, 3, 1, 2).float() / 255
        return nn.functional.interpolate(pictures, (SIDE, SIDE), mode="bilinear")

    def batch(self, size: int) -> tuple[Tensor, Tensor]:
        counts = self.rng.multinomial(size, list(SHARES.values()))
        pictures, labels = [], []
        for name, count in zip(SHARES, counts, strict=True):
            chosen = np.sort(self.rng.integers(0, len(self.rows[name]), count))
            pictures.append(self.pictures(name, chosen))
            labels.append(torch.from_numpy(self.labels[name][chosen]))
        return torch.cat(pictures), torch.cat(labels)


@torch.no_grad()
def half_denoised(x: Tensor, secondary: SecondaryModel) -> Tensor:
    """What the guidance sees in the middle of sampling: pred_x0 * sigma + x_t * (1 - sigma)."""
    t = 0.1 + 0.75 * torch.rand(len(x))
    angle = (t * (math.pi / 2))[:, None, None, None]
    x_t = angle.cos() * (x * 2 - 1) + angle.sin() * torch.randn_like(x)
    with torch.autocast("cpu", torch.bfloat16):
        pred_x0 = secondary(x_t.to(memory_format=torch.channels_last), t).pred_x0.float()
    return (torch.lerp(x_t, pred_x0, angle.sin()) + 1) / 2


def degraded(x: Tensor, secondary: SecondaryModel | None) -> Tensor:
    """A quarter half denoised, a quarter blurred or noised or both, the others as they are."""
    kind = torch.rand(len(x))
    x = x.clone()
    half = kind < 0.26
    if secondary is not None and half.any():
        x[half] = half_denoised(x[half], secondary)
    soft = (kind > 0.26) & (kind < 0.42)
    if soft.any():
        x[soft] = light.blurred(x[soft], float(torch.empty(()).uniform_(0.6, 3.5)))
    noisy = (kind > 0.36) & (kind < 0.6)
    level = 0.15 * torch.rand(len(x))[:, None, None, None]
    x[noisy] = x[noisy] + (level * torch.randn_like(x))[noisy]
    return x


def random_boxes(size: int) -> Tensor:
    """Affine maps [B, 2, 3]: 10 to 100 % of the area, any place, some flipped, some turned."""
    area = torch.where(torch.rand(size) < 0.3, 1.0, 0.1 + 0.9 * torch.rand(size))
    stretch = torch.exp(0.2 * torch.randn(size))
    wide, high = (area.sqrt() * stretch).clamp(max=1), (area.sqrt() / stretch).clamp(max=1)
    flip = torch.where(torch.rand(size) < 0.5, -1.0, 1.0)
    turn = torch.where(torch.rand(size) < 0.4, 0.2 * (2 * torch.rand(size) - 1), 0.0)
    left, top = (1 - wide) * (2 * torch.rand(size) - 1), (1 - high) * (2 * torch.rand(size) - 1)
    first = torch.stack([flip * wide * turn.cos(), -high * turn.sin(), left], dim=1)
    second = torch.stack([flip * wide * turn.sin(), high * turn.cos(), top], dim=1)
    return torch.stack([first, second], dim=1)


def cut(x: Tensor, boxes: Tensor, side: int) -> Tensor:
    grid = nn.functional.affine_grid(boxes, [len(x), 3, side, side], align_corners=False)
    return nn.functional.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def view_batch(source: Labelled, size: int, side: int, secondary: SecondaryModel | None) -> Batch:
    pictures, labels = source.batch(size)
    pictures, made = light.relit(pictures)
    boxes = random_boxes(size)
    lights = light.measure(cut(pictures, boxes, 32), made)
    return Batch(cut(degraded(pictures, secondary), boxes, side), labels, lights)
