"""What ships of the training: the change of basis is exact, rounding loads strictly, the files stay small."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import disco
from training.rounding import StraightThrough, export, storage_type
from training.spectral import SpectralError, cosine_basis, folded, usual_sizes

POCKET = Path(disco.__file__).parent / "pocket"


def test_the_basis_is_orthonormal_and_begins_with_the_mean_brightness():
    basis = cosine_basis(4)
    assert torch.allclose(basis @ basis.T, torch.eye(48), atol=1e-5)
    assert torch.allclose(basis[0], torch.full((48,), 48**-0.5), atol=1e-6)


def test_folding_the_basis_into_the_convolutions_changes_nothing():
    patch = 4
    sizes = usual_sizes(torch.randn(8, 3, 16, 16).cumsum(-1) * 0.2, patch)
    inward, outward = (
        cosine_basis(patch) / (1 + sizes.square())[:, None] ** 0.25,
        cosine_basis(patch).T * sizes,
    )
    first, last = nn.Conv2d(48, 8, 3, padding=1), nn.Conv2d(8, 48, 3, padding=1)
    tokens = torch.randn(2, 48, 4, 4)
    answer = last(first(torch.einsum("kc,bchw->bkhw", inward, tokens)))
    expected = torch.einsum("ck,bkhw->bchw", outward, answer)
    state = {f"unet.input_blocks.0.0.{k}": v for k, v in first.state_dict().items()}
    state |= {f"unet.out.2.{k}": v for k, v in last.state_dict().items()}
    plain = folded(state | {"inward": inward, "outward": outward})
    first.load_state_dict({k: plain[f"input_blocks.0.0.{k}"] for k in ("weight", "bias")})
    last.load_state_dict({k: plain[f"out.2.{k}"] for k in ("weight", "bias")})
    assert torch.allclose(last(first(tokens)), expected, atol=1e-5)


def test_a_whole_error_costs_as_much_in_frequencies_as_in_pixels():
    pictures = torch.randn(64, 3, 16, 16)
    sizes = usual_sizes(pictures, 4)
    assert SpectralError(sizes)(pictures).mean() == pytest.approx(float(pictures.square().mean()), rel=1e-3)


def test_rounded_files_load_strictly_and_the_rounding_is_taken_back(tmp_path):
    network = nn.Sequential(nn.Linear(96, 96), nn.Linear(96, 4))
    types = {name: storage_type(tensor) for name, tensor in network.state_dict().items()}
    assert types["0.weight"] == torch.float8_e4m3fn and types["1.weight"] == types["0.bias"] == torch.float16
    exact = network[0].weight.detach().clone()
    rounding = StraightThrough(network)
    rounding.round()
    rounded = network[0].weight.detach().clone()
    assert not torch.equal(rounded, exact)
    rounding.restore()
    assert torch.equal(network[0].weight, exact)
    export(network.state_dict(), tmp_path / "net.safetensors")
    network.load_state_dict(load_file(tmp_path / "net.safetensors"))
    assert torch.equal(network[0].weight, rounded)


def test_the_bundled_networks_are_at_most_12_megabytes():
    sizes = {path: path.stat().st_size for path in POCKET.rglob("*") if path.is_file()}
    assert len(sizes) >= 7 and sum(sizes.values()) <= 12_000_000
