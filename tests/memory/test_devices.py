"""disco.memory.devices: where and how exactly to compute."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from disco.errors import SettingsError
from disco.memory.devices import pick_device, tf32, torch_dtype, use
from disco.memory.number_types import Dtype

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda"), torch.device("mps")


def test_number_types_by_name() -> None:
    names: tuple[Dtype, ...] = ("fp32", "fp16", "bf16")
    assert [torch_dtype(name) for name in names] == [torch.float32, torch.float16, torch.bfloat16]


def test_auto_takes_the_best_device_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert pick_device("auto") == CPU
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick_device("auto") == pick_device("mps") == MPS
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("auto") == CUDA
    assert pick_device("cuda:1") == torch.device("cuda:1")


def test_devices_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name, message in (
        ("cuda:1", "device: cuda:1: the number of CUDA GPUs here is 1"),
        ("mps", "device: mps: this machine has no Apple GPU that torch can use"),
        ("gpu", "device: 'gpu': allowed are auto, cpu, cuda, cuda:N, mps"),
        ("meta", "device: 'meta': allowed are auto, cpu, cuda, cuda:N, mps"),
    ):
        with pytest.raises(SettingsError) as error:
            pick_device(name)
        assert str(error.value) == message


@pytest.mark.parametrize("name, used", [("cuda:1", ["cuda:1"]), ("cuda", []), ("cpu", []), ("mps", [])])
def test_a_numbered_gpu_becomes_the_current_one(
    name: str, used: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: told.append(str(device)))
    use(torch.device(name))
    assert told == used


@pytest.mark.parametrize(
    "name, capability, cudnn, products, expected",
    [
        ("cuda", (9, 0), True, False, ["convolutions"]),
        ("cuda", (8, 0), True, True, ["convolutions", "products"]),
        ("cuda", (8, 6), False, False, []),
        ("cuda", (7, 5), True, True, []),
        ("cpu", (9, 0), True, True, []),
    ],
)
def test_what_is_computed_as_tf32(
    name: str, capability: Any, cudnn: bool, products: bool, expected: list[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.backends, "cudnn", SimpleNamespace(allow_tf32=cudnn))
    monkeypatch.setattr(torch.backends.cuda, "matmul", SimpleNamespace(allow_tf32=products))
    assert tf32(torch.device(name)) == expected
