"""disco.rendering.memory: what --plan says of a shortage, and what a run begins with."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from disco.memory.policy import MemoryPolicy, PossibleSavings
from disco.networks.clip_configs import clip_configs
from disco.networks.estimate import peak_memory
from disco.rendering.memory import RESERVE, _needs, make_oom_retry, memory_lines
from disco.rendering.prepare import load_for
from disco.settings.load import Run, run_from_mapping

TINY = {
    "text_prompts": "a lake",
    "batch_name": "t",
    "width_height": [128, 64],
    "cut_overview": 8,
    "cut_innercut": 8,
}
MIB = 2**20


def run_of(**values: Any) -> Run:
    return run_from_mapping({**TINY, "device": "cpu", **values})


@functools.cache
def loaded() -> Any:
    return load_for(run_of())


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> dict[str, int | None]:
    """free["bytes"]: what the machine says is left."""
    room: dict[str, int | None] = {"bytes": None}
    monkeypatch.setattr("disco.rendering.memory.free_memory", lambda device: room["bytes"])
    monkeypatch.setattr("disco.rendering.memory.RESERVE", 0)
    return room


def lines(run: Run) -> list[str]:
    return list(memory_lines(run, dict(clip_configs(run))))


def test_plan_says_what_will_be_given_up(
    free: dict[str, int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(clip_batch=64)
    (plain,) = lines(run)
    assert plain.startswith("about 0.") and "free" not in plain
    free["bytes"] = 100 * 2**30
    assert lines(run) == [f"{plain}; 100.0 GiB are free for it"]
    monkeypatch.setattr("disco.rendering.memory.RESERVE", 2**30)
    assert lines(run) == [f"{plain}; 99.0 GiB are free for it"]
    monkeypatch.setattr("disco.rendering.memory.RESERVE", 0)
    free["bytes"] = 100 * MIB
    _, fits = lines(run)
    assert (
        fits.startswith("memory saving to fit: ")
        and "seen by a CLIP at once" in fits
        and fits.endswith("then about 0.1 GiB")
    )
    free["bytes"] = 1 * MIB
    _, fails = lines(run)
    assert fails.startswith("does not fit: a step needs about 0.") and "0.0 GiB are free" in fails


@pytest.mark.parametrize("processes", [1, 4])
def test_a_run_begins_with_what_fits(processes: int, free: dict[str, int | None]) -> None:
    """processes: of so many processes each has its part."""
    told: list[Mapping[str, Any]] = []
    run = run_of(clip_batch=64)
    free["bytes"] = processes * 60 * MIB
    oom_retry = make_oom_retry(run, loaded(), None, told.append, processes=processes)
    assert oom_retry.saving.clip_batch is not None and oom_retry.saving.clip_batch <= 8
    assert told == [{"device": "cpu", **oom_retry.saving.plain()}]
    (message,) = oom_retry.pop_messages()
    assert message == f"memory saving to fit into 0.1 GiB: {oom_retry.saving.words()}"
    oom_retry.close()


@pytest.mark.parametrize("room", [None, 100 * 2**30])
def test_with_memory_enough_or_unknown_nothing_is_counted(
    room: int | None, free: dict[str, int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("disco.rendering.memory.count", None)
    told: list[Mapping[str, Any]] = []
    free["bytes"] = room
    assert make_oom_retry(run_of(), loaded(), None, told.append).saving == MemoryPolicy()
    assert told == [{"device": "cpu"}], "so that a resume does not count anew"


@pytest.mark.parametrize(
    "device, expected", [("cpu", MemoryPolicy(together=2)), ("NVIDIA T4", MemoryPolicy())]
)
def test_what_was_given_up_counts_on_the_same_device(device: str, expected: MemoryPolicy) -> None:
    was = {"device": device, "together": 2}
    oom_retry = make_oom_retry(run_of(), loaded(), was, lambda saved_by: None, known=False)
    assert oom_retry.saving == expected
    assert oom_retry.pop_messages() == (
        ["memory saving as before: 2 pictures guided at once"] if expected.together else []
    )


def test_the_error_at_the_end_says_what_would_fit(free: dict[str, int | None]) -> None:
    from disco.errors import RunError

    free["bytes"] = 20 * MIB
    oom_retry = make_oom_retry(
        run_of(width_height=[512, 512]), loaded(), {"device": "cpu"}, lambda saved_by: None
    )

    def do() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.00 GiB.")

    with pytest.raises(RunError, match=r"a step needs about .* would fit"):
        oom_retry.run(do)


PEAK = """
import ctypes, gc, json, sys
from pathlib import Path
from disco.rendering.api import render

def resident(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])

values = json.loads(sys.argv[1])
list(render({**values, "width_height": [64, 64]}, out=sys.argv[2]))  # libraries are loaded, threads started
gc.collect()
ctypes.CDLL(None).malloc_trim(0)
Path("/proc/self/clear_refs").write_text("5")
before = resident("VmRSS:")
list(render(values, out=sys.argv[2]))
print(resident("VmHWM:") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of resident memory is read from /proc")
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"width_height": [640, 512]},
        {"cutn_batches": 8},
        {"clip_batch": 4},
        {"use_secondary_model": False},
    ],
)
def test_a_run_on_a_cpu_stays_below_the_estimate(more: dict[str, Any], tmp_path: Path) -> None:
    """Where it does not, the system ends the process."""
    values = {"text_prompts": "a lake", "width_height": [512, 512], "steps": 3, "device": "cpu", **more}
    command = [sys.executable, "-c", PEAK, json.dumps(values), str(tmp_path)]
    peak = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])
    run = run_from_mapping(values)
    plan = _needs(run, dict(clip_configs(run)), PossibleSavings())
    assert not isinstance(plan, str)
    assert 0.4 * peak_memory(plan.counts, plan.work).total < peak
    assert peak < peak_memory(plan.counts, plan.work).total + RESERVE / 2
