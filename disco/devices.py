"""Where a network runs and in which number type."""

from __future__ import annotations

import re

import torch

from disco.errors import SettingsError

HALF = {"fp16": torch.float16, "bf16": torch.bfloat16}


def pick_device(name: str) -> torch.device:
    """`auto`, `cpu`, `cuda`, `cuda:N` or `mps` -> a device that is there. Raises SettingsError."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?|mps", name):
        raise SettingsError([f"device: {name!r}: allowed are auto, cpu, cuda, cuda:N, mps"])
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingsError([f"device: {name}: the number of CUDA GPUs here is {torch.cuda.device_count()}"])
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise SettingsError(["device: mps: this machine has no Apple GPU that torch can use"])
    return device


def device_name(device: torch.device) -> str:
    """What the machine calls it: of a GPU its make, else its kind."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def unet_dtype(precision: str, device: torch.device, *, half: bool = True) -> torch.dtype:
    """The UNet's torso: auto is fp16 on CUDA if the network was made for it (`half`), else fp32.

    Raises SettingsError for fp16 away from CUDA: other devices lack its kernels or lose the picture in them.
    """
    if precision == "fp16" and device.type != "cuda":
        raise SettingsError(
            [f"precision: fp16 needs a CUDA GPU, this run is on {device.type}; use auto, fp32 or bf16"]
        )
    if precision == "auto":
        return torch.float16 if device.type == "cuda" and half else torch.float32
    return HALF.get(precision, torch.float32)


def clip_dtype(precision: str, device: torch.device, *, openai: bool, compat: str) -> torch.dtype:
    """A CLIP's image tower: as the UNet; in dd57 as the original, where only OpenAI's ran in half precision.

    Raises SettingsError as unet_dtype does.
    """
    dtype = unet_dtype(precision, device)
    return torch.float32 if compat == "dd57" and not openai else dtype
