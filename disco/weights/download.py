"""One file from one address: a `.part` that grows, survives cuts, is checked, and only then gets its name."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from disco.errors import WeightsError
from disco.files.atomic import FULL, disk_cause, sync_folder
from disco.files.http import (
    PATIENCE,
    Cut,
    FetchError,
    TimeLimit,
    Unreachable,
    chunks,
    content_range,
    length,
    pause,
    readable_size,
    request,
    validator,
)

CHUNK = 1 << 20
SPARE = 64 << 20  # bytes that a download leaves free on the disk
LOOK = 16 << 20  # bytes between two looks at the free space
NEWS = 1 << 16  # bytes beyond the most so far that an attempt brings, else it counts as in vain
MIRROR_SECONDS = 24 * 3600.0  # for one file from one mirror, all attempts together

Report = Callable[[int, "int | None"], None]  # bytes done, bytes in all if anybody says


@dataclass(frozen=True)
class Expected:
    """What the file must be. sha256: all 64 hex digits or the first few; None where nothing is published."""

    size: int | None = None
    sha256: str | None = None

    def fault(self, size: int, digest: str) -> str | None:
        """Why a file of this size and hash is not the one, or None if it may be."""
        if self.size is not None and size != self.size:
            return f"it has {size} bytes, expected {self.size}"
        if self.sha256 is not None and not digest.startswith(self.sha256):
            return f"SHA-256 is {shorten(digest)}, expected {shorten(self.sha256)}"
        return None


def shorten(digest: str) -> str:
    """The first 12 hex digits, as errors show them."""
    return f"{digest[:12]}..."


@dataclass
class _Part:
    """The file so far: open for appending, its hash kept along. resumed: it held something at the start."""

    path: Path
    file: IO[bytes]
    size: int = 0
    digest: Any = field(default_factory=hashlib.sha256)
    resumed: bool = False

    def append(self, chunk: bytes) -> None:
        self.file.write(chunk)
        self.digest.update(chunk)
        self.size += len(chunk)

    def restart(self) -> None:
        self.file.seek(0)
        self.file.truncate()
        self.size, self.digest, self.resumed = 0, hashlib.sha256(), False


def download(url: str, target: Path, expected: Expected, report: Report = lambda done, total: None) -> str:
    """Fetch url to target, whole and checked; returns its SHA-256.

    What an earlier attempt left in `target.part` is continued where that is safe. Raises FetchError with
    the reason, keeping the part for another attempt unless it is wrong; WeightsError when the disk refuses.
    """
    part_path, limit = target.with_name(target.name + ".part"), TimeLimit(MIRROR_SECONDS)
    with disk_errors(target), _open_part(part_path, url, expected) as part:
        digest = _fill(url, part, expected, report, limit)
        fault = expected.fault(part.size, digest)
        if fault and part.resumed:  # perhaps the part was wrong, not this mirror: once more, from the start
            part.restart()
            digest = _fill(url, part, expected, report, limit)
            fault = expected.fault(part.size, digest)
        if not fault:
            part.file.flush()
            os.fsync(part.file.fileno())
    with disk_errors(target):
        if not fault:
            os.replace(part_path, target)
            sync_folder(target.parent)
        part_path.unlink(missing_ok=True)
        _origin_path(part_path).unlink(missing_ok=True)
    if fault:
        raise FetchError(f"{fault}: refused and removed")
    return digest


def check_free(folder: Path, needed: int) -> None:
    """Raise WeightsError unless `needed` bytes and a little more fit on the disk of `folder`."""
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE:
        raise WeightsError(
            f"{folder}: {readable_size(needed)} are needed and {readable_size(free)} are free. "
            "Free some space, or set DISCO_MODELS to a folder on another disk, and run again."
        )


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an OSError inside into a WeightsError that names the path and says what to do."""
    try:
        yield
    except OSError as error:
        advice = "Set DISCO_MODELS to a folder that can be written."
        if error.errno in FULL:
            advice = "What has arrived is kept: free some space and run again to go on."
        raise WeightsError(f"{path}: cannot be written: {disk_cause(error)}. {advice}") from error


@contextlib.contextmanager
def _open_part(path: Path, url: str, expected: Expected) -> Iterator[_Part]:
    """The part file for appending. Without a published hash only the very same file's part is continued."""
    with open(path, "a+b") as file:
        part = _Part(path, file)
        origin = _origin(path)
        if expected.sha256 is None and not (origin.get("url") == url and origin.get("validator")):
            part.restart()
        file.seek(0)
        while chunk := file.read(CHUNK):
            part.digest.update(chunk)
            part.size += len(chunk)
        part.resumed = part.size > 0
        yield part


def _fill(url: str, part: _Part, expected: Expected, report: Report, limit: TimeLimit) -> str:
    """Attempts until the part is whole; returns the SHA-256 of all of it. Raises FetchError.

    PATIENCE counts attempts in a row that bring less than NEWS bytes beyond the most that was there before.
    """
    idle, has_answered, most = 0, False, part.size
    while True:
        before = part.size
        try:
            _request_rest(url, part, expected, report, limit)
            return str(part.digest.hexdigest())
        except Cut as cut:
            limit.check()
            has_answered |= part.size > before or not isinstance(cut, Unreachable)
            idle = 0 if part.size >= most + NEWS else idle + 1
            most = max(most, part.size)
            if idle >= PATIENCE or not has_answered:
                raise FetchError(str(cut)) from cut
            pause(idle)


def _request_rest(url: str, part: _Part, expected: Expected, report: Report, limit: TimeLimit) -> None:
    if expected.size is not None and part.size >= expected.size:
        return  # as long as it can be: the hash decides
    headers = {"Range": f"bytes={part.size}-"} if part.size else {}
    origin = _origin(part.path)
    if part.size and origin.get("url") == url and origin.get("validator"):
        headers["If-Range"] = origin["validator"]
    with request(url, headers, limit) as response:
        if response.status == 416:  # nothing comes after what is here: it is whole, or another file
            if content_range(response)[1] != part.size:
                part.restart()
                raise Cut("the server has less than what was here already")
            return
        total = _continue_at(response, part)
        if expected.size is not None and total is not None and total != expected.size:
            raise FetchError(f"the server says {total} bytes, expected {expected.size}")
        total = expected.size if total is None else total
        _check_room(part, total, expected)
        _origin_path(part.path).write_text(json.dumps({"url": url, "validator": validator(response)}))
        _pour(chunks(response, limit), part, total, expected, report)


def _continue_at(response: Any, part: _Part) -> int | None:
    """Go on where the answer begins, or restart. Returns the size of the whole file, if told."""
    size = length(response)
    if response.status == 206:
        start, total = content_range(response)
        if start != part.size:
            part.restart()
            raise Cut("the server sends another part than was asked for")
        return part.size + size if total is None and size is not None else total
    if part.size:  # the server knows no Range, or the file there has changed
        part.restart()
    return size


def _pour(body: Iterator[bytes], part: _Part, total: int | None, expected: Expected, report: Report) -> None:
    report(part.size, total)
    looked = reported = part.size
    for chunk in body:
        part.append(chunk)
        if part.size - reported >= CHUNK:
            reported = part.size
            report(part.size, total)
        if total is not None and part.size > total:
            part.restart()
            raise FetchError(f"the server sends more than {total} bytes")
        if part.size - looked >= LOOK:
            looked = part.size
            _check_room(part, total, expected)
    report(part.size, total)
    if total is not None and part.size < total:
        raise Cut(f"connection cut after {part.size} of {total} bytes")
    if part.size == 0:
        raise Cut("the answer is empty")


def _check_room(part: _Part, total: int | None, expected: Expected) -> None:
    """WeightsError where the published size does not fit; FetchError where only this server says so."""
    folder = part.path.parent
    if expected.size is not None:
        check_free(folder, expected.size - part.size)
        return
    free = shutil.disk_usage(folder).free
    if free >= SPARE + (0 if total is None else total - part.size):
        return
    size = f"more than {readable_size(part.size)}" if total is None else readable_size(total)
    if total is None:  # perhaps without an end: make room again
        part.restart()
    raise FetchError(f"the server sends {size}, and {readable_size(free)} are free on the disk")


def _origin_path(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _origin(part: Path) -> dict[str, str]:
    """Where a part came from: {"url", "validator"}; empty if unknown."""
    try:
        data = json.loads(_origin_path(part).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
