"""Where weight files lie on this machine, where downloads go, the record of verified files. No network."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from disco.errors import RunError, WeightsError
from disco.files.atomic import replace
from disco.files.places import POCKET
from disco.weights.hub import cached, hub_file_of
from disco.weights.registry import HubFile, WeightFile


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
        if os.path.isfile(path):
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
        path_in_cache = cached(source) if isinstance(source, HubFile) else None
        if path_in_cache is not None:
            yield path_in_cache
    if file.sha256 or file.sha256_prefix:  # other tools' caches: only what can be told apart by its hash
        for folder in _other_caches():
            path = folder / file.name
            if os.path.isfile(path) and file.bytes in (None, path.stat().st_size):
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
        folders.insert(0, Path(os.path.expanduser(os.environ["DISCO_MODELS"])).absolute())
    return list(dict.fromkeys(folders))


def _other_caches() -> list[Path]:
    """Where OpenAI's clip and open_clip, and torch.hub, keep what they have downloaded."""
    torch_home = os.environ.get("TORCH_HOME")
    torch = Path(os.path.expanduser(torch_home)) if torch_home else _cache() / "torch"
    return [_home() / ".cache" / "clip", torch / "hub" / "checkpoints"]


def _cache() -> Path:
    set_by_user = os.environ.get("XDG_CACHE_HOME")
    return Path(set_by_user) if set_by_user else _home() / ".cache"


def _home() -> Path:
    """The user's home folder; the current one for a user who has none, as in a container without HOME."""
    try:
        return Path.home()
    except RuntimeError:
        return Path.cwd()


CHUNK = 1 << 20
RECORD = ".verified.json"  # in the models folder: {path: [bytes, time in ns, SHA-256]}
WORTH_REMEMBERING = 16 << 20  # bytes; smaller files are hashed again in no time


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, streamed; a large file that has not changed since is not read again.

    Raises WeightsError if the file cannot be read.
    """
    with read_errors(path):
        known = _read().get(_key(path)) if path.stat().st_size >= WORTH_REMEMBERING else None
        if isinstance(known, list) and known[:2] == _state(path) and isinstance(known[-1], str):
            return known[-1]
        digest = hash_file(path)
    remember(path, digest)
    return digest


def hash_file(path: Path) -> str:
    """SHA-256 of a file, read now whatever is remembered. Raises OSError."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def remember(path: Path, digest: str) -> None:
    """Note the hash of a file as it is now. Where the folder cannot be written, nothing is remembered."""
    with contextlib.suppress(OSError, RunError):
        if path.stat().st_size < WORTH_REMEMBERING:
            return
        record = {key: known for key, known in _read().items() if os.path.exists(key)}
        record[_key(path)] = [*_state(path), digest]
        target = models_dir() / RECORD
        target.parent.mkdir(parents=True, exist_ok=True)
        replace(target, json.dumps(record, indent=1).encode(), durable=False)


@contextlib.contextmanager
def read_errors(path: Path) -> Iterator[None]:
    """Turn an OSError inside into a WeightsError that names the file."""
    try:
        yield
    except OSError as error:
        raise WeightsError(f"{show(path)}: cannot be read: {error.strerror or error}.") from error


def _read() -> dict[str, Any]:
    """The record; empty if there is none or it is damaged: it only saves time."""
    try:
        data = json.loads((models_dir() / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _key(path: Path) -> str:
    return str(path.resolve())


def _state(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]
