"""How many kernels does a guidance step start? Counted without a GPU: python -m benchmarks.kernels

A fast GPU waits for its kernels to be started one by one, so their number is what a step costs beside its
networks. On the meta device nothing is computed; every aten call that would start a kernel is counted, those
of the way back too, and every copy of the host's numbers by the line that makes it. CLIPs and the UNet are
replaced by almost nothing: their own kernels are not meant.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks import machine, networks
from benchmarks.guidance import STEPS, settings_of
from disco.guidance import Guidance
from disco.losses.targets import PromptTarget
from disco.sampling.diffusion import make_steps
from disco.sampling.randomness import FixedRandom
from disco.settings.schedules import Schedule

_FREE = {
    "_unsafe_view",
    "detach",
    "alias",
    "lift_fresh",
    "_reshape_alias",
    "empty",
    "empty_like",
    "new_empty",
}
_FREE |= {"empty_strided", "new_empty_strided"}
_WAITS = {"_local_scalar_dense", "item", "is_nonzero", "nonzero", "equal", "masked_select"}


_COPIES = {"_to_copy", "copy_", "index", "index_put_", "_index_put_impl_", "gather", "cat", "stack"}
_MADE_OF_NUMBERS = {"tensor", "as_tensor", "asarray", "new_tensor"}


def is_copy(name: str, devices: set[str], device: str) -> bool:
    """Does this call, of these devices' tensors, bring numbers from the host to the device or back?"""
    return name in _COPIES and devices >= {"cpu", device}


def devices_of(values: Any) -> set[str]:
    """Of the tensors in these values; a number of the host is none, as kernels take it as an argument."""
    return {leaf.device.type for leaf in tree_leaves(values) if isinstance(leaf, Tensor)}


def line() -> str:
    """file:line of the innermost call from disco/, else that autograd made it."""
    for frame in reversed(traceback.extract_stack()):
        path = Path(frame.filename)
        if path.is_relative_to(machine.ROOT / "disco"):
            return f"{path.relative_to(machine.ROOT)}:{frame.lineno}"
    return "outside of disco/"


class Constants(TorchFunctionMode):
    """Counts, by line, tensors made on a device of Python's numbers: copies that dispatch does not show."""

    def __init__(self, device: str, copies: Counter[str]) -> None:
        super().__init__()
        self.device, self.copies = device, copies

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        was_there = func.__name__ == "as_tensor" and devices_of(args[:1]) == {self.device}
        if func.__name__ in _MADE_OF_NUMBERS and devices_of(made) == {self.device} and not was_there:
            self.copies[line()] += 1
        return made


class KernelCount(TorchDispatchMode):
    """Counts, while entered, the aten calls that work on a device.

    kernels: name -> calls that are no views. waits: those for whose numbers the host would have to wait.
    copies: from the host or to it, by the line of disco/ that makes them.
    """

    def __init__(self, device: str = "meta") -> None:
        super().__init__()
        self.device = device
        self.kernels: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()
        self.copies: Counter[str] = Counter()
        self._constants = Constants(device, self.copies)

    def __enter__(self) -> KernelCount:
        self._constants.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *how: Any) -> None:
        super().__exit__(*how)
        self._constants.__exit__(*how)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::")
        devices = devices_of((args, kwargs, made))
        if self.device in devices:
            if is_copy(name, devices, self.device):
                self.copies[line()] += 1
            if name in _WAITS:
                self.waits[name] += 1
            if not func.is_view and name not in _FREE:
                self.kernels[name] += 1
        return made


class MeanColour:
    """In a CLIP's place: a handful of kernels."""

    def __init__(self, name: str, image_size: int = 224) -> None:
        self.name, self.image_size = name, image_size

    def encode_image(self, cutouts: Tensor) -> Tensor:
        """[N, 3, S, S] -> [N, 3]."""
        return cutouts.mean((2, 3))

    def target(self, device: str) -> PromptTarget:
        """One prompt."""
        embeds, weight = torch.ones(1, 3, device=device), torch.ones(1, device=device)
        return PromptTarget(self, embeds, lambda index: weight, Schedule.parse(1))


class OnDevice(FixedRandom):
    """Pixel noise from the device's own generator: one kernel, wherever it is."""

    def pixel_noise(
        self, step: Any, clip_index: int, batch_index: int, shape: Sequence[int], device: Any, *rest: int
    ) -> Tensor:
        return torch.randn(tuple(shape), device=device)


def count(
    schedule: str = "early", sides: Sequence[int] = (224, 224, 224), compat: str = "fixed", **values: Any
) -> KernelCount:
    """One guidance step at 1280x768 with the original's schedules. sides: input sides of the CLIPs."""
    step, size = make_steps(250)[STEPS[schedule]], (1280, 768)
    targets = [MeanColour(f"{k}", side).target("meta") for k, side in enumerate(sides)]
    secondary = networks.secondary(networks.FULL_SECONDARY, torch.device("meta"))
    settings = settings_of(size, compat, **values)
    guided = Guidance(networks.no_denoiser, secondary, targets, settings, OnDevice(0, [0]), compat=compat)
    x_t = torch.zeros(1, 3, size[1], size[0], device="meta")
    guided(x_t, step)  # what is kept from step to step
    with KernelCount() as counted:
        guided(x_t, step)
    return counted


def main() -> None:
    """Print the table."""
    rows = []
    for schedule in STEPS:
        for sides in ((224,), (224, 224, 224), (224, 224, 288)):
            counted = count(schedule, sides)
            kinds = ", ".join(f"{name} {n}" for name, n in counted.kernels.most_common(6))
            rows.append(
                {
                    "step": schedule,
                    "CLIPs": len(sides),
                    "input sides": ", ".join(map(str, sides)),
                    "kernels": counted.kernels.total(),
                    "waits": counted.waits.total(),
                    "copies": counted.copies.total(),
                    "most": kinds,
                }
            )
    print(machine.table(rows))


if __name__ == "__main__":
    main()
