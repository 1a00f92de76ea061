"""Gradient checkpointing (Chen et al. 2016, arXiv:1604.06174) of networks as they are: parts computed twice.

A part keeps only what went into it; what it made is computed again on the way back. The numbers are the same.
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
    """The parts worth it: blocks that stand in a list of layers, the innermost such; else lists of layers."""
    return _blocks(network) or _chains(network)


def _blocks(network: nn.Module) -> list[nn.Module]:
    found: list[nn.Module] = []
    for child in network.children():
        inner = _blocks(child)
        is_block = isinstance(network, _LISTS) and not isinstance(child, _LISTS) and any(child.children())
        found += inner or ([child] if is_block else [])
    return found


def _chains(network: nn.Module) -> list[nn.Module]:
    """The innermost Sequentials of more than one layer."""
    found: list[nn.Module] = []
    for child in network.children():
        is_chain = isinstance(child, nn.Sequential) and len(child) > 1
        found += _chains(child) or ([child] if is_chain else [])
    return found


def set_twice(network: nn.Module, on: bool) -> None:
    """From now on the blocks of this one network are computed twice, or once again. With gradient only."""
    for block in blocks_of(network):
        if getattr(block, "use_checkpoint", False):
            continue  # guided-diffusion's own blocks can do it by themselves, and do so already
        if not on:
            block.__dict__.pop("forward", None)
        elif "forward" not in block.__dict__:
            block.forward = _Twice(block.forward)


class _Twice:
    """A forward that is computed again on the way back."""

    def __init__(self, forward: Any) -> None:
        self.forward = forward

    def __call__(self, *args: Any, **named: Any) -> Any:
        return (
            twice(self.forward, *args, **named) if torch.is_grad_enabled() else self.forward(*args, **named)
        )


def twice(function: Any, *args: Any, **named: Any) -> Any:
    """function(*args), of which nothing is kept for the way back but its arguments. It must draw nothing."""
    return checkpoint(function, *args, use_reentrant=False, preserve_rng_state=False, **named)
