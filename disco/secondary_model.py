"""The secondary network: a small v-prediction U-Net that guesses the clean picture for the guidance.

Guidance needs d(loss)/d(x_t) through a clean guess of every noisy picture. Through this network that costs
a few per cent of a pass through the big UNet.
Source: Katherine Crowson's SecondaryDiffusionImageNet2 (c = 64); the parameter names are those of her
weights.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn


class SecondaryOutput(NamedTuple):
    """What the network says about a noisy picture, each [B, 3, H, W]."""

    v: Tensor
    pred_x0: Tensor
    eps: Tensor


class FourierFeatures(nn.Module):
    """Timestep [B, 1] -> [B, features]: cosines, then sines, of random frequencies, kept as weights."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(features // 2, 1))

    def forward(self, t: Tensor) -> Tensor:
        angle = 2 * math.pi * t @ self.weight.T
        return torch.cat([angle.cos(), angle.sin()], dim=-1)


class SkipBlock(nn.Module):
    """The block's output beside its own input, [B, out + in, H, W]."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.main = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.main(x), x], dim=1)


def _convs(*channels: int) -> list[nn.Module]:
    """3x3 convolutions with ReLU through the given channel counts, each pair one module as in her weights."""
    return [
        nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.ReLU())
        for before, after in itertools.pairwise(channels)
    ]


def _nested(widths: list[int]) -> SkipBlock:
    """Half the size: two convolutions down, the deeper levels, two convolutions up to the width outside.

    widths: of the level outside, of this one, of the deeper ones.
    """
    outside, here, *deeper = widths
    down, up = nn.AvgPool2d(2), nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
    if not deeper:
        return SkipBlock(down, *_convs(outside, here, here, here, outside), up)
    inner = _nested([here, *deeper])
    return SkipBlock(down, *_convs(outside, here, here), inner, *_convs(here * 2, here, outside), up)


class SecondaryModel(nn.Module):
    """Six levels of widths c, 2c, 2c, 4c, 4c, 8c. H and W must be multiples of 32."""

    def __init__(self, c: int = 64) -> None:
        super().__init__()
        features = 16
        self.timestep_embed = FourierFeatures(features)
        self.net = nn.Sequential(
            *_convs(3 + features, c, c),
            _nested([c, c * 2, c * 2, c * 4, c * 4, c * 8]),
            *_convs(c * 2, c),
            nn.Conv2d(c, 3, 3, padding=1),
        )

    def forward(self, x_t: Tensor, t: Tensor) -> SecondaryOutput:
        """x_t: [B, 3, H, W], [-1, 1] scale. t: [B] in [0, 1], 0 clean, 1 pure noise.

        Cosine schedule: alpha = cos(t pi/2), sigma = sin(t pi/2); v = alpha eps - sigma x0
        (Salimans and Ho 2022, arXiv:2202.00512, appendix D). For another schedule give the t of the same
        noise level, t = atan2(sigma, alpha) * 2/pi.
        """
        planes = self.timestep_embed(t[:, None])[:, :, None, None]  # [B, 16, 1, 1]
        planes = planes.expand(-1, -1, *x_t.shape[2:])  # [B, 16, H, W]
        v = self.net(torch.cat([x_t, planes], dim=1))
        angle = (t * (math.pi / 2))[:, None, None, None]
        alpha, sigma = angle.cos(), angle.sin()
        return SecondaryOutput(v, alpha * x_t - sigma * v, sigma * x_t + alpha * v)
