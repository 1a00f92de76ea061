"""How long does one guidance gradient take, beside the original's way? python -m benchmarks.guidance

disco.guidance against benchmarks/reference.py in one process, in turns, with random weights: of the
original's schedules one step with mostly overview cuts (early) and one with mostly inner cuts (late).
Three comparisons: `fixed` and `dd57` give both the same random numbers, so that the gradients are the same
but for rounding; `default` is what a user gets, ours in compat fixed against the original's algorithm with
its own augmentations. Seconds are of the processor on a CPU with one thread, else of the clock.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import machine, networks
from benchmarks.reference import Reference
from disco.guidance import Guidance
from disco.memory.devices import pick_device
from disco.networks.clip import ClipModel
from disco.sampling.diffusion import Step, make_steps, q_sample
from disco.sampling.randomness import FixedRandom, StreamRandom
from disco.settings.load import run_from_mapping

SCHEDULES = {
    "text_prompts": "a",
    "cut_overview": "[12]*400+[4]*600",
    "cut_innercut": "[4]*400+[12]*600",
    "cut_icgray_p": "[0.2]*400+[0]*600",
    "cut_ic_pow": 1,
    "cutn_batches": 4,
    "hue_jitter_max": 0.5,
    "clip_guidance_scale": 5000,
    "range_scale": 150,
    "tv_scale": 0,
    "sat_scale": 0,
    "clamp_grad": True,
    "clamp_max": 0.05,
}
STEPS = {"early": 40, "late": 180}  # of 250


@dataclass(frozen=True)
class Cell:
    """What is measured. clips: of networks.KINDS; channels: of the secondary network; size: (W, H)."""

    clips: str
    channels: int
    size: tuple[int, int]
    schedule: str

    @property
    def networks(self) -> str:
        """As the table has it."""
        return f"{self.clips} CLIPs, secondary of {self.channels}"


def cells(real: bool) -> Iterator[Cell]:
    """Tiny networks; such with large eyes; the full-size secondary; with real, the published ones too."""
    both = [(1280, 768), (512, 512)]
    tiny, full = networks.TINY_SECONDARY, networks.FULL_SECONDARY
    kinds = [("tiny", tiny, both), ("tiny 224", tiny, both[: 2 if real else 1])]
    kinds += [("tiny", full, both if real else both[1:])]
    kinds += [("real", full, both)] if real else []
    for clips, channels, its_sizes in kinds:
        yield from (Cell(clips, channels, size, when) for size in its_sizes for when in STEPS)


def settings_of(size: tuple[int, int], compat: str, **values: Any) -> Any:
    """The original's defaults for stills."""
    given = {**SCHEDULES, "width_height": list(size), "compat": compat, **values}
    return run_from_mapping(given).settings


def noisy_picture(size: tuple[int, int], step: Step, device: torch.device) -> Tensor:
    """Soft shapes under the noise of a step, [1, 3, H, W]."""
    width, height = size
    generator = torch.Generator().manual_seed(0)
    rough = torch.randn(1, 3, height // 64, width // 64, generator=generator)
    soft = torch.nn.functional.interpolate(rough, (height, width), mode="bicubic").clamp(-1, 1)
    return q_sample(soft, step, torch.randn(1, 3, height, width, generator=generator)).to(device)


Gradient = Callable[[], Tensor]
PLAIN, OURS = "plain", "ours"
COMPARISONS = {  # the table's word -> what is held against what
    "fixed": ((PLAIN, "fixed"), (OURS, "fixed")),
    "dd57": ((PLAIN, "dd57"), (OURS, "dd57")),
    "default": ((PLAIN, "dd57"), (OURS, "fixed")),
}


def gradients(
    cell: Cell, clips: list[ClipModel], device: torch.device
) -> dict[tuple[str, str], Callable[[], Tensor]]:
    """(plain or ours, compat) -> how to get that gradient."""
    step = make_steps(250)[STEPS[cell.schedule]]
    x_t = noisy_picture(cell.size, step, device)
    secondary, targets = networks.secondary(cell.channels, device), networks.targets(clips, device)
    seen = {PLAIN: networks.as_built(secondary), OURS: secondary}
    settings = {compat: settings_of(cell.size, compat) for compat in ("fixed", "dd57")}

    def parts(way: str, compat: str) -> tuple[Any, ...]:
        """The fields of Guidance and Reference; the random numbers start anew."""
        random = FixedRandom(0, [0]) if compat == "fixed" else StreamRandom(0)
        return networks.no_denoiser, seen[way], targets, settings[compat], random

    def plain(compat: str) -> Tensor:
        return Reference(*parts(PLAIN, compat), compat=compat)(x_t, step)

    def ours(compat: str) -> Tensor:
        gradient = Guidance(*parts(OURS, compat), compat=compat)(x_t, step)[1]
        assert gradient is not None
        return gradient

    ways = {PLAIN: plain, OURS: ours}
    return {(way, compat): partial(ways[way], compat) for way in ways for compat in settings}


def timed(do: Callable[[], Tensor], device: torch.device) -> tuple[float, Tensor]:
    """Seconds, and what came of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    clock = time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    began = clock()
    done = do()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - began, done


def measure(cell: Cell, clips: list[ClipModel], device: torch.device, turns: int) -> list[dict[str, Any]]:
    """The rows of a cell: every way once in each turn; on a GPU a turn before does not count."""
    ways = gradients(cell, clips, device)
    found: dict[tuple[str, str], Tensor] = {}
    seconds: dict[tuple[str, str], list[float]] = {name: [] for name in ways}
    for turn in range(turns if device.type == "cpu" else turns + 1):
        for name, do in ways.items():
            took, found[name] = timed(do, device)
            if turn or device.type == "cpu":
                seconds[name].append(took)
    return [_row(cell, word, seconds, found) for word in COMPARISONS]


def _row(
    cell: Cell, word: str, seconds: dict[tuple[str, str], list[float]], found: dict[tuple[str, str], Tensor]
) -> dict[str, Any]:
    plain, ours = COMPARISONS[word]
    difference = (found[plain] - found[ours]).norm() / found[plain].norm()
    ratios = [a / b for a, b in zip(seconds[plain], seconds[ours], strict=True)]
    return {
        "networks": cell.networks,
        "size": f"{cell.size[0]}x{cell.size[1]}",
        "step": cell.schedule,
        "compared": word,
        "plain, s": round(min(seconds[plain]), 3),
        "ours, s": round(min(seconds[ours]), 3),
        "plain / ours": round(min(seconds[plain]) / min(seconds[ours]), 2),
        "median": round(statistics.median(ratios), 2),
        "difference": "-" if word == "default" else f"{float(difference):.0e}",
    }


def main() -> None:
    """Measure every cell and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--real", action="store_true", help="the published architectures too; so on a GPU")
    parser.add_argument("--turns", type=int, help="2 on a CPU, 5 on a GPU")
    parser.add_argument("--threads", type=int, default=1, help="of a CPU")
    parser.add_argument("--cells", type=int, help="only the first so many")
    parser.add_argument("--out", type=Path, default=machine.RESULTS)
    options = parser.parse_args()
    device = pick_device(options.device)
    torch.set_num_threads(options.threads)
    turns = options.turns or (2 if device.type == "cpu" else 5)
    torch.manual_seed(0)
    about, clips, rows = machine.about(device), {}, []
    for cell in list(cells(options.real or device.type == "cuda"))[: options.cells]:
        if cell.clips not in clips:
            clips[cell.clips] = networks.clips(cell.clips, device)
        rows += measure(cell, clips[cell.clips], device, turns)
        print(machine.table(rows[-3:]), file=sys.stderr, flush=True)
    print(machine.table(rows))
    print(machine.save(f"guidance_{device.type}", rows, about, options.out), file=sys.stderr)


if __name__ == "__main__":
    main()
