"""The parts of a GPU day: each adds its rows to a result. See benchmarks.gpu_day."""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks import gpu_still, gpu_trace, guidance, machine, memory, networks, precision, step
from benchmarks.gpu_report import Result
from disco.memory.devices import pick_device
from disco.memory.streams import Executor, Inline, SecondStream
from disco.networks.compile import prepare
from disco.networks.load import Networks

PACKAGES = (
    "torchvision open_clip timm guided_diffusion lpips pydantic yaml PIL numpy tqdm huggingface_hub "
    "safetensors cv2 imageio_ffmpeg transformers onnxruntime pytest pytest_timeout hypothesis jsonschema "
    "nbformat"
).split()
"""By the names they are imported by: the package's, and those of its tests."""


@dataclass(frozen=True)
class Bench:
    """Where a part measures and what it adds to. name: of the device, as the settings have it."""

    result: Result
    device: torch.device
    name: str
    tiny: bool

    @property
    def size(self) -> tuple[int, int]:
        """(W, H) of the pictures."""
        return (64, 64) if self.tiny else (1280, 768)

    @property
    def turns(self) -> int:
        """How often a thing is timed."""
        return 1 if self.tiny else 6

    def step(self, schedule: str = "early") -> step.Bench:
        """The networks of a step."""
        return step.Bench(self.device, not self.tiny, self.size, schedule)

    def seconds(self, do: Callable[[], torch.Tensor]) -> float:
        """The least of some turns."""
        return min(guidance.timed(do, self.device)[0] for _ in range(self.turns))


def measure(result: Result, device: str, tiny: bool) -> None:
    """One part, by the result's name."""
    torch.manual_seed(0)
    if tiny:
        torch.set_num_threads(1)
    where = pick_device(device)
    result.machine = machine.about(where)
    result.write()
    PARTS[result.part](Bench(result, where, device, tiny))


def the_machine(bench: Bench) -> None:
    """What it is, how fast large matrix products are, and what is missing."""
    device, add = bench.device, bench.result.add
    facts: dict[str, Any] = {"python": sys.version.split()[0], "torch": torch.__version__}
    if device.type == "cuda":
        props = torch.cuda.get_device_properties(device)
        free, total = torch.cuda.mem_get_info(device)
        facts |= {"GPU": props.name, "compute capability": f"{props.major}.{props.minor}"}
        facts |= {"multiprocessors": props.multi_processor_count, "CUDA": torch.version.cuda}
        facts |= {"cuDNN": torch.backends.cudnn.version()}
        facts |= {"free of total, GiB": f"{free / 2**30:.1f} of {total / 2**30:.1f}"}
    facts["TF32 in matrix products"] = torch.backends.cuda.matmul.allow_tf32
    facts["TF32 in convolutions"] = torch.backends.cudnn.allow_tf32
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    facts["missing packages"] = ", ".join(missing) or "none"
    for name, fact in facts.items():
        add("facts", what=name, value=str(fact))
    half = [torch.float16, torch.bfloat16] if device.type == "cuda" else []
    for dtype in () if bench.tiny else (torch.float32, *half):
        reached = step.peak(device, dtype) / 1e12
        add("matrix products", dtype=str(dtype).removeprefix("torch."), teraflops=reached)


OUTCOME = re.compile(r"^(tests/\S+?::.*?) (PASSED|FAILED|SKIPPED|ERROR|XFAIL|XPASS)\b")


def tests(bench: Bench) -> None:
    """pytest -m gpu, of the files that have such tests; a row as soon as a test ends."""
    files = sorted(
        str(path.relative_to(machine.ROOT))
        for path in (machine.ROOT / "tests").rglob("test_*.py")
        if "@pytest.mark.gpu" in path.read_text(encoding="utf-8")
    )[: 1 if bench.tiny else None]
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-vv", "-ra", "-p", "no:cacheprovider"]
    command += ["--continue-on-collection-errors", "--color=no", *files]
    if importlib.util.find_spec("pytest_timeout") is None:  # whose setting pyproject.toml has
        command += ["-W", "ignore::pytest.PytestConfigWarning"]
    said = []
    for line in _lines(command, {"COLUMNS": "200"}):
        said.append(line)
        outcome = OUTCOME.match(line)
        if outcome:
            bench.result.add("tests", test=outcome[1], outcome=outcome[2].lower())
    reasons = [line for line in said if line.startswith(("SKIPPED [", "FAILED ", "ERROR "))]
    for line in reasons:
        bench.result.add("reasons", reason=line.strip().replace("|", "/"))
    if said[-1] != "exit code 0":
        bench.result.fail("\n".join(said[-60:]))


def _lines(command: list[str], environment: dict[str, str] | None = None) -> Iterator[str]:
    """What a program prints, line by line, both streams; the last line is its exit code."""
    kept = {name: value for name, value in os.environ.items() if name != "CUBLAS_WORKSPACE_CONFIG"}
    with subprocess.Popen(
        command,
        cwd=machine.ROOT,
        env=kept | (environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            yield line.rstrip()
    yield f"exit code {process.returncode}"


def deterministic(bench: Bench) -> None:
    """Each pair of stills must be equal, and show something."""
    command = [sys.executable, "-m", "benchmarks.gpu_still", "--device", bench.name]
    said, found = [], []
    for line in _lines(command + (["--tiny"] if bench.tiny else [])):
        said.append(line)
        if line.startswith('{"networks"'):
            found.append(json.loads(line))
            bench.result.add("stills", **found[-1])
    if said[-1] != "exit code 0":
        bench.result.fail("\n".join(said[-30:]))
    for kind in ("pocket", "random"):
        pair = [row for row in found if row["networks"] == kind]
        if len(pair) == 2 and (pair[0]["sha256"] != pair[1]["sha256"] or pair[0]["contrast"] < 1):
            bench.result.fail(f"{kind} networks: the two pictures are not equal, or are blank")


def ratio(bench: Bench) -> None:
    """Guidance gradients, ours and the original's way in turn."""
    kind, channels = ("tiny", networks.TINY_SECONDARY) if bench.tiny else ("real", networks.FULL_SECONDARY)
    clips = networks.clips(kind, bench.device)
    sizes = [bench.size] if bench.tiny else [bench.size, (512, 512)]
    for size in sizes:
        for schedule in ("early",) if bench.tiny else guidance.STEPS:
            with bench.result.attempt(f"{size}, {schedule}"):
                cell = guidance.Cell(kind, channels, size, schedule)
                for row in guidance.measure(cell, clips, bench.device, bench.turns):
                    bench.result.add("gradients", **row)


def by_part(bench: Bench) -> None:
    """benchmarks.step's tables."""
    for schedule in ("early",) if bench.tiny else guidance.STEPS:
        for row in step.rows_of(bench.step(schedule), bench.turns):
            bench.result.add(f"{schedule} step, {bench.size[0]}x{bench.size[1]}", **row)


def run(bench: Bench) -> None:
    """Seconds a step and the peak of memory, of a whole run."""
    steps = 4 if bench.tiny else 20
    settings = {**gpu_still.RANDOM, "width_height": list(bench.size), "steps": steps, "device": bench.name}
    settings |= gpu_still.FEW_CUTS if bench.tiny else {}
    loaded = gpu_still.random_networks(bench.tiny, bench.device)
    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(bench.device)
    found = gpu_still.still(settings, bench.device, loaded)
    row: dict[str, Any] = {"size": f"{bench.size[0]}x{bench.size[1]}", "steps": steps}
    row |= {"first step, s": found.first, "median, s": statistics.median(found.steps)}
    row |= {"fastest, s": min(found.steps), "slowest, s": max(found.steps)}
    row |= {"peak, GiB": _peak(bench.device), "contrast": found.contrast}
    bench.result.add("run", **row)
    for text in found.notices:
        bench.result.add("notices", notice=text.replace("|", "/"))
    for name, value in found.report.items():
        bench.result.add("report", what=name, value=str(value).replace("|", "/"))


def _peak(device: torch.device) -> float:
    """GiB that tensors took at most since the count began; 0 on a CPU."""
    return torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else 0.0


def needed(bench: Bench) -> None:
    """Each cell of benchmarks.memory, in this process: what one leaves is given back before the next."""
    cells = [memory.Cell((64, 64), 2, ("resnet",))] if bench.tiny else list(memory.cells(True))
    for cell in cells:
        with bench.result.attempt(str(cell)):
            found = memory.measure(cell, bench.device, not bench.tiny)
            bench.result.add("memory", **memory.row_of(cell, found))
        gc.collect()
        if bench.device.type == "cuda":
            torch.cuda.empty_cache()


HALF_SECONDARY = (
    precision.Choice("fp16", dtype=torch.float16, needs_cuda=True),
    precision.Choice("fp16, channels_last", precision.channels_last, torch.float16, needs_cuda=True),
)


def errors(bench: Bench) -> None:
    """Number types and layouts, without compiling."""
    side, real, most = (64, False, 1) if bench.tiny else (512, True, None)
    of_unet = [choice for choice in precision.UNET if not choice.compile][:most]
    of_secondary = [choice for choice in (*precision.SECONDARY, *HALF_SECONDARY) if not choice.compile][:most]
    with bench.result.attempt("UNet"):
        for row in precision.unet_rows(bench.device, side, of_unet, real):
            bench.result.add("errors", **row)
    with bench.result.attempt("secondary network"):
        for row in precision.secondary_rows(bench.device, side, of_secondary, real):
            bench.result.add("errors", **row)


def streams(bench: Bench) -> None:
    """The UNet beside the guidance and after it."""
    measured = bench.step()
    sides: dict[str, Executor] = {"one stream": Inline()}
    if bench.device.type == "cuda":
        sides["a second stream"] = SecondStream(bench.device)
    expected = None
    for name, side in sides.items():
        guided = measured.guidance(side)
        if bench.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(bench.device)
        took = bench.seconds(lambda: measured.sample(guided).x_t)  # noqa: B023
        x_t = measured.sample(guided).x_t
        expected = x_t if expected is None else expected
        apart = float((x_t - expected).abs().max())
        row = {
            "ms a step": 1000 * took,
            "peak, GiB": _peak(bench.device),
            "largest difference": f"{apart:.1e}",
        }
        bench.result.add("streams", streams=name, **row)


def kernels(bench: Bench) -> None:
    """torch.profiler over a few steps, and the lines that copy from the host or wait."""
    measured, steps = bench.step(), 1 if bench.tiny else 3
    guided = measured.guidance(Inline())
    measured.sample(guided)
    with gpu_trace.HostCalls(bench.device.type) as calls:
        measured.sample(guided)
    for what, found in (("copy", calls.copies), ("wait", calls.waits)):
        for line, n in found.most_common(gpu_trace.TOP):
            bench.result.add("host calls of a step", what=what, line=line, n=n)
    events = gpu_trace.traced(lambda: measured.sample(guided), bench.device, steps)
    for row in gpu_trace.counts(events, steps):
        bench.result.add("counts", **row)
    for row in gpu_trace.by_name(events, steps, bench.device):
        bench.result.add("by name", **row)


def compiled(bench: Bench) -> None:
    """A step as it is, then with one network more compiled each time."""
    measured = bench.step()
    clips = [target.clip for target in measured.targets]
    wanted: list[tuple[str, Any, Any, list[Any]]] = [("the UNet", measured.denoiser, None, [])]
    if not bench.tiny:
        wanted += [("and the secondary network", measured.denoiser, measured.secondary, [])]
        wanted += [("and the CLIPs", measured.denoiser, measured.secondary, clips)]
    guided = measured.guidance(Inline())
    plain = bench.seconds(lambda: measured.sample(guided).x_t)
    row = {"compiling, s": 0.0, "ms a step": 1000 * plain, "faster": 1.0}
    bench.result.add("compile", compiled="nothing", **row)
    for name, denoiser, secondary, some in wanted:
        said: list[str] = []
        found = Networks(denoiser, secondary, some, device=bench.device)
        prepare(found, True, said.append, "eager" if bench.tiny else "inductor")
        first = guidance.timed(lambda: measured.sample(guided).x_t, bench.device)[0]
        took = bench.seconds(lambda: measured.sample(guided).x_t)
        row = {"compiling, s": first, "ms a step": 1000 * took, "faster": plain / took}
        bench.result.add("compile", compiled=name, **row)
        for text in said:
            bench.result.add("said", text=text.replace("|", "/"))
            if "could not be compiled" in text:
                bench.result.fail(text)


PARTS: dict[str, Callable[[Bench], None]] = {
    "machine": the_machine,
    "tests": tests,
    "deterministic": deterministic,
    "guidance": ratio,
    "step": by_part,
    "run": run,
    "memory": needed,
    "precision": errors,
    "streams": streams,
    "kernels": kernels,
    "compile": compiled,
}
