"""disco.memory.retry with real kinds of networks, small: whatever is given up, the gradient is the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from disco.guidance import Guidance, PromptTarget
from disco.memory.policy import MemoryPolicy, PossibleSavings
from disco.memory.retry import OomRetry, possible_savings
from disco.networks.clip import ClipConfig, ClipModel, build_clip
from disco.networks.denoiser import Denoiser, build_unet
from disco.networks.load import Networks
from disco.sampling.randomness import FixedRandom
from disco.secondary_model import SecondaryModel
from disco.settings.schedules import Schedule
from tests.guidance_fakes import STEP, options
from tests.memory.test_grad_checkpoint import TEXT, UNET, VISION
from tests.memory.test_offload import Lot
from tests.short_memory import Shortage, short_networks


def real_networks(secondary: bool = True) -> Networks:
    torch.manual_seed(0)
    config = ClipConfig(
        {"embed_dim": 16, "vision_cfg": VISION["ViT"], "text_cfg": TEXT}, (0.5,) * 3, (0.5,) * 3, "x"
    )
    clip = ClipModel("tiny", build_clip(config), config)
    denoiser = Denoiser(build_unet(UNET), UNET)
    for parameter in denoiser.network.parameters():
        parameter.add_(torch.randn(parameter.shape) * 0.02)
    return Networks(denoiser, SecondaryModel(8).requires_grad_(False) if secondary else None, [clip])


def guided_by(networks: Networks, saving: MemoryPolicy, oom_retry: OomRetry) -> tuple[Tensor, Tensor]:
    embeds = torch.randn(1, 16, generator=torch.Generator().manual_seed(2))
    target = PromptTarget(networks.clips[0], embeds, lambda index: torch.ones(1), Schedule.parse(1))
    how = options(cut_innercut=4, tv_scale=10, skip_augs=False)
    parts = (networks.denoiser, networks.secondary, [target], how, FixedRandom(1, (0,)))
    guide = Guidance(*parts, saving=saving)
    x_t = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    eps, grad, _ = oom_retry.run(lambda: guide(x_t, STEP))
    assert grad is not None
    return eps, grad


@pytest.mark.parametrize("secondary", [True, False])
def test_every_lever_gives_the_same_gradient(secondary: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpointed and offloaded: bit for bit; fewer cutouts at once: within 1e-5."""
    monkeypatch.setattr("disco.memory.retry.CpuOffload", Lot)
    networks = real_networks(secondary)
    plain_retry = OomRetry(networks)
    assert plain_retry.possible == PossibleSavings(
        through_unet=not secondary, grad_checkpoint=True, offload=False
    )
    plain = guided_by(networks, MemoryPolicy(), plain_retry)
    for saving in (
        MemoryPolicy(grad_checkpoint=True),
        MemoryPolicy(grad_checkpoint_guess=True),
        MemoryPolicy(offload=True),
        MemoryPolicy(grad_checkpoint=True, grad_checkpoint_guess=True, offload=True),
    ):
        oom_retry = OomRetry(networks, saving=saving)
        frugal = guided_by(networks, saving, oom_retry)
        oom_retry.close()
        assert torch.equal(plain[0], frugal[0]) and torch.equal(plain[1], frugal[1]), saving
    split = guided_by(networks, MemoryPolicy(clip_batch=3), OomRetry(networks))
    assert (split[1] - plain[1]).abs().max() < 1e-5 * plain[1].abs().max()
    again = guided_by(networks, MemoryPolicy(), OomRetry(networks))
    assert torch.equal(again[1], plain[1])


def test_what_can_be_given_up_depends_on_the_networks() -> None:
    assert possible_savings(short_networks(Shortage())) == PossibleSavings(
        through_unet=False, grad_checkpoint=False, offload=False
    )
    networks = real_networks()
    networks.device = torch.device("cuda")
    assert possible_savings(networks).offload
