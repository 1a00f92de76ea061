"""Out-of-memory errors: how they are recognised, and at which stage of a step each was raised."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from disco.errors import RunError
from disco.memory.policy import Failure, Stage
from disco.memory.stages import listening

# Messages of allocators. A RuntimeError with any other message is not caught.
_SAYS = re.compile(
    r"DefaultCPUAllocator: (can't allocate memory|not enough memory)"
    r"|(CUDA|HIP|XPU|MPS backend) out of memory|(CUDA|HIP) error: out of memory"
    r"|CUDNN_STATUS_(ALLOC_FAILED|INTERNAL_ERROR_(DEVICE|HOST)_ALLOCATION_FAILED)"
    r"|(CUBLAS|CUSOLVER|CUSPARSE|CUFFT|HIPBLAS)_(STATUS_)?ALLOC_FAILED"
)


class OutOfMemory(RunError):
    """Memory ran out at a stage. OomRetry catches it and retries; uncaught, the run has failed."""

    def __init__(self, failure: Failure, text: str) -> None:
        self.failure = failure
        advice = "\nUse fewer clip_models, or --device cpu" if failure.stage is Stage.LOADING else ""
        super().__init__(f"out of memory ({failure.stage.value}): {text}{advice}")


def ran_out(error: BaseException) -> bool:
    """Is this the error of an allocator that has no more memory?"""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and _SAYS.search(str(error)) is not None


class _Reached:
    """Hears where a pass is. Only a step has stages of its own: other work stays in the one it began with."""

    def __init__(self, stage: Stage, require: Callable[..., None] | None) -> None:
        self.failure = Failure(stage)
        self._in_step, self._require = stage is Stage.SAMPLER, require

    def __call__(self, stage: Stage, *networks: object, cutouts: int = 1) -> None:
        if self.failure.stage is Stage.BACK and stage is not Stage.SAMPLER:
            return  # a checkpointed network, recomputed in the backward pass
        if self._in_step:
            if stage is self.failure.stage:  # the last part of the cutouts may be smaller
                cutouts = max(cutouts, self.failure.cutouts)
            self.failure = Failure(stage, cutouts)
        if self._require is not None:
            self._require(*networks)


@contextmanager
def at_stage(stage: Stage, require: Callable[..., None] | None = None) -> Iterator[None]:
    """Turn an allocator's error within into OutOfMemory, which says the stage.

    stage: of all that is within; Stage.SAMPLER is a whole step, whose stages are noted as they begin.
    require: called with the networks that run in each stage, before they do.
    """
    reached = _Reached(stage, require)
    try:
        with listening(reached):
            if require is not None:
                require()
            yield
    except (RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
        text = str(error).strip().splitlines() or [type(error).__name__]
        raise OutOfMemory(reached.failure, text[0]) from error
