"""torch.compile for the networks of a run: cached on disk, checked against the plain network, optional.

A network is compiled when it is first called with inputs of a new shape. It must then answer, and send back
gradients, as it did before; where it does not, or cannot be compiled at all, it stays as it is.
"""

from __future__ import annotations

import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from disco.memory.grad_checkpoint import blocks_of, tower_of
from disco.memory.offload import modules_of
from disco.memory.oom import ran_out
from disco.memory.policy import Stage
from disco.networks.load import Networks
from disco.networks.required import ROLES
from disco.weights.local import cache_dir

if TYPE_CHECKING:
    from disco.settings.model import Settings

ENOUGH_STEPS = 1000  # left in the run, for `auto`: minutes of compiling against hundredths of a second a step
SHAPES = 4  # of a network's inputs that are compiled for; with others it runs as it is
AGREE = 0.05  # of the largest number: wrong kernels are further off, half precision's rounding is not
FOLDER = "compiled"  # in Disco's cache
_KEPT_AT = "TORCHINDUCTOR_CACHE_DIR"

Backend = str | Callable[..., Any]


def is_worth_it(settings: Settings, networks: Networks, steps_left: int) -> bool:
    """Whether to compile: the setting `compile`, with `auto` resolved.

    auto: on CUDA, if the run has at least ENOUGH_STEPS steps left or the networks are compiled already; not
    with deterministic or compat dd57, whose pictures must not depend on how many others are rendered.
    """
    if settings.compile != "auto":
        return settings.compile
    if networks.device.type != "cuda" or settings.deterministic or settings.compat == "dd57":
        return False
    return steps_left >= ENOUGH_STEPS or bool(compiled(networks))


def prepare(networks: Networks, on: bool, tell: Callable[[str], None], backend: Backend = "inductor") -> None:
    """Compile the networks at their next call, or (on=False) run them uncompiled.

    tell: is given a sentence for the user whenever one was compiled or could not be.
    """
    if not on:
        for _, module in _parts(networks):
            module._compiled_call_impl = None
        return
    if backend == "inductor":
        _keep_kernels()
    shared = next((compiled_module.shared for compiled_module in _stand_ins(networks)), _Shared(tell))
    shared.tell = tell
    for name, module in _parts(networks):
        if not isinstance(module._compiled_call_impl, _Compiled):
            module._compiled_call_impl = _Compiled(name, module, backend, shared)


def compiled(networks: Networks) -> list[str]:
    """The names of the networks that have been compiled."""
    return [compiled_module.name for compiled_module in _stand_ins(networks) if compiled_module.done]


@dataclass
class _Shared:
    """Shared by the networks of a run. failed: one could not be compiled, so no other is tried."""

    tell: Callable[[str], None]
    failed: bool = False


@dataclass
class _Compiled:
    """Stands where torch puts a module's compiled call: nn.Module calls it in place of itself.

    Only the module's forward is compiled; its forward pre-hooks are called before, uncompiled.
    done: the kinds of inputs that it is compiled for.
    """

    name: str
    module: nn.Module
    backend: Backend
    shared: _Shared
    done: set[tuple[Any, ...]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._plain: Callable[..., Any] = self.module._call_impl
        self._compiled: Callable[..., Any] | None = None
        self._blocks = blocks_of(self.module)

    def __call__(self, *args: Any) -> Any:
        kind = _kind(args)
        if self._is_checkpointed() or not (kind in self.done or self._is_tried(args, kind)):
            return self._plain(*args)
        assert self._compiled is not None
        for hook in self.module._forward_pre_hooks.values():
            hook(self.module, args)
        return self._compiled(*args)

    def _is_checkpointed(self) -> bool:
        """Is gradient checkpointing on, ours or guided-diffusion's own? Such networks are not compiled."""
        return any("forward" in vars(block) or vars(block).get("use_checkpoint") for block in self._blocks)

    def _is_tried(self, args: tuple[Any, ...], kind: tuple[Any, ...]) -> bool:
        """Compile for these inputs. True if outputs and gradients agree with the plain network's."""
        if self.shared.failed or len(self.done) >= SHAPES:
            return False
        began = time.monotonic()
        self.shared.tell(f"{self.name}: compiling, about a minute; compile: false does without")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # advice for those who write networks
                if self._compiled is None:
                    self._compiled = torch.compile(self.module.forward, dynamic=False, backend=self.backend)
                difference = _difference(_answers(self._plain, args), _answers(self._compiled, args))
        except Exception as error:  # of a compiler, its backends, the C++ below them: of any kind
            self._give_up("out of memory" if ran_out(error) else _first_line(error))
            return False
        if not difference <= AGREE:
            self._give_up(f"its outputs differ by {difference:.1e} of the largest value")
            return False
        self.done.add(kind)
        seconds = time.monotonic() - began
        self.shared.tell(f"{self.name}: compiled in {seconds:.0f} s, outputs differ by {difference:.0e}")
        return True

    def _give_up(self, why: str) -> None:
        self.shared.failed = True
        self.shared.tell(f"{self.name}: could not be compiled, so the rest runs uncompiled ({why})")


def _keep_kernels() -> None:
    """Let torch cache kernels in Disco's cache, unless the user chose a folder; its default is temporary."""
    chosen = Path(os.environ.get(_KEPT_AT) or tempfile.gettempdir())
    if chosen.name.startswith("torchinductor_") or chosen == Path(tempfile.gettempdir()):
        os.environ[_KEPT_AT] = str(cache_dir() / FOLDER)


def _parts(networks: Networks) -> Iterator[tuple[str, nn.Module]]:
    """(name, module) of the networks that are compiled; LPIPS takes too small a share of a step."""
    for role, row in ROLES.items():
        for thing in networks.of(role) if row.compiled else ():
            for module in modules_of(thing):
                if row.stage is Stage.CLIP:
                    yield thing.name, tower_of(module)
                else:
                    yield row.stage.value, module


def _stand_ins(networks: Networks) -> list[_Compiled]:
    calls = [module._compiled_call_impl for _, module in _parts(networks)]
    return [call for call in calls if isinstance(call, _Compiled)]


def _kind(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Inputs with equal keys share a compilation."""
    of_tensors = ((arg.shape, arg.dtype, arg.device, arg.requires_grad) for arg in args)
    return (torch.is_grad_enabled(), *of_tensors)


def _answers(call: Callable[..., Any], args: tuple[Tensor, ...]) -> list[Tensor]:
    """The outputs, and the gradients at those inputs that require one."""
    inputs = [arg.detach().clone().requires_grad_(arg.requires_grad) for arg in args]
    out = call(*inputs)
    outputs = [out] if isinstance(out, Tensor) else list(out)
    asked = [each for each in inputs if each.requires_grad] if torch.is_grad_enabled() else []
    total = torch.stack([each.float().square().mean() for each in outputs]).sum()
    grads = torch.autograd.grad(total, asked, allow_unused=True) if asked else ()
    return [each.detach().float() for each in (*outputs, *grads) if each is not None]


def _difference(plain: list[Tensor], other: list[Tensor]) -> float:
    """The largest difference, relative to the largest value of its tensor; 0 where `plain` is not finite."""
    shares = [
        ((a - b).abs().max() / a.abs().max().clamp(min=1e-12)) if a.isfinite().all() else a.new_zeros(())
        for a, b in zip(plain, other, strict=True)
    ]
    return float(torch.stack(shares).max())


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
