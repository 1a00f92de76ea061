"""Everything that a GPU must answer, in one command of nine minutes: python -m benchmarks.gpu_day

Each part runs in a process of its own with a time limit, and writes DIR/gpu_day_<device>_<part>.json row by
row; when it ends, a section is appended to DIR/gpu_day_<device>.md. A part that fails is written down as
such and the others still run; the exit code is then 1. A second call runs the parts that have no complete
result of this commit yet, and divides the minutes among them. All networks have random weights, made on the
device from a seed: no file and no network connection is needed. --tiny rehearses it with tiny networks.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu_child import CANNOT_FORK, PRELOAD, run_part, try_to_fork
from benchmarks.gpu_report import Result

MINUTES = 9.0
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Part:
    """seconds: its share of the nine minutes."""

    name: str
    seconds: int
    title: str


START = 20
"""Seconds of the nine minutes in which torch and the package are imported."""
PARTS = (
    Part("machine", 20, "The device, its speed, and packages that are missing"),
    Part("tests", 60, "pytest -m gpu"),
    Part("deterministic", 50, "A small guided still, twice with deterministic: true"),
    Part("guidance", 45, "A guidance gradient beside the original's way"),
    Part("step", 50, "A step by part"),
    Part("run", 45, "A run of 20 steps through disco.render"),
    Part("memory", 65, "Memory of a step beside its estimate"),
    Part("precision", 40, "Errors of number types and layouts against float32"),
    Part("streams", 25, "A step with and without a second stream"),
    Part("kernels", 30, "Kernels by name, copies from the host and waits"),
    Part("compile", 90, "A step compiled and not, network by network"),
)


@dataclass(frozen=True)
class Day:
    """One call. deadline: time.monotonic() at which the last part is stopped."""

    out: Path
    device: str
    kind: str
    tiny: bool
    deadline: float
    start: Any  # multiprocessing's context

    @property
    def stem(self) -> str:
        return f"gpu_day_{self.kind}{'_tiny' if self.tiny else ''}"

    def path(self, part: Part) -> Path:
        """Of its JSON."""
        return self.out / f"{self.stem}_{part.name}.json"

    def is_complete(self, part: Part, key: dict[str, Any]) -> bool:
        """Is there a result of this code?"""
        found = Result.read(self.path(part))
        return found is not None and found.state == "done" and found.key == key

    def run(self, part: Part, key: dict[str, Any], limit: float) -> Result:
        """In a process of its own, stopped after `limit` seconds."""
        began = time.monotonic()
        Result(self.path(part), part.name, part.title, key, round(limit, 1)).write()
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "log"
            result = Result.read(self.path(part))
            code = _in_a_process(self.start, limit, (result, self.device, self.tiny, log))
            said = log.read_text(errors="replace")[-1500:] if log.exists() else ""
        result = Result.read(self.path(part))
        assert result is not None
        if result.state == "running":
            why = f"stopped after {limit:.0f} s" if code is None else f"ended with {code}"
            result.end(time.monotonic() - began, f"{why}; its last output:\n{said}")
        with (self.out / f"{self.stem}.md").open("a", encoding="utf-8") as report:
            report.write(result.markdown())
        return result


def _context(limit: float) -> Any:
    """How processes are started: forked from a server that has done the imports, where that can be."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOAD)
        first = context.Process(target=try_to_fork)
        first.start()
        first.join(limit)
        if first.exitcode != CANNOT_FORK:
            return context
    return multiprocessing.get_context("spawn")


def _in_a_process(start: Any, limit: float, arguments: tuple[Any, ...]) -> int | None:
    """Its exit code; None if it was stopped."""
    process = start.Process(target=run_part, args=arguments)
    process.start()
    try:
        process.join(limit)
        code: int | None = process.exitcode
    finally:
        if hasattr(os, "killpg"):
            with suppress(ProcessLookupError, PermissionError):  # all that it has started, too
                os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.join()
    return code


def measure_all(day: Day, parts: Sequence[Part], key: dict[str, Any]) -> list[str]:
    """One after another; what a part leaves of its time the others have. The names of those that failed."""
    failed = []
    for place, part in enumerate(parts):
        left = day.deadline - time.monotonic()
        limit = max(left, 0) * part.seconds / sum(each.seconds for each in parts[place:])
        result = day.run(part, key, limit)
        failed += [part.name] if result.failures else []
        print(f"{part.name}: {result.state}, {result.seconds:.0f} s of {limit:.0f}", flush=True)
        for text in result.failures:
            print(f"  {text}", file=sys.stderr, flush=True)
    return failed


def listed() -> str:
    """The parts with their shares."""
    return "\n".join(f"{part.name:14} {part.seconds:3} s  {part.title}" for part in PARTS)


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [part.name for part in PARTS]
    parser.add_argument("--part", action="append", choices=names, help="only this one, also if it is there")
    parser.add_argument("--list", action="store_true", help="the parts and their seconds")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="DIR")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for all parts together")
    parser.add_argument("--tiny", action="store_true", help="a rehearsal with tiny networks, on any device")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """0: all parts are complete; 1: one failed; 2: there is no GPU or no torch."""
    began, options = time.monotonic(), _options(words)
    if options.list:
        print(listed())
        return 0
    try:
        from benchmarks import machine
        from disco.errors import SettingsError
        from disco.memory.devices import pick_device
    except ModuleNotFoundError as error:
        print(f"gpu_day needs the package {error.name}", file=sys.stderr)
        return 2
    try:
        kind = pick_device(options.device).type
    except SettingsError as error:
        print(f"gpu_day: {error}", file=sys.stderr)
        return 2
    if kind != "cuda" and not options.tiny:
        print(
            "gpu_day needs a CUDA GPU that torch can use; --tiny rehearses it here with tiny networks",
            file=sys.stderr,
        )
        return 2
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))  # so that the part is ended too
    key = {"commit": machine.about()["commit"].rstrip("+"), "tiny": options.tiny}
    start = _context(30 * options.minutes)
    day = Day(options.out, options.device, kind, options.tiny, began + 60 * options.minutes, start)
    wanted = [
        part
        for part in PARTS
        if (part.name in options.part if options.part else not day.is_complete(part, key))
    ]
    failed = measure_all(day, wanted, key)
    print(f"{len(wanted)} of {len(PARTS)} parts measured; {day.out / (day.stem + '.md')}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
