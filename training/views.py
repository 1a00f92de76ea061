"""Pictures as the guidance shows them to a CLIP: relit, half denoised, blurred, noised, cut, squeezed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from disco.secondary_model import SecondaryModel
from training import data, light
from training.halves import guides

# The share of each source in a batch: the convolutional tower knows objects already, the ViT must learn them.
SHARES = {
    "conv": {"scenes": 0.3, "flowers": 0.23, "caltech": 0.2, "tiny": 0.05, "cifar10": 0.09, "cifar100": 0.02,
             "clipart": 0.05, "emoji": 0.04, "stamps": 0.02},
    "vit": {"scenes": 0.24, "flowers": 0.18, "caltech": 0.22, "tiny": 0.09, "cifar10": 0.13, "cifar100": 0.03,
            "clipart": 0.05, "emoji": 0.04, "stamps": 0.02},
}  # fmt: skip
WIDE = ("scenes", "flowers")  # a small cut of these still shows what they are
SIDE = 128


@dataclass
class Batch:
    """Views [B, 3, S, S] in [0, 1] and the same before they were spoiled; label indices [B] (-1: none).

    lights: labels [B, len(light.WORDS)]; titles: MiniLM embeddings [B, 384], zeros where there is none.
    """

    views: Tensor
    clean: Tensor
    labels: Tensor
    lights: Tensor
    titles: Tensor

    def seen_on(self, device: str | torch.device) -> Batch:
        """The same with the views on a device; what says which captions fit stays where the captions are."""
        return replace(self, views=self.views.to(device), clean=self.clean.to(device))


@dataclass
class Drawn:
    """Pictures [B, 3, 128, 128] in [0, 1], labels [B], titles [B, 384], the least area of a cut [B]."""

    pictures: Tensor
    labels: Tensor
    titles: Tensor
    least: Tensor


class Labelled:
    """The labelled and titled pictures of one split ("train": what the guides may see) of all sources."""

    def __init__(
        self, folder: Path, labels: list[str], split: str, seed: int, shares: dict[str, float] | None = None
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.words = labels
        self.index = {label: k for k, label in enumerate(labels)}
        self.shares = shares or SHARES["conv"]
        self.arrays, self.rows, self.labels, self.titles = {}, {}, {}, {}
        for name in self.shares:
            self._add(folder, name, split)

    def _add(self, folder: Path, name: str, split: str) -> None:
        self.arrays[name], words, splits = data.load(folder, name)
        if name == "tiny":  # its own held-out labels are in another place: every 25th picture instead
            splits = ["test" if k % 25 == 0 else "train" for k in range(len(words))]
        titled = folder / f"{name}.titles.npy"
        known = [titled.exists() or word is not None for word in words]
        if split == "train":
            keep = [k for k, yes in enumerate(known) if yes and guides(name, k, splits[k])]
        else:
            keep = [k for k, yes in enumerate(known) if yes and splits[k] == split]
        self.rows[name] = np.array(keep)
        self.labels[name] = np.array([self.index.get(f"{name}/{words[k]}", -1) for k in keep])
        has_none = np.zeros((len(words), 384), np.float16)
        self.titles[name] = (np.load(titled) if titled.exists() else has_none)[self.rows[name]]

    def pictures(self, name: str, chosen: np.ndarray) -> Tensor:
        """[n, 3, 128, 128] in [0, 1]"""
        stacked = self.arrays[name][np.sort(self.rows[name][chosen])]
        pictures = torch.from_numpy(np.ascontiguousarray(stacked)).permute(0, 3, 1, 2).float() / 255
        return nn.functional.interpolate(pictures, (SIDE, SIDE), mode="bilinear")

    def batch(self, size: int) -> Drawn:
        shares = np.array(list(self.shares.values()))
        counts = self.rng.multinomial(size, shares / shares.sum())
        pictures, labels, titles, least = [], [], [], []
        for name, count in zip(self.shares, counts, strict=True):
            chosen = np.sort(self.rng.integers(0, len(self.rows[name]), count))
            pictures.append(self.pictures(name, chosen))
            labels.append(torch.from_numpy(self.labels[name][chosen]))
            titles.append(torch.from_numpy(self.titles[name][chosen].astype(np.float32)))
            least.append(torch.full((count,), 0.1 if name in WIDE else 0.4))
        return Drawn(torch.cat(pictures), torch.cat(labels), torch.cat(titles), torch.cat(least))


@torch.no_grad()
def half_denoised(x: Tensor, secondary: SecondaryModel) -> Tensor:
    """What the guidance sees in the middle of sampling: pred_x0 * sigma + x_t * (1 - sigma)."""
    t = 0.1 + 0.75 * torch.rand(len(x))
    angle = (t * (math.pi / 2))[:, None, None, None]
    x_t = angle.cos() * (x * 2 - 1) + angle.sin() * torch.randn_like(x)
    with torch.autocast("cpu", torch.bfloat16):
        pred_x0 = secondary(x_t.to(memory_format=torch.channels_last), t).pred_x0.float()
    return (torch.lerp(x_t, pred_x0, angle.sin()) + 1) / 2


def degraded(x: Tensor, secondary: SecondaryModel | None, share: float = 0.2) -> Tensor:
    """`share` of them (at most 0.2) half denoised, two fifths blurred or noised or both, the others as is."""
    kind = torch.rand(len(x))
    x = x.clone()
    half = kind < share
    if secondary is not None and half.any():
        x[half] = half_denoised(x[half], secondary)
    soft = (kind > 0.2) & (kind < 0.4)
    if soft.any():
        x[soft] = light.blurred(x[soft], float(torch.empty(()).uniform_(0.6, 3.5)))
    noisy = (kind > 0.34) & (kind < 0.6)
    level = 0.15 * torch.rand(len(x))[:, None, None, None]
    x[noisy] = x[noisy] + (level * torch.randn_like(x))[noisy]
    return x


def random_boxes(least: Tensor) -> Tensor:
    """Affine maps [B, 2, 3]: from `least` [B] to all of the area, any place, some flipped, some turned."""
    size = len(least)
    area = torch.where(torch.rand(size) < 0.3, 1.0, torch.lerp(least, torch.ones(size), torch.rand(size)))
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


def view_batch(
    source: Labelled, size: int, side: int, secondary: SecondaryModel | None, half_denoised: float = 0.2
) -> Batch:
    drawn = source.batch(size)
    pictures, made = light.relit(drawn.pictures)
    boxes = random_boxes(drawn.least)
    lights = light.measure(cut(pictures, boxes, 32), made)
    views, clean = cut(degraded(pictures, secondary, half_denoised), boxes, side), cut(pictures, boxes, side)
    return Batch(views, clean, drawn.labels, lights, drawn.titles)
