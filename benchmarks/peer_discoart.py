"""How fast is Disco beside DiscoArt on the same networks and work? python -m benchmarks.peer_discoart

DiscoArt 0.12.1 comes from PyPI into a virtual environment of its own, made once; torch and numpy are those of
this interpreter, so that both compute with the same kernels. Both load the same files of random weights, and
say first what their networks answer to the same picture. Then they render in turn, a picture each, and the
table has the median step of each; its ratios are those of pictures rendered one after the other. Where other
programs run beside, trust the ratio of CPU time (all threads of a process). Both save as they do by
themselves, and DiscoArt logs and packs every step as it does by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks import machine, peer_networks
from benchmarks.side import Side
from disco.memory.devices import pick_device
from disco.weights.local import cache_dir

VERSION = "0.12.1"
NEEDS = (
    "docarray[common]==0.21.0", "protobuf<5", "wandb==0.19.11", "setuptools<81",
    "guided-diffusion-sdk==1.0.0", "resize-right-sdk==1.0.2", "openai-clip==1.0.1",
    "open_clip_torch", "lpips", "pyspellchecker",
)  # fmt: skip
QUIET = {
    "DISCOART_OPTOUT_CLOUD_BACKUP": "1", "DISCOART_DISABLE_REMOTE_MODELS": "1",
    "DISCOART_DISABLE_IPYTHON": "1", "DISCOART_DISABLE_TQDM": "1", "DISCOART_DISABLE_CHECK_MODEL_SHA": "1",
    "DISCOART_LOG_LEVEL": "WARNING", "WANDB_MODE": "disabled",
}  # fmt: skip
EARLY = {"cut_overview": "[12]*1000", "cut_innercut": "[4]*1000", "cut_icgray_p": "[0.2]*1000"}
LATE = {"cut_overview": "[4]*1000", "cut_innercut": "[12]*1000", "cut_icgray_p": "[0]*1000"}
AGREE = 2e-3  # of the largest number; float32 through different orders of the same sums


@dataclass(frozen=True)
class Cell:
    """One comparison. channels: width of the secondary network; cuts: settings of both."""

    name: str
    channels: int
    size: tuple[int, int]
    cuts: Mapping[str, Any]
    real: bool = False


def cells(real: bool, size: tuple[int, int] | None) -> list[Cell]:
    """Early and late cuts; on a CPU with tiny networks, and once with the published secondary network."""
    if real:
        size = size or (1280, 768)
        return [
            Cell("published networks, early cuts", 64, size, EARLY, True),
            Cell("published networks, late cuts", 64, size, LATE, True),
        ]
    size = size or (512, 512)
    return [
        Cell("tiny networks, early cuts", 16, size, EARLY),
        Cell("tiny networks, late cuts", 16, size, LATE),
        Cell("full secondary network, early cuts", 64, size, EARLY),
        Cell("full secondary network, late cuts", 64, size, LATE),
    ]


def peer_python(folder: Path) -> Path:
    """The interpreter of DiscoArt's environment, which is made if it is not there."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    complete = folder / "complete"
    if complete.is_file():
        return python
    print(f"DiscoArt {VERSION} into {folder}", file=sys.stderr, flush=True)
    _run(sys.executable, "-m", "venv", "--clear", folder)
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = subprocess.run([python, "-c", where], capture_output=True, text=True, check=True).stdout.strip()
    shared = Path(torch.__file__).parent.parent
    (Path(own) / "shared.pth").write_text(f"{shared}\n")
    _run(python, "-m", "pip", "install", "-q", *NEEDS)
    _run(python, "-m", "pip", "install", "-q", "--no-deps", f"discoart=={VERSION}")
    complete.touch()
    return python


def _run(*command: str | Path) -> None:
    subprocess.run([str(word) for word in command], check=True, stdout=sys.stderr)


@contextmanager
def sides(cell: Cell, python: Path, device: str, steps: int) -> Iterator[dict[str, Side]]:
    """Both, with their networks loaded and found to be the same."""
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        networks = peer_networks.write(work / "networks", real=cell.real, channels=cell.channels)
        settings = {
            "width_height": list(cell.size),
            "steps": steps,
            "skip_steps": 0,
            "set_seed": 1,
            **cell.cuts,
        }
        order = json.dumps({"networks": str(networks), "device": device, "settings": settings})
        environment = {**QUIET, **({"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {})}
        found = {}
        for name, interpreter in (("disco", Path(sys.executable)), ("discoart", python)):
            command = (interpreter, "-m", f"benchmarks.{name}_side", order)
            found[name] = Side(command, environment, work / f"{name}.log", work)
            stack.callback(found[name].close)
        difference = disagreement(found["disco"].ask("check"), found["discoart"].ask("check"))
        if difference > AGREE and device == "cpu":
            raise RuntimeError(f"the two sides do not have the same networks: {difference:.1e} apart")
        yield found


def disagreement(ours: Mapping[str, list[float]], theirs: Mapping[str, list[float]]) -> float:
    """The largest difference between two sides' answers, as a share of the largest number of that network."""
    assert ours.keys() == theirs.keys()
    return max(
        max(abs(a - b) for a, b in zip(ours[name], theirs[name], strict=True)) / max(map(abs, theirs[name]))
        for name in ours
    )


def compare(cell: Cell, python: Path, device: str, steps: int, rounds: int) -> dict[str, Any]:
    """A row of the table: `rounds` pictures of each, in turn. The first step of a picture is not counted."""
    with sides(cell, python, device, steps) as running:
        taken: dict[str, list[list[list[float]]]] = {name: [] for name in running}
        for _ in range(rounds):
            for name, side in running.items():
                taken[name].append(side.ask("render"))
                print(f"{name}: {[[round(n, 2) for n in step] for step in taken[name][-1]]}", file=sys.stderr)
    return row_of(cell, taken)


def row_of(cell: Cell, taken: Mapping[str, list[list[list[float]]]]) -> dict[str, Any]:
    """taken: of both sides, for each round, [seconds, CPU seconds] of the steps."""
    medians = {
        name: [[statistics.median(step[of] for step in steps) for of in (0, 1)] for steps in rounds]
        for name, rounds in taken.items()
    }
    ratios = [
        [b / a for a, b in zip(ours, theirs, strict=True)]
        for ours, theirs in zip(medians["disco"], medians["discoart"], strict=True)
    ]
    of_wall, of_cpu = ([ratio[of] for ratio in ratios] for of in (0, 1))
    row: dict[str, Any] = {"work": cell.name, "size": f"{cell.size[0]}x{cell.size[1]}"}
    for of, (unit, found) in enumerate((("s", of_wall), ("CPU s", of_cpu))):
        for name in ("discoart", "disco"):
            row[f"{name}, {unit}"] = statistics.median(step[of] for step in medians[name])
        row[f"ratio of {unit}"] = statistics.median(found)
        row[f"from-to of {unit}"] = f"{min(found):.2f}-{max(found):.2f}"
    return row


def main() -> None:
    """Compare every cell and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--venv", type=Path, default=cache_dir() / "peers" / f"discoart-{VERSION}")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--architectures", choices=("tiny", "real"), help="real on a GPU, else tiny")
    parser.add_argument("--size", help="WxH")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cells", type=int, help="only the first so many")
    parser.add_argument("--out", type=Path, default=machine.RESULTS)
    options = parser.parse_args()
    device = pick_device(options.device)
    real = options.architectures == "real" if options.architectures else device.type == "cuda"
    size = tuple(int(side) for side in options.size.split("x")) if options.size else None
    wanted = cells(real, size)[: options.cells]  # type: ignore[arg-type]
    python = peer_python(options.venv.absolute())
    rows = []
    for n, cell in enumerate(wanted, 1):
        rows.append(compare(cell, python, device.type, options.steps, options.rounds))
        print(
            f"{n} of {len(wanted)}: {rows[-1]['ratio of CPU s']:.2f} times the CPU",
            file=sys.stderr,
            flush=True,
        )
    about = machine.about(device) | {"discoart": VERSION, "steps": options.steps, "rounds": options.rounds}
    print(machine.table(rows))
    print(machine.save(f"peer_discoart_{device.type}", rows, about, options.out), file=sys.stderr)


if __name__ == "__main__":
    main()
