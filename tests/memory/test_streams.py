"""disco.memory.streams: the UNet beside the guidance gives the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from disco.guidance import Guidance, PromptTarget
from disco.memory.policy import MemoryPolicy
from disco.memory.streams import Inline, Result, SecondStream, executor_for
from disco.networks.denoiser import Denoiser, build_unet
from disco.sampling.randomness import FixedRandom
from disco.sampling.samplers import SamplerOptions, ddim
from disco.secondary_model import SecondaryModel
from disco.settings.load import run_from_mapping
from disco.settings.schedules import Schedule
from tests.conftest import EightNumberClip
from tests.networks.test_denoiser import TINY, awake, noise


class Later:
    """The other extreme of a stream: nothing is done before the answer is asked for."""

    def __init__(self) -> None:
        self.order: list[str] = []

    def start(self, work: Callable[[], Tensor], *inputs: Tensor) -> Result:
        self.order.append("start")

        def joined() -> Tensor:
            self.order.append("joined")
            with torch.no_grad():
                return work()

        return joined


class Noting(FixedRandom):
    """Notes what was drawn, in order."""

    drawn: list[tuple[Any, ...]]

    def crops(self, *where: Any) -> Any:
        self.drawn.append(("crops", where[0].i, *where[1:]))
        return super().crops(*where)


def guided(side: Any, device: str = "cpu", secondary: bool = True) -> tuple[Guidance, Noting]:
    torch.manual_seed(0)
    denoiser = Denoiser(awake(build_unet(TINY)).to(device), TINY)
    small = SecondaryModel(4).requires_grad_(False).to(device) if secondary else None
    clip = EightNumberClip()
    weights = torch.ones(1, device=device)
    target = PromptTarget(
        clip, clip.encode_text(["red"]).to(device), lambda index: weights, Schedule.parse(1)
    )
    values = {"cut_overview": 2, "cut_innercut": 2, "cutn_batches": 2, "clip_guidance_scale": 500}
    random = Noting(3, (0,))
    random.drawn = []
    return Guidance(denoiser, small, [target], run_from_mapping(values).settings, random, side=side), random


def steps_of(guidance: Guidance, random: FixedRandom, device: str = "cpu") -> list[Tensor]:
    from disco.sampling.diffusion import make_steps

    x_t, steps = noise(1, 3, 32, 32).to(device), make_steps(4)
    options = SamplerOptions(1.0, lambda step: random.step_noise(step, x_t.shape))
    samples = ddim(x_t, steps, guidance, options)
    return [part for sample in samples for part in (sample.x_t, sample.pred_x0, *sample.losses.values())]


def test_the_order_of_work_changes_no_number_and_no_draw() -> None:
    plain, drawn = guided(Inline())
    expected = steps_of(plain, drawn)
    side = Later()
    other, drawn_later = guided(side)
    found = steps_of(other, drawn_later)
    assert side.order == ["start", "joined"] * 4
    assert drawn.drawn == drawn_later.drawn and len(drawn.drawn) > 0
    assert len(found) == len(expected) and all(map(torch.equal, found, expected))


def test_a_guidance_that_looks_through_the_unet_has_no_side() -> None:
    side = Later()
    guidance, random = guided(side, secondary=False)
    steps_of(guidance, random)
    assert side.order == []


def test_a_second_stream_is_for_gpus_with_room(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda, sides = torch.device("cuda"), object()
    monkeypatch.setattr("disco.memory.streams._second_stream", lambda device: sides)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (3, 10))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 4)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 2)
    assert isinstance(executor_for(torch.device("cpu"), MemoryPolicy()), Inline)
    assert executor_for(cuda, MemoryPolicy()) is sides
    assert isinstance(executor_for(cuda, MemoryPolicy(offload=True)), Inline)
    assert isinstance(executor_for(cuda, MemoryPolicy(one_stream=True)), Inline)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2, 10))
    assert isinstance(executor_for(cuda, MemoryPolicy()), Inline)


@pytest.mark.gpu
def test_two_streams_equal_one() -> None:
    torch.backends.cudnn.deterministic = True
    plain, beside = guided(Inline(), "cuda"), guided(SecondStream(torch.device("cuda")), "cuda")
    expected = steps_of(*plain, "cuda")
    for _ in range(5):
        found = steps_of(*beside, "cuda")
        assert all(map(torch.equal, found, expected))
