"""disco.memory.free: the least of what machine, container and ulimit leave."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from disco.memory import free as memory_free

CPU = torch.device("cpu")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of which nothing is known, in files below the returned folder."""
    for name in ("proc/self", "cgroup/ours"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setattr(memory_free, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(memory_free, "_CGROUP", tmp_path / "cgroup")
    return tmp_path


def test_this_machine_has_some() -> None:
    free = memory_free.free_memory(CPU)
    assert free is None or 2**20 < free < 2**50


def test_what_nobody_tells(machine: Path) -> None:
    assert memory_free.free_memory(CPU) is None
    assert memory_free.free_memory(torch.device("meta")) is None


def test_what_the_machine_has(machine: Path) -> None:
    (machine / "proc/meminfo").write_text("MemTotal:  16000 kB\nMemAvailable:  9000 kB\nHugePages: x\n")
    assert memory_free.free_memory(CPU) == 9000 * 1024


@pytest.mark.parametrize("most, free", [("5000000", 5000000 - 3000000 + 1000000), ("max", 9000 * 1024)])
def test_what_the_container_may_have(machine: Path, most: str, free: int) -> None:
    (machine / "proc/meminfo").write_text("MemAvailable: 9000 kB\n")
    (machine / "proc/self/cgroup").write_text("0::/ours\n")
    (machine / "cgroup/ours/memory.max").write_text(most + "\n")
    (machine / "cgroup/ours/memory.current").write_text("3000000\n")
    (machine / "cgroup/ours/memory.stat").write_text("anon 1900000\ninactive_file 1000000\n")
    assert memory_free.free_memory(CPU) == free


def test_the_older_form_of_containers(machine: Path) -> None:
    (machine / "cgroup/memory").mkdir()
    (machine / "cgroup/memory/memory.limit_in_bytes").write_text("700\n")
    (machine / "cgroup/memory/memory.usage_in_bytes").write_text("200\n")
    assert memory_free.free_memory(CPU) == 500


def test_what_ulimit_leaves(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    (machine / "proc/self/statm").write_text("10 5 1 1 0 1 0\n")
    page = resource.getpagesize()
    monkeypatch.setattr(resource, "getrlimit", lambda what: (100 * page, 100 * page))
    assert memory_free.free_memory(CPU) == 90 * page


@pytest.mark.parametrize("left, short", [(2**30 - 1, True), (2**30, False)])
def test_short_on_the_cpu(left: int, short: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_free, "free_memory", lambda device: left)
    assert memory_free.is_short() is short


@pytest.mark.parametrize(
    "free, total, short", [(2**30, 6 * 2**30, False), (2**29, 2**30, True), (9, 80, True), (15, 80, False)]
)
def test_short_on_the_gpu_in_use(free: int, total: int, short: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    scale = 2**30 if total < 2**20 else 1
    monkeypatch.setattr(memory_free, "free_memory", lambda device: None)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free * scale, total * scale))
    assert memory_free.is_short() is short


def test_a_gpu_that_answers_nothing_is_not_short(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(memory_free, "free_memory", lambda device: None)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", broken)
    assert not memory_free.is_short()
