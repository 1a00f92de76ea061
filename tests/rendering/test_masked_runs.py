"""Whole runs with a mask: the kept part stays, the rest is painted; stopped, gone on with, in every mode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from disco.errors import InputError, SettingsError
from disco.files.yaml_io import parse_documents
from disco.media.images import png_bytes, read_metadata, read_pixels
from disco.settings.load import load_runs
from tests.places import ROOT
from tests.small_run import closed_after, events_of, finished_paths, pictures, rendered, same

BLUE = np.array([10, 20, 200])
MASKED = {"init_image": "init.png", "mask_path": "mask.png", "mask_blur": 0, "n_batches": 1, "init_scale": 0}


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """init.png, blue and a little noisy, which is returned; mask.png, whose left half is black."""
    monkeypatch.chdir(tmp_path)
    init = np.clip(np.random.default_rng(0).integers(-9, 9, (32, 32, 3)) + BLUE, 0, 255).astype(np.uint8)
    mask = np.zeros((32, 32, 3), dtype=np.uint8)
    mask[:, 16:] = 255
    Path("init.png").write_bytes(png_bytes(init))
    Path("mask.png").write_bytes(png_bytes(mask))
    return init


def only(out: Path) -> np.ndarray:
    (picture,) = pictures(out).values()
    return picture.astype(int)


@pytest.mark.parametrize("compat", ["fixed", "dd57"])
@pytest.mark.parametrize("sampler", ["ddim", "plms"])
def test_the_kept_part_is_the_init_picture(
    tmp_path: Path, files: np.ndarray, sampler: str, compat: str
) -> None:
    how = {"diffusion_sampling_mode": sampler, "compat": compat}
    rendered(tmp_path / "a", {**MASKED, **how})
    rendered(tmp_path / "b", {**MASKED, **how, "mask_path": None})
    masked, free = only(tmp_path / "a"), only(tmp_path / "b")
    assert np.array_equal(masked[:, :16], files[:, :16])
    assert not np.array_equal(free[:, :16], files[:, :16]), "without a mask it is painted over"
    assert np.abs(masked[:, 16:] - BLUE).mean() > 40, "the other half is a new picture"


def test_the_seam_is_held_from_both_sides(tmp_path: Path, files: np.ndarray) -> None:
    """With soft edges only what is 3 blurs away is the very picture; what is near the seam is near it."""
    rendered(tmp_path, {**MASKED, "mask_blur": 2})
    away = np.abs(only(tmp_path) - files).mean((0, 2))
    assert away[:10].max() == 0
    assert away[16:].min() > away[13] > 0


@pytest.mark.parametrize("steps", [1, "10%"])
def test_the_last_steps_may_repaint_everything(tmp_path: Path, files: np.ndarray, steps: Any) -> None:
    rendered(tmp_path / "a", {**MASKED, "steps_to_repaint": steps})
    rendered(tmp_path / "b", {**MASKED, "mask_path": None})
    away, free = (np.abs(only(tmp_path / name) - files)[:, :16].mean() for name in "ab")
    assert 0 < away < free / 2


def test_every_preview_and_partial_shows_the_kept_part(tmp_path: Path, files: np.ndarray) -> None:
    rendered(tmp_path, {**MASKED, "intermediate_saves": 3})
    partials = sorted((tmp_path / "small").rglob("*%.png"))
    assert len(partials) >= 3
    for path in partials:
        assert np.array_equal(read_pixels(path)[:, :16], files[:, :16])


def test_a_stopped_run_goes_on_to_the_same_picture(tmp_path: Path) -> None:
    for sampler in ("ddim", "plms"):
        values = {**MASKED, "diffusion_sampling_mode": sampler, "mask_blur": 2}
        rendered(tmp_path / f"{sampler}_whole", values)
        for steps in (1, 4, 9):
            out = tmp_path / f"{sampler}_{steps}"
            closed_after(out, steps, values)
            rendered(out, values, resume="latest")
            assert same(pictures(out), pictures(tmp_path / f"{sampler}_whole"))


def test_a_stopped_run_of_the_stream_goes_on_too(tmp_path: Path) -> None:
    values = {**MASKED, "compat": "dd57", "n_batches": 2}
    rendered(tmp_path / "whole", values)
    closed_after(tmp_path / "halves", 14, values)
    rendered(tmp_path / "halves", values, resume="latest")
    assert same(pictures(tmp_path / "halves"), pictures(tmp_path / "whole"))


def test_a_picture_alone_is_the_one_of_the_batch(tmp_path: Path) -> None:
    values = {**MASKED, "n_batches": 3, "mask_blur": 2}
    rendered(tmp_path / "together", {**values, "batch_size": 3})
    rendered(tmp_path / "alone", values, images=[1])
    together, alone = pictures(tmp_path / "together")[1], pictures(tmp_path / "alone")[1]
    assert np.abs(together.astype(int) - alone).max() <= 2


def test_the_png_names_the_mask(tmp_path: Path) -> None:
    (path,) = finished_paths(events_of(tmp_path, MASKED))
    metadata = read_metadata(path)
    assert metadata is not None
    assert len(metadata["inputs"]["mask.png"]) == 64
    assert metadata["settings"]["mask_path"] == "mask.png"


def test_a_mask_that_cannot_be_used_is_told_before_anything_is_made(tmp_path: Path) -> None:
    Path("black.png").write_bytes(png_bytes(np.zeros((8, 8, 3), dtype=np.uint8)))
    with pytest.raises(InputError, match="black everywhere"):
        rendered(tmp_path / "out", {**MASKED, "mask_path": "black.png"})
    with pytest.raises(SettingsError, match=r"mask_path: no such file"):
        rendered(tmp_path / "out", {**MASKED, "mask_path": "missing.png"})
    with pytest.raises(SettingsError, match="mask_path: needs an init_image"):
        rendered(tmp_path / "out", {**MASKED, "init_image": None})
    with pytest.raises(SettingsError, match='steps_to_repaint: "60%" leaves no step to the mask: write at'):
        rendered(tmp_path / "out", {**MASKED, "steps_to_repaint": "60%", "skip_steps": 4})
    assert not (tmp_path / "out").exists()


def test_the_recipe_of_the_page(tmp_path: Path, files: np.ndarray) -> None:
    """docs/masks.md: it loads without a notice, and paints as it says."""
    page = (ROOT / "docs" / "masks.md").read_text(encoding="utf-8")
    recipe = page.split("```yaml\n")[1].split("```")[0]
    Path("init.png").rename("lake.png")
    Path("mask.png").rename("sky.png")
    Path("new_sky.yaml").write_text(recipe)
    (run,) = load_runs(["new_sky.yaml"])
    assert run.notices == ()
    (document,) = parse_documents(recipe, "docs/masks.md")
    values = {key: run.raw[key] for key in document.data}
    rendered(tmp_path / "out", {**values, "n_batches": 1, "mask_blur": 0, "steps_to_repaint": 0})
    (picture,) = pictures(tmp_path / "out", "new_sky").values()
    assert np.array_equal(picture[:, :16], files[:, :16])
