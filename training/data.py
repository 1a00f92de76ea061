"""Pack the training pictures once, as uint8 arrays that a training process maps into memory.

    python -m training.data --from DIR --out data/ [--only scenes flowers]

DIR holds a clone (bare or not) of each source in `SOURCES`; no picture is ever committed here.
Writes `<name>.npy` [N, S, S, 3] uint8 RGB and `<name>.json` {"labels": [...], "split": [...]} per source.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

Placed = tuple[str | None, str]  # the label (None where the source has none) and the split: train, test


def _scene_place(path: str) -> Placed | None:
    """dataset/train/sea/1.jpg; the folder of unlabelled pictures serves the diffusion networks only."""
    parts = path.split("/")
    if len(parts) == 4 and parts[1] in ("train", "test", "val"):
        return parts[2], "train" if parts[1] == "train" else "test"
    return None, "train"


def _flower_place(path: str) -> Placed | None:
    parts = path.split("/")
    return parts[2], "train" if parts[1] == "train" else "test"


def _caltech_place(path: str) -> Placed | None:
    """Every fourth picture of a class is held out: image_0004, image_0008, ..."""
    parts = path.split("/")
    if parts[1] == "BACKGROUND_Google":
        return None
    number = int(parts[2].split("_")[1].split(".")[0])
    return parts[1], "test" if number % 4 == 0 else "train"


def _tiny_imagenet_place(path: str) -> Placed | None:
    parts = path.split("/")
    return (parts[2], "train") if parts[1] == "train" else None


@dataclass(frozen=True)
class Source:
    """One public git repository of pictures and how to read a picture's label from its path."""

    repository: str
    commit: str
    folder: str
    side: int
    place: Callable[[str], Placed | None]


SOURCES = {
    "scenes": Source("jvyou/Intel-Image-Classification", "HEAD", "dataset/", 144, _scene_place),
    "flowers": Source(
        "udacity/aipnd-project", "982f44cce96f07948da0d52867dfda6b57ef5a23", "flowers/", 144, _flower_place
    ),
    "caltech": Source(
        "MachineLearning2020/Homework2-Caltech101", "HEAD", "101_ObjectCategories/", 112, _caltech_place
    ),
    "tiny": Source("seshuad/IMagenet", "HEAD", "tiny-imagenet-200/train/", 64, _tiny_imagenet_place),
}


def find_clone(root: Path, repository: str) -> Path:
    """The git directory of `owner/name` under `root`: owner+name/ or name/, bare or with a work tree."""
    owner, name = repository.split("/")
    for folder in (root / f"{owner}+{name}", root / name):
        for git_dir in (folder / "repo" / ".git", folder / "repo", folder / ".git", folder):
            if (git_dir / "HEAD").exists():
                return git_dir
    raise SystemExit(
        f"{root}: no clone of {repository}. Run: git clone --bare https://github.com/{repository}"
    )


def git_blobs(git_dir: Path, source: Source) -> Iterator[tuple[str, bytes]]:
    """Every picture of the source's folder as (path, bytes), sorted by path, read by one git process."""
    tree = ["git", "-C", str(git_dir), "ls-tree", "-r", source.commit, source.folder]
    listing = subprocess.run(tree, check=True, capture_output=True, text=True).stdout
    rows = [(line.split("\t")[1], line.split()[2]) for line in listing.splitlines()]
    rows = sorted(row for row in rows if row[0].lower().endswith((".jpg", ".jpeg", ".png")))
    command = ["git", "-C", str(git_dir), "cat-file", "--batch"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        for path, blob in rows:
            process.stdin.write(f"{blob}\n".encode())
            process.stdin.flush()
            size = int(process.stdout.readline().split()[2])
            yield path, process.stdout.read(size)
            process.stdout.read(1)
        process.stdin.close()


def square(data: bytes, side: int) -> np.ndarray:
    """The centre square of a picture file, [side, side, 3] uint8. `draft`: the decoder shrinks, for free."""
    picture = Image.open(io.BytesIO(data))
    picture.draft("RGB", (side * 2, side * 2))
    picture = picture.convert("RGB")
    width, height = picture.size
    edge = min(width, height)
    box = ((width - edge) / 2, (height - edge) / 2, (width + edge) / 2, (height + edge) / 2)
    return np.asarray(picture.resize((side, side), Image.Resampling.LANCZOS, box=box))


def pack(name: str, root: Path, out: Path) -> int:
    """Pack one source; returns the number of pictures. A source that is already packed is left alone."""
    source = SOURCES[name]
    target = out / f"{name}.npy"
    if target.exists():
        return len(np.load(target, mmap_mode="r"))
    pictures, labels, splits = [], [], []
    for path, data in git_blobs(find_clone(root, source.repository), source):
        placed = source.place(path)
        if placed is None:
            continue
        pictures.append(square(data, source.side))
        labels.append(placed[0])
        splits.append(placed[1])
    (out / f"{name}.json").write_text(json.dumps({"labels": labels, "split": splits}))
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
    parser.add_argument("--from", dest="root", type=Path, required=True, help="folder of git clones")
    parser.add_argument("--out", type=Path, default=Path("training/runs/data"))
    parser.add_argument("--only", nargs="+", choices=sorted(SOURCES), default=list(SOURCES))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.only:
        print(f"{name}: {pack(name, args.root, args.out)} pictures", flush=True)


if __name__ == "__main__":
    main()
