"""What a step asks of a device: kernels by name, copies from and to the host, and who makes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.kernels import _WAITS, Constants, devices_of, is_copy, line

TOP = 30
COUNTED = {  # row -> how the names of its events begin
    "kernels started": ("cudaLaunchKernel", "cuLaunchKernel", "cudaLaunchCooperativeKernel"),
    "copies from the host": ("Memcpy HtoD",),
    "copies from the host, pageable": ("Memcpy HtoD (Pageable",),
    "copies to the host": ("Memcpy DtoH",),
    "waits for the device": ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize"),
    "allocations": ("cudaMalloc", "cudaFree"),
}


def traced(do: Callable[[], object], device: torch.device, steps: int) -> list[Any]:
    """The profiler's averages over so many calls."""
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])
    with profile(activities=activities) as found:
        for _ in range(steps):
            do()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return list(found.key_averages())


def counts(events: Iterable[Any], steps: int) -> list[dict[str, Any]]:
    """Of COUNTED, a step. The one wait of `traced` itself is taken off."""
    listed = list(events)
    rows = []
    for name, begins in COUNTED.items():
        n = sum(event.count for event in listed if event.key.startswith(begins))
        own = 1 if name == "waits for the device" and n else 0
        rows.append({"a step": name, "count": (n - own) / steps})
    return rows


def by_name(events: Iterable[Any], steps: int, device: torch.device) -> list[dict[str, Any]]:
    """The TOP kernels by their time; on a CPU the operators."""
    rows = [
        {"kernel": event.key[:120].replace("|", "/"), "a step": event.count / steps, "ms": ms(event, device)}
        for event in events
        if event.device_type.name == device.type.upper()
    ]
    total = sum(row["ms"] for row in rows) or 1.0
    rows = sorted(rows, key=lambda row: -row["ms"])[:TOP]
    return [row | {"ms": row["ms"] / steps, "share": row["ms"] / total} for row in rows]


def ms(event: Any, device: torch.device) -> float:
    """Its own, of all calls."""
    name = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    return float(getattr(event, name, 0.0)) / 1000


class HostCalls(TorchDispatchMode):
    """Counts, while entered, by line of this repository: copies to a device, and waits for its numbers."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device
        self.copies: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()
        self._constants = Constants(device, self.copies)

    def __enter__(self) -> HostCalls:
        self._constants.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *how: Any) -> None:
        super().__exit__(*how)
        self._constants.__exit__(*how)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::")
        if name in _WAITS and self.device in devices_of(args):
            self.waits[line()] += 1
        if is_copy(name, devices_of((args, kwargs, made)), self.device):
            self.copies[line()] += 1
        return made
