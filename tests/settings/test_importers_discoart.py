"""DiscoArt's settings files, read as ours."""

from __future__ import annotations

from pathlib import Path

from disco.settings.importers.reading import import_settings
from tests.import_samples import DISCOART, SAMPLES, edited


def test_discoart() -> None:
    imported = import_settings(DISCOART)
    run = imported.run
    assert (imported.source, run["compat"], run["set_seed"]) == ("discoart", "fixed", 4321)
    assert (run["n_batches"], run["batch_size"]) == (6, 3)
    assert run["skip_steps"] == 0, "DiscoArt's default, not ours"
    assert run["diffusion_model"] == "pixelartdiffusion_expanded"
    assert run["cut_overview"] == 6, "the file wins over its group of cuts"
    assert run["cut_innercut"] == "[2]*200+[4]*200+[12]*600"
    assert run["use_secondary_model"] is True and run["clamp_grad"] is True
    assert run["text_prompts"] == [
        {"text": "a tower of books in a meadow", "weight": 3},
        {"text": "grass bending in the wind", "weight": "[0]*500+[2]*500"},
        {"text": "ink and pencil", "weight": "[1]*500+[2]*500", "clip_models": ["RN50-quickgelu/openai"]},
    ]
    assert run["clip_models"] == [
        "ViT-B-32-quickgelu/openai",
        {"name": "RN50-quickgelu/openai", "weight": "[1]*400+[0]*600"},
        "ViT-B-16/laion400m_e31",
    ]


def test_discoart_as_its_own_program_saves_it() -> None:
    imported = import_settings(SAMPLES / "discoart_saved.yml")
    assert imported.run["batch_name"] == "books"
    assert imported.run["width_height"] == [512, 512]
    assert imported.run["text_prompts"][1] == {"text": "pencil", "weight": 0.5}
    (defaults,) = [
        line for line in imported.changed if line.startswith("not in the file, DiscoArt's defaults")
    ]
    assert "skip_steps" in defaults and "n_batches" in defaults and "clip_guidance_scale" not in defaults


def test_discoart_presets_stay_those_of_discoart(tmp_path: Path) -> None:
    """Our registry gives these networks cuts of their own; DiscoArt did not unless asked."""
    imported = edited(tmp_path, DISCOART, cut_schedules_group=None, cut_overview=None)
    assert imported.run["cut_overview"] == "[12]*400+[4]*600"


def test_discoart_symmetry_in_plms(tmp_path: Path) -> None:
    imported = edited(tmp_path, DISCOART, diffusion_sampling_mode="plms", use_vertical_symmetry=True)
    assert imported.run["use_vertical_symmetry"] is False
    assert "use_vertical_symmetry: True -> False (plms ignored it)" in imported.changed
