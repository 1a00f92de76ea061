"""How much memory does a step need, and what does the estimate say? python -m benchmarks.memory

Two guided steps of every cell, each in a process of its own: the peak of its memory beside the estimate of
--plan. On a GPU the published architectures with random weights and torch's own count of allocated bytes; on
a CPU small ones and the peak of resident memory above what it was before the networks were made.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks import machine
from disco.guidance import Guidance, PromptTarget
from disco.memory.devices import pick_device, torch_dtype
from disco.memory.number_types import unet_dtype
from disco.memory.policy import MemoryPolicy, Stage
from disco.memory.retry import OomRetry
from disco.memory.streams import executor_for
from disco.networks.clip import ClipConfig, ClipModel, build_clip, builtin_config
from disco.networks.denoiser import Denoiser, build_unet, convert
from disco.networks.estimate import MemoryEstimate, Workload, peak_memory
from disco.networks.footprint import count
from disco.networks.load import Networks
from disco.networks.required import Need
from disco.sampling.diffusion import make_steps
from disco.sampling.randomness import FixedRandom
from disco.sampling.samplers import SamplerOptions, ddim
from disco.secondary_model import SecondaryModel
from disco.settings.load import run_from_mapping
from disco.settings.schedules import Schedule
from disco.weights.registry import registry

_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
_SMALL: dict[str, dict[str, Any]] = {
    "vit": {"image_size": 96, "layers": 8, "width": 192, "head_width": 64, "patch_size": 16},
    "vit-wide": {"image_size": 96, "layers": 8, "width": 384, "head_width": 64, "patch_size": 8},
    "resnet": {"image_size": 96, "layers": [2, 2, 2, 2], "width": 32, "patch_size": None, "head_width": 64},
}
_SMALL_UNET = {
    "image_size": 256, "num_channels": 64, "num_res_blocks": 1, "channel_mult": "1,2,2,4",
    "num_head_channels": 64, "attention_resolutions": "32", "use_scale_shift_norm": True,
    "resblock_updown": True, "learn_sigma": True,
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One measurement. size: (W, H); cuts: of each CLIP in a step; saving: a MemoryPolicy's plain()."""

    size: tuple[int, int]
    cuts: int
    clips: tuple[str, ...]
    batch_size: int = 1
    secondary: bool = True
    saving: Mapping[str, Any] = field(default_factory=dict)


SMALL = Cell((256, 256), 16, ("vit",))
REAL = Cell((1280, 768), 64, ("ViT-B-32-quickgelu", "ViT-B-16-quickgelu", "RN50-quickgelu"))


def cells(real: bool) -> Iterator[Cell]:
    """One base, and what changes when one thing does."""
    base = REAL if real else SMALL
    sizes = [(512, 512), (1920, 1088)] if real else [(128, 128), (512, 384)]
    clips = (
        [base.clips[:1], (*base.clips, "ViT-L-14-quickgelu")] if real else [("vit-wide",), ("vit", "resnet")]
    )
    yield base
    yield from (replace(base, size=size) for size in sizes)
    yield from (replace(base, cuts=cuts) for cuts in ((16, 128) if real else (4, 64)))
    yield from (replace(base, clips=names) for names in clips)
    yield replace(base, batch_size=2)
    yield replace(base, batch_size=2, saving={"together": 1})
    yield replace(base, secondary=False)
    yield replace(base, secondary=False, saving={"guess_twice": True})
    for saving in (
        MemoryPolicy(clip_batch=4),
        MemoryPolicy(grad_checkpoint_guess=True),
        MemoryPolicy(grad_checkpoint=True),
        *([MemoryPolicy(one_stream=True), MemoryPolicy(offload=True)] if real else []),
    ):
        yield replace(base, saving=saving.plain())


def measure(cell: Cell, device: torch.device, real: bool) -> dict[str, Any]:
    """Bytes: what two steps needed at most, and what the estimate says, of which stage."""
    if device.type == "cpu":  # libraries are loaded, threads started, kernels made
        warm = Cell((64, 64), 2, tuple(_SMALL))
        _two_steps(warm, OomRetry(_networks(warm, device, False)))
    peak = _watch(device)
    saving = MemoryPolicy.of(cell.saving)
    networks = _networks(cell, device, real)
    oom_retry = OomRetry(networks, saving=saving)
    _two_steps(cell, oom_retry)
    measured = peak()
    found = _estimate(cell, device, real, saving)
    counted = {"counted": found.weights + found.work, "stage": found.stage.value}
    return {"peak": measured, "estimate": found.total, **counted}


def _watch(device: torch.device) -> Callable[[], int]:
    """Begin to watch; what is returned says how many bytes more were needed at most since then."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return lambda: torch.cuda.max_memory_allocated(device)
    _give_back()
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not status.exists():
        import resource

        factor = 1 if sys.platform == "darwin" else 1024
        start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return lambda: (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) * factor
    clear.write_text("5")  # forget the peak so far

    def read(name: str) -> int:
        line = next(line for line in status.read_text().splitlines() if line.startswith(name))
        return int(line.split()[1]) * 1024

    start = read("VmRSS:")
    return lambda: read("VmHWM:") - start


def _give_back() -> None:
    """What the process holds and does not use goes back to the machine, where it can be told to."""
    gc.collect()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def _architecture(real: bool) -> Mapping[str, Any]:
    name = "512x512_diffusion_uncond_finetune_008100"
    return registry().get("diffusion", name).architecture if real else _SMALL_UNET


def _config(name: str) -> ClipConfig:
    if name in _SMALL:
        cfg = {"embed_dim": 64, "vision_cfg": _SMALL[name], "text_cfg": _TEXT}
        return ClipConfig(cfg, (0.5,) * 3, (0.5,) * 3, name)
    return builtin_config(name, "openai")


def _networks(cell: Cell, device: torch.device, real: bool) -> Networks:
    architecture = _architecture(real)
    dtype = torch_dtype(unet_dtype("auto", device.type))
    with device:
        unet = build_unet(architecture, use_checkpoint=not cell.secondary)
        secondary = SecondaryModel(64 if real else 16).requires_grad_(False) if cell.secondary else None
    clips = []
    for name in cell.clips:
        with device:
            network = build_clip(_config(name), dtype)
        clip = ClipModel(name, network, _config(name), device=device, dtype=dtype)
        clip.free_text_tower()
        clips.append(clip)
    return Networks(Denoiser(convert(unet, dtype), architecture), secondary, clips, device=device)


def _two_steps(cell: Cell, oom_retry: OomRetry) -> None:
    networks, device, pictures = oom_retry.networks, oom_retry.networks.device, range(cell.batch_size)
    half = {"cut_overview": cell.cuts // 2, "cut_innercut": cell.cuts - cell.cuts // 2, "cutn_batches": 1}
    settings = run_from_mapping({"text_prompts": "a", "width_height": list(cell.size), **half}).settings
    targets = [
        PromptTarget(clip, torch.randn(1, clip.embed_dim, device=device), _one(device), Schedule.parse(1))
        for clip in networks.clips
    ]
    together = oom_retry.saving.together or cell.batch_size

    def guided(some: range) -> Guidance:
        random = FixedRandom(0, some)
        parts = (networks.denoiser, networks.secondary, targets, settings, random)
        return Guidance(*parts, saving=oom_retry.saving, side=executor_for(device, oom_retry.saving))

    width, height = cell.size
    for at in range(0, cell.batch_size, together):
        some = pictures[at : at + together]
        x_t = torch.randn(len(some), 3, height, width, device=device)
        steps, random = make_steps(250)[100:102], FixedRandom(0, some)
        shape = tuple(x_t.shape)
        options = SamplerOptions(noise=lambda step: random.step_noise(step, shape))  # noqa: B023
        samples = ddim(x_t, steps, guided(some), options)
        oom_retry.run(lambda: [*samples])  # noqa: B023


def _one(device: torch.device) -> Callable[[int], torch.Tensor]:
    return lambda index: torch.ones(1, device=device)


def _estimate(cell: Cell, device: torch.device, real: bool, saving: MemoryPolicy) -> MemoryEstimate:
    work = Workload(cell.size, cell.batch_size, cell.cuts * cell.batch_size, device)
    configs = {f"{name}/openai": _config(name) for name in cell.clips}
    unet, dtype = _architecture(real), unet_dtype("auto", device.type)
    torso = unet_dtype("auto", device.type, half=bool(unet.get("use_fp16", True)))
    needs = [Need("diffusion", "", None, torso, Stage.UNET, not cell.secondary, unet)]
    needs += [Need("clip", name, None, dtype, Stage.CLIP, True) for name in configs]
    if cell.secondary:
        facts = {"channels": 64 if real else 16}
        needs.append(Need("secondary", "", None, "fp32", Stage.SECONDARY, True, facts))
    return peak_memory(count(needs, configs, work.size), work, saving)


def in_child(cell: Cell, device: str, real: bool) -> dict[str, Any]:
    """measure(cell) in a process of its own; its error is ours."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.memory",
        "--device",
        device,
        "--cell",
        json.dumps(asdict(cell)),
    ]
    command += ["--architectures", "real" if real else "small"]
    done = subprocess.run(command, cwd=machine.ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def row_of(cell: Cell, found: Mapping[str, Any]) -> dict[str, Any]:
    """As the table has it; GiB."""
    gib = {name: found[name] / 2**30 for name in ("peak", "counted", "estimate")}
    return {
        "size": f"{cell.size[0]}x{cell.size[1]}",
        "pictures": cell.batch_size,
        "cuts": cell.cuts,
        "CLIPs": ", ".join(cell.clips),
        "secondary": "yes" if cell.secondary else "no",
        "memory saving": MemoryPolicy.of(cell.saving).words() or "-",
        "peak, GiB": round(gib["peak"], 3),
        "counted": round(gib["counted"], 3),
        "estimate": round(gib["estimate"], 3),
        "peak at": found["stage"],
        "estimate / peak": round(gib["estimate"] / gib["peak"], 2),
    }


def main() -> None:
    """Measure every cell and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--architectures", choices=("small", "real"), help="real on a GPU, else small")
    parser.add_argument("--cells", type=int, help="only the first so many")
    parser.add_argument("--out", type=Path, default=machine.RESULTS)
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    options = parser.parse_args()
    device = pick_device(options.device)
    real = options.architectures == "real" if options.architectures else device.type == "cuda"
    if options.cell:
        given = json.loads(options.cell)
        cell = Cell(**{**given, "size": tuple(given["size"]), "clips": tuple(given["clips"])})
        print(json.dumps(measure(cell, device, real)))
        return
    wanted = list(cells(real))[: options.cells]
    rows = []
    for n, cell in enumerate(wanted, 1):
        rows.append(row_of(cell, in_child(cell, options.device, real)))
        print(f"{n} of {len(wanted)}: {rows[-1]['peak, GiB']} GiB", file=sys.stderr, flush=True)
    about = machine.about(device)
    print(machine.table(rows))
    print(machine.save(f"memory_{device.type}", rows, about, options.out), file=sys.stderr)


if __name__ == "__main__":
    main()
