"""A good start for a tower's head: many views through the fixed trunk once, then large cheap steps.

Steps through the whole network are few on a CPU, and the noise of small batches of hard views would undo in a
hundred of them what the pretrained trunk knows.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from disco.secondary_model import SecondaryModel
from training import light
from training.captions import Captions
from training.common import learning_rate
from training.views import Labelled, cut, view_batch

SIDE = 96


@torch.no_grad()
def view_features(
    trunk: nn.Module, source: Labelled, secondary: SecondaryModel, count: int, norm: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Features [N, C], labels [N], lights [N, L] of `count` views; a third of them clean whole pictures."""
    trunk.eval()
    rows: list[tuple[Tensor, Tensor, Tensor]] = []
    whole = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]]).expand(64, 2, 3)
    for k in range(count // 64):
        if k % 3:
            batch = view_batch(source, 64, SIDE, secondary)
            views, labels, lights = batch.views, batch.labels, batch.lights
        else:
            pictures, labels = source.batch(64)
            views, lights = cut(pictures, whole, SIDE), None
        views = (views - norm[0]) / norm[1]
        with torch.autocast(views.device.type, torch.bfloat16):
            features = trunk(views.to(memory_format=torch.channels_last)).float()
        unknown = torch.full((64, len(light.WORDS)), -1)
        rows.append((features, labels, unknown if lights is None else lights))
    features, labels, lights = (torch.cat(part) for part in zip(*rows, strict=True))
    return features, labels, lights


def fit_head(
    head: nn.Linear, rows: tuple[Tensor, Tensor, Tensor], captions: Captions, towers: nn.Module
) -> None:
    """Train `head` [C -> D] on cached features with the losses of training.clip."""
    from training.clip import ranked

    features, labels, lights = rows
    optimizer = torch.optim.AdamW(head.parameters(), lr=3e-3, weight_decay=0.05)
    for step in range(1200):
        optimizer.param_groups[0]["lr"] = learning_rate(step, 1200, 3e-3, warmup=50, cooldown=0.9)
        chosen = torch.randint(0, len(labels), (512,))
        texts = captions.draw(labels[chosen], lights[chosen], composed=128)
        embeds = towers.sentences(texts.embeds)
        noisy = features[chosen] * (0.8 + 0.4 * torch.rand(512, features.shape[1]))
        images = nn.functional.normalize(head(noisy), dim=-1)
        logits = 15 * images @ embeds.T
        loss = sum(ranked(logits[:, part], texts.fits[:, part]) for part in texts.parts.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 200 == 199:
            print(f"head {step + 1}: {float(loss.detach()):.3f}", flush=True)
