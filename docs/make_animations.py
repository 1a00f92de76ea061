"""Renders settings/gallery_animation/*.yaml and makes GIFs of them for docs/gallery.md, by the ordinary code.

    python -m docs.make_animations                    # all of them, and the page
    python -m docs.make_animations painted_sunrise    # this one, and the page
    python -m docs.make_animations --frames 4 --to FOLDER    # a look at the first frames, and no page

Run it in the root of the repository. It is what `python run.py settings/gallery_animation/NAME.yaml` and
`python run.py video images_out/NAME` do. Beside each GIF lies frame 0, which carries the settings.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import disco
from disco.cli.video import video
from disco.events import Notice, PictureFinished
from disco.settings.load import load_runs
from docs import make_gallery

RECIPES = make_gallery.ANIMATIONS
PICTURES = make_gallery.GIFS
MOST_BYTES = 1_000_000


def chosen(names: Sequence[str]) -> list[Path]:
    """The recipes of these names; without names all."""
    recipes = {recipe.stem: recipe for recipe in sorted(RECIPES.glob("*.yaml"))}
    unknown = sorted(set(names) - set(recipes))
    if unknown:
        raise SystemExit(f"no such recipe: {', '.join(unknown)}. Known are {', '.join(recipes)}")
    return [recipes[name] for name in names or recipes]


def render(recipe: Path, to: Path, frames: int | None = None) -> Path:
    """The GIF of a recipe in `to`, and frame 0 beside it. Raises SystemExit for one that is too large."""
    overrides = [] if frames is None else [f"max_frames={frames}"]
    (run,) = load_runs([recipe], overrides=overrides)
    to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        made = []
        for event in disco.render(run, out=Path(folder)):
            if isinstance(event, PictureFinished):
                made.append(event.path)
                print(f"{recipe.stem}: frame {event.picture}", flush=True)
            elif isinstance(event, Notice):
                print(event.text)
        return gif(made, to / recipe.stem)


def gif(frames: Sequence[Path], target: Path) -> Path:
    """The frames of a run as target.gif, as `run.py video` makes it, and the first one as target.png."""
    with tempfile.TemporaryDirectory() as folder:
        new = Path(folder) / "new.gif"
        video([str(frames[0].parent), "--codec", "gif", "--loop", "--out", str(new), "--quiet"])
        size = new.stat().st_size
        if size > MOST_BYTES:
            raise SystemExit(f"{target.name}.gif would have {size:,} bytes, {MOST_BYTES:,} at most")
        shutil.copyfile(frames[0], target.with_suffix(".png"))
        return Path(shutil.copyfile(new, target.with_suffix(".gif")))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--frames", type=int, metavar="N", help="the first frames only")
    parser.add_argument("--to", type=Path, default=PICTURES, metavar="FOLDER")
    options = parser.parse_args()
    if options.frames is not None and options.to == PICTURES:
        raise SystemExit("--frames: give --to as well: the gallery shows whole animations")
    for recipe in chosen(options.names):
        path = render(recipe, options.to, options.frames)
        print(path, path.stat().st_size, "bytes")
    if options.to == PICTURES:
        make_gallery.write_page()


if __name__ == "__main__":
    main()
