"""benchmarks.gpu_day: rehearsed with tiny networks; killed and gone on with; limits and failures by part."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks import gpu_day, gpu_trace
from benchmarks.gpu_day import MINUTES, PARTS, START, Part
from benchmarks.gpu_report import Result
from tests.places import ROOT

CPU = torch.device("cpu")
KEY = {"commit": "abc", "tiny": True}
HEAD = [sys.executable, "-m", "benchmarks.gpu_day"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*HEAD, *words], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)


def states(out: Path) -> dict[str, str]:
    found = {part.name: Result.read(out / f"gpu_day_cpu_tiny_{part.name}.json") for part in PARTS}
    return {name: result.state for name, result in found.items() if result is not None}


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.timeout(900)
def test_a_rehearsal_that_is_killed_goes_on_with_the_missing_parts(tmp_path: Path) -> None:
    words = ["--tiny", "--device", "cpu", "--minutes", "14", "--out", str(tmp_path)]
    first = subprocess.Popen([*HEAD, *words], cwd=ROOT, env=ENVIRONMENT, start_new_session=True)
    until(lambda: "tests" in states(tmp_path))
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert states(tmp_path) == {"machine": "done", "tests": "running"}
    kept = (tmp_path / "gpu_day_cpu_tiny_machine.json").read_bytes()
    said = command(*words)
    assert said.returncode == 0, said.stdout + said.stderr
    assert said.stdout.splitlines()[-1].startswith("10 of 11 parts measured")
    assert states(tmp_path) == {part.name: "done" for part in PARTS}
    assert (tmp_path / "gpu_day_cpu_tiny_machine.json").read_bytes() == kept
    report = (tmp_path / "gpu_day_cpu_tiny.md").read_text()
    assert [line[3:] for line in report.splitlines() if line.startswith("## ")] == [p.name for p in PARTS]
    every_part_says_what_it_must(tmp_path)


def every_part_says_what_it_must(out: Path) -> None:
    """What is rehearsed: that numbers of every kind are there."""
    tables = {part.name: read(out, part.name).tables for part in PARTS}
    outcomes = {row["outcome"] for row in tables["tests"]["tests"]}
    assert outcomes == {"skipped"} and "needs a CUDA GPU" in tables["tests"]["reasons"][0]["reason"]
    assert [row["networks"] for row in tables["deterministic"]["stills"]] == ["pocket"] * 2 + ["random"] * 2
    assert [row["compared"] for row in tables["guidance"]["gradients"]] == ["fixed", "dd57", "default"]
    assert {row["part"] for row in tables["step"]["early step, 64x64"]} > {"UNet", "LPIPS", "cutouts"}
    assert tables["run"]["run"][0]["steps"] == 4 and tables["run"]["run"][0]["median, s"] > 0
    assert tables["memory"]["memory"][0]["estimate"] > 0
    assert {row["network"] for row in tables["precision"]["errors"]} == {"UNet", "secondary"}
    assert tables["streams"]["streams"][0]["streams"] == "one stream"
    assert len(tables["kernels"]["by name"]) == gpu_trace.TOP
    assert [row["compiled"] for row in tables["compile"]["compile"]] == ["nothing", "the UNet"]
    said = [row["text"] for row in tables["compile"]["said"]]
    assert "compiling" in said[0] and "compiled in" in said[1]


def read(out: Path, part: str) -> Result:
    found = Result.read(out / f"gpu_day_cpu_tiny_{part}.json")
    assert found is not None
    return found


def test_failures_and_limits_are_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = gpu_day._context(60)
    day = gpu_day.Day(tmp_path, "cpu", "cpu", True, time.monotonic() + 60, start)
    parts = [Part("nosuch", 30, "There is no such part"), Part("machine", 1, "The device")]
    assert gpu_day.measure_all(day, parts, KEY) == ["nosuch"]
    assert (read(tmp_path, "nosuch").state, read(tmp_path, "nosuch").failures) == (
        "failed",
        ["KeyError: 'nosuch'"],
    )
    assert day.is_complete(parts[1], KEY) and not day.is_complete(parts[0], KEY)
    assert not day.is_complete(parts[1], KEY | {"commit": "other"})
    late = day.run(Part("step", 1, "A step"), KEY, 0.01)
    assert late.state == "failed" and late.failures[0].startswith("stopped after 0 s")
    assert "FAILED:\n\n```text\nstopped after 0 s" in (tmp_path / "gpu_day_cpu_tiny.md").read_text()
    assert "nosuch: failed" in capsys.readouterr().out


def test_the_shares_fit_into_nine_minutes() -> None:
    assert MINUTES == 9 and sum(part.seconds for part in PARTS) + START <= 60 * MINUTES
    listed = command("--list")
    assert listed.returncode == 0 and listed.stdout.strip() == gpu_day.listed()
    assert [line.split()[0] for line in listed.stdout.splitlines()] == [part.name for part in PARTS]


def test_without_a_gpu_it_says_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gpu_day.main(["--device", "cpu", "--out", str(tmp_path)]) == 2
    expected = "gpu_day needs a CUDA GPU that torch can use; --tiny rehearses it here with tiny networks\n"
    assert capsys.readouterr().err == expected
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert gpu_day.main(["--device", "cuda", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "gpu_day: device: cuda: the number of CUDA GPUs here is 0\n"
    monkeypatch.setitem(sys.modules, "benchmarks.machine", None)
    monkeypatch.delattr("benchmarks.machine")
    assert gpu_day.main(["--tiny", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("gpu_day needs the package ")
    assert not list(tmp_path.iterdir())


def test_a_result_keeps_its_rows_and_its_failures(tmp_path: Path) -> None:
    result = Result(tmp_path / "a.json", "step", "A step by part", KEY, 60.0)
    with result.attempt("first"):
        raise ModuleNotFoundError("No module named 'lpips'", name="lpips")
    result.add("parts", part="UNet", ms=1.5)
    assert Result.read(result.path) == result and result.state == "running"
    result.end(12.34)
    assert result.state == "failed" and result.failures == ["first: the package lpips is missing"]
    assert "| UNet | 1.50 |" in result.markdown() and "12 s of 60" in result.markdown()
    (tmp_path / "b.json").write_text("[1]")
    assert Result.read(tmp_path / "b.json") is None and Result.read(tmp_path / "none.json") is None


def event(key: str, count: int, microseconds: float, kind: str = "CUDA") -> Any:
    device_type = SimpleNamespace(name=kind)
    return SimpleNamespace(key=key, count=count, self_device_time_total=microseconds, device_type=device_type)


def test_what_a_trace_counts_for_a_step() -> None:
    events = [
        event("Memcpy HtoD (Pageable -> Device)", 6, 10),
        event("Memcpy HtoD (Pinned -> Device)", 2, 10),
        event("gemm", 4, 3000),
        event("cudaLaunchKernel", 200, 0, "CPU"),
        event("cudaDeviceSynchronize", 1, 0, "CPU"),
        event("cudaStreamSynchronize", 4, 0, "CPU"),
    ]
    counted = {row["a step"]: row["count"] for row in gpu_trace.counts(events, 2)}
    assert counted["copies from the host"] == 4 and counted["copies from the host, pageable"] == 3
    assert counted["kernels started"] == 100 and counted["waits for the device"] == 2
    rows = gpu_trace.by_name(events, 2, torch.device("cuda"))
    assert rows[0]["kernel"] == "gemm" and len(rows) == 3
    assert rows[0]["a step"] == 2 and rows[0]["ms"] == pytest.approx(1.5)


def test_copies_and_waits_are_named_by_their_line() -> None:
    with gpu_trace.HostCalls("meta") as calls:
        torch.ones(2).to("meta")
        torch.ones(2, device="meta") * 2
    assert calls.copies == {"outside of disco/": 1} and not calls.waits
