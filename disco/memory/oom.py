"""Memory that runs out: how such an error is known among others, and at which stage of a step it came."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import torch

from disco.errors import RunError
from disco.memory.policy import Failure, Stage

# How allocators speak; a RuntimeError that says something else is another fault and is not caught.
_SAYS = re.compile(
    r"DefaultCPUAllocator: (can't allocate memory|not enough memory)"
    r"|(CUDA|HIP|XPU|MPS backend) out of memory|(CUDA|HIP) error: out of memory"
    r"|CUDNN_STATUS_(ALLOC_FAILED|INTERNAL_ERROR_(DEVICE|HOST)_ALLOCATION_FAILED)"
    r"|(CUBLAS|CUSOLVER|CUSPARSE|CUFFT|HIPBLAS)_(STATUS_)?ALLOC_FAILED"
)


class OutOfMemory(RunError):
    """Memory ran out at a stage of a step. The governor catches it; alone it is a failed run."""

    def __init__(self, failure: Failure, text: str) -> None:
        self.failure = failure
        advice = "\nUse fewer clip_models, or --device cpu" if failure.stage is Stage.LOADING else ""
        super().__init__(f"out of memory ({failure.stage.value}): {text}{advice}")


def ran_out(error: BaseException) -> bool:
    """Is it an allocator that had no more to give?"""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and _SAYS.search(str(error)) is not None


class Stages(Protocol):
    """What guidance enters at each stage; networks: those at work there."""

    def __call__(self, stage: Stage, *networks: object, cutouts: int = 1) -> AbstractContextManager[None]: ...


@contextmanager
def at_stage(stage: Stage, *networks: object, cutouts: int = 1) -> Iterator[None]:
    """Memory that runs out within becomes OutOfMemory, which says where. cutouts: that a CLIP looks at."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
        text = str(error).strip().splitlines() or [type(error).__name__]
        raise OutOfMemory(Failure(stage, cutouts), text[0]) from error
