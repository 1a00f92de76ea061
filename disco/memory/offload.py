"""Networks that wait in the computer's memory while others are at work on the device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn


def modules_of(thing: object) -> Iterator[nn.Module]:
    """The modules inside whatever wears a network: a CLIP, a denoiser, a mix of depths, the module itself."""
    inner = getattr(thing, "network", None)
    if isinstance(thing, nn.Module):
        yield thing
    elif isinstance(inner, nn.Module):
        yield inner
    else:
        for _, part in getattr(thing, "parts", None) or ():
            yield from modules_of(part)


class CpuOffload:
    """Frozen networks, of which only those at work are on the device.

    A copy of each stays in the computer's memory, so that nothing is copied back when its work is done.
    """

    def __init__(self, networks: Iterable[nn.Module], device: torch.device) -> None:
        """networks: all of them on the device."""
        self.device = device
        self._networks = list(networks)
        self._here = set(self._networks)
        self._copies: dict[nn.Module, list[Tensor]] = {}

    def require(self, *at_work: nn.Module) -> None:
        """These come to the device, all others leave it first."""
        for network in self._networks:
            if network in self._here and network not in at_work:
                self._leave(network)
                self._here.remove(network)
        for network in self._networks:
            if network in at_work and network not in self._here:
                self._come(network)
                self._here.add(network)

    def close(self) -> None:
        """All come back."""
        self.require(*self._networks)

    def _leave(self, network: nn.Module) -> None:
        if network not in self._copies:
            self._copies[network] = [tensor.data.cpu() for tensor in tensors_of(network)]
        for tensor, copy in zip(tensors_of(network), self._copies[network], strict=True):
            tensor.data = copy

    def _come(self, network: nn.Module) -> None:
        for tensor, copy in zip(tensors_of(network), self._copies[network], strict=True):
            tensor.data = copy.to(self.device)


def tensors_of(network: nn.Module) -> list[Tensor]:
    """Weights and what else a network carries."""
    return [*network.parameters(), *network.buffers()]
