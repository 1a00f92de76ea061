"""disco.memory.number_types: how exactly to compute."""

from __future__ import annotations

import pytest

from disco.errors import SettingsError
from disco.memory.number_types import check_precision, clip_dtype, unet_dtype


@pytest.mark.parametrize(
    ("precision", "device", "expected"),
    [
        ("auto", "cpu", "fp32"),
        ("auto", "mps", "fp32"),
        ("auto", "cuda", "fp16"),
        ("fp32", "cuda", "fp32"),
        ("fp16", "cuda", "fp16"),
        ("bf16", "cpu", "bf16"),
        ("bf16", "cuda", "bf16"),
        ("bf16", "mps", "bf16"),
    ],
)
def test_the_unets_numbers(precision: str, device: str, expected: str) -> None:
    check_precision(precision, device)
    assert unet_dtype(precision, device) == expected


def test_a_network_not_made_for_fp16_gets_it_only_when_asked() -> None:
    assert unet_dtype("auto", "cuda", half=False) == "fp32"
    assert unet_dtype("fp16", "cuda", half=False) == "fp16"


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_fp16_needs_cuda(device: str) -> None:
    with pytest.raises(SettingsError) as error:
        check_precision("fp16", device)
    assert str(error.value) == (
        f"precision: fp16 needs a CUDA GPU, this run is on {device}; use auto, fp32 or bf16"
    )


def test_clips_of_the_original_are_half_only_if_openais() -> None:
    assert clip_dtype("auto", "cuda", openai=True, compat="dd57") == "fp16"
    assert clip_dtype("auto", "cuda", openai=False, compat="dd57") == "fp32"
    assert clip_dtype("auto", "cuda", openai=False, compat="fixed") == "fp16"
    assert clip_dtype("auto", "cpu", openai=True, compat="dd57") == "fp32"
    assert clip_dtype("bf16", "cpu", openai=False, compat="fixed") == "bf16"
