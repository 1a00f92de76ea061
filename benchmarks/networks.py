"""Networks with random weights for benchmarks: tiny ones, which cost next to nothing, and published ones."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from disco.losses.targets import PromptTarget
from disco.memory.devices import torch_dtype
from disco.memory.number_types import unet_dtype
from disco.networks.clip import ClipConfig, ClipModel, build_clip, builtin_config
from disco.networks.denoiser import Denoiser, build_unet, convert
from disco.secondary_model import SecondaryModel
from disco.settings.schedules import Schedule
from disco.weights.registry import registry

REAL_CLIPS = ("ViT-B-32-quickgelu", "ViT-B-16-quickgelu", "RN50-quickgelu")
TINY_CLIPS = {"tiny-32": (32, 8), "tiny-48": (48, 12), "tiny-32-coarse": (32, 16)}
"""Name -> side and patch. As many as there are published ones."""
LOOKING_CLIPS = {"looking-32": (224, 32), "looking-16": (224, 16), "looking-28": (224, 28)}
"""As small within, but with the input side of the published ones: what they cost is what they look at."""
KINDS = {"tiny": (*TINY_CLIPS,), "tiny 224": (*LOOKING_CLIPS,), "real": REAL_CLIPS}
REAL_UNET = "512x512_diffusion_uncond_finetune_008100"
FULL_SECONDARY, TINY_SECONDARY = 64, 8
_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
_TINY_UNET = {
    "image_size": 256, "num_channels": 32, "num_res_blocks": 1, "channel_mult": "1,1,2,2",
    "num_head_channels": 32, "attention_resolutions": "32", "use_scale_shift_norm": True,
    "resblock_updown": True, "learn_sigma": True,
}  # fmt: skip


def _config(name: str) -> ClipConfig:
    if name in REAL_CLIPS:
        return builtin_config(name, "openai")
    side, patch = {**TINY_CLIPS, **LOOKING_CLIPS}[name]
    vision = {"image_size": side, "layers": 2, "width": 64, "head_width": 64, "patch_size": patch}
    cfg = {"embed_dim": 64, "vision_cfg": vision, "text_cfg": _TEXT}
    return ClipConfig(cfg, (0.5,) * 3, (0.25,) * 3, name)


def clips(kind: str, device: torch.device) -> list[ClipModel]:
    """The three of a kind, without text towers; in half precision where the original has them so."""
    made = []
    for name in KINDS[kind]:
        dtype = torch_dtype(unet_dtype("auto", device.type))
        with device:
            network = build_clip(_config(name), dtype)
        clip = ClipModel(name, network, _config(name), device=device, dtype=dtype)
        clip.free_text_tower()
        made.append(clip)
    return made


def targets(networks: list[ClipModel], device: torch.device) -> list[PromptTarget]:
    """One random prompt for each."""
    weight = torch.ones(1, device=device)
    return [
        PromptTarget(
            clip, torch.randn(1, clip.embed_dim, device=device), lambda index: weight, Schedule.parse(1)
        )
        for clip in networks
    ]


def secondary(channels: int, device: torch.device) -> SecondaryModel:
    """The secondary network of a width, laid out in memory as disco.networks.load does it."""
    network = SecondaryModel(channels).requires_grad_(False).to(device)
    if channels >= FULL_SECONDARY and device.type == "cpu":
        network.to(memory_format=torch.channels_last)
    return network


def as_built(network: nn.Module) -> nn.Module:
    """A copy whose weights lie in memory as the original's do."""
    return copy.deepcopy(network).to(memory_format=torch.contiguous_format)


def denoiser(real: bool, device: torch.device) -> Denoiser:
    """The big UNet, or a tiny one."""
    architecture: Any = registry().get("diffusion", REAL_UNET).architecture if real else _TINY_UNET
    with device:
        unet = build_unet(architecture)
    return Denoiser(convert(unet, torch_dtype(unet_dtype("auto", device.type))), architecture)


def no_denoiser(x_t: Tensor, t: float) -> Tensor:
    """In the UNet's place where only guidance is measured."""
    return x_t
