"""Out-of-memory errors: how they are recognised, and at which stage of a step each was raised."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from disco.errors import RunError
from disco.memory.free import is_short
from disco.memory.policy import Failure, Stage
from disco.memory.stages import listening

# Messages of allocators, and of libraries that say that an allocation failed.
_SAYS = re.compile(
    r"DefaultCPUAllocator: (can't allocate memory|not enough memory)|std::bad_alloc|bad allocation"
    r"|Cannot allocate memory|Insufficient memory|Failed to allocate memory|paging file is too small"
    r"|(CUDA|HIP|XPU|MPS backend) out of memory|(CUDA|HIP|XPU)( driver)? error: out of memory"
    r"|Triton Error \[\w+\]: out of memory|CUDA_ERROR_OUT_OF_MEMORY|cudaErrorMemoryAllocation"
    r"|hipErrorOutOfMemory|(UR_RESULT|PI)_ERROR_OUT_OF_(HOST|DEVICE)_MEMORY"
    r"|Failed to allocate private MTLBuffer|Invalid buffer size: |CallbackErrorOutOfMemory"
    r"|CUDNN_STATUS_(ALLOC_FAILED|INTERNAL_ERROR_(DEVICE|HOST)_ALLOCATION_FAILED)"
    r"|(CUBLAS|CUSOLVER|CUSPARSE|CUFFT|HIPBLAS|HIPSOLVER|HIPSPARSE|HIPFFT)_(STATUS_)?ALLOC_FAILED"
    r"|(CU|HIP)RAND_STATUS_ALLOCATION_FAILED|rocblas_status_memory_error|miopenStatusAllocFailed"
)
# What libraries say when an allocation of theirs failed, but other faults too.
_MAY_SAY = re.compile(
    r"(CUBLAS|CUDNN|CUSOLVER|CUSPARSE|CURAND|HIPBLAS|HIPSOLVER|HIPSPARSE|HIPRAND)_STATUS_"
    r"(NOT_INITIALIZED|INITIALIZATION_FAILED|INTERNAL_ERROR|INSUFFICIENT_RESOURCES)\b"
    r"|(CUFFT|HIPFFT)_(SETUP_FAILED|INTERNAL_ERROR)|rocblas_status_internal_error"
    r"|miopenStatus(InternalError|NotInitialized|UnknownError)|(UR_RESULT|PI)_ERROR_OUT_OF_RESOURCES"
    r"|unable to find an engine|unable to find a valid cuDNN algorithm|no valid convolution algorithms"
    r"|could not create a (primitive|memory object)|can't start new thread",
    re.IGNORECASE,
)
_LIBRARIES = ("cv2", "onnxruntime", "safetensors")  # whose errors derive from Exception itself


class OutOfMemory(RunError):
    """Memory ran out at a stage. OomRetry catches it and retries; uncaught, the run has failed.

    is_certain: the error says so; else it is one that libraries also raise for other faults.
    """

    def __init__(self, failure: Failure, text: str, *, is_certain: bool = True) -> None:
        self.failure, self.is_certain = failure, is_certain
        advice = "\nUse fewer clip_models, or --device cpu" if failure.stage is Stage.LOADING else ""
        perhaps = "" if is_certain else "perhaps "
        super().__init__(f"{perhaps}out of memory ({failure.stage.value}): {text}{advice}")


def ran_out(error: BaseException) -> bool:
    """Is this the error of an allocator that has no more memory?"""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    return _is_of_a_library(error) and _SAYS.search(str(error)) is not None


def may_have_run_out(error: BaseException) -> bool:
    """Is this an error that libraries raise when memory runs out, but for other faults too?"""
    return _is_of_a_library(error) and _MAY_SAY.search(str(error)) is not None


def _is_of_a_library(error: BaseException) -> bool:
    return isinstance(error, (RuntimeError, OSError)) or type(error).__module__.startswith(_LIBRARIES)


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

    So too one that may be of another fault, while memory is short.

    stage: of all that is within; Stage.SAMPLER is a whole step, whose stages are noted as they begin.
    require: called with the networks that run in each stage, before they do.
    """
    reached = _Reached(stage, require)
    try:
        with listening(reached):
            if require is not None:
                require()
            yield
    except Exception as error:
        is_certain = ran_out(error)
        if not is_certain and not (may_have_run_out(error) and is_short()):  # before its tensors are freed
            raise
        text = str(error).strip().splitlines() or [type(error).__name__]
        raise OutOfMemory(reached.failure, text[0], is_certain=is_certain) from error
