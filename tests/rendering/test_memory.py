"""disco.rendering.memory: what --plan says of a shortage, and what a run begins with."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import pytest
import torch

from disco.memory.policy import Economy
from disco.networks.clip_configs import clip_configs
from disco.rendering.memory import govern, memory_lines
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


@pytest.mark.parametrize("share", [1, 4])
def test_a_run_begins_with_what_fits(share: int, free: dict[str, int | None]) -> None:
    """share: of so many processes each has its part."""
    told: list[Mapping[str, Any]] = []
    run = run_of(clip_batch=64)
    free["bytes"] = share * 60 * MIB
    governor = govern(run, loaded(), None, told.append, share=share)
    assert governor.economy.clip_batch is not None and governor.economy.clip_batch <= 8
    assert told == [{"device": "cpu", **governor.economy.plain()}]
    (news,) = governor.news()
    assert news == f"memory saving to fit into 0.1 GiB: {governor.economy.words()}"
    governor.close()


@pytest.mark.parametrize("room", [None, 100 * 2**30])
def test_with_memory_enough_or_unknown_nothing_is_counted(
    room: int | None, free: dict[str, int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("disco.rendering.memory.count", None)
    told: list[Mapping[str, Any]] = []
    free["bytes"] = room
    assert govern(run_of(), loaded(), None, told.append).economy == Economy()
    assert told == [{"device": "cpu"}], "so that a resume does not count anew"


@pytest.mark.parametrize("device, expected", [("cpu", Economy(together=2)), ("NVIDIA T4", Economy())])
def test_what_was_given_up_counts_on_the_same_device(device: str, expected: Economy) -> None:
    was = {"device": device, "together": 2}
    governor = govern(run_of(), loaded(), was, lambda given_up: None, known=False)
    assert governor.economy == expected
    assert governor.news() == (
        ["memory saving as before: 2 pictures guided at once"] if expected.together else []
    )


def test_the_error_at_the_end_says_what_would_fit(free: dict[str, int | None]) -> None:
    from disco.errors import RunError

    free["bytes"] = 20 * MIB
    governor = govern(run_of(width_height=[512, 512]), loaded(), {"device": "cpu"}, lambda given_up: None)

    def do() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.00 GiB.")

    with pytest.raises(RunError, match=r"a step needs about .* would fit"):
        governor.attempt(do)
