"""Tensors and plain data in one file: safetensors after a SHA-256, so that damage shows. No pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import safetensors.torch
from torch import Tensor


def seal(tensors: Mapping[str, Tensor], plain: Any) -> bytes:
    """The file's bytes. plain: anything that JSON knows."""
    # Clones, since safetensors refuses tensors that share memory.
    saved = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    packed: bytes = safetensors.torch.save(saved, metadata={"disco": json.dumps(plain)})
    return hashlib.sha256(packed).digest() + packed


def unseal(data: bytes) -> tuple[dict[str, Tensor], Any] | None:
    """What was sealed, the tensors on the CPU; None if the bytes are not those that seal gave."""
    if hashlib.sha256(data[32:]).digest() != data[:32]:
        return None
    header = json.loads(data[40 : 40 + int.from_bytes(data[32:40], "little")])
    tensors: dict[str, Tensor] = safetensors.torch.load(data[32:])
    return tensors, json.loads(header["__metadata__"]["disco"])
