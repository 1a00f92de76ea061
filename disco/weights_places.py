"""Where weight files lie on this machine, and where downloads go. No network, no hashing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from disco.files.places import POCKET
from disco.registry import HubFile, WeightFile
from disco.weights_hub import cached, hub_file_of


def models_dir() -> Path:
    """Where downloads go: $DISCO_MODELS, else ./models if it exists, else ~/.cache/disco/models."""
    return _own_folders()[0]


def cache_dir() -> Path:
    """Disco's own folder in the user's cache: $XDG_CACHE_HOME/disco, else ~/.cache/disco."""
    return _cache() / "disco"


def locate(file: WeightFile) -> Path | None:
    """Where the file lies on this machine, unchecked; None if it would have to be fetched. No network."""
    return next((path for path, _ in candidates(file)), None)


def candidates(file: WeightFile) -> Iterator[tuple[Path, bool]]:
    """(path, whether in the user's own model folders) of all local files that may be this one."""
    own = [folder / name for folder in _own_folders() for name in _names(file)]
    for path in [POCKET / file.bundled] if file.bundled else own:
        if path.is_file():
            yield path, True
    if not file.bundled:
        yield from ((path, False) for path in _elsewhere(file))


def sources(file: WeightFile) -> Iterator[HubFile | str]:
    """Where the file is published, in the order to be tried: files on the hub, other addresses."""
    if file.hub is not None:
        yield file.hub
    for url in file.mirrors:
        yield hub_file_of(url) or url


def show(path: Path) -> str:
    """The path as a user would write it: relative where it lies under the current directory."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _elsewhere(file: WeightFile) -> Iterator[Path]:
    for source in sources(file):
        found = cached(source) if isinstance(source, HubFile) else None
        if found is not None:
            yield found
    if file.sha256 or file.sha256_prefix:  # other tools' caches: only what can be told apart by its hash
        for folder in _other_caches():
            path = folder / file.name
            if path.is_file() and file.bytes in (None, path.stat().st_size):
                yield path


def _names(file: WeightFile) -> list[str]:
    """The file's names on disk: ours, and with a hash to tell it by also those of its download pages."""
    names = [file.name]
    if file.sha256 or file.sha256_prefix:
        published = [
            source.filename if isinstance(source, HubFile) else urlsplit(source).path
            for source in sources(file)
        ]
        names += [Path(name).name for name in published if name.endswith((".pt", ".pth", ".safetensors"))]
    return list(dict.fromkeys(names))


def _own_folders() -> list[Path]:
    """Model folders of the user, the one that downloads go to first."""
    folders = [cache_dir() / "models"]
    if Path("models").is_dir():
        folders.insert(0, Path("models").absolute())
    if os.environ.get("DISCO_MODELS"):
        folders.insert(0, Path(os.environ["DISCO_MODELS"]).expanduser().absolute())
    return list(dict.fromkeys(folders))


def _other_caches() -> list[Path]:
    """Where OpenAI's clip and open_clip, and torch.hub, keep what they have downloaded."""
    torch_home = os.environ.get("TORCH_HOME")
    torch = Path(torch_home).expanduser() if torch_home else _cache() / "torch"
    return [Path.home() / ".cache" / "clip", torch / "hub" / "checkpoints"]


def _cache() -> Path:
    set_by_user = os.environ.get("XDG_CACHE_HOME")
    return Path(set_by_user) if set_by_user else Path.home() / ".cache"
