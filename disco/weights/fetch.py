"""Registry entry -> verified local files: looked for where they usually lie, else fetched, always checked.

Where files are looked for, in this order: $DISCO_MODELS, ./models, ~/.cache/disco/models, the Hugging Face
cache, ~/.cache/clip, torch's hub/checkpoints. Downloads go to the first of the first three that is in use
(hub files to the Hugging Face cache). download.py and hub.py do the fetching.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from disco.errors import WeightsError
from disco.files.http import FetchError, readable_size
from disco.files.lock import FileLock
from disco.files.places import POCKET
from disco.weights.download import Expected, Report, disk_errors, download
from disco.weights.hub import hub_download
from disco.weights.local import (
    candidates,
    hash_file,
    locate,
    models_dir,
    read_errors,
    remember,
    sha256_of,
    show,
    sources,
)
from disco.weights.registry import Entry, HubFile, Kind, WeightFile, registry

__all__ = [
    "ModelRow",
    "Notice",
    "Progress",
    "Verification",
    "describe_models",
    "fetch",
    "fetch_paths",
    "hashes_of",
    "locate",
    "models_dir",
    "readable_size",
    "sha256_of",
    "size_text",
    "to_fetch",
    "verify",
]

ORIGINAL = "512x512_diffusion_uncond_finetune_008100"
"""The diffusion network that Disco Diffusion 5.7 takes by default."""
_YES = {"1", "ON", "YES", "TRUE"}

Notice = Callable[[str], None]


class Progress(Protocol):
    """Told now and then how far a download is; total is None while nobody says."""

    def __call__(self, name: str, done: int, total: int | None) -> None: ...


@dataclass(frozen=True)
class Verification:
    """One checked file. ok: None where there is nothing to compare, or no file. text: a line for the user."""

    name: str
    path: Path | None
    sha256: str | None
    ok: bool | None
    text: str


@dataclass(frozen=True)
class ModelRow:
    """One line of `models list`. bytes: of its files, None if unknown, rough unless is_exact.

    state: "here", "wrong" (a local file is not what is published), or "" (to be fetched). is_common: Disco's
    own defaults.
    """

    name: str
    kind: Kind
    title: str
    bytes: int | None
    is_exact: bool
    state: str
    is_common: bool
    licence: str
    notes: str


def to_fetch(entry: Entry) -> tuple[WeightFile, ...]:
    """Those of its files that are not on this machine. No network."""
    return tuple(file for file in entry.files if locate(file) is None)


def size_text(file: WeightFile, entry: Entry) -> str:
    """`354 MB`, `about 2.2 GB` where only its number of parameters is known, or `size unknown`."""
    if file.bytes is not None:
        return readable_size(file.bytes)
    if file.name.endswith(".json"):
        return "a few kB"
    size, _ = entry.size()
    has_all = [file] == [other for other in entry.files if not other.name.endswith(".json")]
    return f"about {readable_size(size)}" if size and has_all else "size unknown"


def fetch(entry: Entry, progress: Progress | None = None, notice: Notice | None = None) -> dict[str, Path]:
    """All files of an entry, checked, downloaded if need be: file name -> path, in the entry's order.

    notice: called with a sentence on what is about to be fetched, or has no published hash.
    Raises WeightsError: a damaged file, no source left, offline, no room on the disk.
    """
    return {file.name: _fetch(file, entry, progress, notice or (lambda text: None)) for file in entry.files}


def fetch_paths(entry: Entry, progress: Progress | None = None, notice: Notice | None = None) -> list[Path]:
    """The files of an entry, as fetch() gives them, in the entry's order."""
    return list(fetch(entry, progress, notice).values())


def hashes_of(entry: Entry, paths: Mapping[str, Path]) -> dict[str, str]:
    """ "network/file" -> SHA-256 of what fetch() gave, for the metadata of a picture."""
    known = {file.name: None if file.bundled else file.sha256 for file in entry.files}
    return {f"{entry.name}/{name}": digest or sha256_of(paths[name]) for name, digest in known.items()}


def check_local(entries: Iterable[Entry]) -> None:
    """Before anything is loaded: raise one WeightsError for all local files that are not what is published.

    Downloads nothing, and files that are missing are no fault.
    """
    faults = [fault for entry in entries for file in entry.files if (fault := _wrong(file, entry.kind))]
    if faults:
        raise WeightsError("\n".join(dict.fromkeys(faults)))


def verify(entry: Entry) -> list[Verification]:
    """Read every file of an entry afresh and compare it with what is published. Downloads nothing."""
    return [_verify(file, entry.kind) for file in entry.files]


def describe_models() -> list[ModelRow]:
    """Every network of the registry, in its order. No network; a local file is read once, then remembered."""
    return [
        ModelRow(
            entry.name,
            entry.kind,
            entry.title,
            *entry.size(),
            _state_of(entry),
            entry.name in _common(),
            entry.licence,
            entry.notes,
        )
        for entry in registry().entries()
    ]


def _state_of(entry: Entry) -> str:
    if any(_wrong(file, entry.kind) for file in entry.files):
        return "wrong"
    return "" if to_fetch(entry) else "here"


def _common() -> set[str]:
    """What comes with Disco, and what the original loads by its defaults."""
    known = registry()
    bundled = {entry.name for entry in known.entries() if any(file.bundled for file in entry.files)}
    first = known.get("diffusion", ORIGINAL)
    clips = {known.find_clip(name)[0].name for name in first.defaults["clip_models"]}
    return {*bundled, *clips, first.name, str(first.architecture["secondary"])}


def _fetch(file: WeightFile, entry: Entry, progress: Progress | None, notice: Notice) -> Path:
    path = _good(file, entry.kind)
    if path is not None:
        return path
    if file.bundled:
        raise WeightsError(
            f"{show(POCKET / file.bundled)}: comes with Disco and is missing. Install Disco again."
        )
    size = size_text(file, entry)
    target = models_dir() / file.name
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in _YES:
        raise WeightsError(
            f"{file.name}: not on this machine, and HF_HUB_OFFLINE forbids downloads ({size}). "
            f"{_by_hand(target)}"
        )
    return _from_sources(file, entry.kind, size, progress, notice)


def _from_sources(file: WeightFile, kind: Kind, size: str, progress: Progress | None, notice: Notice) -> Path:
    target = models_dir() / file.name

    def report(done: int, total: int | None) -> None:
        if progress is not None:
            progress(file.name, done, total)

    reasons = []
    for source in sources(file):
        origin = source.repo if isinstance(source, HubFile) else urlsplit(source).hostname
        notice(f"{file.name}: fetching {size} from {origin}")
        try:
            if isinstance(source, HubFile):
                path, digest = hub_download(source, _expected(file), report, sha256_of)
            else:
                path, digest = _from_mirror(source, target, (file, kind), report, notice)
        except FetchError as error:
            address = f"huggingface.co/{source.repo}" if isinstance(source, HubFile) else source
            reasons.append(f"  {address}: {error}")
            continue
        if not _expected(file).sha256:
            notice(f"{file.name}: no hash is published to compare with; SHA-256 computed: {digest}")
        return path
    raise WeightsError(
        "\n".join([f"{file.name}: no source could deliver it ({size}):", *reasons, _by_hand(target)])
    )


def _from_mirror(
    url: str, target: Path, wanted: tuple[WeightFile, Kind], report: Report, notice: Notice
) -> tuple[Path, str]:
    file, kind = wanted
    lock = FileLock(target.with_name(f".{target.name}.lock"))
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        lock.path.touch()
    if not lock.acquire(0):
        notice(f"{file.name}: another process is fetching it; waiting for that")
        while not lock.acquire(3600):
            pass
    try:
        path = _good(file, kind)  # the other process may have brought it
        if path is not None:
            return path, sha256_of(path)
        digest = download(url, target, _expected(file), report)
        remember(target, digest)
        return target, digest
    finally:
        lock.release()


def _good(file: WeightFile, kind: Kind) -> Path | None:
    """A local file that is what it should be. Raises WeightsError for a wrong one in a models folder."""
    fault = _wrong(file, kind)
    if fault:
        raise WeightsError(fault)
    return next((path for path, _ in candidates(file) if file.bundled or _fault(file, path) is None), None)


def _wrong(file: WeightFile, kind: Kind) -> str:
    """What is wrong with the file of this name in a models folder; "" for a right one and for none."""
    for path, is_own in candidates(file):
        fault = None if file.bundled else _fault(file, path)
        if fault is None:
            return ""
        if is_own:
            return _damaged(path, fault, kind)
    return ""


def _fault(file: WeightFile, path: Path) -> str | None:
    expected = _expected(file)
    with read_errors(path):
        size = path.stat().st_size
    if expected.sha256 is None or (expected.size is not None and size != expected.size):
        return expected.fault(size, "")
    return expected.fault(size, sha256_of(path))


def _verify(file: WeightFile, kind: Kind) -> Verification:
    path = locate(file)
    if path is None:
        return Verification(file.name, None, None, None, f"{file.name}: not on this machine")
    with read_errors(path):
        digest, size = hash_file(path), path.stat().st_size
    expected = _expected(file)
    fault = expected.fault(size, digest)
    if fault is not None:
        return Verification(file.name, path, digest, False, _damaged(path, fault, kind))
    remember(path, digest)
    if expected.sha256 is None:
        text = f"{show(path)}: no hash is published to compare with; SHA-256 computed: {digest}"
        return Verification(file.name, path, digest, None, text)
    return Verification(file.name, path, digest, True, f"{show(path)}: SHA-256 is {digest}, as published")


def _damaged(path: Path, fault: str, kind: Kind) -> str:
    if path.is_relative_to(POCKET):
        return f"{show(path)}: {fault}: not the file that came with Disco. Install Disco again."
    own = ""
    if kind == "diffusion":
        own = " Is it a network of your own? Rename it, and use diffusion_model: custom with custom_path."
    return f"{show(path)}: {fault}: a damaged download. Delete the file and run again.{own}"


def _by_hand(target: Path) -> str:
    return f"Put it at {show(target)} by hand, or set DISCO_MODELS to the folder that holds it."


def _expected(file: WeightFile) -> Expected:
    return Expected(file.bytes, file.sha256 or file.sha256_prefix)
