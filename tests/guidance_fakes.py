"""Small networks and settings for the tests of guidance."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disco.guidance import Guidance, PromptTarget
from disco.memory.policy import MemoryPolicy
from disco.sampling.diffusion import Step, make_steps
from disco.sampling.randomness import FixedRandom
from disco.secondary_model import SecondaryOutput
from disco.settings.methods import LOSSES
from disco.settings.schedules import Schedule


def options(**values: Any) -> Any:
    """The settings that guidance reads; every value may be written as in YAML."""
    base: dict[str, Any] = {
        "clip_guidance_scale": 5000,
        **dict.fromkeys(LOSSES, 0),
        "init_scale": 0,
        "clamp_grad": False,
        "clamp_max": 0.05,
        "cutn_batches": 2,
        "cut_overview": 4,
        "cut_innercut": 0,
        "cut_ic_pow": 1,
        "cut_icgray_p": 0,
        "skip_augs": True,
        "hue_jitter_max": 0.5,
        "clip_batch": "auto",
        "animation_mode": "None",
    }
    kinds = {"skip_augs": bool, "cutn_batches": int, "cut_overview": int, "cut_innercut": int}
    return SimpleNamespace(
        **{
            key: value
            if key in ("clamp_grad", "clip_batch", "animation_mode")
            else Schedule.parse(value, kinds.get(key, float))
            for key, value in (base | values).items()
        }
    )


ONE = Schedule.parse(1)


@dataclass
class TinyClip:
    """Convolution, tanh, mean: a CLIP with a gradient everywhere. Counts the cutouts it saw."""

    name: str = "tiny"
    image_size: int = 8
    seed: int = 0
    seen: list[int] = field(default_factory=list)
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        g = torch.Generator().manual_seed(self.seed)
        self.weight = torch.randn(6, 3, 4, 4, generator=g).to(self.dtype)
        self.mix = torch.randn(6, 5, generator=g).to(self.dtype)

    def encode_image(self, cutouts: Tensor) -> Tensor:
        self.seen.append(len(cutouts))
        assert cutouts.shape[1:] == (3, self.image_size, self.image_size)
        return torch.tanh(F.conv2d(cutouts - 0.5, self.weight, stride=2)).mean((2, 3)) @ self.mix

    def target(self, weight: Schedule = ONE) -> PromptTarget:
        g = torch.Generator().manual_seed(self.seed + 1)
        embeds = torch.randn(3, 5, generator=g).to(self.dtype)
        return PromptTarget(self, embeds, lambda index: torch.tensor([1.5, -1.0, 0.5]).to(self.dtype), weight)


class TinySecondary(nn.Module):
    """A guess that depends on x_t and t, each picture by itself."""

    def forward(self, x_t: Tensor, t: Tensor) -> SecondaryOutput:
        mixed = torch.tanh(x_t + 0.3 * x_t.roll(1, -1)) * (1 - t[:, None, None, None])
        return SecondaryOutput(x_t, mixed, x_t)


@dataclass
class TinyDenoiser:
    calls: list[bool] = field(default_factory=list)

    def __call__(self, x_t: Tensor, t: float) -> Tensor:
        self.calls.append(torch.is_grad_enabled())
        return torch.sin(x_t) + 0.1 * x_t.roll(1, -2)


STEP = make_steps(25)[10]


def pictures(n: int, height: int = 20, width: int = 28, seed: int = 0) -> Tensor:
    return torch.stack(
        [torch.randn(3, height, width, generator=torch.Generator().manual_seed(seed + k)) for k in range(n)]
    )


def guide(
    x_t: Tensor, *targets: PromptTarget, step: Step = STEP, saving: MemoryPolicy | None = None, **values: Any
) -> tuple[Tensor, dict[str, Tensor]]:
    """Gradient and losses with the tiny secondary network."""
    random = FixedRandom(1, range(len(x_t)))
    guided = Guidance(
        TinyDenoiser(), TinySecondary(), targets, options(**values), random, saving=saving or MemoryPolicy()
    )
    _, grad, losses = guided(x_t, step)
    assert grad is not None and not grad.requires_grad
    return grad, losses


BUSY = {"cut_overview": 3, "cut_innercut": 5, "cut_icgray_p": 0.4, "skip_augs": False, "tv_scale": 100}
