"""disco.memory.oom: which errors mean that memory ran out."""

from __future__ import annotations

import errno

import cv2
import pytest
import torch

from disco.errors import RunError
from disco.memory.oom import OutOfMemory, at_stage, may_have_run_out, ran_out
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
    RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"),
    RuntimeError("CUDA driver error: out of memory"),
    RuntimeError("Triton Error [CUDA]: out of memory"),
    RuntimeError("HIP out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("HIP error: out of memory"),
    RuntimeError("miopenStatusAllocFailed"),
    RuntimeError("XPU out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("level_zero backend failed with error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)"),
    RuntimeError("Failed to allocate private MTLBuffer for size 8589934592"),
    RuntimeError("Invalid buffer size: 12.00 GiB"),
    RuntimeError("std::bad_alloc"),
    RuntimeError("unable to mmap 4096 bytes from file <a.pt>: Cannot allocate memory (12)"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    OSError("The paging file is too small for this operation to complete. (os error 1455)"),
    cv2.error("OpenCV(4.10) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 99 bytes"),
]
DISGUISED = [
    RuntimeError("GET was unable to find an engine to execute this computation"),
    RuntimeError("Unable to find a valid cuDNN algorithm to run convolution"),
    RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"),
    RuntimeError("cusolver error: CUSOLVER_STATUS_INTERNAL_ERROR, when calling `cusolverDnCreate(handle)`"),
    RuntimeError("cuFFT error: CUFFT_INTERNAL_ERROR"),
    RuntimeError("CUDA error: CURAND_STATUS_INITIALIZATION_FAILED"),
    RuntimeError("HIP error: HIPBLAS_STATUS_NOT_INITIALIZED"),
    RuntimeError("MIOpen Error: miopenStatusUnknownError"),
    RuntimeError("could not create a primitive"),
    RuntimeError("can't start new thread"),
]
NOT_OURS = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (16x512 and 768x64)"),
    RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_COMPILATION_FAILED"),
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    ValueError("DefaultCPUAllocator: can't allocate memory"),
    OSError(errno.ENOSPC, "No space left on device"),
    cv2.error("OpenCV(4.10) error: (-215:Assertion failed) !empty()"),
    KeyboardInterrupt(),
]


@pytest.mark.parametrize("error", OURS, ids=str)
def test_allocators_without_memory(error: BaseException) -> None:
    assert ran_out(error)
    with pytest.raises(OutOfMemory, match=r"^out of memory \(CLIP\): ") as caught, at_stage(Stage.CLIP):
        raise error
    assert caught.value.exit_code == RunError.exit_code == 1


@pytest.mark.parametrize("error", DISGUISED, ids=str)
def test_errors_that_may_be_of_memory_count_while_it_is_short(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not ran_out(error) and may_have_run_out(error)
    monkeypatch.setattr("disco.memory.oom.is_short", lambda: True)
    with pytest.raises(OutOfMemory, match=r"^perhaps out of memory \(CLIP\): ") as caught:
        with at_stage(Stage.CLIP):
            raise error
    assert not caught.value.is_certain
    monkeypatch.setattr("disco.memory.oom.is_short", lambda: False)
    with pytest.raises(type(error)) as other, at_stage(Stage.CLIP):
        raise error
    assert other.value is error


@pytest.mark.parametrize("error", NOT_OURS, ids=str)
def test_other_errors_stay_what_they_are(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not ran_out(error) and not may_have_run_out(error)
    monkeypatch.setattr("disco.memory.oom.is_short", lambda: True)
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
