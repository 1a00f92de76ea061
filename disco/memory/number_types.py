"""The number type of a network, as text (devices.torch_dtype converts it). No torch."""

from __future__ import annotations

from typing import Literal

from disco.errors import SettingsError

Dtype = Literal["fp32", "fp16", "bf16"]


def unet_dtype(precision: str, device: str, *, half: bool = True) -> Dtype:
    """Of the UNet's convolutions. auto is fp16 on CUDA if the network was made for it (`half`), else fp32."""
    if precision == "auto":
        return "fp16" if device == "cuda" and half else "fp32"
    return "fp16" if precision == "fp16" else "bf16" if precision == "bf16" else "fp32"


def clip_dtype(precision: str, device: str, *, openai: bool, compat: str) -> Dtype:
    """Of a CLIP's image tower: as the UNet's; in dd57 only OpenAI's run in half precision (quirk Q10)."""
    return "fp32" if compat == "dd57" and not openai else unet_dtype(precision, device)


def check_precision(precision: str, device: str) -> None:
    """Raises SettingsError for fp16 away from CUDA: other devices lack its kernels or lose the picture."""
    if precision == "fp16" and device != "cuda":
        raise SettingsError(
            [f"precision: fp16 needs a CUDA GPU, this run is on {device}; use auto, fp32 or bf16"]
        )
