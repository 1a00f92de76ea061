"""Pack the training pictures once, as uint8 arrays that a training process maps into memory.

    python -m training.data --from DIR --out data/ [--only scenes flowers]
    python -m training.data --download DIR --out data/

DIR holds a clone (bare or not) of each repository in `SOURCES` and the packages of `TITLED`, as git clone,
apt-get download and npm pack leave them; with --download these are run for what is missing.
No picture is ever committed here. Writes `<name>.npy` [N, S, S, 3] uint8 RGB and `<name>.json`
{"labels": [...], "split": [...]} per source; titled ones have "titles" and "keywords" there too.
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from training.download import fetch
from training.sources import SOURCES, find_clone, git_blobs
from training.titled import TITLED

MARGIN = 0.04  # of the square around a drawing whose empty border was cut off
LARGEST = 16_000_000  # pixels: a drawing of more would take longer to decode than all others together
BLANK = 2.0  # standard deviation of the numbers 0..255 under which nothing is to be seen


def square(data: bytes, side: int) -> np.ndarray:
    """The centre square of a picture file, [side, side, 3] uint8. `draft`: the decoder shrinks, for free."""
    picture = Image.open(io.BytesIO(data))
    picture.draft("RGB", (side * 2, side * 2))
    picture = picture.convert("RGB")
    width, height = picture.size
    edge = min(width, height)
    box = ((width - edge) / 2, (height - edge) / 2, (width + edge) / 2, (height + edge) / 2)
    return np.asarray(picture.resize((side, side), Image.Resampling.LANCZOS, box=box))


def on_white(data: bytes, side: int) -> np.ndarray | None:
    """A whole drawing in the middle of a white square, [side, side, 3] uint8, its clear border cut off.

    None for a blank one and for one of more than `LARGEST` pixels.
    """
    Image.MAX_IMAGE_PIXELS = None  # checked here instead
    picture = Image.open(io.BytesIO(data))
    if picture.width * picture.height > LARGEST:
        return None
    picture = picture.convert("RGBA")
    box = picture.getchannel("A").getbbox()
    if box is not None:
        picture = picture.crop(box)
    white = Image.new("RGBA", picture.size, "white")
    white.alpha_composite(picture)
    scale = side * (1 - 2 * MARGIN) / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    small = white.convert("RGB").resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    whole = Image.new("RGB", (side, side), "white")
    whole.paste(small, ((side - size[0]) // 2, (side - size[1]) // 2))
    pixels = np.asarray(whole)
    return pixels if pixels.std() >= BLANK else None


def _labelled(name: str, root: Path) -> tuple[list[np.ndarray], dict[str, list[object]]]:
    """The pictures of one git repository and their notes: labels, split."""
    source = SOURCES[name]
    pictures: list[np.ndarray] = []
    notes: dict[str, list[object]] = {"labels": [], "split": []}
    for path, data in git_blobs(find_clone(root, source.repository), source):
        placed = source.place(path)
        if placed is None:
            continue
        pictures.append(square(data, source.side))
        notes["labels"].append(placed[0])
        notes["split"].append(placed[1])
    return pictures, notes


def _titled(name: str, root: Path) -> tuple[list[np.ndarray], dict[str, list[object]]]:
    """The pictures of one source with words and their notes; every tenth picture is held out."""
    pictures: list[np.ndarray] = []
    notes: dict[str, list[object]] = {"labels": [], "split": [], "titles": [], "keywords": []}
    for drawing in TITLED[name].drawings(root):
        picture = on_white(drawing.data, TITLED[name].side)
        if picture is None:
            continue
        notes["labels"].append(None)
        notes["split"].append("test" if len(pictures) % 10 == 9 else "train")
        notes["titles"].append(drawing.title)
        notes["keywords"].append(drawing.keywords)
        pictures.append(picture)
    return pictures, notes


def pack(name: str, root: Path, out: Path) -> int:
    """Pack one source; returns the number of pictures. A source that is already packed is left alone."""
    target = out / f"{name}.npy"
    if target.exists():
        return len(np.load(target, mmap_mode="r"))
    pictures, notes = _labelled(name, root) if name in SOURCES else _titled(name, root)
    (out / f"{name}.json").write_text(json.dumps(notes))
    partial = out / f".{name}.npy"
    np.save(partial, np.stack(pictures))
    partial.rename(target)
    return len(pictures)


def load(folder: Path, name: str) -> tuple[np.ndarray, list[str | None], list[str]]:
    """A packed source: pictures [N, S, S, 3] uint8 (mapped, not read), labels, splits."""
    notes = json.loads((folder / f"{name}.json").read_text())
    return np.load(folder / f"{name}.npy", mmap_mode="r"), notes["labels"], notes["split"]


def main() -> None:
    parser = argparse.ArgumentParser(description="Pack the training pictures.")
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--from", dest="root", type=Path, help="folder of git clones and of packages")
    given.add_argument("--download", type=Path, metavar="DIR", help="fetch what is missing into DIR first")
    parser.add_argument("--out", type=Path, default=Path("training/runs/data"))
    parser.add_argument("--only", nargs="+", choices=[*SOURCES, *TITLED], default=[*SOURCES, *TITLED])
    args = parser.parse_args()
    if args.download:
        fetch(args.only, args.download)
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.only:
        print(f"{name}: {pack(name, args.root or args.download, args.out)} pictures", flush=True)


if __name__ == "__main__":
    main()
