"""The networks whose guidance the original computed (golden.json: d_guidance, h_end_to_end)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from disco.guidance import PromptTarget
from disco.networks.denoiser import Denoiser, build_unet
from disco.networks.perceptual import PerceptualNet, build_lpips
from disco.sampling.diffusion import Step, make_steps
from disco.secondary_model import SecondaryModel
from disco.settings.schedules import Schedule
from tests.test_secondary_model import load_recipe

ONE = Schedule.parse(1)


class OpenAiClip:
    """The image tower of openai's clip.model.CLIP (ViT), built from open_clip, filled by the old names."""

    def __init__(self, recipe: ModuleType, tag: str, embed_dim: int, image_size: int, name: str) -> None:
        import open_clip

        self.name, self.image_size = name, image_size
        self.network = open_clip.model.CLIP(
            embed_dim=embed_dim,
            vision_cfg={
                "image_size": image_size,
                "layers": 2,
                "width": 64,
                "head_width": 64,
                "patch_size": 8,
            },
            text_cfg={"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2},
            quick_gelu=True,
        )
        with torch.no_grad():
            for key, value in self.network.named_parameters():
                value.copy_(torch.from_numpy(recipe.fill_value(key, tuple(value.shape), tag)))
        self.network.requires_grad_(False).eval()

    def encode_image(self, cutouts: Tensor) -> Tensor:
        mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
        std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
        return self.network.encode_image((cutouts - mean) / std)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        import open_clip

        return self.network.encode_text(open_clip.tokenize(list(texts)))


@dataclass
class GoldenNets:
    """The networks of d_guidance and h_end_to_end."""

    clips: list[OpenAiClip]
    secondary: SecondaryModel
    denoiser: Denoiser


@cache
def golden_nets() -> GoldenNets:
    """All of them, as golden.json describes them."""
    golden_recipe = load_recipe()
    clips = [
        OpenAiClip(golden_recipe, "clipA/", 32, 16, "A"),
        OpenAiClip(golden_recipe, "clipB/", 48, 24, "B"),
    ]
    architecture = {
        "image_size": 64,
        "num_channels": 32,
        "num_res_blocks": 1,
        "num_head_channels": 16,
        "attention_resolutions": "32,16,8",
        "resblock_updown": True,
        "use_scale_shift_norm": True,
        "learn_sigma": True,
    }
    unet = golden_recipe.fill(build_unet(architecture), tag="unet/", gain=0.5)
    secondary = golden_recipe.fill(SecondaryModel(c=8), tag="sec/")
    return GoldenNets(clips, secondary.requires_grad_(False), Denoiser(unet, architecture))


def golden_targets(clips: list[OpenAiClip], arrays: dict[str, np.ndarray]) -> list[PromptTarget]:
    targets = []
    for k, clip in enumerate(clips):
        weights = torch.from_numpy(arrays[f"weights{k}"])
        weights = weights / weights.sum().abs()
        embeds = torch.from_numpy(arrays[f"target{k}"])
        targets.append(PromptTarget(clip, embeds, lambda index, w=weights: w, ONE))
    return targets


def step_at(respaced_index: int) -> Step:
    (step,) = [s for s in make_steps(25) if s.respaced_index == respaced_index]
    return step


def golden_lpips() -> PerceptualNet:
    """LPIPS with everything filled but its constants."""
    from lpips import ScalingLayer

    network: Any = build_lpips().to_empty(device="cpu")
    network.scaling_layer = ScalingLayer()
    return PerceptualNet(load_recipe().fill(network, tag="lpips/"))
