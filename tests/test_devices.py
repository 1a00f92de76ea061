"""disco.devices: where and how exactly to compute."""

from __future__ import annotations

import pytest
import torch

from disco.devices import clip_dtype, pick_device, unet_dtype
from disco.errors import SettingsError

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda"), torch.device("mps")


@pytest.mark.parametrize(
    ("precision", "device", "expected"),
    [
        ("auto", CPU, torch.float32),
        ("auto", MPS, torch.float32),
        ("auto", CUDA, torch.float16),
        ("auto", torch.device("cuda:1"), torch.float16),
        ("fp32", CUDA, torch.float32),
        ("fp16", CUDA, torch.float16),
        ("bf16", CPU, torch.bfloat16),
        ("bf16", CUDA, torch.bfloat16),
        ("bf16", MPS, torch.bfloat16),
    ],
)
def test_the_unets_numbers(precision: str, device: torch.device, expected: torch.dtype) -> None:
    assert unet_dtype(precision, device) == expected


def test_a_network_not_made_for_fp16_gets_it_only_when_asked() -> None:
    assert unet_dtype("auto", CUDA, half=False) == torch.float32
    assert unet_dtype("fp16", CUDA, half=False) == torch.float16


@pytest.mark.parametrize("device", [CPU, MPS])
def test_fp16_needs_cuda(device: torch.device) -> None:
    with pytest.raises(SettingsError) as error:
        unet_dtype("fp16", device)
    assert str(error.value) == (
        f"precision: fp16 needs a CUDA GPU, this run is on {device.type}; use auto, fp32 or bf16"
    )


def test_clips_of_the_original_are_half_only_if_openais() -> None:
    assert clip_dtype("auto", CUDA, openai=True, compat="dd57") == torch.float16
    assert clip_dtype("auto", CUDA, openai=False, compat="dd57") == torch.float32
    assert clip_dtype("auto", CUDA, openai=False, compat="fixed") == torch.float16
    assert clip_dtype("auto", CPU, openai=True, compat="dd57") == torch.float32
    assert clip_dtype("bf16", CPU, openai=False, compat="fixed") == torch.bfloat16


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
