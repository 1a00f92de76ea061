"""disco.memory.oom: which errors mean that memory ran out."""

from __future__ import annotations

import pytest
import torch

from disco.errors import RunError
from disco.memory.oom import OutOfMemory, at_stage, ran_out
from disco.memory.policy import Failure, Stage
from disco.memory.stages import note

OURS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    MemoryError(),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: "
    ),
    RuntimeError("[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: "),
    RuntimeError("MPS backend out of memory (MPS allocated: 5.00 GB)"),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED"),
]
NOT_OURS = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (16x512 and 768x64)"),
    RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"),
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    ValueError("DefaultCPUAllocator: can't allocate memory"),
    KeyboardInterrupt(),
]


@pytest.mark.parametrize("error", OURS, ids=str)
def test_allocators_without_memory(error: BaseException) -> None:
    assert ran_out(error)
    with pytest.raises(OutOfMemory, match=r"^out of memory \(CLIP\): ") as caught, at_stage(Stage.CLIP):
        raise error
    assert caught.value.exit_code == RunError.exit_code == 1


@pytest.mark.parametrize("error", NOT_OURS, ids=str)
def test_other_errors_stay_what_they_are(error: BaseException) -> None:
    assert not ran_out(error)
    with pytest.raises(type(error)) as caught, at_stage(Stage.CLIP):
        raise error
    assert caught.value is error


def test_a_real_allocation_that_no_machine_has() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert ran_out(caught.value)


def test_in_a_step_the_stage_that_was_noted_last_counts() -> None:
    with pytest.raises(OutOfMemory) as caught, at_stage(Stage.SAMPLER):
        note(Stage.UNET)
        note(Stage.CLIP, cutouts=7)
        note(Stage.CLIP, cutouts=2)  # the rest of a batch that is seen in parts
        raise MemoryError
    assert caught.value.failure == Failure(Stage.CLIP, cutouts=7)


def test_what_a_backward_pass_computes_again_belongs_to_it() -> None:
    with pytest.raises(OutOfMemory) as caught, at_stage(Stage.SAMPLER):
        note(Stage.BACK)
        note(Stage.UNET)
        raise MemoryError
    assert caught.value.failure == Failure(Stage.BACK)


def test_other_work_is_one_stage() -> None:
    required: list[tuple[object, ...]] = []
    with pytest.raises(OutOfMemory) as caught, at_stage(Stage.PROMPTS, lambda *some: required.append(some)):
        note(Stage.CLIP, "a network", cutouts=7)
        raise MemoryError
    assert caught.value.failure == Failure(Stage.PROMPTS)
    assert required == [(), ("a network",)]


def test_the_innermost_stage_counts() -> None:
    with pytest.raises(OutOfMemory) as caught, at_stage(Stage.SAMPLER), at_stage(Stage.PICTURE):
        raise MemoryError
    assert caught.value.failure == Failure(Stage.PICTURE)
