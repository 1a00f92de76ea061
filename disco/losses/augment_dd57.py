"""torchvision's own chains of augmentations, as the original has them: for compat dd57 and image prompts.

A chain is applied once to a batch of cuts, which so share their parameters (quirk Q3); it draws from torch's
global generators in the original's order.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
import torchvision.transforms as T
from torch import Tensor

from disco.losses.augment import RECIPES


def augment_dd57(cutouts: Tensor, mode: str = "None") -> Tensor:
    """cutouts: [N, 3, S, S]. mode: animation_mode, which decides how much of everything."""
    if mode == "Video Input":
        return _perspective_chain()(cutouts)
    recipe = RECIPES[mode]
    return _chain(recipe.hflip, recipe.hue)(cutouts)


def augment_image_prompt(cutouts: Tensor) -> Tensor:
    """The older recipe, for image prompts: more of everything, a perspective, no colours. Draws likewise."""
    return _perspective_chain()(cutouts)


def _add_noise(image: Tensor) -> Tensor:
    return image + torch.randn_like(image) * 0.01


@lru_cache(maxsize=2)
def _chain(hflip: float, hue: float) -> Callable[[Tensor], Tensor]:
    noise, bilinear = T.Lambda(_add_noise), T.InterpolationMode.BILINEAR
    return T.Compose(
        [
            T.RandomHorizontalFlip(p=hflip),
            noise,
            T.RandomAffine(degrees=10, translate=(0.05, 0.05), interpolation=bilinear),
            noise,
            T.RandomGrayscale(p=0.1),
            noise,
            T.ColorJitter(brightness=0.1, contrast=0.1, saturation=0.1, hue=hue),
        ]
    )


@lru_cache(maxsize=1)
def _perspective_chain() -> Callable[[Tensor], Tensor]:
    noise = T.Lambda(_add_noise)
    return T.Compose(
        [
            T.RandomHorizontalFlip(p=0.5),
            noise,
            T.RandomAffine(degrees=15, translate=(0.1, 0.1)),
            noise,
            T.RandomPerspective(distortion_scale=0.4, p=0.7),
            noise,
            T.RandomGrayscale(p=0.15),
            noise,
        ]
    )
