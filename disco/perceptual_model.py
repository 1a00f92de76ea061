"""Pocket's perceptual network: a few small stages in the form of LPIPS; an nn.Module and nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

_FLAT = (
    1e-3  # squared length below which a place has hardly a feature: no division by zero, no steep gradient
)


def _convs(*channels: int) -> list[nn.Module]:
    """3x3 convolutions with SiLU: as good as ReLU for the distance, and its gradient is smooth."""
    pairs = itertools.pairwise(channels)
    return [layer for a, b in pairs for layer in (nn.Conv2d(a, b, 3, padding=1), nn.SiLU())]


class PerceptualModel(nn.Module):
    """Stages of the given widths, each at half the size of the one before (Zhang et al. 2018, figure 3).

    The distance of two pictures is the squared difference of their features, summed over channels, averaged
    over places, summed over stages: 0 for the same picture, the same both ways round.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        first = nn.Sequential(*_convs(3, widths[0], widths[0]))
        others = (nn.Sequential(nn.AvgPool2d(2), *_convs(*pair)) for pair in itertools.pairwise(widths))
        self.stages = nn.ModuleList([first, *others])
        self.heads = nn.ParameterList(nn.Parameter(torch.full((width,), 0.5)) for width in widths)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """[B, 3, H, W] in [-1, 1], sides >= 2^(stages - 1) -> [B, C, h, w] of each stage, largest first.

        At each place of unit length, then each channel times its head: the square root of LPIPS' weight.
        """
        features = []
        x = pictures
        for stage, head in zip(self.stages, self.heads, strict=True):
            x = stage(x)
            length = (x.square().sum(dim=1, keepdim=True) + _FLAT).sqrt()  # [B, 1, h, w]
            features.append(x / length * head[:, None, None])
        return features
