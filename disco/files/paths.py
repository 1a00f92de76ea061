"""A path that the user wrote, looked up in folders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path


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
