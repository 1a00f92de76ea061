"""Captions of a batch: which of them fit which picture, as far as labels and measured light can tell."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from training import light

NO = -1  # neither fits nor fails: not trained on
# Which labels belong to the general words; for all others the names' similarity decides what is doubtful.
MEMBERS = {
    "group/flower": (
        "flowers/", "caltech/sunflower", "caltech/lotus", "caltech/water_lilly", "cifar100/orchid",
        "cifar100/poppy", "cifar100/rose", "cifar100/sunflower", "cifar100/tulip",
    ),
    "group/landscape": (
        "scenes/mountain", "scenes/glacier", "scenes/sea", "scenes/forest", "cifar100/forest",
        "cifar100/mountain", "cifar100/plain", "cifar100/sea",
    ),
    "group/town": ("scenes/street", "scenes/buildings", "cifar100/house", "cifar100/skyscraper"),
}  # fmt: skip
DOUBTFUL = 0.5  # cosine of two labels' names from which on one is not held against the other


@dataclass
class Texts:
    """embeds [N, 384]; fits [B, N] of 1, 0, -1; parts: slices of N that compete among themselves."""

    embeds: Tensor
    fits: Tensor
    parts: dict[str, slice]


class Captions:
    """All image captions with their MiniLM embeddings, grouped by label and light."""

    def __init__(self, folder: Path) -> None:
        rows = json.loads((folder / "captions.json").read_text())
        self.embeds = torch.from_numpy(np.load(folder / "captions.npy").astype(np.float32))
        self.labels = list(dict.fromkeys(row["label"] for row in rows if row["label"]))
        index = {label: k for k, label in enumerate(self.labels)}
        assert tuple(self.labels[-len(MEMBERS) :]) == tuple(MEMBERS)
        self.plain: list[list[int]] = [[] for _ in self.labels]
        self.lit: list[list[int]] = [[] for _ in light.WORDS]
        self.both: dict[tuple[int, int], list[int]] = {}
        for row, entry in enumerate(rows):
            if entry["light"] is None:
                self.plain[index[entry["label"]]].append(row)
            elif entry["label"] is None:
                self.lit[light.WORDS.index(entry["light"])].append(row)
            else:
                key = (index[entry["label"]], light.WORDS.index(entry["light"]))
                self.both.setdefault(key, []).append(row)
        self.fits = self._label_fits(index)
        self.kin = [(row == 1).nonzero()[:, 0].tolist() for row in self.fits]
        self.rng = np.random.default_rng(0)

    def _label_fits(self, index: dict[str, int]) -> Tensor:
        """[L, L]: does the picture's label (row) fit the caption's (column)?"""
        names = nn.functional.normalize(self.label_means(first_only=True), dim=-1)
        fits = torch.where(names @ names.T > DOUBTFUL, -1, 0)
        scenes = [k for label, k in index.items() if label.startswith("scenes/")]
        fits[torch.tensor(scenes)[:, None], torch.tensor(scenes)] = (
            0  # the six are told apart by their labels
        )
        for group, members in MEMBERS.items():
            fits[:, index[group]] = torch.where(fits[:, index[group]] == 1, 1, 0)
            for label, k in index.items():
                if label.startswith(members):
                    fits[k, index[group]] = 1
                elif label.startswith(("tiny/", "caltech/", "cifar", "scenes/")) and group != "group/flower":
                    fits[k, index[group]] = -1
        fits.fill_diagonal_(1)
        return fits

    def label_means(self, first_only: bool = False) -> Tensor:
        """The mean sentence embedding of each label's plain captions, [L, 384]."""
        return torch.stack([self.embeds[rows[:1] if first_only else rows].mean(0) for rows in self.plain])

    def _composed(self, labels: Tensor, lights: Tensor, most: int) -> list[tuple[int, int, int]]:
        """For each picture, where there is one, a caption of its label (or group) and one of its lights."""
        chosen = []
        for picture, label in enumerate(labels[:most].tolist()):
            kin = self.kin[label] if label >= 0 else []
            present = (lights[picture] == 1).nonzero()[:, 0].tolist()
            keys = [(k, w) for k in kin for w in present if (k, w) in self.both]
            if keys:
                key = keys[int(self.rng.integers(len(keys)))]
                chosen.append((*key, int(self.rng.choice(self.both[key]))))
        return chosen

    def draw(self, labels: Tensor, lights: Tensor, titles: Tensor | None = None, composed: int = 64) -> Texts:
        """One random caption of every label and every light, composed ones and the titles of this batch."""
        plain = [int(self.rng.choice(rows)) for rows in self.plain]
        lit = [int(self.rng.choice(rows)) for rows in self.lit]
        pairs = self._composed(labels, lights, composed)
        label_fits = torch.where(labels[:, None] < 0, NO, self.fits[labels])  # [B, L]
        # The general words compete among themselves: a rose need not be more "flower" than "rose".
        cuts = np.cumsum([0, len(plain) - len(MEMBERS), len(MEMBERS), len(lit), len(pairs)])
        fits = [label_fits, lights]
        if pairs:
            of_label = label_fits[:, [k for k, _, _ in pairs]]
            of_light = lights[:, [w for _, w, _ in pairs]]
            doubtful = (of_label == -1) | (of_light == -1)
            both = torch.where((of_label == 0) | (of_light == 0), 0, torch.where(doubtful, -1, 1))
            fits.append(both)
        parts = {
            name: slice(cuts[k], cuts[k + 1]) for k, name in enumerate(("label", "group", "light", "both"))
        }
        embeds = self.embeds[plain + lit + [row for _, _, row in pairs]]
        if titles is not None and (has := titles.abs().sum(1) > 0).any():
            parts["title"] = slice(len(embeds), len(embeds) + int(has.sum()))
            fits.append(title_fits(titles, has))
            embeds = torch.cat([embeds, titles[has]])
        return Texts(embeds, torch.cat(fits, dim=1), parts)


def title_fits(titles: Tensor, has: Tensor) -> Tensor:
    """[B, T] for the T pictures of [B] that have a title: its own fits, another's does not unless alike."""
    alike = titles @ titles[has].T
    fits = torch.where(alike > DOUBTFUL, -1, 0)
    fits[has.nonzero()[:, 0], torch.arange(int(has.sum()))] = 1
    fits[~has] = NO
    return fits
