"""disco.memory.devices: where and how exactly to compute."""

from __future__ import annotations

import pytest
import torch

from disco.errors import SettingsError
from disco.memory.devices import pick_device, torch_dtype
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
