"""Work of a GPU beside other work: two streams of kernels, which wait for each other where they must."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

from disco.memory.policy import MemoryPolicy

Result = Callable[[], Tensor]


class Executor(Protocol):
    """Where work may be done beside what comes after it."""

    def start(self, work: Callable[[], Tensor], *inputs: Tensor) -> Result:
        """Begin; what is returned gives work()'s answer when it is asked for, once.

        inputs: the tensors that work looks at and that are not there for good.
        """
        ...


class Inline:
    """No side at all: the work is done before anything else."""

    def start(self, work: Callable[[], Tensor], *inputs: Tensor) -> Result:
        answer = work()
        return lambda: answer


class SecondStream:
    """A second stream of a CUDA device. The numbers are those of one stream; the memory is that of both."""

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def start(self, work: Callable[[], Tensor], *inputs: Tensor) -> Result:
        now = torch.cuda.current_stream(self.stream.device)
        self.stream.wait_stream(now)  # for the inputs
        with torch.cuda.stream(self.stream):
            answer = work()
        for tensor in inputs:
            tensor.record_stream(self.stream)  # else the memory is lent out again while the work reads it

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
    lent = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # ours, and not in use
    return _second_stream(device) if 2 * (free + lent) >= total else Inline()


@cache
def _second_stream(device: torch.device) -> SecondStream:
    return SecondStream(device)
