"""sweep: the product of the swept keys, and what overrules them."""

from __future__ import annotations

from pathlib import Path

import pytest

from disco.errors import SettingsError
from disco.settings.load import load_runs, run_from_mapping
from tests.loading import SMALL, problems, said, write


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_sweep_is_the_product_the_last_key_fastest() -> None:
    runs = load_runs([write("a.yaml", "batch_name: x\nsweep:\n  eta: [0, 0.8]\n  seed: [1, 2, 3]\n")])
    assert [(run.settings.eta.at(0), run.settings.set_seed) for run in runs] == [
        (eta, seed) for eta in (0, 0.8) for seed in (1, 2, 3)
    ]
    point = runs[4].sweep
    assert point is not None
    assert point.values == {"eta": 0.8, "seed": 2}
    assert (point.position, point.total) == (4, 6)
    assert point.axes == (("eta", (0, 0.8)), ("seed", (1, 2, 3)))
    assert {run.settings.batch_name for run in runs} == {"x"}
    assert runs[0].origins["eta"] == "a.yaml:3"
    assert runs[0].origins["set_seed"] == "a.yaml:4"


def test_a_sweep_over_networks_takes_each_ones_defaults() -> None:
    runs = load_runs([write("a.yaml", f"sweep: {{diffusion_model: [pocket, {SMALL}]}}\n")])
    assert [run.settings.width_height for run in runs] == [(128, 128), (512, 448)]


def test_each_run_hears_only_of_its_own_values() -> None:
    runs = load_runs([write("a.yaml", "sweep: {timestep_respacing: [ddim20, ddim40]}\n")])
    assert [said(run, "timestep_respacing") for run in runs] == [["read as steps: 20"], ["read as steps: 40"]]


def test_set_fixes_a_swept_key() -> None:
    runs = load_runs([write("a.yaml", "sweep: {eta: [0, 0.8], seed: [1, 2]}\n")], overrides=["set_seed=9"])
    assert [(run.settings.eta.at(0), run.settings.set_seed) for run in runs] == [(0, 9), (0.8, 9)]
    assert said(runs[0], "sweep") == ["seed is overruled, it is not swept"]
    (run,) = load_runs(["a.yaml"], overrides=["seed=9", "eta=1"])
    assert run.sweep is None


def test_a_sweep_may_be_set_and_must_be_small() -> None:
    write("a.yaml", "steps: 40\n")
    assert len(load_runs(["a.yaml"], overrides=["sweep={eta: [0, 1]}"])) == 2
    many = list(range(40))
    assert problems("steps: 40\n", f"sweep={{seed: {many}, tv_scale: {many}}}")[0].endswith(
        "sweep: 1600 runs: at most 1000 are allowed"
    )


def test_one_run_is_wanted_from_a_mapping() -> None:
    with pytest.raises(SettingsError, match="settings: sweep: gives 2 runs where one is wanted"):
        run_from_mapping({"sweep": {"eta": [0, 1]}})
