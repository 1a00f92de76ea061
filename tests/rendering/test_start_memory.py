"""Sizes whose start noise no memory holds, and memory that runs out while it is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from disco.cli.plan import describe
from disco.errors import RunError, SettingsError
from disco.rendering import api, memory
from disco.rendering.memory import check_start_noise
from disco.sampling import randomness
from disco.settings.load import run_from_mapping, runs_from_mapping
from tests.small_run import SMALL, events_of, pictures, rendered, same

GIB = 2**30
HUGE = {"text_prompts": ["a lake"], "width_height": [16384, 16384], "batch_size": 1}
SAID = (
    "settings: width_height: 16384 x 16384 needs about 3.0 GiB for the start noise alone; 2.0 GiB are here. "
    "Choose a smaller width_height"
)


@pytest.fixture
def two_gib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda device: 2 * GIB)


@pytest.mark.parametrize("more", [{}, {"perlin_init": True, "skip_steps": 10}, {"animation_mode": "2D"}])
def test_too_large_for_this_machine(more: dict[str, Any], two_gib: None) -> None:
    run = run_from_mapping(HUGE | more)
    for refused in (lambda: check_start_noise(run), lambda: describe([run], Path("out"))):
        with pytest.raises(SettingsError) as caught:
            refused()
        assert str(caught.value) == SAID and caught.value.exit_code == 2


def test_batches_count(two_gib: None) -> None:
    values = HUGE | {"width_height": [4096, 4096], "n_batches": 20}
    check_start_noise(run_from_mapping(values | {"batch_size": 10}))  # 1.9 GiB
    with pytest.raises(SettingsError) as caught:
        check_start_noise(run_from_mapping(values | {"batch_size": 11}))
    assert "4096 x 4096 in batches of 11 needs about 2.1 GiB" in str(caught.value)
    assert str(caught.value).endswith("Choose a smaller width_height or batch_size")
    run = run_from_mapping(values | {"batch_size": 11})
    check_start_noise(run, images=[3])
    check_start_noise(run_from_mapping(values | {"batch_size": 11, "n_batches": 2}))


def test_nothing_is_known_about_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda device: None)
    check_start_noise(run_from_mapping(HUGE))


def test_one_run_of_a_sweep_is_enough(two_gib: None, tmp_path: Path) -> None:
    """Before a folder is made, and before the first of them begins."""
    sweep = {**SMALL, "sweep": {"width_height": [[64, 64], [16384, 16384]]}}
    with pytest.raises(SettingsError, match="for the start noise alone"):
        list(api.render(list(runs_from_mapping(sweep)), out=tmp_path))
    assert not list(tmp_path.iterdir())


FULL = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried"
)


@pytest.mark.parametrize("compat", ["fixed", "dd57"])
def test_memory_that_is_short_for_a_moment(
    compat: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start is made again, from the same random state."""
    values = {"compat": compat, "perlin_init": True, "skip_steps": 2}
    rendered(tmp_path / "whole", values)
    kind = randomness.FixedRandom if compat == "fixed" else randomness.StreamRandom
    make, failed = kind.start_noise, []

    def start_noise(self: Any, shape: Any) -> torch.Tensor:
        noise = make(self, shape)
        if not failed:
            failed.append(True)
            raise FULL
        return noise

    monkeypatch.setattr(kind, "start_noise", start_noise)
    rendered(tmp_path / "short", values)
    assert failed
    assert same(pictures(tmp_path / "short"), pictures(tmp_path / "whole"))


@pytest.mark.parametrize("error", [FULL, MemoryError()])
def test_memory_that_stays_short(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start_noise(self: Any, shape: Any) -> torch.Tensor:
        raise error

    monkeypatch.setattr(randomness.FixedRandom, "start_noise", start_noise)
    with pytest.raises(RunError) as caught:
        list(events_of(tmp_path, {}))
    assert "out of memory (the start noise and picture): " in str(caught.value)


def test_memory_that_runs_out_while_init_pictures_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_pictures(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(api, "load_pictures", load_pictures)
    with pytest.raises(RunError, match=r"out of memory \(the start noise and picture\): MemoryError"):
        list(events_of(tmp_path, {}))
