"""Keep networks in CPU RAM while others run on the device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn


def modules_of(thing: object) -> Iterator[nn.Module]:
    """The modules of anything that holds networks: a CLIP, a denoiser, a mix of depths, the module itself."""
    inner = getattr(thing, "network", None)
    if isinstance(thing, nn.Module):
        yield thing
    elif isinstance(inner, nn.Module):
        yield inner
    else:
        for _, part in getattr(thing, "parts", None) or ():
            yield from modules_of(part)


class CpuOffload:
    """Frozen networks, of which only those that are required are on the device.

    A copy of each stays in CPU RAM, so that nothing is copied back when it leaves the device.
    """

    def __init__(self, networks: Iterable[nn.Module], device: torch.device) -> None:
        """networks: all of them on the device."""
        self.device = device
        self._networks = list(networks)
        self._here = set(self._networks)
        self._copies: dict[nn.Module, list[Tensor]] = {}

    def require(self, *required: nn.Module) -> None:
        """Move these to the device, and all others off it first."""
        for network in self._networks:
            if network in self._here and network not in required:
                self._leave(network)
                self._here.remove(network)
        for network in self._networks:
            if network in required and network not in self._here:
                self._come(network)
                self._here.add(network)

    def close(self) -> None:
        """Move all to the device."""
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
    """Its parameters and buffers."""
    return [*network.parameters(), *network.buffers()]
