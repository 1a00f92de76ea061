"""Networks and allocators that run out of memory where a test wants it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from disco.networks.load import Networks
from disco.secondary_model import SecondaryOutput
from tests.guidance_fakes import TinyClip, TinySecondary
from tests.small_run import SmallLpips, small_networks

TEXTS = (
    "DefaultCPUAllocator: can't allocate memory: you tried to allocate 6576668672 bytes.",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
)


@dataclass
class Shortage:
    """Memory that is too short for some calls: asked at each, in words (`here`), with how many come at once.

    at: the number of the call that fails, from 1; most: more than so many at once fail, always.
    """

    here: str = ""
    at: int = 0
    most: int = 10**9
    calls: int = 0
    failures: int = 0

    def check(self, here: str, n: int = 1) -> None:
        if here != self.here:
            return
        self.calls += 1
        if self.calls == self.at or n > self.most:
            self.failures += 1
            kinds: list[BaseException] = [torch.OutOfMemoryError("CUDA out of memory."), MemoryError()]
            kinds += [RuntimeError(text) for text in TEXTS]
            raise kinds[self.failures % len(kinds)]

    def around(self, here: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, after a check."""

        def checked(*args: Any, **named: Any) -> Any:
            self.check(here)
            return function(*args, **named)

        return checked


class Backward(torch.autograd.Function):
    """Passes all on; checks on the way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, check: Callable[[int], None]) -> Tensor:
        ctx.check = check
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        ctx.check(len(grad))
        return grad, None


class Module(nn.Module):
    """A function as a module, which hooks can watch."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.forward = function


@dataclass
class ShortClip(TinyClip):
    name: str = "pocket-conv"
    shortage: Shortage = field(default_factory=Shortage)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.network = Module(self._encode)

    def encode_image(self, cutouts: Tensor) -> Tensor:
        return self.network(cutouts)

    def _encode(self, cutouts: Tensor) -> Tensor:
        self.shortage.check("CLIP forward", len(cutouts))
        seen = Backward.apply(cutouts, lambda n: self.shortage.check("CLIP backward", n))
        return super().encode_image(seen)

    def encode_text(self, texts: list[str]) -> Tensor:
        self.shortage.check("prompts")
        return torch.randn(len(texts), 5, generator=torch.Generator().manual_seed(3))

    def remember(self, texts: Any) -> None: ...

    def free_text_tower(self) -> None: ...


class ShortSecondary(TinySecondary):
    def __init__(self, shortage: Shortage) -> None:
        super().__init__()
        self.shortage = shortage

    def forward(self, x_t: Tensor, t: Tensor) -> SecondaryOutput:
        self.shortage.check("secondary forward", len(x_t))
        x_t = Backward.apply(x_t, lambda n: self.shortage.check("back", n))
        return super().forward(x_t, t)


class ShortLpips(SmallLpips):
    def __init__(self, shortage: Shortage) -> None:
        self.shortage = shortage
        self.network = Module(self._features)

    def prepare(self, init: Tensor) -> Any:
        init = self.network(init, "LPIPS of the init")
        return lambda pictures: ((self.network(pictures, "LPIPS") - init) ** 2).mean((1, 2, 3))

    def _features(self, pictures: Tensor, here: str) -> Tensor:
        self.shortage.check(here, len(pictures))
        return pictures


def short_networks(shortage: Shortage, *, secondary: bool = True) -> Networks:
    """Those of a small run, which run short of memory as told."""
    networks = small_networks()
    networks.clips = [ShortClip(shortage=shortage)]  # type: ignore[list-item]
    networks.secondary = ShortSecondary(shortage) if secondary else None  # type: ignore[assignment]
    networks.lpips = ShortLpips(shortage)  # type: ignore[assignment]
    whole = networks.denoiser

    def denoiser(x_t: Tensor, t: float) -> Tensor:
        shortage.check("UNet", len(x_t))
        return whole(Backward.apply(x_t, lambda n: shortage.check("back", n)), t)

    networks.denoiser = Module(denoiser)  # type: ignore[assignment]
    return networks
