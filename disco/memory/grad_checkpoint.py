"""Gradient checkpointing (Chen et al. 2016, arXiv:1604.06174) without changes to a network's code.

A checkpointed block keeps only its inputs and is recomputed in backward. The numbers are the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

_LISTS = (nn.Sequential, nn.ModuleList)


def tower_of(network: nn.Module) -> nn.Module:
    """The part of a network that looks at pictures: a CLIP's image tower, LPIPS' VGG, or all of it."""
    parts = (getattr(network, name, None) for name in ("visual", "net"))
    return next((part for part in parts if isinstance(part, nn.Module)), network)


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """The modules to checkpoint: the innermost blocks inside lists of layers; without any, those lists."""
    return _blocks(network) or _chains(network)


def _blocks(network: nn.Module) -> list[nn.Module]:
    blocks: list[nn.Module] = []
    for child in network.children():
        inner = _blocks(child)
        is_block = isinstance(network, _LISTS) and not isinstance(child, _LISTS) and any(child.children())
        blocks += inner or ([child] if is_block else [])
    return blocks


def _chains(network: nn.Module) -> list[nn.Module]:
    """The innermost Sequentials of more than one layer."""
    chains: list[nn.Module] = []
    for child in network.children():
        is_chain = isinstance(child, nn.Sequential) and len(child) > 1
        chains += _chains(child) or ([child] if is_chain else [])
    return chains


def set_grad_checkpoint(network: nn.Module, on: bool) -> None:
    """Turn gradient checkpointing of a network's blocks on or off. Passes without gradient stay plain."""
    for block in blocks_of(network):
        if getattr(block, "use_checkpoint", False):
            continue  # guided-diffusion's blocks checkpoint themselves
        if not on:
            block.__dict__.pop("forward", None)
        elif "forward" not in block.__dict__:
            block.forward = _Checkpointed(block.forward)


class _Checkpointed:
    """A forward that is recomputed in backward; without gradient it is a plain call."""

    def __init__(self, forward: Any) -> None:
        self.forward = forward

    def __call__(self, *args: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():
            return self.forward(*args, **named)
        return grad_checkpoint(self.forward, *args, **named)


def grad_checkpoint(function: Any, *args: Any, **named: Any) -> Any:
    """Checkpoint function(*args): recompute it in backward.

    It must not use random numbers (the RNG state is not restored).
    """
    return checkpoint(function, *args, use_reentrant=False, preserve_rng_state=False, **named)
