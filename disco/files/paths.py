"""A path that the user wrote, looked up in folders; a path as a shell takes it."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from disco.errors import InputError, shortened

_MOST_BYTES, _MOST_IN_PART = 4095, 255  # of a path, and of each name in it: what file systems take


def path_fault(name: str) -> str:
    """Why no file can have this path, or ""."""
    if "\0" in name:
        return "it holds a NUL character, which no file's name can"
    try:
        parts = [len(os.fsencode(part)) for part in name.split("/")]
    except UnicodeEncodeError:
        return "it holds half a character (a lone surrogate), which no file's name can"
    whole = sum(parts) + len(parts) - 1
    if whole > _MOST_BYTES:
        return f"it has {whole} bytes, a path at most {_MOST_BYTES}"
    if max(parts) > _MOST_IN_PART:
        return f"a name in it has {max(parts)} bytes, {_MOST_IN_PART} at most are allowed"
    return ""


def shell_quoted(path: str | Path) -> str:
    """The path as a shell takes it for one word: in quotes where it has blanks, brackets and the like."""
    text = str(path)
    if os.name != "nt":
        return shlex.quote(text)
    return text if re.fullmatch(r"[\w\\/.:-]+", text) else f'"{text}"'


def check_path(name: str) -> str:
    """The path, if a file can have it. Raises InputError."""
    fault = path_fault(name)
    if fault:
        raise InputError(f"{shortened(name)}: no such path: {fault}")
    return name


def path_argument(name: str) -> Path:
    """A path of the command line. Raises InputError."""
    return Path(check_path(name))


def check_current_folder() -> None:
    """Raises InputError if the current folder was deleted, or may not be entered."""
    try:
        Path.cwd()
    except OSError as error:
        what = f"the current folder is gone or cannot be entered ({error.strerror})"
        raise InputError(f"{what}: change to another one with cd") from None


def names_of(folder: Path) -> list[str]:
    """The names in a folder; none if it is not there, is no folder, or may not be read."""
    try:
        return sorted(os.listdir(folder))
    except (OSError, ValueError):
        return []


def candidates(name: str, folders: Sequence[Path]) -> list[Path]:
    """The path in each of the folders, in order; `~` is the home folder, an absolute path is itself."""
    path = Path(name)
    try:
        path = path.expanduser()
    except RuntimeError:  # ~name of a user who does not exist
        pass
    return list(dict.fromkeys(folder / path for folder in folders))


def find(name: str, folders: Sequence[Path], accept: Callable[[Path], bool] = Path.exists) -> Path | None:
    """The first candidate in the current directory, then in `folders`, that `accept` is true for; or None."""
    try:
        return next((path for path in candidates(name, (Path(), *folders)) if accept(path)), None)
    except (OSError, ValueError):  # too long, or with characters that no name may have
        return None
