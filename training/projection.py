"""The joint space: which few of MiniLM's 384 dimensions the pocket CLIPs speak.

Fitted once, in closed form, and never trained: learned together with the image towers it collapses early,
because all sentences move towards the one place where the untrained towers see all pictures. Directions that
differ between captions of one label (templates, names of painters) are damped, those that separate labels and
words of light are kept (Fisher 1936), and phrases of the bank keep it general.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training import light
from training.captions import Captions

SHARES = {"scenes/": 3.0, "group/": 3.0, "flowers/": 1.5}  # weight of a label's mean; all other labels 1
LIGHT_SHARE, BANK_SHARE, BANK_ROWS = 3.5, 0.3, 3000
DAMPING = 1e-3  # added to the variance within labels


def fit(captions: Captions, folder: Path, width: int) -> tuple[Tensor, Tensor]:
    """Weight [width, 384] and bias [width] of the projection of MiniLM embeddings."""
    embeds = captions.embeds
    named = list(zip(captions.labels, captions.plain, strict=True))
    named += list(zip(light.WORDS, captions.lit, strict=True))
    means = torch.stack([embeds[rows].mean(0) for _, rows in named])
    within = torch.cat([embeds[rows] - embeds[rows].mean(0) for _, rows in named])
    spread = within.T @ within / len(within) + DAMPING * torch.eye(embeds.shape[1])
    whiten = torch.linalg.inv(torch.linalg.cholesky(spread))
    shares = [
        next(
            (s for prefix, s in SHARES.items() if name.startswith(prefix)),
            1.0 if "/" in name else LIGHT_SHARE,
        )
        for name, _ in named
    ]
    bank = np.load(folder / "bank.npy", mmap_mode="r")
    bank_rows = torch.from_numpy(np.asarray(bank[:: len(bank) // BANK_ROWS], dtype=np.float32))
    centre = means.mean(0)
    rows = torch.cat(
        [(means - centre) * torch.tensor(shares)[:, None], (bank_rows - bank_rows.mean(0)) * BANK_SHARE]
    )
    _, sizes, axes = torch.linalg.svd(rows @ whiten.T, full_matrices=False)
    weight = axes[:width] / sizes[:width, None].sqrt() @ whiten
    weight /= (means @ weight.T - centre @ weight.T).std()
    return weight, -weight @ centre
