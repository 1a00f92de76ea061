"""layers: which layer wins, where each value comes from, --set and --prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from disco.settings.load import load_runs
from disco.settings.model import KEYS, Settings
from disco.settings.schedules import Schedule
from tests.loading import BIG, SMALL, clips, load, problems, write

B32, B16, RN50 = "ViT-B-32-quickgelu/openai", "ViT-B-16-quickgelu/openai", "RN50-quickgelu/openai"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_later_layers_win_and_every_value_knows_its_origin() -> None:
    write("settings/deep.yaml", "eta: 0.1\nsteps: 30\ntv_scale: 1\n")
    write("settings/base.yaml", "extends: deep.yaml\neta: 0.2\nsat_scale: 5\n")
    run = load("extends: settings/base.yaml\nsat_scale: 6\nrange_scale: 7\n", "range_scale=8", prompt="a cat")
    settings = run.settings
    assert (settings.tv_scale.at(0), settings.eta.at(0), settings.sat_scale.at(0)) == (1, 0.2, 6)
    assert settings.range_scale.at(0) == 8
    assert settings.steps == 30
    assert {key: run.origins[key] for key in ("tv_scale", "eta", "sat_scale", "range_scale")} == {
        "tv_scale": "settings/deep.yaml:3",
        "eta": "settings/base.yaml:2",
        "sat_scale": "a.yaml:2",
        "range_scale": "--set",
    }
    assert run.origins["text_prompts"] == "--prompt"
    assert run.origins["width_height"] == "pocket"
    assert run.origins["clamp_max"] == "pocket" and run.origins["clamp_grad"] == "default"
    assert tuple(run.origins) == KEYS
    assert run.base_dirs == (Path.cwd(),)


def test_several_bases_and_the_place_they_are_found() -> None:
    write("one.yaml", "eta: 0.1\nsteps: 30\n")
    write("settings/two.yaml", "eta: 0.2\n")
    (run,) = load_runs([write("settings/a.yaml", "extends: [one.yaml, two.yaml]\n")])
    assert (run.settings.eta.at(0), run.settings.steps) == (0.2, 30)
    assert run.base_dirs == (Path.cwd(), Path.cwd() / "settings")


def test_the_network_brings_its_defaults() -> None:
    pocket, big, small = (
        load("steps: 40\n"),
        load(f"diffusion_model: {BIG}\n"),
        load(f"diffusion_model: {SMALL}\n"),
    )
    assert pocket.settings.diffusion_model == "pocket"
    assert clips(pocket) == ["pocket-conv", "pocket-vit"]
    assert big.settings == Settings(diffusion_model=BIG)
    assert (big.settings.width_height, small.settings.width_height) == ((1280, 768), (512, 448))
    assert small.origins["width_height"] == SMALL
    assert clips(small) == [B32, B16, RN50]


def test_another_name_of_a_network() -> None:
    run = load("diffusion_model: PADexpanded\n")
    assert run.settings.diffusion_model == "pixelartdiffusion_expanded"


def test_no_file_is_the_defaults() -> None:
    (run,) = load_runs([], prompt="a cat:2")
    assert run.name == "defaults"
    assert run.settings.text_prompts[0][0].text == "a cat"
    assert run.notices == ()


def test_a_queue_of_documents_and_files() -> None:
    write("a.yaml", "steps: 20\n---\nsteps: 30\nskip_steps: 5\n")
    write("b.yaml", "steps: 40\n")
    runs = load_runs(["a.yaml", Path("b.yaml")], overrides=["eta=0"])
    assert [(run.name, run.settings.steps) for run in runs] == [
        ("a.yaml", 20),
        ("a.yaml [2]", 30),
        ("b.yaml", 40),
    ]
    assert runs[1].origins["skip_steps"] == "a.yaml:4"
    assert all(run.settings.eta.at(0) == 0 for run in runs)


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("steps=75", "steps", 75),
        ("eta = 0.5", "eta", Schedule.parse(0.5)),
        ("cut_overview=[12]*400+[4]*600", "cut_overview", Schedule.parse({0: 12, 400: 4}, int)),
        ("cut_overview={0: 12, 400: 4}", "cut_overview", Schedule.parse({0: 12, 400: 4}, int)),
        ("width_height=[256, 128]", "width_height", (256, 128)),
        ("width_height=256x128", "width_height", (256, 128)),
        ("batch_name=a: b", "batch_name", None),
        ("init_image=", "init_image", None),
        ("perlin_init=yes", "perlin_init", True),
        ("seed=7", "set_seed", 7),
    ],
)
def test_set_reads_yaml(override: str, key: str, value: Any) -> None:
    if value is None and key == "batch_name":
        assert problems("steps: 40\n", override) == (
            f'--set {override}: batch_name: "a: b" is no file name: ":" cannot stand in one',
        )
        return
    assert getattr(load("steps: 40\n", override).settings, key) == value


@pytest.mark.parametrize(
    ("override", "texts"),
    [
        ("text_prompts=a castle: at night", ["a castle: at night"]),
        ("text_prompts=a cat:2", ["a cat"]),
        ("text_prompts=[a cat, 'a dog:2']", ["a cat", "a dog"]),
        ("text_prompts={0: [x], 9: [y]}", ["x"]),
        ("text_prompts=@home", ["@home"]),
    ],
)
def test_set_text_prompts(override: str, texts: list[str]) -> None:
    run = load("steps: 40\n", override)
    assert [prompt.text for prompt in run.settings.text_prompts[0]] == texts


def test_a_later_set_wins() -> None:
    run = load("steps: 40\n", "eta=0.1", "eta=0.2", "cutn=8", "cut_overview=3")
    assert run.settings.eta.at(0) == 0.2
    assert (run.settings.cut_overview.at(0), run.settings.cut_innercut.at(0)) == (3, 2)


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("stepz=5", "--set stepz=5: stepz: no such setting. Did you mean steps?"),
        ("eta=[1", '--set eta=[1: eta: [ is not closed: write ] at the end of "[1"'),
        ("eta", "--set eta: eta: write --set key=value, like --set steps=100"),
        ("=5", "--set =5: ?: write --set key=value, like --set steps=100"),
        ("extends=b.yaml", "--set extends=b.yaml: extends: write --set key=value, like --set steps=100"),
        ("skip_steps=50", "--set skip_steps=50: skip_steps: 50 of 50 steps leaves none: write at most 49"),
    ],
)
def test_errors_of_set(override: str, problem: str) -> None:
    (line,) = problems("steps: 50\n", override)
    assert line.startswith(problem)
