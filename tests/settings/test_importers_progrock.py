"""progrockdiffusion's settings files, read as ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from disco.settings.importers.progrock_auto import automatic_clamp, automatic_eta, automatic_scale
from disco.settings.importers.progrock_prompts import first_choice
from disco.settings.importers.reading import import_settings
from tests.import_samples import PROGROCK, SAMPLES, edited


def test_progrock() -> None:
    imported = import_settings(PROGROCK)
    run = imported.run
    assert (imported.source, run["compat"], run["batch_name"]) == ("progrock", "fixed", "harbour_evening")
    assert run["width_height"] == [896, 576]
    assert run["text_prompts"] == ["A harbour at dusk by :2", "rain:-0.5", "lanterns"]
    assert run["diffusion_sampling_mode"] == "plms"
    assert run["clip_models"][1] == {"name": "ViT-L-14-336-quickgelu/openai", "weight": 0.5}
    assert run["cutn_batches"] == "[4]*250+[5]*250+[6]*250+[7]*250"
    assert run["intermediate_saves"] == [50, 90]
    assert run["clip_guidance_scale"] == 10371 and run["clamp_max"] == 0.02
    assert run["animation_mode"] == "2D"
    assert "angle: of animations, at their defaults" in imported.dropped
    assert any("text_prompts of the pictures from 2 on" in line for line in imported.dropped)


def test_progrock_prompts_by_step_become_weights_by_noise() -> None:
    assert import_settings(SAMPLES / "progrock_steps.json").run["text_prompts"] == [
        {"text": "An empty theatre", "weight": {0: 1, 250: 0}},
        {"text": "A theatre full of birds", "weight": {0: 0, 250: 2}},
    ]


def test_progrock_skips_steps_only_with_something_to_start_from(tmp_path: Path) -> None:
    assert import_settings(PROGROCK).run["skip_steps"] == 0
    imported = edited(tmp_path, PROGROCK, perlin_init=True)
    assert imported.run["skip_steps"] == 40
    assert imported.run["intermediate_saves"] == [10, 50]


@pytest.mark.parametrize(
    ("steps", "eta", "clamp"), [(25, 0.0, 0.001), (50, 0.0, 0.0125), (250, 0.75, 0.05), (400, 1.0, 0.075)]
)
def test_progrock_automatic_values(steps: int, eta: float, clamp: float) -> None:
    assert automatic_eta(steps) == eta
    assert automatic_clamp(steps, True) == clamp
    assert automatic_clamp(steps, False) == 2 * clamp


def test_progrock_automatic_scale() -> None:
    assert [automatic_scale(pixels) for pixels in (1000, 250_000, 832 * 512, 2_000_000, 10**7)] == [
        *(2500, 2500, 7277, 50_000, 50_000)
    ]


def test_progrock_video_that_is_not_here(tmp_path: Path) -> None:
    changes = {"animation_mode": "Video Input", "video_init_path": "sea.mp4", "extract_nth_frame": 3}
    imported = edited(tmp_path, PROGROCK, **changes)
    assert imported.run["animation_mode"] == "None"
    assert (imported.run["video_init_path"], imported.run["extract_nth_frame"]) == ("sea.mp4", 3)
    assert (
        "animation_mode: Video Input -> None (its video is not here; name it in video_init_path and write "
        "Video Input)"
    ) in imported.changed
    (tmp_path / "sea.mp4").write_bytes(b"")
    here = edited(tmp_path, PROGROCK, **changes)
    assert here.run["animation_mode"] == "Video Input"


def test_choices() -> None:
    assert first_choice("a <red|blue> hat, <^^2|ink|oil|chalk>") == "a red hat, ink oil"
