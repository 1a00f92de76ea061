"""disco.networks.upscaler, srvgg: tiles, files, what is refused; the bundled network."""

from __future__ import annotations

import hashlib
import sys
import time
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from disco.errors import InputError, WeightsError
from disco.files.places import POCKET
from disco.media.images import read_pixels
from disco.networks import upscaler as module
from disco.networks.load import LOADERS, Loader
from disco.networks.required import required
from disco.networks.srvgg import Srvgg, srvgg_facts
from disco.networks.state_dicts import read_state_dict
from disco.networks.upscaler import CORE, HALO, Upscaler, corners, halved, load_upscaler, upscaler_of
from disco.settings.load import run_from_mapping
from disco.weights.registry import registry
from tests.places import ROOT

ENTRY = registry().get("upscale", "pocket_upscale")
FILE = POCKET / "pocket_upscale.safetensors"
ROSE = ROOT / "docs" / "pictures" / "gallery" / "rose.png"


def small(factor: int = 4, depth: int = 3) -> Srvgg:
    torch.manual_seed(factor)
    return Srvgg(8, depth, factor)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def whole(network: nn.Module, pixels: np.ndarray, factor: int) -> np.ndarray:
    """Enlarged at once, with the same edge around it."""
    x = torch.from_numpy(np.pad(pixels, ((HALO, HALO), (HALO, HALO), (0, 0)), mode="edge"))
    with torch.no_grad():
        y = network(x.permute(2, 0, 1)[None].float() / 255)[0]
    edge = HALO * factor
    return (y[:, edge:-edge, edge:-edge].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


@pytest.mark.parametrize("size", [(1, 1), (30, 20), (CORE, CORE), (CORE + 1, 40), (300, 150)])
def test_tiles_are_the_whole(size: tuple[int, int]) -> None:
    network, pixels = small(), noise(*size)
    made = Upscaler(network, 4)(pixels, "x4")
    assert made.shape == (size[0] * 4, size[1] * 4, 3) and made.dtype == np.uint8
    assert np.abs(made.astype(int) - whole(network, pixels, 4)).max() <= 1


def test_the_order_of_tiles_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, upscaler = noise(300, 200), Upscaler(small(), 4)
    expected = upscaler(pixels, "x4")
    monkeypatch.setattr(module, "corners", lambda *size: corners(*size)[::-1])
    assert np.array_equal(upscaler(pixels, "x4"), expected)


def test_one_tile_of_one_shape_a_call() -> None:
    seen: list[tuple[int, ...]] = []
    network = small()
    network.register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape)))
    Upscaler(network, 4)(noise(130, 260), "x4")
    assert seen == [(1, 3, CORE + 2 * HALO, CORE + 2 * HALO)] * 6


def test_a_pixel_depends_on_no_more_than_the_halo() -> None:
    network = load_upscaler("pocket_upscale", FILE, ENTRY.architecture).network
    assert isinstance(network, Srvgg) and network.reach <= HALO
    x = torch.rand(1, 3, 41, 41, requires_grad=True)
    network(x)[0, :, 80:84, 80:84].sum().backward()
    assert x.grad is not None
    rows = x.grad[0].abs().sum((0, 2)).nonzero().flatten()
    assert rows.min() >= 20 - network.reach and rows.max() <= 20 + network.reach


def test_x2_is_x4_halved_by_area() -> None:
    pixels, upscaler = noise(20, 30), Upscaler(small(), 4)
    x4, x2 = upscaler(pixels, "x4"), upscaler(pixels, "x2")
    mean = x4.reshape(40, 2, 60, 2, 3).astype(float).mean((1, 3))
    assert np.abs(x2 - mean).max() <= 0.5 and np.array_equal(x2, halved(x4))
    assert Upscaler(small(2), 2)(pixels, "x2").shape == (40, 60, 3)


@pytest.mark.parametrize(
    ("factor", "upscale", "cure"),
    [(2, "x4", "Write upscale: x2, or name another network"), (3, "x2", "Name another network")],
)
def test_a_factor_that_cannot_give_it(factor: int, upscale: str, cure: str) -> None:
    upscaler = Upscaler(small(factor), factor)
    upscaler.name = "mine.pth"
    with pytest.raises(InputError) as error:
        upscaler(noise(4, 4), upscale)
    assert str(error.value) == (
        f"upscale_model: mine.pth enlarges {factor} times, which gives no {upscale}. {cure}"
    )


def test_networks_without_an_upscaler() -> None:
    with pytest.raises(InputError) as error:
        upscaler_of([], "x4")
    assert str(error.value) == (
        "upscale: x4: the networks that were passed in have no upscaler. Load them with these settings, or "
        "write upscale: none"
    )


# ---- the bundled network ----


def test_the_bundled_network() -> None:
    assert FILE.stat().st_size <= 1_500_000
    upscaler = load_upscaler("pocket_upscale", FILE, ENTRY.architecture)
    assert sum(tensor.numel() for tensor in upscaler.network.parameters()) == ENTRY.parameters
    assert upscaler.facts() == {
        "name": "pocket_upscale",
        "sha256": hashlib.sha256(FILE.read_bytes()).hexdigest(),
    }
    card = FILE.with_suffix(".md").read_text(encoding="utf-8")
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    assert upscaler.sha256 in card and "BSD-3-Clause" in card
    assert "Real-ESRGAN" in notice and "Redistribution and use in source and binary forms" in notice


def test_it_keeps_the_picture_and_takes_little_time() -> None:
    upscaler = load_upscaler("pocket_upscale", FILE, ENTRY.architecture)
    pixels = read_pixels(ROSE)
    upscaler(pixels[:8, :8], "x4")
    began = time.process_time()
    larger = upscaler(pixels, "x4")
    assert time.process_time() - began < 5  # 0.4 s of an idle core
    back = larger.reshape(128, 4, 128, 4, 3).astype(float).mean((1, 3))
    assert 10 * np.log10(255**2 / ((back - pixels) ** 2).mean()) >= 28


# ---- files ----


def state_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("key", ["params", "params_ema", None])
def test_a_users_file(key: str | None, tmp_path: Path) -> None:
    path, network = tmp_path / "mine.pth", small(2, 5)
    torch.save(state_of(network) if key is None else {key: state_of(network)}, path)
    upscaler = load_upscaler("mine.pth", path, {})
    assert (upscaler.factor, upscaler.halo, upscaler.name) == (2, HALO, "mine.pth")
    assert np.array_equal(upscaler(noise(9, 9), "x2"), Upscaler(network, 2)(noise(9, 9), "x2"))


def test_the_halo_grows_with_the_network(tmp_path: Path) -> None:
    save_file(state_of(small(2, 32)), tmp_path / "deep.safetensors")
    assert load_upscaler("deep", tmp_path / "deep.safetensors", {}).halo == 34


@pytest.mark.parametrize(
    "state",
    [
        {"body.0.weight": torch.zeros(8)},
        {"body.0.weight": torch.zeros(8, 4, 3, 3), "body.2.weight": torch.zeros(48, 8, 3, 3)},
        {"body.0.weight": torch.zeros(8, 3, 3, 3), "body.2.weight": torch.zeros(7, 8, 3, 3)},
        {"body.0.weight": torch.zeros(8, 3, 3, 3), "body.2.weight": torch.zeros(())},
        {"body.0.weight": torch.zeros(8, 3, 3, 3), "body.99999999999.weight": torch.zeros(48)},
        {"model.0.weight": torch.zeros(8, 3, 3, 3)},
    ],
)
def test_what_is_no_srvgg(state: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert srvgg_facts(state) is None
    monkeypatch.setitem(sys.modules, "spandrel", None)
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError) as error:
        load_upscaler("other", tmp_path / "other.safetensors", {})
    assert str(error.value) == (
        f"{tmp_path / 'other.safetensors'}: no SRVGG (compact) upscaler; other kinds need the Python package "
        "spandrel. Run `pip install -e '.[upscale]'` in Disco's folder"
    )


def test_a_file_that_lacks_a_part(tmp_path: Path) -> None:
    state = state_of(small())
    del state["body.2.bias"]
    save_file(state, tmp_path / "torn.safetensors")
    with pytest.raises(WeightsError, match=r"does not fit the network: body\.2\.bias \[8\] is missing$"):
        load_upscaler("torn", tmp_path / "torn.safetensors", {})


class Descriptor(nn.Module):
    """What spandrel gives: a model behind it, its scale and channels."""

    scale, input_channels, output_channels = 4, 3, 3

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Upsample(scale_factor=4)
        self.model.register_parameter("unused", nn.Parameter(torch.zeros(1)))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


@pytest.fixture
def spandrel(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A package of that name; what it was given."""
    given: list[Any] = []

    class ModelLoader:
        def __init__(self, device: torch.device) -> None: ...

        def load_from_state_dict(self, state: dict[str, Tensor]) -> Descriptor:
            given.append(state)
            if "bad" in state:
                raise RuntimeError("unsupported")
            return Descriptor()

    package = types.SimpleNamespace(ModelLoader=ModelLoader, ImageModelDescriptor=Descriptor)
    monkeypatch.setitem(sys.modules, "spandrel", package)
    return given


def test_other_files_go_to_spandrel_as_tensors(spandrel: list[Any], tmp_path: Path) -> None:
    save_file({"other": torch.ones(2)}, tmp_path / "hat.safetensors")
    upscaler = load_upscaler("hat", tmp_path / "hat.safetensors", {})
    assert [list(state) for state in spandrel] == [["other"]]
    pixels = noise(5, 6)
    assert np.array_equal(upscaler(pixels, "x4"), pixels.repeat(4, 0).repeat(4, 1))
    save_file({"bad": torch.ones(2)}, tmp_path / "bad.safetensors")
    with pytest.raises(WeightsError, match=r"bad\.safetensors: no upscaler that the package spandrel knows$"):
        load_upscaler("bad", tmp_path / "bad.safetensors", {})


def test_spandrel_itself_agrees() -> None:
    pytest.importorskip("spandrel")
    theirs = module._by_spandrel(FILE, read_state_dict(FILE), "cpu")
    ours, pixels = load_upscaler("pocket_upscale", FILE, ENTRY.architecture), noise(8, 9)
    assert theirs.factor == 4
    assert np.abs(theirs(pixels, "x4").astype(int) - ours(pixels, "x4")).max() <= 1


# ---- the row of the table ----


def test_only_a_run_that_asks_needs_it() -> None:
    base = {"text_prompts": ["a lake"], "device": "cpu"}
    assert not [n for n in required(run_from_mapping(base).settings) if n.role == "upscale"]
    settings = run_from_mapping({**base, "upscale": "x2"}).settings
    need = required(settings)[0]
    assert (need.role, need.name, need.dtype, need.sees_gradient) == ("upscale", ENTRY.name, "fp32", False)
    loader = Loader(settings, torch.device("cpu"))
    (loaded,) = LOADERS["upscale"](loader, [need])
    assert isinstance(loaded, Upscaler) and loader.hashes == {}, "the originals do not tell of it"
