"""Zero-shot accuracy of the shipped pocket CLIPs on held-out pictures, through their own text towers.

python -m training.evaluate --data training/runs/data --pocket disco/pocket
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import open_clip
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from training import light
from training.captions import Captions
from training.clip import MEAN, STD
from training.views import Labelled

TEMPLATES = ("{}", "a photo of {}", "a painting of {}")


class PocketClip:
    """A CLIP of the pocket folder: unit embeddings of texts and of pictures [B, 3, H, W] in [0, 1]."""

    def __init__(self, folder: Path) -> None:
        config = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
        self.model = open_clip.model.CLIP(**config).eval().requires_grad_(False)
        self.model.load_state_dict(load_file(folder / "open_clip_model.safetensors"))
        self.side = config["vision_cfg"]["image_size"]
        self.tokenizer = open_clip.get_tokenizer("ViT-B-32")

    def texts(self, names: list[str]) -> Tensor:
        """[N, D]: each name in some templates, averaged."""
        each = [
            self.model.encode_text(self.tokenizer([t.format(n) for n in names]), normalize=True)
            for t in TEMPLATES
        ]
        return nn.functional.normalize(torch.stack(each).mean(0), dim=-1)

    def images(self, pictures: Tensor) -> Tensor:
        small = nn.functional.interpolate(pictures, (self.side, self.side), mode="bilinear", antialias=True)
        mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
        parts = [self.model.encode_image(part, normalize=True) for part in ((small - mean) / std).split(100)]
        return torch.cat(parts)


def labelled(
    clip: PocketClip, held_out: Labelled, names: dict[str, list[str]], count: int
) -> dict[str, float]:
    """Top-1 (and top-5) share of each labelled source."""
    answer, rng = {}, np.random.default_rng(0)
    for source in ("scenes", "flowers", "caltech"):
        labels = [label for label in held_out.index if label.startswith(source + "/")]
        texts = clip.texts([names[label][0] for label in labels])
        rows = len(held_out.rows[source])
        chosen = np.sort(rng.choice(rows, min(count, rows), replace=False))
        truth = torch.tensor([labels.index(held_out.words[k]) for k in held_out.labels[source][chosen]])
        ranks = (clip.images(held_out.pictures(source, chosen)) @ texts.T).argsort(1, descending=True)
        hits = ranks == truth[:, None]
        answer[source] = round(float(hits[:, 0].float().mean()), 4)
        answer[source + "5"] = round(float(hits[:, :5].any(1).float().mean()), 4)
    return answer


def hues(clip: PocketClip, held_out: Labelled, count: int) -> float:
    """Share of pictures, each toned in one of eight hues, whose hue is named right."""
    words = list(light.HUES)
    texts = clip.texts([f"{word} color scheme" for word in words])
    rng = np.random.default_rng(1)
    rows = np.sort(rng.choice(len(held_out.rows["scenes"]), count, replace=False))
    truth = torch.from_numpy(rng.integers(0, len(words), count))
    angle = torch.tensor([float(light.HUES[words[k]][0]) for k in truth.tolist()])
    toned = light.tinted(held_out.pictures("scenes", rows), angle, torch.ones(count))
    return round(float(((clip.images(toned) @ texts.T).argmax(1) == truth).float().mean()), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the shipped pocket CLIPs.")
    parser.add_argument("--data", type=Path, default=Path("training/runs/data"))
    parser.add_argument("--pocket", type=Path, default=Path("disco/pocket"))
    parser.add_argument("--count", type=int, default=600)
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    names = json.loads((args.data / "names.json").read_text())
    held_out = Labelled(args.data, Captions(args.data).labels, "test", 0)
    for kind in ("conv", "vit"):
        clip = PocketClip(args.pocket / f"clip_{kind}")
        scores = labelled(clip, held_out, names, args.count)
        print(json.dumps({"clip": kind, **scores, "hue": hues(clip, held_out, args.count // 2)}), flush=True)


if __name__ == "__main__":
    main()
