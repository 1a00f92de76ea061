"""The animations of the gallery: recipes of every mode, GIFs made as run.py video makes them, the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from disco.runs.new_run import read_again
from disco.settings.load import load_runs
from disco.settings.model import Settings
from docs import make_animations, make_gallery
from tests.footage import make_run, shown
from tests.places import ROOT
from tests.runs.test_video import loops

RECIPES = sorted((ROOT / make_gallery.ANIMATIONS).glob("*.yaml"))
GIFS = sorted((ROOT / make_gallery.GIFS).glob("*.gif"))


def settings_of(recipe: Path) -> Settings:
    (run,) = load_runs([recipe])
    return run.settings


def test_there_is_one_of_each_mode() -> None:
    modes = [settings_of(recipe).animation_mode for recipe in RECIPES]
    assert sorted(modes) == ["2D", "3D", "Video Input"]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_a_small_animation(recipe: Path) -> None:
    settings = settings_of(recipe)
    assert settings.batch_name == recipe.stem and settings.diffusion_model == "pocket"
    assert settings.max_frames == 24 and settings.set_seed != "random_seed"
    assert max(settings.width_height) <= 192
    if settings.video_init_path:
        assert (recipe.parent / settings.video_init_path).is_file()


@pytest.fixture
def frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Those of a small animation of the batch `zoom`, in a folder like the repository's root."""
    monkeypatch.chdir(tmp_path)
    values = {"width_height": [32, 32], "set_seed": 5, "image_prompts": {}}
    return list(make_run(tmp_path / "out" / "zoom", range(3), **values).pictures_there().values())


def test_a_gif_shows_the_frames_for_ever(frames: list[Path]) -> None:
    made = make_animations.gif(frames, Path("zoom"))
    assert loops(made) and [frame.shape for frame in shown(made)] == [(32, 32, 3)] * 3
    assert Path("zoom.png").read_bytes() == frames[0].read_bytes()


def test_a_large_gif_is_none(frames: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_animations, "MOST_BYTES", 100)
    with pytest.raises(SystemExit, match=r"zoom\.gif would have [\d,]+ bytes, 100 at most"):
        make_animations.gif(frames, Path("zoom"))
    assert not list(Path().glob("zoom.*"))


def test_the_page_shows_it(frames: list[Path]) -> None:
    make_gallery.GIFS.mkdir(parents=True)
    make_gallery.ANIMATIONS.mkdir(parents=True)
    recipe = "# schema\n# Closer and closer.\n# python run.py x.yaml\n\nbatch_name: zoom\n"
    (make_gallery.ANIMATIONS / "zoom.yaml").write_text(recipe)
    assert make_gallery.page([]) == f"{make_gallery.INTRO}\n"
    make_animations.gif(frames, make_gallery.GIFS / "zoom")
    make_gallery.write_page()
    page = make_gallery.PAGE.read_text(encoding="utf-8")
    assert '<img src="pictures/gallery_animation/zoom.gif" width="64" alt="Zoom">' in page
    assert "\nCloser and closer.\n\n- `a lake`\n\n32x32, 4 steps, seed 5: " in page
    assert "`python run.py video images_out/zoom --codec gif --loop`" in page


def test_names_that_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert [path.stem for path in make_animations.chosen([])] == [path.stem for path in RECIPES]
    with pytest.raises(SystemExit, match=r"no such recipe: zoo\. Known are into_the_forest, "):
        make_animations.chosen(["zoo"])


@pytest.mark.skipif(not GIFS, reason="not rendered yet: python -m docs.make_animations")
def test_every_recipe_has_its_gif() -> None:
    assert [path.stem for path in GIFS] == [path.stem for path in RECIPES]


@pytest.mark.parametrize("gif", GIFS, ids=lambda path: path.stem)
def test_a_gif_is_its_recipes(gif: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # where it was rendered: the video's path is kept as it was found from there
    recipe = make_gallery.ANIMATIONS / f"{gif.stem}.yaml"
    (run,) = load_runs([recipe])
    stale = f"render it again: python -m docs.make_animations {gif.stem}"
    again = read_again(gif.with_suffix(".png"))
    assert again.picture == 0 and again.run.raw == run.raw, stale
    assert gif.stat().st_size <= make_animations.MOST_BYTES
    width, height = run.settings.width_height
    assert loops(gif) and [frame.shape for frame in shown(gif)] == [(height, width, 3)] * 24
