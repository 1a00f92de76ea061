"""Users' own files: those that the importers once misread, and the kinds that they are members of."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from disco.settings.importers.builder import Imported
from disco.settings.importers.reading import import_settings
from disco.settings.kinds import KINDS, read_value
from disco.settings.load import run_from_mapping
from disco.settings.model import DEFAULT_PROMPTS, KEYS, Settings, facts_of
from tests.import_samples import DISCO, DISCOART, PROGROCK, SAMPLES, edited, read_old

CASES = SAMPLES / "cases"
BASE = {
    "seed": 42,
    "width": 512,
    "height": 512,
    "sampling_mode": "bicubic",
    "skip_steps": 0,
}
FORKS = (
    "render_mask",
    "gobig_scale",
    "gobig_orientation",
    "symmetry_loss",
    "symm_switch",
    "use_jpg",
    "new_key",
)


def case(name: str) -> Imported:
    return import_settings(CASES / name)


def disco_file(folder: Path, **keys: Any) -> Imported:
    path = folder / "bar(0)_settings.txt"
    path.write_text(json.dumps({**BASE, **keys}))
    return import_settings(path)


# ---- which tool wrote it ----


def test_a_stray_key_of_a_fork_changes_nothing() -> None:
    imported = case("F1_fork(0)_settings.txt")
    run = imported.run
    assert (imported.source, run["compat"], run["set_seed"]) == ("disco", "dd57", 42)
    assert run["use_horizontal_symmetry"] is True and len(run["clip_models"]) == 2
    assert "render_mask: unknown to this program" in imported.dropped


def test_a_partial_file_keeps_to_what_it_says() -> None:
    imported = case("F1_partial.json")
    assert (imported.source, imported.run["steps"], imported.run["turbo_mode"]) == ("disco", 100, True)
    assert "cut_overview" not in imported.run, "none of progrockdiffusion's defaults"


@pytest.mark.parametrize("sample", [DISCO, DISCOART, PROGROCK], ids=lambda path: path.name)
@pytest.mark.parametrize("key", FORKS)
def test_one_more_key_never_changes_the_tool_or_the_rest(sample: Path, key: str, tmp_path: Path) -> None:
    before, after = edited(tmp_path, sample), edited(tmp_path, sample, **{key: 1})
    assert (before.source, dict(before.run)) == (after.source, dict(after.run))


@pytest.mark.parametrize("sample", [DISCO, DISCOART, PROGROCK], ids=lambda path: path.name)
def test_half_a_file_is_still_of_the_same_tool(sample: Path, tmp_path: Path) -> None:
    keys = list(read_old(sample))
    for start in range(4):
        gone: dict[str, Any] = dict.fromkeys(keys[start::4])
        assert edited(tmp_path, sample, **gone).source == edited(tmp_path, sample).source


def test_entmikes_yaml_is_disco() -> None:
    run = case("F13_entmike.yaml").run
    assert (run["compat"], run["width_height"], run["steps"]) == ("dd57", [1280, 768], 100)
    assert run["text_prompts"] == {0: ["a lake"], 100: ["a sea"]}
    assert run["clip_models"] == ["ViT-B-32-quickgelu/openai"]


def test_the_parameters_of_the_notebooks_form() -> None:
    imported = case("F14_notebook_form.json")
    run = imported.run
    assert (run["compat"], run["batch_name"], run["set_seed"]) == ("dd57", "form", "random_seed")
    assert (run["width_height"], run["clip_guidance_scale"]) == ([512, 960], 7000)
    account = imported.report()
    assert "custom_model_num_heads, custom_model_image_size: has no effect without" in account
    assert "google_drive, simple_nvidia_smi_display: of the old program's machine" in account


def test_ones_own_network_of_the_form(tmp_path: Path) -> None:
    (tmp_path / "mine.pt").touch()
    parts = {"custom_model_num_heads": 1, "custom_model_image_size": 256, "custom_model_wings": 2}
    imported = disco_file(tmp_path, diffusion_model="custom", custom_path="mine.pt", **parts)
    assert imported.run["diffusion_model"] == "custom"
    assert imported.run["custom_path"] == str(tmp_path / "mine.pt")
    assert imported.run["custom_config"] == {"num_heads": 1, "image_size": 256}
    assert "custom_model_wings: no part of an architecture" in imported.dropped
    lost = disco_file(tmp_path, diffusion_model="custom", custom_path="gone.pt")
    assert lost.run["diffusion_model"].startswith("512x512")
    assert "custom_path: gone.pt: its weights are not here" in lost.dropped


# ---- prompts ----


def test_prompts_by_frame_in_a_discoart_file() -> None:
    assert case("F2_discoart_frames.yml").run["text_prompts"] == ["a lake", "fog:-0.5"]


@pytest.mark.parametrize("sample", [DISCO, DISCOART], ids=lambda path: path.name)
@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("a lake", ["a lake"]),
        (["a lake", "fog:-0.5"], ["a lake", "fog:-0.5"]),
        ([["a lake", 2]], [{"text": "a lake", "weight": 2}]),
        ({"a lake": 1.5, "fog": -1}, [{"text": "a lake", "weight": 1.5}, {"text": "fog", "weight": -1}]),
        ({"0": {"a lake": 2}}, [{"text": "a lake", "weight": 2}]),
        ([{"a lake": 2}], [{"text": "a lake", "weight": 2}]),
        ({"0": "a lake"}, ["a lake"]),
        ({"0": ["a lake"], "50": ["a sea"]}, {0: ["a lake"], 50: ["a sea"]}),
        ({"version": "1", "prompts": ["a lake"]}, ["a lake"]),
        ([{"text": "a lake", "weight": 2}], [{"text": "a lake", "weight": 2}]),
        (["a lake", "", 2077], ["a lake", "2077"]),
    ],
)
def test_every_form_of_prompts_is_read(sample: Path, written: Any, read: Any, tmp_path: Path) -> None:
    assert edited(tmp_path, sample, text_prompts=written).run["text_prompts"] == read


@pytest.mark.parametrize("sample", [DISCO, DISCOART, PROGROCK], ids=lambda path: path.name)
@pytest.mark.parametrize("nothing", [[], {}, "", [""], {"0": []}, {"0": [""]}, {"now": ["a lake"]}, True])
def test_prompts_that_are_none_are_said(sample: Path, nothing: Any, tmp_path: Path) -> None:
    imported = edited(tmp_path, sample, text_prompts=nothing, image_prompts={})
    assert "text_prompts" not in imported.run
    painted = f'WARNING: text_prompts: no prompt to take over: the default is painted, "{DEFAULT_PROMPTS[0]}"'
    assert imported.report().splitlines()[1] == painted


def test_an_empty_prompt_is_named(tmp_path: Path) -> None:
    imported = disco_file(tmp_path, text_prompts={"0": ["a lake", ""]})
    told = 'text_prompts: an empty one is no prompt: write some words, "words:weight" or {text, weight}'
    assert told in imported.dropped


def test_image_prompts_alone_stay_alone(tmp_path: Path) -> None:
    imported = disco_file(tmp_path, image_prompts={"0": ["https://example.org/a.png"]})
    assert imported.run["text_prompts"] == [] and not imported.warnings
    assert run_from_mapping(imported.run).settings.text_prompts == {}


# ---- keys and values ----


def test_keys_that_every_settings_file_knows() -> None:
    run = case("F3_known_keys(0)_settings.txt").run
    assert (run["animation_mode"], run["max_frames"], run["display_rate"]) == ("3D", 40, 50)


def test_numbers_and_switches_in_another_dress() -> None:
    run = case("F4_numbers(0)_settings.txt").run
    assert (run["steps"], run["skip_steps"]) == (60, 5)
    assert run["use_secondary_model"] is False and run["clamp_grad"] is False
    assert run["clip_models"] == ["ViT-B-32-quickgelu/openai", "ViT-L-14-336-quickgelu/openai"]
    assert run_from_mapping(run).settings.transformation_percent == (0.01,)


OTHERWISE = {
    *("text_prompts", "image_prompts", "batch_name", "init_image", "diffusion_model", "custom_path"),
    *("custom_config", "clip_models", "width_height", "compat", "set_seed", "video_init_path"),
    *("resume_run", "run_to_resume", "resume_from_frame", "retain_overwritten_frames", "mask_path"),
    *(
        "animation_mode",
        "frames_skip_steps",
        "video_init_frames_skip_steps",
        "video_mask_path",
        "upscale_model",
    ),
}  # read in ways of their own, and tested elsewhere
DRESSES: tuple[Any, ...] = (
    0,
    1,
    7,
    0.5,
    60.0,
    "0",
    "1",
    "7",
    "0.5",
    "60",
    True,
    False,
    "True",
    "False",
    "none",
    None,
)


@pytest.mark.parametrize("key", sorted(set(KEYS) - OTHERWISE))
def test_every_key_in_every_dress_means_the_same_imported_and_native(key: str, tmp_path: Path) -> None:
    for value in DRESSES:
        imported = disco_file(tmp_path, text_prompts={"0": ["a lake"]}, **{key: value})
        told = imported.report()
        if value is None:
            assert key not in imported.run or key in ("n_batches",)
            continue
        try:
            native = read_value(value, facts_of(key))
        except ValueError:
            assert key in told, f"{value!r} is refused without a word"
            continue
        if key in imported.run:
            assert read_value(imported.run[key], facts_of(key)) == native, value
        else:
            assert key in told, f"{value!r} vanished"
            is_default = native == Settings.model_fields[key].default
            assert (
                is_default
                or "has no effect" in told
                or "dd57 renders one" in told
                or "no_effect" in facts_of(key)
            ), value


OTHER_NAME = {
    "seed": "set_seed",
    "width": "width_height",
    "height": "width_height",
    "skip_timesteps": "skip_steps",
}
WRONG = itertools.cycle(([[]], {"a": {"b": []}}, "\u00e4\u00f6", [None]))


@pytest.mark.parametrize("key", sorted({*read_old(DISCO), *KEYS, "cutn", "skip_timesteps"}))
def test_one_bad_value_costs_no_other(key: str, tmp_path: Path) -> None:
    good = {"steps": 60, "text_prompts": {"0": ["a lake"]}}
    run, imported = disco_file(tmp_path, **good).run, disco_file(tmp_path, **{**good, key: next(WRONG)})
    same = {"steps", "set_seed", "compat", "width_height", "text_prompts"} - {key, OTHER_NAME.get(key)}
    assert {mine: imported.run.get(mine) for mine in same} == {mine: run[mine] for mine in same}
    names = (key, OTHER_NAME.get(key, key), "clip_models")
    assert any(name in imported.report() for name in names)


@pytest.mark.parametrize("sample", [DISCOART, PROGROCK], ids=lambda path: path.name)
def test_one_bad_value_of_the_other_tools_costs_no_other(sample: Path, tmp_path: Path) -> None:
    for key in read_old(sample):
        imported = edited(tmp_path, sample, **{key: next(WRONG)})
        assert imported.run.get("width_height") or key in ("width", "height", "width_height")
        assert key in imported.report()


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("0: (1), 0: (2)", "0: (2)"),
        ('"0: (1), 10: (1.2)', "0: (1), 10: (1.2)"),
        ("'0:(1),5:(3)'", "0: (1), 5: (3)"),
        ("0: (1), 10: (1.2)", "0: (1), 10: (1.2)"),
    ],
)
def test_key_frames_as_the_original_read_them(written: str, read: str, tmp_path: Path) -> None:
    imported = disco_file(tmp_path, text_prompts="a lake", zoom=written)
    assert imported.run["zoom"] == read
    assert (f"zoom: {written} -> {read} (as the original read it)" in imported.changed) == (written != read)


def test_progrockdiffusions_later_files_have_both_sides_in_one_key(tmp_path: Path) -> None:
    imported = edited(
        tmp_path, PROGROCK, width=None, height=None, width_height=[640, 384], width_height_scale=1
    )
    assert imported.run["width_height"] == [640, 384]
    assert not [line for line in imported.dropped if "width_height" in line]


def test_a_bad_value_is_named_with_what_is_allowed() -> None:
    imported = case("F13_word_key(0)_settings.txt")
    assert imported.run["text_prompts"] == [{"text": "a lake", "weight": 1}]


def test_values_out_of_range_become_the_nearest() -> None:
    imported = case("F18_ranges(0)_settings.txt")
    assert (imported.run["cut_ic_pow"], imported.run["clip_guidance_scale"]) == (100, 0)
    assert imported.warnings == ["clip_guidance_scale: -5000 became 0, which switches it off"]
    why = "the nearest of what is allowed: a number from 0 to 100 or a schedule of them"
    assert f"cut_ic_pow: 150 -> 100 ({why})" in imported.changed


RANGED = [
    key for key in KEYS if {"ge", "le"} & facts_of(key).keys() and facts_of(key)["kind"] in KINDS
    and key not in OTHERWISE and facts_of(key)["kind"] != "optional_size"
]  # fmt: skip


@pytest.mark.parametrize("key", RANGED)
def test_every_range_has_a_nearest_value(key: str, tmp_path: Path) -> None:
    facts = facts_of(key)
    for limit, over in (("ge", -(10.0**8)), ("le", 10.0**8)):
        if limit in facts:
            imported = disco_file(tmp_path, text_prompts={"0": ["a lake"]}, **{key: int(over)})
            told = imported.report()
            near = imported.run.get(key)
            expected = read_value([facts[limit]] if facts["kind"] == "shares" else facts[limit], facts)
            assert (near is None and f"{key}: " in told) or read_value(near, facts) == expected
