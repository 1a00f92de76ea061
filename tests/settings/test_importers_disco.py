"""Disco Diffusion's own settings files, read as ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from disco.settings.importers.reading import import_settings
from tests.import_samples import DISCO, OLD_DISCO, edited
from tests.places import GOLDEN

TEXTS = json.loads((GOLDEN / "g_text_and_schedules.json").read_text(encoding="utf-8"))


def test_disco() -> None:
    imported = import_settings(DISCO)
    run = imported.run
    assert imported.source == "disco"
    assert (run["compat"], run["batch_name"], run["set_seed"], run["n_batches"]) == (
        "dd57",
        "evening",
        2468013579,
        1,
    )
    assert (run["steps"], run["skip_steps"], run["width_height"]) == (240, 12, [960, 640])
    assert list(run["text_prompts"]) == [0, 100]
    assert run["cut_overview"] == "[12]*400+[4]*600" and run["cut_ic_pow"] == 1
    assert "init_image" not in run
    why = "sides are multiples of 64, rounded down as the original did"
    assert f"width_height: [1000, 640] -> [960, 640] ({why})" in imported.changed


@pytest.mark.parametrize(("typed", "side"), TEXTS["side"])
def test_sides_are_rounded_as_the_original_rounded_them(typed: int, side: int, tmp_path: Path) -> None:
    imported = edited(tmp_path, DISCO, width=typed)
    assert imported.run["width_height"] == [max(side, 64), 640]  # of 63 it made pictures without a pixel


def test_disco_flags_keep_the_order_and_the_plain_names_of_the_original() -> None:
    assert import_settings(DISCO).run["clip_models"] == [
        "ViT-B-32-quickgelu/openai",
        "ViT-B-16-quickgelu/openai",
        "RN50-quickgelu/openai",
        "ViT-B-32/laion400m_e31",
    ]


def test_disco_says_what_its_files_do_not_hold() -> None:
    changed = import_settings(DISCO).changed
    assert "batch_name: evening (not in the file; taken from its name)" in changed
    assert "n_batches: 1 (not in Disco's files; raise it for the pictures after the first)" in changed
    assert any(line.startswith("display_rate, intermediate_saves, animation_mode") for line in changed)


def test_disco_animation_keys_go_over_where_somebody_touched_them(tmp_path: Path) -> None:
    imported = import_settings(DISCO)
    still = next(line for line in imported.dropped if line.endswith("of animations, at their defaults"))
    assert "angle" in still and "turbo_steps" in still and "video_init_path" in still
    assert isinstance(imported.run["rotation_3d_z"], str)
    told = "animation_mode: not in Disco's files: write 2D, 3D or Video Input, and these act: rotation_3d_z"
    assert told in imported.changed
    odd = edited(tmp_path, DISCO, midas_depth_model="midas_v21", turbo_steps="4", angle="0:(0), -3:(2)")
    assert odd.run["turbo_steps"] == 4
    assert any(line.startswith('midas_depth_model: "midas_v21" is not allowed') for line in odd.dropped)
    assert any(line.startswith("angle: ") and "no frame number" in line for line in odd.dropped)


def test_disco_before_version_4() -> None:
    imported = import_settings(OLD_DISCO)
    assert imported.run["text_prompts"] == ["a small house between tall trees"]
    assert (imported.run["steps"], imported.run["skip_steps"], imported.run["cutn"]) == (50, 15, 16)
    assert imported.run["batch_name"] == "first_steps"
    assert "image_prompts: trees.png is not here; add it yourself" in imported.dropped
    assert "SLIPB16: SLIP networks are not supported: the picture will differ" in imported.dropped


@pytest.mark.parametrize("word", ["", "none", "NONE", "None"])
def test_disco_words_for_no_init_image(word: str, tmp_path: Path) -> None:
    assert "init_image" not in edited(tmp_path, DISCO, init_image=word).run


def test_init_image_and_image_prompts_are_found_beside_the_old_file(tmp_path: Path) -> None:
    for name in ("quay.png", "boat.png"):
        (tmp_path / name).touch()
    prompts = {"0": ["boat.png:0.5", "HTTPS://example.org/a.png", "lost.png"]}
    imported = edited(tmp_path, DISCO, init_image="quay.png", image_prompts=prompts)
    assert imported.run["init_image"] == str(tmp_path / "quay.png")
    assert imported.run["image_prompts"] == [
        {"image": str(tmp_path / "boat.png"), "weight": 0.5},
        "HTTPS://example.org/a.png",
    ]
    assert "image_prompts: lost.png is not here; add it yourself" in imported.dropped
    assert imported.run["init_scale"] == 1000


def test_networks_that_are_not_in_the_registry(tmp_path: Path) -> None:
    imported = edited(tmp_path, DISCO, diffusion_model="custom")
    assert imported.run["diffusion_model"] == "512x512_diffusion_uncond_finetune_008100"
    assert any(line.startswith("diffusion_model: custom -> 512x512") for line in imported.changed)


def test_values_that_nobody_can_use_are_dropped(tmp_path: Path) -> None:
    imported = edited(tmp_path, DISCO, tv_scale="lots", cut_ic_pow="range(1000)", perlin_mode="sepia")
    assert not {"tv_scale", "cut_ic_pow", "perlin_mode"} & imported.run.keys()
    why = '"sepia" is not allowed: write one of mixed, color, gray'
    assert f"perlin_mode: {why}; the default holds" in imported.dropped


def test_cut_presets_that_the_original_forced(tmp_path: Path) -> None:
    imported = edited(tmp_path, DISCO, diffusion_model="watercolordiffusion")
    assert "cut_overview" not in imported.run
    assert any(line.startswith("cut_overview: [12]*400+[4]*600 has no effect") for line in imported.dropped)


def test_files_that_windows_wrote(tmp_path: Path) -> None:
    path = tmp_path / "bar(0)_settings.txt"
    path.write_bytes(
        '{"seed": 1, "width": 512, "height": 512, "text_prompts": {"0": ["café"]}}'.encode("cp1252")
    )
    assert import_settings(path).run["text_prompts"] == ["café"]
