"""disco.networks.compile: networks are compiled where asked for, and stay as they are where that fails."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from disco.events import Notice
from disco.media.png import read_metadata
from disco.memory.grad_checkpoint import set_grad_checkpoint
from disco.networks.compile import ENOUGH_STEPS, SHAPES, compiled, is_worth_it, prepare
from disco.networks.denoiser import Denoiser, build_unet
from disco.networks.load import Networks
from disco.secondary_model import SecondaryModel
from disco.settings.load import run_from_mapping
from tests.networks.test_denoiser import TINY, awake, noise
from tests.small_run import events_of, finished_paths, small_networks

COMPILED = r"the diffusion network: compiled in \d+ s, outputs differ by 0e\+00"
CUDA, CPU = torch.device("cuda"), torch.device("cpu")


class Pair(nn.Module):
    """A network of two blocks, whose plain calls are counted."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(*(nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.SiLU()) for _ in range(2)))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.net(x) + t[:, None, None, None] / 1000


@dataclass
class Wearing:
    """A denoiser, as networks are worn."""

    network: nn.Module

    def __call__(self, x_t: Tensor, t: float) -> Tensor:
        return self.network(x_t, torch.full((len(x_t),), float(t)))


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The environment as it was, and nothing compiled before."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Backend:
    """Runs graphs as they are, and counts them."""

    def __init__(self, factor: float = 1.0) -> None:
        self.graphs, self.factor = 0, factor

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        self.graphs += 1
        return lambda *args: [self.factor * each for each in graph.forward(*args)]


def broken(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
    raise RuntimeError("no compiler here\nand more")


def networks(**more: Any) -> Networks:
    torch.manual_seed(0)
    return Networks(Wearing(Pair().requires_grad_(False)), **more)


def values(**changed: Any) -> Any:
    return run_from_mapping({"compile": "auto", **changed}).settings


@pytest.mark.parametrize(
    ("changed", "device", "left", "worth"),
    [
        ({}, CUDA, ENOUGH_STEPS, True),
        ({}, CUDA, ENOUGH_STEPS - 1, False),
        ({}, CPU, 10**6, False),
        ({"deterministic": True}, CUDA, 10**6, False),
        ({"compat": "dd57"}, CUDA, 10**6, False),
        ({"compile": True}, CPU, 1, True),
        ({"compile": True, "deterministic": True}, CUDA, 1, True),
        ({"compile": False}, CUDA, 10**6, False),
    ],
)
def test_auto_compiles_long_runs_on_cuda(
    changed: dict[str, Any], device: torch.device, left: int, worth: bool
) -> None:
    assert is_worth_it(values(**changed), networks(device=device), left) is worth


def test_auto_goes_on_with_what_is_compiled() -> None:
    found = networks(device=CUDA)
    prepare(found, True, lambda text: None, "eager")
    assert not is_worth_it(values(), found, 1)  # not yet called
    found.denoiser(noise(1, 3, 8, 8), 5)
    assert is_worth_it(values(), found, 1)


def test_a_network_is_compiled_once_for_each_shape() -> None:
    found, told, backend = networks(), [], Backend()
    x = noise(2, 3, 8, 8)
    plain = found.denoiser(x, 500)
    prepare(found, True, told.append, backend)
    assert backend.graphs == 0 and compiled(found) == []
    for t in (500, 500, 900):
        answer = found.denoiser(x, t)
    assert backend.graphs == 1 and compiled(found) == ["the diffusion network"]
    assert torch.equal(found.denoiser(x, 500), plain) and not torch.equal(answer, plain)
    before = "the diffusion network: compiling, about a minute; compile: false does without"
    assert len(told) == 2 and told[0] == before and re.fullmatch(COMPILED, told[1])
    for side in range(9, 9 + SHAPES):
        found.denoiser(noise(2, 3, side, 8), 500)
    assert backend.graphs == SHAPES  # the last side runs as it is
    prepare(found, True, told.append, backend)
    found.denoiser(x, 500)
    assert backend.graphs == SHAPES  # a second call changes nothing
    prepare(found, False, told.append)
    assert compiled(found) == [] and torch.equal(found.denoiser(x, 500), plain)


def test_gradients_come_back_through_a_compiled_network() -> None:
    torch.manual_seed(0)
    secondary = SecondaryModel(4).requires_grad_(False)
    found = networks(secondary=secondary)
    x, t = noise(1, 3, 32, 32).requires_grad_(), torch.tensor([0.5])
    (before,) = torch.autograd.grad(secondary(x, t).pred_x0.sum(), x)
    told: list[str] = []
    prepare(found, True, told.append, "aot_eager")
    (after,) = torch.autograd.grad(secondary(x, t).pred_x0.sum(), x)
    assert compiled(found) == ["the secondary network"] and len(told) == 2
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-6)


def test_the_unet_answers_as_before() -> None:
    torch.manual_seed(0)
    denoiser = Denoiser(awake(build_unet(TINY)), TINY)
    found, x = Networks(denoiser), noise(1, 3, 16, 16)
    with torch.no_grad():
        before = denoiser(x, 500)
        prepare(found, True, lambda text: None, "aot_eager")
        after = denoiser(x, 500)
    assert compiled(found) == ["the diffusion network"]
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("backend", "why"),
    [
        (broken, "BackendCompilerFailed: backend='broken' raised:"),
        (Backend(factor=1.2), "its outputs differ by 2.0e-01 of the largest value"),
    ],
)
def test_what_cannot_be_compiled_stays_as_it_is_and_says_so_once(backend: Any, why: str) -> None:
    found = networks(secondary=SecondaryModel(4).requires_grad_(False))
    told: list[str] = []
    x, t = noise(1, 3, 32, 32), torch.tensor([0.5])
    before = found.denoiser(x, 500), found.secondary(x, t)  # type: ignore[misc]
    prepare(found, True, told.append, backend)
    for _ in range(2):
        assert torch.equal(found.denoiser(x, 500), before[0])
        assert torch.equal(found.secondary(x, t).v, before[1].v)  # type: ignore[misc]
    _, said = told
    assert said.startswith(
        "the diffusion network: could not be compiled, so the rest runs uncompiled (" + why
    )
    assert compiled(found) == []
    prepare(found, True, told.append, "eager")
    found.denoiser(x, 500)
    assert len(told) == 2 and compiled(found) == []  # it is not tried at every picture


def test_a_checkpointed_network_is_not_compiled() -> None:
    found, backend = networks(), Backend()
    network, x = found.denoiser.network, noise(1, 3, 8, 8)  # type: ignore[attr-defined]
    prepare(found, True, lambda text: None, backend)
    set_grad_checkpoint(network, True)
    found.denoiser(x, 500)
    assert backend.graphs == 0
    set_grad_checkpoint(network, False)
    found.denoiser(x, 500)
    assert backend.graphs == 1
    checkpointed = Networks(Denoiser(build_unet(TINY, use_checkpoint=True), TINY))
    prepare(checkpointed, True, lambda text: None, backend)
    checkpointed.denoiser(noise(1, 3, 16, 16), 500)
    assert backend.graphs == 1


def test_memory_that_runs_out_later_is_not_hidden() -> None:
    found = networks()
    prepare(found, True, lambda text: None, "eager")
    x = noise(1, 3, 8, 8)
    found.denoiser(x, 500)
    stand_in: Any = found.denoiser.network._compiled_call_impl  # type: ignore[attr-defined]

    def short(*args: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    stand_in._compiled = short
    with pytest.raises(torch.OutOfMemoryError):
        found.denoiser(x, 500)


def test_kernels_are_kept_in_discos_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for before in ("", str(Path(tempfile.gettempdir()) / "torchinductor_me")):
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", before)
        prepare(networks(), True, lambda text: None)
        assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "disco" / "compiled")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "elsewhere")
    prepare(networks(), True, lambda text: None)
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "elsewhere"


def test_a_run_says_what_was_compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("disco.rendering.steps.prepare", lambda *args: prepare(*args, backend="eager"))
    given = small_networks()
    given.denoiser = networks().denoiser
    events = list(events_of(tmp_path, {"compile": True, "n_batches": 1}, networks=given))
    said = [event.text for event in events if isinstance(event, Notice)]
    assert len(said) == 2 and re.fullmatch(COMPILED, said[1])
    (path,) = finished_paths(iter(events))
    assert read_metadata(path)["machine"]["compiled"] == ["the diffusion network"]
    again = list(events_of(tmp_path, {"compile": False, "n_batches": 1}, networks=given))
    (path,) = finished_paths(iter(again))
    assert "compiled" not in read_metadata(path)["machine"]


@pytest.mark.slow
def test_inductor_compiles_a_small_unet_on_a_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    torch.manual_seed(0)
    denoiser = Denoiser(awake(build_unet(TINY)), TINY)
    secondary = SecondaryModel(4).requires_grad_(False)
    found, told = Networks(denoiser, secondary), []
    x, t = noise(1, 3, 32, 32).requires_grad_(), torch.tensor([0.5])
    with torch.no_grad():
        before = denoiser(x, 500)
    (plain,) = torch.autograd.grad(secondary(x, t).pred_x0.square().sum(), x)
    prepare(found, True, told.append)
    with torch.no_grad():
        after = denoiser(x, 500)
    (grad,) = torch.autograd.grad(secondary(x, t).pred_x0.square().sum(), x)
    assert compiled(found) == ["the diffusion network", "the secondary network"], told
    assert (after - before).abs().max() < 1e-4 * before.abs().max()
    assert (grad - plain).abs().max() < 1e-4 * plain.abs().max()
    assert any((tmp_path / "disco" / "compiled").rglob("*.cpp"))


@pytest.mark.gpu
def test_a_compiled_unet_on_a_gpu_is_close() -> None:
    torch.manual_seed(0)
    denoiser = Denoiser(awake(build_unet(TINY)).cuda(), TINY)
    found, x = Networks(denoiser, device=CUDA), noise(1, 3, 32, 32).cuda()
    with torch.no_grad():
        before = denoiser(x, 500)
        prepare(found, True, lambda text: None)
        after = denoiser(x, 500)
    assert compiled(found) == ["the diffusion network"]
    assert (after - before).abs().max() < 1e-2 * before.abs().max()
