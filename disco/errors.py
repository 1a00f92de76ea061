"""The errors that Disco raises on purpose, errors inside a value, and how a message quotes a value."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import Any


class DiscoError(Exception):
    """Something the user can act on: the text says where, what, what is allowed and what to do."""

    exit_code = 1


class SettingsError(DiscoError):
    """One or more wrong settings, all of a file at once; each problem is one line `where: key: what`."""

    exit_code = 2

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class InputError(DiscoError):
    """A wrong command line, or a picture or file that cannot be read as what it should be."""

    exit_code = 2


class ResumeError(DiscoError):
    """A run that cannot be continued as asked."""

    exit_code = 2


class WeightsError(DiscoError):
    """A network file that is missing, damaged, or does not fit its architecture."""


class RunError(DiscoError):
    """The run failed for an outside reason: a full disk, an unwritable folder."""


_SHORTEST_PART = 3  # letters: shorter ones stand in too many names
FieldError = tuple[tuple[Any, ...], str]


class ValueErrors(ValueError):
    """One or more faults of a value: each the keys that lead to the faulty part, and a sentence."""

    def __init__(self, *faults: FieldError) -> None:
        self.faults = faults
        super().__init__("; ".join(text for _, text in faults))


def faults_of(error: ValueError, *under: Any) -> list[FieldError]:
    """The faults of any ValueError, seen from a value that holds the faulty one at the keys `under`."""
    faults: tuple[FieldError, ...] = error.faults if isinstance(error, ValueErrors) else (((), str(error)),)
    return [((*under, *path), text) for path, text in faults]


def one_line(text: str) -> str:
    """The text with its line breaks written out, so that a message stays one line."""
    return "\\n".join(text.splitlines())


def show(value: Any) -> str:
    """A value as an error quotes it, on one line: texts in quotes, long ones shortened."""
    text = f'"{value}"' if isinstance(value, str) else "nothing" if value is None else str(value)
    if isinstance(value, bool):
        text = text.lower()
    return shortened(one_line(text), tail=7)


def shortened(value: Any, most: int = 60, tail: int = 0) -> str:
    """A value as text of at most `most` characters; "..." stands for what is cut, before the last `tail`."""
    text = str(value)
    return text if len(text) <= most else text[: most - tail - 3] + "..." + text[len(text) - tail :]


def missing_blank(text: str) -> str:
    """For `0:['a cat']` or `0:12`, read as words because a blank is missing: how to write it; else ""."""
    match = re.fullmatch(r"\s*(\d+):(?=\S)(.*)", text, re.DOTALL)
    return f"a blank is missing after the colon: write {match[1]}: {match[2].strip()}" if match else ""


def key_number(key: Any) -> int | None:
    """A mapping key as a whole number from 0 ("40" from JSON counts), or None."""
    if isinstance(key, str) and key.isascii() and key.isdecimal() and len(key) < 10:
        return int(key)
    return key if isinstance(key, int) and not isinstance(key, bool) and key >= 0 else None


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant, whatever its case.

    Names that hold the typed one come before those that are spelled like it; the most alike of them.
    """
    by_lower = {candidate.lower(): candidate for candidate in known}
    typed = name.strip().lower()
    holding = [candidate for candidate in by_lower if len(typed) > _SHORTEST_PART and typed in candidate]
    near = difflib.get_close_matches(typed, holding, n=1, cutoff=0) or difflib.get_close_matches(
        typed, list(by_lower), n=1
    )
    return by_lower[near[0]] if near else None


def closest_file(name: str, known: Iterable[str]) -> str | None:
    """As closest, for file names: a common ending alone makes no likeness."""
    by_stem = {PurePath(candidate).stem: candidate for candidate in sorted(known)}
    near = closest(PurePath(name).stem, by_stem)
    return by_stem[near] if near else None
