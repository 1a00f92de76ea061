"""disco.memory.offload: only the networks at work are on the device."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from disco.memory.offload import CpuOffload, modules_of, tensors_of

NOTHING = -99


class Lot(CpuOffload):
    """On one device: what waits holds no numbers, so that whoever works with it is found out."""

    def _leave(self, network: nn.Module) -> None:
        super()._leave(network)
        self._copies[network] = [copy.clone() for copy in self._copies[network]]
        for tensor in tensors_of(network):
            tensor.data = torch.full_like(tensor, NOTHING)


class Wearing:
    def __init__(self, network: nn.Module) -> None:
        self.network = network


class Mixed:
    def __init__(self, *parts: object) -> None:
        self.parts = tuple((0.5, part) for part in parts)


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).requires_grad_(False).eval()


def test_only_those_at_work_are_there() -> None:
    a, b, c = network(1), network(2), network(3)
    x = torch.ones(1, 3, 5, 5)
    before = [one(x) for one in (a, b, c)]
    lot = Lot([a, b, c], torch.device("cpu"))
    for at_work in ((a,), (b, c), (), (c,), (a, b, c)):
        lot.require(*at_work)
        for one, expected in zip((a, b, c), before, strict=True):
            assert all(bool((tensor != NOTHING).all()) is (one in at_work) for tensor in tensors_of(one))
            if one in at_work:
                assert torch.equal(one(x), expected)
    lot.require(a)
    lot.close()
    assert all(torch.equal(one(x), expected) for one, expected in zip((a, b, c), before, strict=True))


def test_the_modules_inside_whatever_wears_them() -> None:
    a, b = network(1), network(2)
    assert [*modules_of(a)] == [a] == [*modules_of(Wearing(a))]
    assert [*modules_of(Mixed(Wearing(a), b, object()))] == [a, b]
    assert [*modules_of(None)] == [] == [*modules_of(object())]


@pytest.mark.gpu
def test_on_a_gpu() -> None:
    device = torch.device("cuda")
    a, b = network(1).to(device), network(2).to(device)
    x = torch.ones(1, 3, 5, 5, device=device)
    before: Tensor = a(x)
    lot = CpuOffload([a, b], device)
    lot.require(b)
    assert {tensor.device.type for tensor in tensors_of(a)} == {"cpu"}
    lot.require(a)
    assert torch.equal(a(x), before) and {tensor.device.type for tensor in tensors_of(b)} == {"cpu"}
    lot.close()
    assert {tensor.device.type for tensor in tensors_of(b)} == {"cuda"}
