"""A good start for a tower's head: many views through the fixed trunk once, then large cheap steps.

Steps through the whole network are few on a CPU, and the noise of small batches of hard views would undo in a
hundred of them what the pretrained trunk knows.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import torch
from torch import nn

from disco.secondary_model import SecondaryModel
from training import light
from training.common import learning_rate
from training.towers import TEACHER_SIDE, Tower
from training.views import Batch, Labelled, cut, view_batch

if TYPE_CHECKING:
    from training.clip import Space


@torch.no_grad()
def view_features(tower: Tower, source: Labelled, secondary: SecondaryModel, count: int) -> Batch:
    """`count` views with the trunk's features [N, C] in place of the views; a third whole and clean."""
    tower.eval()
    rows: list[Batch] = []
    device = tower.scale.device
    for k in range(count // 64):
        batch = view_batch(source, 64, TEACHER_SIDE, secondary) if k % 3 else whole_batch(source)
        with torch.autocast(device.type, torch.bfloat16):
            batch.views = tower.visual.trunk(tower.prepared(batch.views.to(device))).float()
        batch.clean = batch.views
        rows.append(batch)
    return Batch(*(torch.cat([getattr(row, field.name) for row in rows]) for field in fields(Batch)))


def whole_batch(source: Labelled) -> Batch:
    """64 whole pictures as they are; their light is not measured."""
    drawn = source.batch(64)
    views = cut(drawn.pictures, torch.tensor([[1.0, 0, 0], [0, 1.0, 0]]).expand(64, 2, 3), TEACHER_SIDE)
    unknown = torch.full((64, len(light.WORDS)), -1)
    return Batch(views, views, drawn.labels, unknown, drawn.titles)


def fit_head(head: nn.Linear, rows: Batch, space: Space, steps: int = 1500) -> None:
    """Train `head` [C -> D] on cached features with the losses of training.clip."""
    optimizer = torch.optim.AdamW(head.parameters(), lr=3e-3, weight_decay=0.05)
    scale = torch.tensor(15.0, device=head.weight.device).log()
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate(step, steps, 3e-3, warmup=50, cooldown=0.9)
        chosen = torch.randint(0, len(rows.labels), (384,))
        columns = (getattr(rows, field.name) for field in fields(Batch))
        part = Batch(*(column[chosen.to(column.device)] for column in columns))
        noisy = part.views * (0.8 + 0.4 * torch.rand_like(part.views))
        loss, _ = space.loss(nn.functional.normalize(head(noisy), dim=-1), part, scale)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 200 == 199:
            print(f"head {step + 1}: {float(loss.detach()):.3f}", flush=True)
