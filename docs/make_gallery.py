"""Renders settings/gallery/*.yaml and writes docs/gallery.md with the pictures, by the ordinary code.

    python -m docs.make_gallery            # all of them, a few minutes on two CPU cores
    python -m docs.make_gallery rose       # this one, and those that begin with it
    python -m docs.make_gallery --page     # only docs/gallery.md, from the pictures that are there

Run it in the root of the repository. A picture is picture 0 of its recipe's seed; to choose a seed:
`python run.py settings/gallery/rose.yaml --set 'sweep={set_seed: [1, 2, 3, 4]}'`.
"""

from __future__ import annotations

import argparse
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import disco
from disco.events import PictureFinished
from disco.media.png import read_metadata

RECIPES = Path("settings/gallery")
PICTURES = Path("docs/pictures/gallery")
ANIMATIONS = Path("settings/gallery_animation")
GIFS = Path("docs/pictures/gallery_animation")
PAGE = Path("docs/gallery.md")
INTRO = """# Gallery

Every picture was made by the networks that come with Disco, on a CPU, by the command that stands below it.
The seed stands in its recipe, and was chosen among several. The pictures carry their settings: in the root of
the repository `python run.py docs/pictures/gallery/NAME.png` renders one again, pixel for pixel on the same
machine with the same versions. `python -m docs.make_gallery` writes the pictures and this page.
"""
MOVING = """
# Animations

24 frames each; docs/animation.md tells how they come about. The GIFs are what the commands leave, and
`python -m docs.make_animations` writes them. Frame 0 lies beside each as a PNG that carries the settings.
"""


def sources(recipe: Path) -> set[str]:
    """The names of the gallery's pictures that a recipe begins with."""
    return set(re.findall(rf"{PICTURES.as_posix()}/(\w+)\.png", recipe.read_text(encoding="utf-8")))


def in_order(recipes: Sequence[Path]) -> list[Path]:
    """Those that begin with other pictures after them."""
    left, ordered = sorted(recipes), list[Path]()
    while left:
        waiting = {recipe.stem for recipe in left}
        ready = [recipe for recipe in left if not sources(recipe) & waiting]
        assert ready, f"recipes that begin with each other: {sorted(waiting)}"
        ordered += ready
        left = [recipe for recipe in left if recipe not in ready]
    return ordered


def chosen(names: Sequence[str]) -> list[Path]:
    """The recipes of these names and of all that begin with one of them; without names all."""
    recipes = {recipe.stem: recipe for recipe in RECIPES.glob("*.yaml")}
    unknown = sorted(set(names) - set(recipes))
    if unknown:
        raise SystemExit(f"no such recipe: {', '.join(unknown)}. Known are {', '.join(sorted(recipes))}")
    wanted = set(names or recipes)
    for recipe in in_order(list(recipes.values())):
        if sources(recipe) & wanted:
            wanted.add(recipe.stem)
    return in_order([recipes[name] for name in wanted])


def render(recipe: Path) -> Path:
    """The one picture of a recipe, with what it carries, in PICTURES."""
    with tempfile.TemporaryDirectory() as folder:
        events = disco.render(recipe, out=Path(folder))
        (made,) = [event.path for event in events if isinstance(event, PictureFinished)]
        PICTURES.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copyfile(made, PICTURES / f"{recipe.stem}.png"))


def page(pictures: Sequence[Path]) -> str:
    """docs/gallery.md: all pictures small, then each with its prompts, what is special, and the command.

    The animations follow, where there are any.
    """
    names = sorted(picture.stem for picture in pictures)
    small = [f'<a href="#{_slug(name)}">{_image(name, "height", 128)}</a>' for name in names]
    gifs = sorted(GIFS.glob("*.gif"))
    moving = [MOVING, *(_section(gif, ANIMATIONS) for gif in gifs)] if gifs else []
    stills = (_section(PICTURES / f"{name}.png", RECIPES) for name in names)
    return "\n".join([INTRO, *small, *stills, *moving]) + "\n"


def write_page() -> None:
    """Write docs/gallery.md anew, of the pictures and GIFs that are there."""
    PAGE.write_text(page(sorted(PICTURES.glob("*.png"))), encoding="utf-8")
    print(PAGE)


def _section(picture: Path, recipes: Path) -> str:
    """A picture, or a GIF with frame 0 beside it, and how it came about."""
    settings = read_metadata(picture.with_suffix(".png"))["settings"]
    width, height = settings["width_height"]
    recipe = recipes / f"{picture.stem}.yaml"
    is_video = settings["animation_mode"] == "Video Input"
    steps = settings["video_init_steps" if is_video else "steps"]
    lines = [
        f"\n## {_title(picture.stem)}\n",
        f"{_image(picture.stem, 'width', 2 * width, picture)}\n",
        f"{_comment(recipe)}\n",
        *(f"- {_prompt(prompt)}" for prompt in settings["text_prompts"]["0"]),
        *(f"- the picture {_prompt(prompt)}" for prompt in settings["image_prompts"].get("0", [])),
        f"\n{width}x{height}, {steps} steps, seed {settings['set_seed']}:"
        f" `python run.py {recipe.as_posix()}`",
    ]
    if picture.suffix == ".gif":
        lines[-1] += f", then `python run.py video images_out/{picture.stem} --codec gif --loop`"
    return "\n".join(lines)


def _prompt(prompt: str | dict[str, object]) -> str:
    """As the PNG holds it: "a rose:0.5", or a text or picture whose weight changes with the noise."""
    if isinstance(prompt, str):
        return f"`{prompt.replace(RECIPES.as_posix() + '/../../', '')}`"
    return f"`{prompt.get('text', prompt.get('image'))}`, weight `{prompt.get('weight', 1)}`"


def _comment(recipe: Path) -> str:
    """What stands at the top of a recipe, without the command."""
    lines = recipe.read_text(encoding="utf-8").split("\n\n")[0].splitlines()[1:]
    words = " ".join(line.removeprefix("# ") for line in lines)
    return words.split(" python run.py ")[0]


def _image(name: str, side: str, pixels: int, path: Path | None = None) -> str:
    source = (path or PICTURES / f"{name}.png").relative_to(PAGE.parent)
    return f'<img src="{source.as_posix()}" {side}="{pixels}" alt="{_title(name)}">'


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _slug(name: str) -> str:
    return name.replace("_", "-")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--page", action="store_true", help="render nothing")
    options = parser.parse_args()
    for recipe in [] if options.page else chosen(options.names):
        print(render(recipe))
    write_page()


if __name__ == "__main__":
    main()
