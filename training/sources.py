"""Where the training pictures come from: git repositories with labels, packages with words."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

Placed = tuple[str | None, str]  # the label (None where the source has none) and the split: train, test
PICTURES = (".jpg", ".jpeg", ".png", ".webp")


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


def _cifar_place(path: str) -> Placed | None:
    """train/truck/wrecker_s_002388.png"""
    split, label, _ = path.split("/")
    return label, split


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
    "cifar10": Source("cyizhuo/CIFAR-10-dataset", "HEAD", "", 32, _cifar_place),
    "cifar100": Source("cyizhuo/CIFAR-100-dataset", "HEAD", "", 32, _cifar_place),
}


def clone_of(root: Path, repository: str) -> Path | None:
    """The git directory of `owner/name` under `root`: owner+name/ or name/, bare or with a work tree.

    A mirror under another owner's name serves as well: any folder `*+name`.
    """
    owner, name = repository.split("/")
    folders = [root / f"{owner}+{name}", root / name, root / f"{name}.git", *sorted(root.glob(f"*+{name}"))]
    for folder in folders:
        for git_dir in (folder / "repo" / ".git", folder / "repo", folder / ".git", folder):
            if (git_dir / "HEAD").exists():
                return git_dir
    return None


def find_clone(root: Path, repository: str) -> Path:
    """As `clone_of`; SystemExit where there is none."""
    git_dir = clone_of(root, repository)
    if git_dir is None:
        raise SystemExit(
            f"{root}: no clone of {repository}. Run there: git clone --bare https://github.com/{repository},"
            " or let --download fetch it."
        )
    return git_dir


def git_blobs(git_dir: Path, source: Source) -> Iterator[tuple[str, bytes]]:
    """Every picture of the source's folder as (path, bytes), sorted by path, read by one git process."""
    tree = ["git", "-C", str(git_dir), "ls-tree", "-r", source.commit]
    tree += [source.folder] if source.folder else []
    listing = subprocess.run(tree, check=True, capture_output=True, text=True).stdout
    rows = [(line.split("\t")[1], line.split()[2]) for line in listing.splitlines()]
    rows = sorted(row for row in rows if row[0].lower().endswith(PICTURES))
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
