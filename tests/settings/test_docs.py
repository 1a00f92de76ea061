"""settings/default.yaml and settings/schema.json: fresh, complete, and true."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from disco.settings import docs
from disco.settings.aliases import known_names
from disco.settings.docs import json_schema, network_defaults, sentence
from disco.settings.kinds import read_value
from disco.settings.load import load_runs
from disco.settings.model import KEYS, Settings, facts_of
from disco.weights.registry import registry
from tests.places import SETTINGS

STALE = "stale: run `python -m disco.settings.docs`"
SCHEMA = json_schema()
VALIDATOR = Draft202012Validator(SCHEMA)
TEXT = docs.default_yaml()


def lines_of(key: str) -> list[str]:
    """The key's block in default.yaml."""
    block = re.search(rf"\n\n((?:#.*\n)*(?:# )?{key}: .*\n(?:#   .*\n)*)", TEXT)
    assert block is not None, key
    return block[1].splitlines()


def test_the_files_are_fresh() -> None:
    assert (SETTINGS / "default.yaml").read_text(encoding="utf-8") == TEXT, STALE
    assert (SETTINGS / "schema.json").read_text(encoding="utf-8") == docs.schema_text(), STALE


def test_main_writes_both_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docs, "RECIPES", tmp_path / "settings")
    docs.main()
    assert sorted(path.name for path in (tmp_path / "settings").iterdir()) == ["default.yaml", "schema.json"]


# ---- default.yaml ----


def test_it_sets_nothing() -> None:
    (documented,) = load_runs([SETTINGS / "default.yaml"])
    (bare,) = load_runs([])
    assert documented.settings == bare.settings


def test_its_commented_lines_are_the_defaults(tmp_path: Path) -> None:
    lines = TEXT.splitlines()
    alive = [line.removeprefix("# ") for line in lines if re.match(rf"(# )?({'|'.join(KEYS)}): ", line)]
    assert [line.partition(":")[0] for line in alive] == list(KEYS)
    path = tmp_path / "all.yaml"
    path.write_text("\n".join(alive), encoding="utf-8")
    (written,) = load_runs([path])
    (bare,) = load_runs([])
    assert written.settings == bare.settings


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_described(key: str) -> None:
    text = " ".join(line.removeprefix("# ") for line in lines_of(key))
    facts = facts_of(key)
    if facts.get("no_effect"):
        assert text.startswith(f"Accepted, does nothing: {facts['no_effect']}.")
        return
    assert sentence(Settings.model_fields[key].description or "") in text
    assert "Allowed: " in text
    assert ("[schedule]" in text) == facts["schedulable"]
    assert ("[network]" in text) == bool(network_defaults(key))


def test_lines_are_short() -> None:
    assert max(map(len, TEXT.splitlines())) <= 110


def test_defaults_of_networks() -> None:
    sizes = network_defaults("width_height")
    first, *_, last = sizes
    assert (first, last) == ("pocket", "other networks")
    (wide,) = [names for names in sizes if "512x512_diffusion_uncond_finetune_008100" in names]
    assert sizes[wide] == [1280, 768]
    assert network_defaults("tv_scale") == {}


# ---- schema.json ----


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(docs.schema_text()) == SCHEMA


def test_it_knows_every_name_that_the_loader_knows() -> None:
    assert set(SCHEMA["properties"]) == {*known_names(), "sweep"}
    assert set(registry().clip_flags) <= set(SCHEMA["properties"])


@pytest.mark.parametrize(
    "settings",
    [
        {"clip_guidance_scale": 5000},
        {"clip_guidance_scale": "[2000]*400+[5000]*600", "tv_scale": {"0": 0, "400": 100}},
        {"eta": {"frames": {"0": 0.5, "40": {"0": 0, "500": 1}}}},
        {"skip_augs": "[False]*900+[True]*100"},
        {"text_prompts": "a cat"},
        {"text_prompts": ["a cat", {"text": "a dog", "weight": "[1]*1000", "clip_models": ["pocket-vit"]}]},
        {"text_prompts": {"0": ["a cat"], "100": "a dog"}},
        {"clip_models": ["RN50", {"name": "ViTB32", "weight": 0.5}]},
        {"set_seed": "random_seed", "clip_batch": "auto", "run_to_resume": 3, "init_image": None},
        {"width_height": [512, 512], "intermediate_saves": [10, 20], "device": "cuda:0"},
        {"extends": "batch.yaml", "sweep": {"eta": [0, 0.8]}},
        {"ViTB32": True, "cutn": 16},
    ],
)
def test_good_settings(settings: dict[str, Any]) -> None:
    VALIDATOR.validate(settings)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("clip_guidance_scale", -1),
        ("clip_guidance_scale", True),
        ("cutn_batches", 1.5),
        ("cutn_batches", {"1000": 4}),
        ("eta", [0.1, 0.2]),
        ("steps", 1),
        ("steps", "many"),
        ("diffusion_sampling_mode", "euler"),
        ("set_seed", "random"),
        ("width_height", [512]),
        ("width_height", [512, 8]),
        ("device", "tpu"),
        ("perlin_init", "maybe"),
        ("clip_models", [{"weight": 1}]),
        ("text_prompts", [{"words": "a cat"}]),
    ],
)
def test_what_the_schema_refuses_the_loader_refuses_too(key: str, value: Any) -> None:
    assert not VALIDATOR.is_valid({key: value})
    with pytest.raises(ValueError):
        read_value(value, facts_of(key))


def test_a_misspelled_key() -> None:
    assert not VALIDATOR.is_valid({"clip_guidence_scale": 5000})
