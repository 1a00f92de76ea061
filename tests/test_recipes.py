"""The recipes in settings/: each loads without a problem and is what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from disco.settings import Settings
from disco.settings_load import load_runs
from disco.settings_schema import json_schema

SETTINGS = Path(__file__).parent.parent / "settings"
VALIDATOR = Draft202012Validator(json_schema())
RECIPES = sorted(SETTINGS.rglob("*.yaml"))


def only(name: str) -> Settings:
    """The settings of a recipe that is a single run."""
    (run,) = load_runs([SETTINGS / name])
    return run.settings


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_it_loads_without_a_problem(path: Path) -> None:
    runs = load_runs([path])
    assert runs
    said = [notice for run in runs for notice in run.notices]
    assert all("none given" in notice for notice in said), said


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_an_editor_finds_nothing_to_mend(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.splitlines()[0] == "# yaml-language-server: $schema=schema.json"
    for document in yaml.safe_load_all(text):
        VALIDATOR.validate(json.loads(json.dumps(document)))


def test_batch() -> None:
    batch = only("batch.yaml")
    assert batch.diffusion_model == "pocket"
    assert batch.n_batches == 4
    assert min(batch.width_height) >= 128
    assert len(batch.text_prompts[0]) >= 2
    assert len(batch.clip_models) == 2
    assert batch.use_secondary_model
    assert batch.cut_overview.min() > 0 and batch.cut_innercut.max() > 0
    assert not batch.skip_augs.max()
    assert batch.set_seed != "random_seed", "the README shows these very pictures"


def test_draft() -> None:
    batch, draft = only("batch.yaml"), only("draft.yaml")
    assert 4 * draft.width_height[0] * draft.width_height[1] == batch.width_height[0] * batch.width_height[1]
    assert draft.steps * 2 <= batch.steps
    assert draft.text_prompts == batch.text_prompts
    assert draft.batch_name != batch.batch_name


def test_prompts() -> None:
    runs = load_runs([SETTINGS / "prompts.yaml"])
    texts = {run.settings.text_prompts[0][0].text for run in runs}
    assert len(runs) == len(texts) >= 4
    assert len({run.settings.set_seed for run in runs}) == 1, "the same noise for all"


def test_disco57() -> None:
    """The default run of Disco Diffusion 5.7."""
    settings = only("disco57.yaml")
    assert settings.compat == "dd57"
    assert settings.diffusion_model == "512x512_diffusion_uncond_finetune_008100"
    assert (settings.width_height, settings.steps, settings.skip_steps) == ((1280, 768), 250, 10)
    assert (settings.n_batches, settings.batch_name) == (50, "disco57")
    lighthouse, colours = settings.text_prompts[0]
    assert lighthouse.raw.startswith(
        "A beautiful painting of a singular lighthouse, shining its light across"
    )
    assert lighthouse.raw.endswith("by greg rutkowski and thomas kinkade, Trending on artstation.")
    assert colours.raw == "yellow color scheme"
    assert [clip.name for clip in settings.clip_models] == [
        "ViT-B-32-quickgelu/openai",
        "ViT-B-16-quickgelu/openai",
        "RN50-quickgelu/openai",
    ]
    assert (settings.clip_guidance_scale.max(), settings.cutn_batches.max()) == (5000, 4)
