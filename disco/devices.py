"""Where a network runs and in which number type."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from disco.errors import SettingsError
from disco.settings import Settings

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
    """A CLIP's image tower: as the UNet; in dd57 only OpenAI's runs in half precision (quirk Q10).

    Raises SettingsError as unet_dtype does.
    """
    dtype = unet_dtype(precision, device)
    return torch.float32 if compat == "dd57" and not openai else dtype


@contextmanager
def exactly(settings: Settings) -> Iterator[None]:
    """`deterministic: true` on CUDA: bit-equal kernels for the length of the run, then as it was."""
    if not settings.deterministic or pick_device(settings.device).type != "cuda":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # torch asks for it by name
    was, benchmark = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    # dd57's augmentations are torchvision's, whose backward on CUDA has no bit-equal kernel.
    torch.use_deterministic_algorithms(True, warn_only=settings.compat == "dd57")
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was)
        torch.backends.cudnn.benchmark = benchmark
