"""model: the defaults of the original, what each key accepts, and what each key says about itself."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest

from disco.media.perlin import MODES as PERLIN_MODES
from disco.settings import custom_network
from disco.settings.kinds import KINDS, ClipChoice, allowed, read_value
from disco.settings.model import (
    KEYS,
    SECTIONS,
    CutoutSettings,
    GuidanceSettings,
    Settings,
    changes_pixels,
    facts_of,
    plain_values,
)
from disco.settings.schedules import Schedule


def test_the_original_defaults() -> None:
    settings = Settings()
    assert settings.width_height == (1280, 768)
    assert (settings.steps, settings.skip_steps, settings.n_batches) == (250, 10, 50)
    assert settings.clip_guidance_scale == Schedule.parse(5000)
    assert settings.eta == Schedule.parse(0.8)
    assert settings.cut_overview == Schedule.parse("[12]*400+[4]*600")
    assert settings.transformation_percent == (0.09,)
    assert [clip.name for clip in settings.clip_models] == [
        "ViT-B-32-quickgelu/openai",
        "ViT-B-16-quickgelu/openai",
        "RN50-quickgelu/openai",
    ]
    assert settings.diffusion_model == "pocket"
    assert settings.compat == "fixed"


def test_every_key_stands_in_one_section_and_describes_itself() -> None:
    assert set(KEYS) == set(Settings.model_fields)
    assert len(KEYS) == len(set(KEYS)) == sum(len(section.model_fields) for section in SECTIONS)
    for key in KEYS:
        facts = facts_of(key)
        assert Settings.model_fields[key].description
        assert facts["section"] in [section.title for section in SECTIONS]
        assert isinstance(facts["pixels"], bool)
        assert facts["schedulable"] == isinstance(getattr(Settings(), key), Schedule)
        assert allowed(facts)


def test_every_kind_is_that_of_a_setting() -> None:
    parts = {facts["kind"] for facts in custom_network.PARTS.values()}
    assert {facts_of(key)["kind"] for key in KEYS} | parts == set(KINDS)


def test_choices_are_those_of_the_literal() -> None:
    assert facts_of("perlin_mode")["choices"] == list(PERLIN_MODES)
    assert facts_of("second_depth_model")["choices"] == ("none", *facts_of("midas_depth_model")["choices"])


def test_every_default_is_accepted_again() -> None:
    settings = Settings()
    for key in KEYS:
        assert read_value(getattr(settings, key), facts_of(key)) == getattr(settings, key)


def test_a_section_alone_reads_as_the_whole() -> None:
    assert GuidanceSettings(tv_scale=3).tv_scale == Schedule.parse(3)
    assert isinstance(Settings(), CutoutSettings)
    with pytest.raises(pydantic.ValidationError):
        CutoutSettings(cut_icgray_p=2)


def test_settings_are_frozen_and_know_their_keys() -> None:
    with pytest.raises(pydantic.ValidationError):
        Settings().steps = 5
    with pytest.raises(pydantic.ValidationError):
        Settings(stepz=5)
    with pytest.raises(KeyError):
        changes_pixels("stepz")


READ: list[tuple[str, Any, Any]] = [
    ("steps", 50.0, 50),
    ("fuzzy_prompt", "on", True),
    ("fuzzy_prompt", "No", False),
    ("set_seed", "RANDOM_SEED", "random_seed"),
    ("set_seed", 2**63 - 1, 2**63 - 1),
    ("clip_batch", "auto", "auto"),
    ("clip_batch", 8, 8),
    ("run_to_resume", "latest", "latest"),
    ("run_to_resume", 3, 3),
    ("width_height", "640x384", (640, 384)),
    ("width_height", [640, 384.0], (640, 384)),
    ("intermediate_saves", 3, 3),
    ("intermediate_saves", [30, 10, 10], (10, 30)),
    ("transformation_percent", 0.5, (0.5,)),
    ("transformation_percent", [0, 1], (0.0, 1.0)),
    ("init_image", "none", None),
    ("init_image", "NONE", None),
    ("init_image", "", None),
    ("init_image", " a.png ", "a.png"),
    ("perlin_mode", "Color", "color"),
    ("device", "cuda:1", "cuda:1"),
    ("batch_name", 2049, "2049"),
    ("batch_name", "Große Welle", "Große Welle"),
    ("eta", "0.5", Schedule.parse(0.5)),
    ("skip_augs", "off", Schedule.parse(False, bool)),
    ("clip_models", "RN50", (ClipChoice("RN50"),)),
    ("clip_models", {"name": "RN50", "weight": 0.5}, (ClipChoice("RN50", Schedule.parse(0.5)),)),
    ("custom_config", {"image_size": 64}, {"image_size": 64}),
    ("custom_config", {"image_size": "64", "use_fp16": 0}, {"image_size": 64, "use_fp16": False}),
    (
        "custom_config",
        {"channel_mult": "1, 2", "attention_resolutions": ""},
        {"channel_mult": "1, 2", "attention_resolutions": ""},
    ),
    ("custom_config", {"channel_mult": [0.5, 1], "patch": 4.0}, {"channel_mult": [0.5, 1], "patch": 4}),
    ("custom_config", None, None),
]


@pytest.mark.parametrize(("key", "value", "read"), READ)
def test_what_is_accepted(key: str, value: Any, read: Any) -> None:
    assert getattr(Settings(**{key: value}), key) == read


REFUSED: list[tuple[str, Any, str]] = [
    ("steps", True, "true is not allowed: write a whole number from 2 to 4000"),
    ("steps", "250 steps", '"250 steps" is not allowed: write a whole number from 2 to 4000'),
    ("steps", 2.5, "2.5 is not allowed: write a whole number from 2 to 4000"),
    ("steps", None, "nothing is not allowed: write a whole number from 2 to 4000"),
    ("fuzzy_prompt", 2, "2 is not allowed: write true or false"),
    ("rand_mag", float("nan"), "nan is not allowed: write a number from 0 to 100"),
    ("rand_mag", 10**400, "is not allowed: write a number from 0 to 100"),
    ("set_seed", 2**63, "write random_seed or a whole number from 0 to 9223372036854775807"),
    ("clip_batch", 0, "0 is not allowed: write auto or a whole number from 1 up"),
    ("run_to_resume", "last", '"last" is not allowed: write latest or a whole number from 0 up'),
    (
        "width_height",
        [640],
        "write two sides such as [1280, 768], each a whole number from 16 to 16384 (pixels)",
    ),
    ("width_height", [640, 8], "[640, 8] is not allowed"),
    ("width_height", "big", '"big" is not allowed'),
    ("device", "cuda:x", '"cuda:x" is not allowed: write auto, cpu, cuda, cuda:0 or mps'),
    ("batch_name", "a" * 101, "has 101 bytes: a name may have 100"),
    ("batch_name", "a\nb", "is no file name"),
    ("batch_name", "end.", '"end." is no file name: it must not start or end with a dot'),
    ("init_image", ["a.png"], "['a.png'] is not allowed: write a path or none"),
    ("diffusion_model", "", '"" is not allowed: write some text'),
    ("custom_config", {1: 2}, "{1: 2} is not allowed: write a map of names to values"),
    ("custom_config", {"x": 1, "patch": 1}, "x: no such key. Allowed: attention_resolutions, channel_mult, "),
    (
        "custom_config",
        {"num_res_blocks": 10**9},
        "num_res_blocks: 1000000000 is not allowed: write a whole number from 1 to 16",
    ),
    ("custom_config", {"image_size": [64]}, "image_size: [64] is not allowed: write a whole number from 4"),
    ("custom_config", {"learn_sigma": 3}, "learn_sigma: 3 is not allowed: write true or false"),
    ("custom_config", {"prediction": "y"}, 'prediction: "y" is not allowed: write one of eps, x0, v'),
    (
        "custom_config",
        {"channel_mult": "1,a"},
        'channel_mult: "1,a" is not allowed: write up to 12 numbers, each from 0.1 to 64',
    ),
    (
        "custom_config",
        {"channel_mult": [1] * 13},
        "channel_mult: [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1] is",
    ),
    ("clip_models", [5], "5 is not allowed: write a list of names or {name, weight}"),
    ("clip_models", {"weight": 1}, "is not allowed: write a list of names or {name, weight}"),
    ("eta", {"frames": {0: 0.5, 9: 2}}, "2 is not allowed: write a number from 0 to 1 or a schedule of them"),
    ("clip_guidance_scale", -1, "-1 is not allowed: write a number from 0 up or a schedule of them"),
    ("skip_augs", 0.5, "0.5 is not true or false"),
]


@pytest.mark.parametrize(("key", "value", "sentence"), REFUSED)
def test_what_is_refused(key: str, value: Any, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        read_value(value, facts_of(key))
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("pixels", "keys"),
    [
        (
            True,
            "set_seed text_prompts image_prompts clip_guidance_scale cut_overview skip_augs width_height "
            "clip_models diffusion_model lpips_model precision compat steps skip_steps eta init_image "
            "perlin_mode",
        ),
        (
            False,
            "display_rate checkpoint_every clip_batch batch_size device deterministic resume_run "
            "run_to_resume resume_from_frame retain_overwritten_frames n_batches "
            "batch_name intermediate_saves intermediates_in_subfolder use_checkpoint check_model_SHA "
            "randomize_class",
        ),
    ],
)
def test_which_settings_change_pixels(pixels: bool, keys: str) -> None:
    for key in keys.split():
        assert changes_pixels(key) is pixels, key


def test_plain_values_read_back() -> None:
    settings = Settings(
        text_prompts={0: ["a cat:2", {"text": "x: 3", "clip_models": ["RN50"]}], 100: "b"},
        image_prompts="a.png:2",
        clip_models=["RN50", {"name": "ViT", "weight": {0: 1, 500: 0}}],
        eta={"frames": {0: 0, 9: "[0]*500+[1]*500"}},
        intermediate_saves=[3, 5],
        set_seed=7,
    )
    values = plain_values(settings)
    assert tuple(values) == KEYS
    assert Settings(**values) == settings
    assert values["clip_models"] == ["RN50", {"name": "ViT", "weight": "[1]*500+[0]*500"}]
