"""Run the UNet on a second CUDA stream while the guidance works on the first."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

from disco.memory.policy import MemoryPolicy

Result = Callable[[], Tensor]


class Executor(Protocol):
    """Runs work, perhaps at the same time as what the caller does next."""

    def start(self, work: Callable[[], Tensor], *inputs: Tensor) -> Result:
        """Start work(). Returns a function that waits for its result; call it once.

        inputs: tensors that work reads and the caller may free before it is done.
        """
        ...


class Inline:
    """Runs the work at once, before it returns."""

    def start(self, work: Callable[[], Tensor], *inputs: Tensor) -> Result:
        answer = work()
        return lambda: answer


class SecondStream:
    """A second stream of a CUDA device. Same numbers as on one stream; both need their memory at once."""

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def start(self, work: Callable[[], Tensor], *inputs: Tensor) -> Result:
        now = torch.cuda.current_stream(self.stream.device)
        self.stream.wait_stream(now)  # for the inputs
        with torch.cuda.stream(self.stream):
            answer = work()
        for tensor in inputs:
            tensor.record_stream(self.stream)  # else it could be reused while the work reads it

        def joined() -> Tensor:
            asking = torch.cuda.current_stream(self.stream.device)
            asking.wait_stream(self.stream)
            answer.record_stream(asking)
            return answer

        return joined


def executor_for(device: torch.device, saving: MemoryPolicy) -> Executor:
    """A second stream on CUDA, while half of the memory is free and no memory saving is on."""
    if device.type != "cuda" or saving.plain():
        return Inline()
    free, total = torch.cuda.mem_get_info(device)
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by torch, unused
    return _second_stream(device) if 2 * (free + cached) >= total else Inline()


@cache
def _second_stream(device: torch.device) -> SecondStream:
    return SecondStream(device)
