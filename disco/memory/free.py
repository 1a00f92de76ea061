"""Free memory of a device, for the estimate before the first step; None where it is not known."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch

SHORT = 2**30  # bytes: with less left, a library's error may come from a failed allocation
_CGROUP = Path("/sys/fs/cgroup")
_PROC = Path("/proc")
_V1, _V2 = ("memory.limit_in_bytes", "memory.usage_in_bytes"), ("memory.max", "memory.current")


def free_memory(device: torch.device) -> int | None:
    """Bytes that this process can still allocate there, torch's unused cache included.

    On the CPU the least of: free memory of the machine, of the container (cgroup), and under ulimit -v.
    """
    if device.type == "cuda":
        used = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + used
    return min(_of_the_computer(), default=None) if device.type == "cpu" else None


def is_short() -> bool:
    """Whether less than 1 GiB, or an eighth of the GPU in use, is left there or on the CPU.

    torch's unused cache counts as used: other libraries cannot have it.
    """
    return _is_cpu_short() or (torch.cuda.is_initialized() and _is_gpu_short())  # type: ignore[no-untyped-call]


def _is_cpu_short() -> bool:
    left = free_memory(torch.device("cpu"))
    return left is not None and left < SHORT


def _is_gpu_short() -> bool:
    with suppress(RuntimeError):  # of a device that answers nothing any more
        free, total = torch.cuda.mem_get_info()
        return free < max(SHORT, total // 8)
    return False


def _of_the_computer() -> Iterator[int]:
    meminfo = _table(_PROC / "meminfo")
    if "MemAvailable:" in meminfo:
        yield meminfo["MemAvailable:"] * 1024
    own = [line.split(":", 2)[2].lstrip("/") for line in _text(_PROC / "self" / "cgroup").splitlines()]
    for folder in dict.fromkeys((_CGROUP, _CGROUP / "memory", *(_CGROUP / path for path in own))):
        for limit, usage in (_V1, _V2):
            most, used = _text(folder / limit).strip(), _text(folder / usage).strip()
            if most.isdecimal() and used.isdecimal():  # "max" is no limit
                stat = _table(folder / "memory.stat")  # cached files count as used, but can be dropped
                yield max(int(most) - int(used) + stat.get("inactive_file", 0), 0)
    yield from _ulimit()


def _ulimit() -> Iterator[int]:
    if sys.platform == "win32":
        return
    import resource

    most, pages = resource.getrlimit(resource.RLIMIT_AS)[0], _text(_PROC / "self" / "statm").split()
    if most != resource.RLIM_INFINITY and pages:
        yield max(most - int(pages[0]) * resource.getpagesize(), 0)


def _table(path: Path) -> dict[str, int]:
    """Lines "name number ..." of a file as a table; other lines are ignored."""
    rows = (line.split() for line in _text(path).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdecimal()}


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
