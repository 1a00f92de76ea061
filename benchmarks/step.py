"""Where does the time of a step go? python -m benchmarks.step

One step of stills by part: UNet, secondary network, cutouts, augmentations, each CLIP, LPIPS, the other
losses, sampler, preview. Beside the seconds stands the floor: the multiplications and additions of the part
(by torch.utils.flop_counter), divided by what a large matrix product of the same number type reaches on the
same device in the same run; and the share of it that the part reached. Tiny networks on a CPU, the published
architectures with random weights on a GPU or with --real. On a GPU the parts are waited for one by one; the
last row is a step as in a run, where nothing waits and the UNet works beside the guidance.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks import machine, networks
from benchmarks.guidance import STEPS, noisy_picture, settings_of, timed
from disco.guidance import Guidance
from disco.losses.clip import ClipLoss
from disco.losses.targets import PromptTarget
from disco.media.images import png_bytes
from disco.memory.devices import move, pick_device, torch_dtype
from disco.memory.number_types import unet_dtype
from disco.memory.policy import MemoryPolicy, Stage
from disco.memory.stages import hook_networks, listening
from disco.memory.streams import Executor, Inline, executor_for
from disco.networks.load import Networks
from disco.networks.perceptual import PerceptualModel, PerceptualNet, SmallPerceptualNet, build_lpips
from disco.sampling.diffusion import Step, make_steps
from disco.sampling.randomness import FixedRandom
from disco.sampling.samplers import Sample, SamplerOptions, ddim

_NAMES = {
    Stage.UNET: "UNet",
    Stage.SECONDARY: "secondary network",
    Stage.BACK: "secondary network",
    Stage.CUTOUTS: "cutouts",
    Stage.LOSSES: "other losses",
    Stage.PERCEPTUAL: "LPIPS",
    Stage.SAMPLER: "sampler",
}


class Flops(TorchDispatchMode):
    """Counts multiplications and additions while entered; FlopCounterMode itself fails around a backward."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        self.total += count(*args, **(kwargs or {}), out_val=made) if count else 0
        return made


class Parts:
    """The stages of a step, timed: name of a part -> seconds; with counting, what it multiplies and adds.

    clips: names of the CLIPs by their modules.
    """

    def __init__(
        self, device: torch.device, counting: bool = False, clips: Mapping[nn.Module, str] | None = None
    ) -> None:
        self.device, self.counting, self.clips = device, counting, clips or {}
        self.seconds: dict[str, float] = defaultdict(float)
        self.flops: dict[str, int] = defaultdict(int)
        self._stage = ExitStack()

    def __call__(self, stage: Stage, *networks: Any, cutouts: int = 1) -> None:
        """A stage begins, and ends the one before; see memory.stages.Listener."""
        self._stage.close()
        name = f"CLIP {self.clips[networks[0]]}" if stage is Stage.CLIP else _NAMES[stage]
        self._stage.enter_context(self.part(name))

    @contextmanager
    def step(self) -> Iterator[None]:
        """What happens within belongs to the stages that are noted there, from the sampler on."""
        with listening(self), self._stage:
            self(Stage.SAMPLER)
            yield

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What happens within belongs to this part."""
        began = now(self.device)
        if self.counting:
            with Flops() as counter:
                yield
            self.flops[name] += counter.total
        else:
            yield
        self.seconds[name] += now(self.device) - began


def now(device: torch.device) -> float:
    """Seconds, when everything asked of the device is done; of the processor on a CPU with one thread."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (
        time.process_time() if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter()
    )


@dataclass
class Bench:
    """The networks and the picture of a step."""

    device: torch.device
    real: bool
    size: tuple[int, int]
    schedule: str

    def __post_init__(self) -> None:
        kind, channels = ("real", networks.FULL_SECONDARY) if self.real else ("tiny", networks.TINY_SECONDARY)
        self.denoiser = networks.denoiser(self.real, self.device)
        self.secondary = networks.secondary(channels, self.device)
        self.targets = networks.targets(networks.clips(kind, self.device), self.device)
        self.lpips = perceptual(self.real, self.device)
        self.settings = settings_of(self.size, "fixed", init_scale=1000, tv_scale=100, sat_scale=100)
        self.step: Step = make_steps(250)[STEPS[self.schedule]]
        self.x_t = noisy_picture(self.size, self.step, self.device)

    @contextmanager
    def timed(self, counting: bool) -> Iterator[Parts]:
        """The parts of the step that runs within."""
        clips = [target.clip for target in self.targets]
        networks = Networks(self.denoiser, self.secondary, clips, self.lpips)  # type: ignore[arg-type]
        names = {clip.network: clip.name for clip in networks.clips}
        parts, hooks = Parts(self.device, counting, names), hook_networks(networks)
        try:
            with parts.step():
                yield parts
        finally:
            for hook in hooks:
                hook.remove()

    def guidance(self, side: Executor) -> Guidance:
        """What a run calls at every step."""
        parts = (self.denoiser, self.secondary, self.targets, self.settings, FixedRandom(0, [0]))
        init = torch.zeros_like(self.x_t)
        return Guidance(*parts, init=init, lpips=self.lpips, side=side)

    def sample(self, guidance: Guidance) -> Sample:
        """One whole step."""
        random, shape = FixedRandom(0, [0]), tuple(self.x_t.shape)
        options = SamplerOptions(0.8, lambda step: move(random.step_noise(step, shape), self.x_t.device))
        steps = ddim(self.x_t, [self.step], guidance, options)
        return next(steps)


def perceptual(real: bool, device: torch.device) -> PerceptualNet:
    """LPIPS' VGG, or pocket's small network, with random weights."""
    if not real:
        return SmallPerceptualNet(PerceptualModel([16, 32, 64]).to(device))
    from lpips import ScalingLayer

    network: Any = build_lpips().to_empty(device=device)
    for weights in network.parameters():
        torch.nn.init.normal_(weights, std=0.02)
    network.scaling_layer = ScalingLayer().to(device)
    return PerceptualNet(network)


def by_part(bench: Bench, counting: bool = False) -> Parts:
    """One step, part by part."""
    guidance = bench.guidance(Inline())
    with bench.timed(counting) as parts:
        sample = bench.sample(guidance)
    with parts.part("preview"):
        png_bytes(sample.pred_x0[0])
    for place, target in enumerate(bench.targets):
        took, flops = augmentations(guidance._clip_loss, target, bench, place, counting)
        parts.seconds["augmentations"] += took
        parts.seconds["cutouts"] -= took  # of which they are a part
        parts.flops["augmentations"] += flops
        parts.flops["cutouts"] -= flops
    return parts


def augmentations(
    loss: ClipLoss, target: PromptTarget, bench: Bench, place: int, counting: bool
) -> tuple[float, int]:
    """The augmentations of a network's cutouts, there and back, by themselves: seconds, flops."""
    settings, index, side = bench.settings, bench.step.index, target.clip.image_size
    n = int(settings.cut_overview.at(index)) + int(settings.cut_innercut.at(index))
    shape = (1, int(settings.cutn_batches.at(index)), n, 3, side, side)
    cutouts = torch.rand(shape, device=bench.device).requires_grad_()
    alone = Parts(bench.device, counting)
    with alone.part("augmentations"), torch.enable_grad():
        changed = loss._augmented(cutouts, bench.step, place)
        torch.autograd.grad(changed, cutouts, torch.ones_like(changed))
    return alone.seconds["augmentations"], alone.flops["augmentations"]


def peak(device: torch.device, dtype: torch.dtype) -> float:
    """Multiplications and additions a second of a large matrix product."""
    n = 8192 if device.type == "cuda" else 2048
    a = torch.randn(n, n, device=device, dtype=dtype)
    times = [timed(lambda: a @ a, device)[0] for _ in range(4)]
    return 2 * n**3 / min(times[1:])


def rows_of(bench: Bench, turns: int) -> list[dict[str, Any]]:
    """The table: every part with the least of its times."""
    counted = by_part(bench, counting=True)
    measured = [by_part(bench).seconds for _ in range(turns)]
    seconds = {name: min(turn[name] for turn in measured) for name in measured[0]}
    dtypes = {"UNet": torch_dtype(unet_dtype("auto", bench.device.type))} | {
        f"CLIP {target.clip.name}": target.clip.dtype for target in bench.targets
    }
    peaks = {dtype: peak(bench.device, dtype) for dtype in {torch.float32, *dtypes.values()}}
    total, floor = sum(seconds.values()), 0.0
    rows = []
    for name, took in sorted(seconds.items(), key=lambda item: -item[1]):
        flops = counted.flops.get(name, 0)
        its_floor = flops / peaks[dtypes.get(name, torch.float32)]
        floor += its_floor
        rows.append(_row(name, took, took / total, flops, its_floor))
    flops = sum(counted.flops.values())
    rows.append(_row("all parts", total, 1.0, flops, floor))
    guidance = bench.guidance(executor_for(bench.device, MemoryPolicy()))
    took = min(timed(lambda: bench.sample(guidance).x_t, bench.device)[0] for _ in range(turns))
    rows.append(_row("a step as in a run", took, took / total, flops, floor))
    return rows


def _row(name: str, seconds: float, share: float, flops: int, floor: float) -> dict[str, Any]:
    return {
        "part": name,
        "ms": round(seconds * 1000, 2),
        "share of the step": round(share, 3),
        "GFLOP": round(flops / 1e9, 2),
        "floor, ms": round(floor * 1000, 2),
        "reached": round(floor / seconds, 3) if seconds > 0 else 0.0,
    }


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--real", action="store_true", help="the published architectures; so on a GPU")
    parser.add_argument("--size", default=None, help="WxH; 1280x768 with --real, else 256x256")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of a CPU")
    parser.add_argument("--out", type=Path, default=machine.RESULTS)
    options = parser.parse_args()
    device = pick_device(options.device)
    torch.set_num_threads(options.threads)
    real = options.real or device.type == "cuda"
    width, height = map(int, (options.size or ("1280x768" if real else "256x256")).split("x"))
    torch.manual_seed(0)
    about, saved = machine.about(device), []
    for schedule in STEPS:
        rows = rows_of(Bench(device, real, (width, height), schedule), options.turns)
        print(f"{schedule} step, {width}x{height}, {'published' if real else 'tiny'} architectures\n")
        print(machine.table(rows) + "\n", flush=True)
        saved += [{"step": schedule, "size": f"{width}x{height}", **row} for row in rows]
    print(machine.save(f"step_{device.type}", saved, about, options.out), file=sys.stderr)


if __name__ == "__main__":
    main()
