"""Networks with random weights, in the files that Disco and the peer both read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from disco.networks.clip import ClipConfig, build_clip, builtin_config
from disco.networks.denoiser import build_unet
from disco.networks.load import Networks, load_clip, load_denoiser, load_secondary
from disco.secondary_model import SecondaryModel
from disco.weights.registry import registry

CLIPS = ("ViT-B-32-quickgelu", "ViT-B-16-quickgelu", "RN50-quickgelu")
_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
_VIT = {"image_size": 224, "layers": 2, "width": 64, "head_width": 64, "patch_size": 32}
_RESNET = {"image_size": 224, "layers": [1, 1, 1, 1], "width": 16, "head_width": 64, "patch_size": None}
_TINY_UNET = {
    "image_size": 256, "num_channels": 32, "num_res_blocks": 1, "channel_mult": "1,1,2,2",
    "num_heads": 1, "num_head_channels": 32, "attention_resolutions": "32", "use_scale_shift_norm": True,
    "resblock_updown": True, "learn_sigma": True,
}  # fmt: skip
REAL_UNET = "512x512_diffusion_uncond_finetune_008100"


def write(folder: Path, *, real: bool, channels: int) -> Path:
    """Make them and save them; the path of networks.json, which says what they are.

    real: the published architectures in place of tiny ones. channels: the width of the secondary network.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    architecture = registry().get("diffusion", REAL_UNET).architecture if real else _TINY_UNET
    torch.save(awake(build_unet(architecture)).state_dict(), folder / "unet.pt")
    # Under the name that DiscoArt looks for.
    torch.save(SecondaryModel(channels).state_dict(), folder / "secondary_model_imagenet_2.pth")
    clips = []
    for name in CLIPS:
        network = build_clip(clip_config(name, real))
        # OpenAI's loader rounds to half precision; numbers that it leaves alone are the same on both sides.
        state = {key: value.half().float() for key, value in network.state_dict().items()}
        _save_archive(state, folder / f"{name}.pt")
        clips.append({"name": f"{name}/openai", "path": str(folder / f"{name}.pt")})
    facts = {
        "real": real,
        "unet": str(folder / "unet.pt"),
        "architecture": dict(architecture),
        "secondary": str(folder / "secondary_model_imagenet_2.pth"),
        "channels": channels,
        "clips": clips,
    }
    path = folder / "networks.json"
    path.write_text(json.dumps(facts))
    return path


def clip_config(name: str, real: bool) -> ClipConfig:
    """Of one of CLIPS."""
    config = builtin_config(name, "openai")
    if real:
        return config
    vision = _RESNET if name.startswith("RN") else _VIT
    cfg = {"embed_dim": 64, "vision_cfg": vision, "text_cfg": _TEXT, "quick_gelu": True}
    return ClipConfig(cfg, config.mean, config.std, config.tokenizer)


def load(facts: Mapping[str, Any], device: torch.device, dtypes: tuple[torch.dtype, torch.dtype]) -> Networks:
    """As a run of Disco would load them. dtypes: of the UNet, of the CLIPs."""
    found = Networks(
        load_denoiser(Path(facts["unet"]), facts["architecture"], device=device, dtype=dtypes[0]),
        load_secondary(Path(facts["secondary"]), facts["channels"], device=device),
        hashes={"random": "0" * 64},
        device=device,
    )
    for name, clip in zip(CLIPS, facts["clips"], strict=True):
        config = clip_config(name, facts["real"])
        path = Path(clip["path"])
        found.clips.append(load_clip(clip["name"], path, config, device=device, dtype=dtypes[1]))
    return found


def _save_archive(state: Mapping[str, Tensor], path: Path) -> None:
    """A TorchScript archive, as OpenAI publishes them; clip.load reads nothing else."""
    root = nn.Module()
    for name, tensor in state.items():
        *parents, last = name.split(".")
        module = root
        for parent in parents:
            if not hasattr(module, parent):
                module.add_module(parent, nn.Module())
            module = getattr(module, parent)
        module.register_buffer(last, tensor)
    torch.jit.script(root).save(str(path))


def awake(network: nn.Module) -> nn.Module:
    """A fresh UNet ends in zeros; give those layers weights too."""
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.02)
    return network
