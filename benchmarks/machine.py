"""Where and with what a benchmark ran, and how its results are written: a Markdown table and JSON."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from disco.runs.metadata import versions

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def about(device: torch.device | str = "cpu") -> dict[str, Any]:
    """Date, commit, machine, versions. load: how busy it was, of 1 a core; above 1 no time here is one."""
    device = torch.device(device)
    gpu = torch.cuda.get_device_properties(device) if device.type == "cuda" else None
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "--short", "HEAD") + ("+" if _git("status", "--porcelain") else ""),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0] / (os.cpu_count() or 1), 2) if hasattr(os, "getloadavg") else None,
        "gpu": None if gpu is None else f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB",
        "cuda": torch.version.cuda if gpu else None,
        "versions": versions(),
    }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown; numbers to the right. All rows have the keys of the first."""
    keys = list(rows[0])
    numeric = [isinstance(rows[0][key], (int, float)) for key in keys]
    lines = [keys, ["---:" if number else "---" for number in numeric]]
    lines += [[_cell(row[key]) for key in keys] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def save(name: str, rows: Sequence[Mapping[str, Any]], machine: Mapping[str, Any], folder: Path) -> Path:
    """Write <folder>/<name>_<date>.json."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}_{str(machine['date'])[:10]}.json"
    path.write_text(json.dumps({"machine": machine, "rows": list(rows)}, indent=1) + "\n", encoding="utf-8")
    return path


def _cell(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _git(*words: str) -> str:
    try:
        command = ["git", "--no-optional-locks", *words]  # killed at its time limit, it leaves no lock
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown" if words[0] == "rev-parse" else ""
    return done.stdout.strip()


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
