"""Which stage of a step has been reached: forward pre-hooks on the networks note it.

What has no module (cutouts, losses, the sampler, a backward pass) calls note() itself. Whoever wants to know
listens: an error needs the stage where memory ran out, offloading the network that runs next.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from disco.memory.offload import modules_of
from disco.memory.policy import Stage


class Placed(Protocol):
    """The networks of a run, as far as memory is concerned: networks.load.Networks."""

    @property
    def device(self) -> torch.device: ...
    def at(self, *stages: Stage) -> list[Any]:
        """The networks that run in these stages of a step."""
        ...


class Listener(Protocol):
    """Called at the beginning of each stage."""

    def __call__(self, stage: Stage, *networks: object, cutouts: int = 1) -> None:
        """networks: that run in it; cutouts: that a CLIP sees at once."""
        ...


class _Thread(threading.local):
    """Backward passes on CUDA run in threads of their own, where nobody listens."""

    listener: Listener | None = None


_thread = _Thread()


def note(stage: Stage, *networks: object, cutouts: int = 1) -> None:
    """Say that a stage begins in this thread. It lasts until the next one is noted."""
    if _thread.listener is not None:
        _thread.listener(stage, *networks, cutouts=cutouts)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """The listener, and no other, hears the notes of this thread."""
    before = _thread.listener
    _thread.listener = listener
    try:
        yield
    finally:
        _thread.listener = before


def hook_networks(networks: Placed) -> list[RemovableHandle]:
    """Let every network note its stage when it is called, until the handles are removed."""
    return [
        entry.register_forward_pre_hook(partial(_note_call, stage, network))
        for stage in Stage
        for thing in networks.at(stage)
        for network in modules_of(thing)
        for entry in _entries(network, stage)
    ]


def _entries(network: nn.Module, stage: Stage) -> list[nn.Module]:
    """The modules that are called from outside: of a CLIP and of LPIPS also the parts (towers, layers)."""
    return [network, *network.children()] if stage in (Stage.CLIP, Stage.PERCEPTUAL) else [network]


def _note_call(stage: Stage, network: nn.Module, entry: nn.Module, args: tuple[Any, ...]) -> None:
    cutouts = len(args[0]) if stage is Stage.CLIP and args and isinstance(args[0], Tensor) else 1
    note(stage, network, cutouts=cutouts)
