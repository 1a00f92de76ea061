"""SHA-256 of files; those of large files are remembered by size and time, so that a start takes no minute."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from disco.errors import WeightsError
from disco.weights_places import models_dir, show

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
    with contextlib.suppress(OSError):
        if path.stat().st_size < WORTH_REMEMBERING:
            return
        record = {key: known for key, known in _read().items() if os.path.exists(key)}
        record[_key(path)] = [*_state(path), digest]
        target = models_dir() / RECORD
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f"{RECORD}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")
        os.replace(temporary, target)


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
