"""The process in which one part of a GPU day runs: a missing package, too, ends up in the part's result."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

from benchmarks.gpu_report import Result, described

PRELOAD = ["torch", "open_clip", "guided_diffusion.unet", "lpips", "benchmarks.gpu_parts"]
"""What the server imports that the processes are forked from, so that not each of them has to."""


def run_part(result: Result, device: str, tiny: bool, log: Path) -> None:
    """Measure; whatever happens is in the result's file. log: takes what is printed."""
    began = time.monotonic()
    _alone(log)
    try:
        parts = importlib.import_module("benchmarks.gpu_parts")
        parts.measure(result, device, tiny)
        failure = ""
    except BaseException as error:
        traceback.print_exc()
        failure = described(error)
    result.cpu_seconds = round(sum(os.times()[:4]), 1)
    result.end(time.monotonic() - began, failure)
    print(f"state: {result.state}", flush=True)


CANNOT_FORK = 3


def try_to_fork() -> None:
    """In the first process, which waits for the server's imports: exits with CANNOT_FORK if one of them has
    used CUDA, which no forked process can then use."""
    if PRELOAD[0] in sys.modules and sys.modules[PRELOAD[0]].cuda._is_in_bad_fork():
        sys.exit(CANNOT_FORK)


def _alone(log: Path) -> None:
    """In a process group of its own, which ends when the caller does; output to the log."""
    if hasattr(os, "setsid"):
        os.setsid()
        threading.Thread(target=_end_with_the_caller, daemon=True).start()
    with log.open("w") as file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(file.fileno(), stream.fileno())


def _end_with_the_caller() -> None:
    caller = multiprocessing.parent_process()
    if caller is not None:
        caller.join()
        os.killpg(0, signal.SIGKILL)
