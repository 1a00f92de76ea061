"""Teach the small text tower MiniLM's meaning of many phrases, in the joint space of the image towers.

    python -m training.text --data DIR --out DIR [--steps N]

Both pocket CLIPs share one joint space, so one text tower serves both. Its token embeddings start as the
projected MiniLM embeddings of the tokens' own text: words that no phrase of the bank holds still mean
something.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import open_clip
import torch
from torch import Tensor, nn

from training.captions import Captions
from training.clip import Space
from training.common import Run, Trainer
from training.towers import TEXT, build

PARTS = ("token_embedding", "positional_embedding", "transformer", "ln_final", "text_projection")


class TextTower(nn.Module):
    """The text half of open_clip's CLIP under the same names; cuts the padding off before computing."""

    def __init__(self) -> None:
        super().__init__()
        whole = build("vit")
        self.token_embedding, self.transformer = whole.token_embedding, whole.transformer
        self.positional_embedding, self.ln_final = whole.positional_embedding, whole.ln_final
        self.text_projection = whole.text_projection
        self.register_buffer("attn_mask", whole.attn_mask, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Unit embeddings [B, D] of tokens [B, 77]."""
        end = tokens.argmax(1)
        length = int(end.max()) + 1
        x = self.token_embedding(tokens[:, :length]) + self.positional_embedding[:length]
        x = self.ln_final(self.transformer(x, attn_mask=self.attn_mask[:length, :length]))
        return nn.functional.normalize(x[torch.arange(len(x)), end] @ self.text_projection, dim=-1)


class Phrases:
    """Tokens and targets of the bank and of the image captions; the latter make up half of each batch."""

    def __init__(self, folder: Path, space: Space, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.tokens, self.targets = {}, {}
        for name in ("bank", "captions"):
            cache = folder / f"{name}.tokens.npy"
            if not cache.exists():
                rows = json.loads((folder / f"{name}.json").read_text())
                texts = [row if isinstance(row, str) else row["text"] for row in rows]
                np.save(cache, open_clip.get_tokenizer("ViT-B-32")(texts).numpy().astype(np.uint16))
            self.tokens[name] = np.load(cache)
            self.targets[name] = projected(space, folder / f"{name}.npy")

    def batch(self, size: int) -> tuple[Tensor, Tensor]:
        counts = {"captions": size // 2, "bank": size - size // 2}
        tokens, targets = [], []
        for name, count in counts.items():
            rows = self.rng.integers(0, len(self.tokens[name]), count)
            tokens.append(torch.from_numpy(self.tokens[name][rows].astype(np.int64)))
            targets.append(self.targets[name][rows])
        return torch.cat(tokens), torch.cat(targets)


def projected(space: Space, embeds: Path) -> Tensor:
    """A file of MiniLM embeddings [N, 384] as unit vectors of the joint space [N, D]."""
    return space.sentences(torch.from_numpy(np.load(embeds).astype(np.float32)))


def start(tower: TextTower, tokens: Tensor) -> None:
    """tokens: projected embeddings [49408, D] of the tokens' own text."""
    with torch.no_grad():
        tower.token_embedding.weight.copy_(tokens)
        tower.token_embedding.weight[-2:].normal_(std=0.05)  # the start and the end mark
        tower.positional_embedding.mul_(0.5)
        tower.text_projection.copy_(torch.eye(int(str(TEXT["width"]))))


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    run, space = Run(args.out), Space(Captions(args.data), args.data)
    tower = TextTower()
    start(tower, projected(space, args.data / "tokens.npy"))
    tower.to(args.device)
    trainer = Trainer(run, tower, torch.optim.Adam(tower.parameters(), lr=args.lr, betas=(0.9, 0.98)), 0.997)
    phrases = Phrases(args.data, space, args.seed + trainer.step)

    def loss() -> Tensor:
        tokens, targets = phrases.batch(args.batch)
        return (1 - (tower(tokens.to(args.device)) * targets.to(args.device)).sum(1)).mean()

    while trainer.step < args.steps:
        run.log(trainer.step, trainer.update(loss, args.steps))
        if trainer.step % 500 == 0 or trainer.step == args.steps:
            trainer.save()


def main() -> None:
    parser = argparse.ArgumentParser(description="Distil MiniLM into the text tower of the pocket CLIPs.")
    parser.add_argument("--data", type=Path, default=Path("training/runs/data"))
    parser.add_argument("--out", type=Path, default=Path("training/runs/text"))
    parser.add_argument("--steps", type=int, default=4_000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    train(args)


if __name__ == "__main__":
    main()
