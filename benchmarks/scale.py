"""Pictures per minute against workers and batch_size, by Ray on this machine.

`python -m benchmarks.scale [--workers 1,2] [--batch-sizes 1,2,4] [--set KEY=VALUE ...] [--ray ADDRESS]`
prints a table and writes benchmarks/results/scale_<device>_<date>.json. Without arguments: the pocket
networks at 128x128, few steps; on CPUs workers of one thread each. Workers 0 is one process without Ray.

The pace is counted while all workers are at their steps, from the first whole step of the last to begin until
the first of them has nothing left to begin; start is what comes before: the workers' processes, the networks.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import RESULTS, about, save, table
from disco import run_from_mapping
from disco.events import PictureFinished, PictureStarted, StepDone
from disco.memory.devices import pick_device
from disco.rendering.api import render
from disco.rendering.distributed.messages import needs_of
from disco.rendering.distributed.ray_pool import RayPool, connect

SETTINGS = {"batch_name": "scale", "width_height": [128, 128], "steps": 10, "skip_steps": 0, "set_seed": 1}
BATCHES = 3  # that each worker renders


@dataclass
class Pace:
    """Steps of pictures between two moments: all at work, and the first without more to begin."""

    workers: int
    batches: int
    began: float = field(default_factory=time.monotonic)
    started: int = 0
    at_work: set[tuple[int, ...]] = field(default_factory=set)  # batches at their steps
    steps: list[tuple[float, int]] = field(default_factory=list)  # when, of how many pictures
    from_: float | None = None
    until: float | None = None

    def handle(self, event: object) -> None:
        now = time.monotonic()
        if isinstance(event, PictureStarted):
            self.started += 1
        elif isinstance(event, StepDone):
            self.at_work.add(event.pictures)
            self.steps.append((now, len(event.pictures)))
            if self.from_ is None and len(self.at_work) == self.workers:
                self.from_ = now
        elif isinstance(event, PictureFinished):
            self.at_work = {batch for batch in self.at_work if event.picture not in batch}
            if self.started == self.batches and self.until is None:
                self.until = now

    def per_minute(self, steps: int) -> float:
        """Pictures of so many steps."""
        assert self.from_ is not None and self.until is not None
        inside = sum(pictures for when, pictures in self.steps if self.from_ < when <= self.until)
        return 60 * inside / steps / (self.until - self.from_)


def measure(workers: int, batch_size: int, overrides: Sequence[str], pool: RayPool | None) -> dict[str, Any]:
    """One cell. workers 0: in this process."""
    at_once = max(workers, 1)
    batches = BATCHES * at_once
    values = {**SETTINGS, "batch_size": batch_size, "n_batches": batch_size * batches}
    run = run_from_mapping(values, overrides=overrides)
    pace = Pace(at_once, batches)
    if pool is not None:
        pool.most = workers
    with tempfile.TemporaryDirectory() as out:
        for event in render(run, out=out, networks=pool):
            pace.handle(event)
    assert pace.from_ is not None
    steps = run.settings.steps - run.settings.skip_steps
    return {
        "workers": workers,
        "batch_size": batch_size,
        "pictures a minute": pace.per_minute(steps),
        "start, s": pace.from_ - pace.began,
    }


def with_gain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each beside the first row, which has one process and the smallest batch."""
    base = rows[0]["pictures a minute"]
    return [{**row, "times the first": row["pictures a minute"] / base} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", default="", help="by default 1 and 2, on GPUs all of them too")
    parser.add_argument("--batch-sizes", default="1,2,4")
    parser.add_argument("--ray", default="local", metavar="ADDRESS")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    device = pick_device(run_from_mapping(SETTINGS, overrides=options.overrides).settings.device)
    if device.type == "cpu":
        torch.set_num_threads(1)  # of this process and, so, of each worker
    sizes = [int(size) for size in options.batch_sizes.split(",")]
    rows = [measure(0, size, options.overrides, None) for size in sizes]
    with ExitStack() as stack:
        needs = needs_of([run_from_mapping(SETTINGS, overrides=options.overrides)])
        pool = stack.enter_context(connect(options.ray, needs))
        counts = {int(n) for n in options.workers.split(",")} if options.workers else {1, 2, pool.capacity()}
        if device.type == "cpu" and not options.workers:
            counts = {1, 2}
        for workers in sorted(n for n in counts if n <= pool.capacity()):
            rows += [measure(workers, size, options.overrides, pool) for size in sizes]
    machine = about(device)
    rows = with_gain(rows)
    print(table(rows))
    print(f"\n{save(f'scale_{device.type}', rows, machine, options.out)}")


if __name__ == "__main__":
    main()
