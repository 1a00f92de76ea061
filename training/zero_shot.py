"""What the shipped pocket CLIPs know of pictures held out from their training, through the code that guides.

Every picture is compared with the names of all classes of its set; no example of a class is shown.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from disco.networks.clip import ClipModel
from disco.networks.load import load_networks
from disco.settings.load import run_from_mapping
from training import data, light
from training.judge import in_top, pictures_of

LABELLED = ("scenes", "flowers", "caltech", "cifar10")
TITLED = "clipart"
TEMPLATES = ("{}", "a photo of {}", "a painting of {}")


def shipped_clips() -> list[ClipModel]:
    """The CLIPs that guide by default."""
    settings = run_from_mapping({"text_prompts": ["none"], "device": "cpu"}).settings
    return load_networks(settings, device="cpu").clips


def texts(clip: ClipModel, names: list[str], templates: tuple[str, ...] = TEMPLATES) -> Tensor:
    """[N, D], unit: each name in every template, averaged."""
    each = [clip.encode_text([template.format(name) for name in names]) for template in templates]
    mean = torch.stack([nn.functional.normalize(embeds, dim=-1) for embeds in each]).mean(0)
    return nn.functional.normalize(mean, dim=-1)


def images(clip: ClipModel, pictures: Tensor) -> Tensor:
    """[B, D], unit, of [B, 3, H, W] in [0, 1]."""
    side = (clip.image_size, clip.image_size)
    small = nn.functional.interpolate(pictures, side, mode="bilinear", antialias=True)
    return nn.functional.normalize(torch.cat([clip.encode_image(part) for part in small.split(100)]), dim=-1)


def held_out(folder: Path, source: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The packed pictures of a source, and at most `count` of its held-out rows, ascending."""
    array, _, splits = data.load(folder, source)
    rows = [k for k, split in enumerate(splits) if split == "test"]
    return array, np.sort(np.random.default_rng(0).choice(rows, min(count, len(rows)), replace=False))


def labelled(clip: ClipModel, folder: Path, source: str, count: int) -> dict[str, float]:
    """Share of pictures whose class is the nearest of all, and among the nearest five."""
    names = json.loads((folder / "names.json").read_text())
    words = data.load(folder, source)[1]
    labels = sorted({word for word in words if word is not None})
    of_label = [names.get(f"{source}/{label}", [label.replace("_", " ")]) for label in labels]
    named = nn.functional.normalize(torch.stack([texts(clip, of).mean(0) for of in of_label]), dim=-1)
    array, rows = held_out(folder, source, count)
    rows = rows[[words[row] is not None for row in rows]]
    truth = torch.tensor([labels.index(str(words[row])) for row in rows])
    logits = images(clip, pictures_of(array, rows)) @ named.T
    tops = {f"top-{k}": round(float(in_top(logits, truth, k).float().mean()), 4) for k in (1, 5)}
    return {"pictures": len(rows), "classes": len(labels), **tops}


def hue(clip: ClipModel, folder: Path, count: int) -> dict[str, float]:
    """Share of held-out scenes, each toned in one of eight hues, whose hue is named right."""
    words = list(light.HUES)
    array, rows = held_out(folder, "scenes", count)
    truth = torch.from_numpy(np.random.default_rng(1).integers(0, len(words), len(rows)))
    angle = torch.tensor([float(light.HUES[words[k]][0]) for k in truth.tolist()])
    toned = light.tinted(pictures_of(array, rows), angle, torch.ones(len(rows)))
    logits = images(clip, toned) @ texts(clip, [f"{word} color scheme" for word in words], ("{}",)).T
    right = round(float(in_top(logits, truth, 1).float().mean()), 4)
    return {"pictures": len(rows), "classes": len(words), "top-1": right}


def title_ranks(scores: Tensor, truth: Tensor) -> Tensor:
    """[B]: how many titles come before the right one, plus 1. scores [B, T], truth [B]."""
    return (scores > scores.gather(1, truth[:, None])).sum(1) + 1


def titles(clip: ClipModel, folder: Path, count: int) -> dict[str, float]:
    """The rank of a drawing's own title among the titles of all held-out drawings shown here."""
    notes = json.loads((folder / f"{TITLED}.json").read_text())["titles"]
    array, rows = held_out(folder, TITLED, count)
    every = sorted({notes[row] for row in rows})
    truth = torch.tensor([every.index(notes[row]) for row in rows])
    ranks = title_ranks(images(clip, pictures_of(array, rows)) @ texts(clip, every, ("{}",)).T, truth).float()
    return {
        "pictures": len(rows),
        "titles": len(every),
        "median rank": float(ranks.median()),
        "mean rank": round(float(ranks.mean()), 1),
        "top-10": round(float((ranks <= 10).float().mean()), 4),
    }


@torch.no_grad()
def measure(folder: Path, count: int = 1500) -> dict[str, dict[str, dict[str, float]]]:
    """CLIP's name -> set -> measure -> number."""
    answer = {}
    for clip in shipped_clips():
        scores = {source: labelled(clip, folder, source, count) for source in LABELLED}
        scores["hue"] = hue(clip, folder, count // 2)
        scores["titles"] = titles(clip, folder, count)
        answer[clip.name] = scores
    return answer
