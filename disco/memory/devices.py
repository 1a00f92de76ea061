"""Devices, torch number types, and how many cutouts a CLIP sees at once."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from disco.errors import SettingsError
from disco.memory.number_types import Dtype
from disco.settings.model import Settings

CPU_PIXELS = 16 * 224 * 224  # as the original; more at once is hardly faster and needs more memory
_DTYPES: dict[Dtype, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


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
    """The product name of a GPU; of other devices their type."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def use(device: torch.device) -> None:
    """Make a CUDA device with a number the current one of this thread, for whatever names no device."""
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)


def tf32(device: torch.device) -> list[str]:
    """What of float32 is computed as TF32, with 10 bits of mantissa, as NVIDIA's GPUs from Ampere on can."""
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0):
        return []
    backends = torch.backends
    allowed = {"convolutions": backends.cudnn.allow_tf32, "products": backends.cuda.matmul.allow_tf32}
    return [name for name, is_allowed in allowed.items() if is_allowed]


def move(tensor: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor to a device, without waiting for the device as a copy from pageable memory would."""
    if device.type == "cuda" and tensor.device.type == "cpu" and tensor.numel():
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def torch_dtype(name: Dtype) -> torch.dtype:
    """fp32, fp16 or bf16 as a torch.dtype."""
    return _DTYPES[name]


def at_once_by_itself(side: int, device: torch.device) -> int:
    """Cutouts per CLIP pass with `clip_batch: auto`: all on a GPU, on a CPU as many as fit its caches.

    side: of a cutout, in pixels.
    """
    return max(CPU_PIXELS // side**2, 1) if device.type == "cpu" else 1_000_000


def allow_exact(runs: Iterable[Settings]) -> None:
    """Make bit-equal matrix products on CUDA possible if one of these runs has `deterministic: true`.

    Call it before networks are loaded: torch reads CUBLAS_WORKSPACE_CONFIG at the first matrix product of the
    process, which is in the text towers, and never again.
    """
    if any(each.deterministic for each in runs):
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as torch's own error advises


@contextmanager
def exactly(settings: Settings) -> Iterator[None]:
    """`deterministic: true` on CUDA: bit-equal kernels for the length of the run, then as it was.

    It needs allow_exact before the networks are loaded.
    """
    if not settings.deterministic or pick_device(settings.device).type != "cuda":
        yield
        return
    was, benchmark = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    # dd57's augmentations are torchvision's, whose backward on CUDA has no bit-equal kernel.
    torch.use_deterministic_algorithms(True, warn_only=settings.compat == "dd57")
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was)
        torch.backends.cudnn.benchmark = benchmark
