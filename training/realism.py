"""What makes guesses look real: a perceptual and an adversarial loss on pred_x0, on frozen features.

A small network that learns squared errors alone guesses the mean of all pictures that may be meant: soft,
with the grid of its patches. Both losses here look at the fine part of the guess (`fine_first`): what is
coarser than a few pixels, its colours and its light, stays nearly the mean, else the contrast grows at every
step until shadows are black. Sources: Zhang et al. 2018 (arXiv:1801.03924) for distances between unit
features; Sauer et al. 2021 (arXiv:2111.01007) for critics on frozen features, which need few steps; Lin and
Yang 2023 (arXiv:2401.00110) for a perceptual loss on what a diffusion network guesses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm
from torchvision.models import mobilenet_v2

LAYERS = {1: 16, 3: 24, 6: 32, 13: 96}  # of MobileNetV2, at strides 2, 4, 8 and 16, and their channels
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FINE = 8  # pixels: what is coarser is left to the squared error, but for
COARSE_SHARE = 0.4  # of the gradient
WIDTH = 64  # channels of the critic
WARM_UP = 50  # steps until the critic's word counts in full
WAVES = 8  # of the noise level, as the critic sees it


def fine_first(pictures: Tensor, side: int = FINE, coarse_share: float = COARSE_SHARE) -> Tensor:
    """The same pictures [B, 3, H, W]; of the gradient a share reaches averages over side x side pixels."""
    coarse = functional.avg_pool2d(pictures, side)
    coarse = functional.interpolate(coarse, scale_factor=side, mode="bilinear", align_corners=False)
    held = (1 - coarse_share) * coarse
    return pictures - held + held.detach()


class Features(nn.Module):
    """[B, 3, H, W] in [-1, 1] -> features of four depths, each [B, C, h, w], of length 1 at every place.

    weights: torchvision's MobileNetV2 (mobilenet_v2-b0353104.pth).
    """

    def __init__(self, weights: Path | None) -> None:
        super().__init__()
        net = mobilenet_v2()
        if weights is not None:
            net.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        self.trunk = net.features[: max(LAYERS) + 1].to(memory_format=torch.channels_last)
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(STD)[:, None, None])
        self.eval().requires_grad_(False)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        x = ((pictures + 1) / 2 - self.mean) / self.std
        x, found = x.contiguous(memory_format=torch.channels_last), []
        with torch.autocast(x.device.type, torch.bfloat16):
            for depth, layer in enumerate(self.trunk):
                x = layer(x)
                if depth in LAYERS:
                    found.append(x)
        return [f.float() / (f.float().square().sum(1, keepdim=True) + 1e-6).sqrt() for f in found]


def perceptual(mine: Sequence[Tensor], theirs: Sequence[Tensor]) -> Tensor:
    """Squared distance [B] between features, mean over places, sum over depths."""
    pairs = zip(mine, theirs, strict=True)
    return torch.stack([(a - b).square().sum(1).mean((1, 2)) for a, b in pairs]).sum(0)


class Critic(nn.Module):
    """Is this place real? Features and t [B] in 0..999 -> [B, places] for each depth; real is above 0."""

    def __init__(self) -> None:
        super().__init__()
        sides = LAYERS.values()
        self.bodies = nn.ModuleList([self._body(channels) for channels in sides])
        self.heads = nn.ModuleList([spectral_norm(nn.Conv2d(WIDTH, 1, 3, padding=1)) for _ in sides])
        self.levels = nn.ModuleList([nn.Linear(2 * WAVES, WIDTH) for _ in sides])

    @staticmethod
    def _body(channels: int) -> nn.Sequential:
        return nn.Sequential(
            spectral_norm(nn.Conv2d(channels, WIDTH, 3, padding=1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(WIDTH, WIDTH, 3, stride=2, padding=1)),
            nn.LeakyReLU(0.2),
        )

    def forward(self, features: Sequence[Tensor], t: Tensor) -> list[Tensor]:
        turns = t.float()[:, None] / 1000 * math.pi * torch.arange(1, WAVES + 1, device=t.device)
        waves, answers = torch.cat([turns.sin(), turns.cos()], dim=1), []
        for part, body, head, level in zip(features, self.bodies, self.heads, self.levels, strict=True):
            seen = body(4 * part)
            fitting = (seen * level(waves)[:, :, None, None]).sum(1)  # does it suit this noise level?
            answers.append((head(seen).squeeze(1) + 0.1 * fitting).flatten(1))
        return answers


class Realism:
    """Both losses, and the critic that learns beside the network.

    At every step first `loss`, then `learn`. Both count in proportion to alpha: on nearly pure noise nobody
    can know what is fine. shares: of the perceptual and of the adversarial loss.
    """

    def __init__(self, weights: Path | None, device: str, shares: tuple[float, float]) -> None:
        self.features, self.critic = Features(weights).to(device), Critic().to(device)
        self.optimizer = torch.optim.Adam(self.critic.parameters(), lr=2e-3, betas=(0.0, 0.99))
        self.shares = shares
        self.seen: tuple[list[Tensor], list[Tensor], Tensor] | None = None
        self.learned = 0

    def loss(self, pred_x0: Tensor, x_0: Tensor, t: Tensor, alpha: Tensor) -> Tensor:
        """[B]; pred_x0, x_0: [B, 3, H, W]; t: [B]; alpha: [B, 1, 1, 1]."""
        with torch.no_grad():
            theirs = self.features(x_0)
        mine = self.features(fine_first(pred_x0))
        self.seen = ([part.detach() for part in mine], theirs, t)
        self.critic.requires_grad_(False)
        fooled = torch.stack([answer.mean(1) for answer in self.critic(mine, t)]).mean(0)
        self.critic.requires_grad_(True)
        like, real = self.shares[0], self.shares[1] * min(1.0, self.learned / WARM_UP)
        return alpha.flatten() * (like * perceptual(mine, theirs) - real * fooled)

    def learn(self) -> float:
        """One step of the critic on what `loss` saw last; returns its hinge loss, 2 for no idea."""
        assert self.seen is not None, "nothing was seen yet: call loss first"
        mine, theirs, t = self.seen
        pairs = zip(self.critic(theirs, t), self.critic(mine, t), strict=True)
        losses = [functional.relu(1 - r).mean() + functional.relu(1 + f).mean() for r, f in pairs]
        loss = torch.stack(losses).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.learned += 1
        return float(loss.detach())

    def state_dict(self) -> dict[str, Any]:
        parts = {"critic": self.critic.state_dict(), "optimizer": self.optimizer.state_dict()}
        return parts | {"learned": self.learned}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.critic.load_state_dict(state["critic"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.learned = state["learned"]
