"""The gallery: each picture is its recipe's, docs/gallery.md shows each and no other, one renders again."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import disco
from disco.events import PictureFinished
from disco.media.images import read_pixels
from disco.runs.new_run import read_again
from disco.settings.load import Run, load_runs
from disco.settings.model import Settings
from docs import make_gallery
from tests.places import ROOT

RECIPES = sorted((ROOT / make_gallery.RECIPES).glob("*.yaml"))
PICTURES = sorted((ROOT / make_gallery.PICTURES).glob("*.png"))
STALE = "render it again: python -m docs.make_gallery "
each_picture = pytest.mark.parametrize("name", [path.stem for path in PICTURES])


@pytest.fixture(autouse=True)
def in_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def recipe(name: str) -> Run:
    (run,) = load_runs([make_gallery.RECIPES / f"{name}.yaml"])
    return run


def picture(name: str) -> Path:
    return make_gallery.PICTURES / f"{name}.png"


# recipes


@pytest.mark.parametrize("name", [path.stem for path in RECIPES])
def test_a_recipe_is_one_small_picture(name: str) -> None:
    settings = recipe(name).settings
    assert settings.batch_name == name
    assert settings.diffusion_model == "pocket"
    assert settings.n_batches == 1 and settings.set_seed != "random_seed"
    assert max(settings.width_height) <= 256 and settings.steps <= 80


def test_the_recipes_show_what_there_is() -> None:
    """From colour schemes to pictures that begin with another picture."""
    all_settings = [recipe(path.stem).settings for path in RECIPES]

    def weights(settings: Settings) -> list[float]:
        return [prompt.weight.at(0) for prompt in settings.text_prompts[0]]

    def changes(settings: Settings) -> bool:
        return any(not prompt.weight.constant for prompt in settings.text_prompts[0])

    assert len(all_settings) >= 12
    assert len({settings.set_seed for settings in all_settings}) > 10
    assert any(settings.init_image for settings in all_settings)
    assert any(settings.image_prompts for settings in all_settings)
    assert any(settings.perlin_init for settings in all_settings)
    assert any(s.use_horizontal_symmetry and s.use_vertical_symmetry for s in all_settings)
    assert any(changes(settings) for settings in all_settings)
    assert any(min(weights(settings)) < 0 for settings in all_settings)
    shapes = {np.sign(width - height) for width, height in (s.width_height for s in all_settings)}
    assert shapes == {-1, 0, 1}
    words = " ".join(path.read_text(encoding="utf-8") for path in RECIPES)
    for word in ("color scheme", "at night", "misty", "in black and white"):
        assert word in words


def test_pictures_that_begin_with_others_come_after_them() -> None:
    names = [path.stem for path in make_gallery.in_order(list(make_gallery.RECIPES.glob("*.yaml")))]
    assert sorted(names) == [path.stem for path in RECIPES]
    for at, name in enumerate(names):
        assert make_gallery.sources(make_gallery.RECIPES / f"{name}.yaml") <= set(names[:at])
    assert [path.stem for path in make_gallery.chosen(["rose"])] == ["rose", "after_the_rose"]
    assert [path.stem for path in make_gallery.chosen([])] == names
    with pytest.raises(SystemExit, match=r"no such recipe: rsoe\. Known are after_the_rose, "):
        make_gallery.chosen(["rsoe"])


# pictures


def test_every_recipe_has_its_picture() -> None:
    assert len(RECIPES) >= 12
    assert [path.stem for path in PICTURES] == [path.stem for path in RECIPES]


@each_picture
def test_a_picture_is_its_recipes(name: str) -> None:
    again = read_again(picture(name))
    assert (again.picture, again.batch) == (0, (0,))
    assert again.run.raw == recipe(name).raw, STALE + name
    width, height = again.run.settings.width_height
    assert read_pixels(picture(name)).shape == (height, width, 3)


@each_picture
def test_a_picture_is_of_these_networks(name: str) -> None:
    files = [path for path in (ROOT / "disco" / "pocket").rglob("*") if path.is_file()]
    here = {hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    assert set(read_again(picture(name)).metadata["weights"].values()) <= here, STALE + name


@each_picture
def test_a_picture_begins_with_those_of_today(name: str) -> None:
    for source, was in read_again(picture(name)).metadata["inputs"].items():
        assert hashlib.sha256(Path(source).read_bytes()).hexdigest() == was, STALE + name


def test_the_page_is_what_the_command_writes() -> None:
    page = make_gallery.PAGE.read_text(encoding="utf-8")
    assert page == make_gallery.page(PICTURES), "write it again: python -m docs.make_gallery --page"
    assert sorted(set(re.findall(r'src="pictures/gallery/(\w+)\.png"', page))) == [p.stem for p in PICTURES]
    for path in PICTURES:
        assert f"`python run.py settings/gallery/{path.stem}.yaml`" in page
        assert all(prompt.text in page for prompt in recipe(path.stem).settings.text_prompts[0])


@pytest.fixture
def threads_of() -> Iterator[None]:
    was = torch.get_num_threads()
    yield
    torch.set_num_threads(was)


def work(path: Path) -> int:
    settings = read_again(path).run.settings
    return settings.width_height[0] * settings.width_height[1] * settings.steps


def test_a_picture_renders_again(tmp_path: Path, threads_of: None) -> None:
    """The quickest one: equal pixels here, and within rounding on another kind of CPU (docs/running.md)."""
    path = min((picture(path.stem) for path in PICTURES), key=work)
    again = read_again(path)
    torch.set_num_threads(again.metadata["machine"]["threads"])
    events = list(disco.render(again.run, again=again, out=tmp_path))
    (made,) = [event.path for event in events if isinstance(event, PictureFinished)]
    apart = np.abs(read_pixels(made).astype(int) - read_pixels(path).astype(int))
    assert (apart <= 2).mean() >= 0.99, STALE + path.stem
