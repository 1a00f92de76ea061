"""Do prompts matter? One seed, several prompts: every picture scored against every prompt by each CLIP.

Run `python -m benchmarks.prompts [--set KEY=VALUE ...] [--out DIR]`; it prints Markdown. The score is the
cosine between the embedding of the whole finished picture and that of the prompt. The judges are the CLIPs
that guided the pictures, so this shows that guidance does its work, not that the CLIPs are right.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from disco import run_from_mapping
from disco.events import PictureFinished
from disco.media.images import from_uint8, read_pixels
from disco.memory.devices import pick_device
from disco.networks.clip import ClipModel
from disco.networks.load import load_networks
from disco.rendering.api import render

PROMPTS = (
    "a mountain",
    "the sea",
    "a forest",
    "a glacier",
    "a street",
    "a pink flower",
    "a sunset, orange color scheme",
    "purple color scheme",
)


def render_prompts(
    prompts: Sequence[str], overrides: Sequence[str], out: Path, seeds: int
) -> list[list[Tensor]]:
    """[prompt][seed] -> [1, 3, H, W] in [0, 1]."""
    base = {"batch_name": "prompts", "n_batches": seeds, "batch_size": seeds, "set_seed": 1}
    runs = [run_from_mapping({**base, "text_prompts": [text]}, overrides=overrides) for text in prompts]
    paths = [event.path for event in render(runs, out=out) if isinstance(event, PictureFinished)]
    pictures = [(from_uint8(read_pixels(path)) + 1) / 2 for path in paths]
    return [pictures[at : at + seeds] for at in range(0, len(pictures), seeds)]


@torch.no_grad()
def scores(clip: ClipModel, prompts: Sequence[str], pictures: Sequence[Sequence[Tensor]]) -> Tensor:
    """[picture's prompt, seed, judged prompt], cosines."""
    texts = functional.normalize(clip.encode_text(list(prompts)), dim=-1)
    side = (clip.image_size, clip.image_size)
    rows = []
    for group in pictures:
        seen = [functional.interpolate(picture, side, mode="bicubic", antialias=True) for picture in group]
        embeds = clip.encode_image(torch.cat(seen).clamp(0, 1))
        rows.append(functional.normalize(embeds, dim=-1) @ texts.T)
    return torch.stack(rows)


def report(clip: ClipModel, prompts: Sequence[str], table: Tensor) -> str:
    """Markdown: mean cosine of the pictures of each row's prompt with each column's."""
    n, seeds, _ = table.shape
    own = table.diagonal(dim1=0, dim2=2).T  # [prompt, seed]
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    nearer = sum(int((table[i, :, i] > table[i, :, j]).sum()) for i, j in pairs)
    best = int((table.argmax(dim=2) == torch.arange(n)[:, None]).sum())
    lines = [
        f"{clip.name}: of {n * seeds} pictures {best} are nearest to their own prompt of all {n}; in "
        f"{nearer} of {len(pairs) * seeds} comparisons a picture is nearer to its own prompt than to "
        f"another. Mean cosine with its own prompt {own.mean():.3f}, with the others {_others(table):.3f}.",
        "",
        "| painted \\ judged | " + " | ".join(prompts) + " |",
        "| --- |" + " ---: |" * n,
    ]
    for text, row in zip(prompts, table.mean(1), strict=True):
        lines.append(f"| {text} | " + " | ".join(f"{value:.2f}" for value in row) + " |")
    return "\n".join(lines)


def _others(table: Tensor) -> float:
    n = len(table)
    mask = ~torch.eye(n, dtype=torch.bool)
    return float(table.mean(1)[mask].mean())


def difference(pictures: Sequence[Sequence[Tensor]]) -> float:
    """Mean absolute difference, in 255ths, of pictures of one seed and different prompts."""
    groups = [torch.cat(list(group)) for group in pictures]
    pairs = [(a - b).abs().mean() for k, a in enumerate(groups) for b in groups[k + 1 :]]
    return float(torch.stack(pairs).mean() * 255)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("images_out"))
    options = parser.parse_args()
    pictures = render_prompts(PROMPTS, options.overrides, options.out, options.seeds)
    settings = run_from_mapping({"text_prompts": list(PROMPTS)}, overrides=options.overrides).settings
    networks = load_networks(settings, device=pick_device(settings.device))
    print(f"Pictures of one seed differ between prompts by {difference(pictures):.0f} of 255 on average.\n")
    for clip in networks.clips:
        print(report(clip, PROMPTS, scores(clip, PROMPTS, pictures)) + "\n")


if __name__ == "__main__":
    main()
