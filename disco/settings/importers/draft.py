"""What an importer returns, and the builder that it fills while it reads an old file key by key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from disco.settings.kinds import read_value
from disco.settings.model import KEYS, facts_of

Source = Literal["disco", "discoart", "progrock"]

TITLES: dict[Source, str] = {
    "disco": "Disco Diffusion",
    "discoart": "DiscoArt",
    "progrock": "progrockdiffusion",
}


@dataclass(frozen=True)
class Imported:
    """Another tool's settings file in our keys, and an account of every key it held.

    run: flat keys of ours, ready for load.run_from_mapping. mapped, changed, dropped: one sentence
    each. notes: key of run -> what a reader of that line should know. silent: keys of run that the old file
    left to its tool's defaults. name: the old file's name.
    """

    run: Mapping[str, Any]
    mapped: list[str]
    changed: list[str]
    dropped: list[str]
    source: Source
    notes: Mapping[str, str] = field(default_factory=dict)
    silent: Sequence[str] = ()
    name: str = ""

    def report(self) -> str:
        """The account as text for the terminal, one line per key."""
        parts = [f"{self.name}: {TITLES[self.source]} settings"]
        for title, lines in (("mapped", self.mapped), ("changed", self.changed), ("dropped", self.dropped)):
            parts.append(f"{title}: {len(lines)}")
            parts += [f"  {line}" for line in lines]
        return "\n".join(parts)


class ImportBuilder:
    """An old file on its way: `take` a key, then `keep`, `change` or `drop` it. What is left is unknown."""

    def __init__(self, old: Mapping[str, Any], source: Source, name: str) -> None:
        self.old = dict(old)
        self.source: Source = source
        self.name = name
        self.run: dict[str, Any] = {}
        self.notes: dict[str, str] = {}
        self.mapped: list[str] = []
        self.changed: list[str] = []
        self.dropped: list[str] = []
        self.silent: list[str] = []

    def take(self, key: str, default: Any = None) -> Any:
        """Remove a key of the old file and return its value; null counts as absent."""
        value = self.old.pop(key, None)
        return default if value is None else value

    def keep(self, key: str, value: Any, was: str | None = None) -> None:
        """The value goes over as it is; `was` is the key's old name if it had another."""
        if not self._accept(key, value):
            return
        self.mapped.append(f"{was} -> {key}" if was and was != key else key)

    def change(self, key: str, value: Any, why: str, old: Any = None) -> None:
        """A value the old file did not hold in this form; `why` also stands beside it in the YAML."""
        if not self._accept(key, value):
            return
        self.notes[key] = why
        arrow = f"{short(old)} -> {short(value)}" if old is not None else short(value)
        self.changed.append(f"{key}: {arrow} ({why})")

    def _accept(self, key: str, value: Any) -> bool:
        """Would a settings file of ours take this value? If not, it is dropped, so that the default holds."""
        if key in KEYS:
            try:
                read_value(value, facts_of(key))
            except ValueError as error:
                self.dropped.append(f"{key}: {error}; the default holds")
                return False
        self.run[key] = value
        return True

    def drop(self, keys: str | Iterable[str], why: str) -> None:
        """Keys that do not go over, in one line. Nothing is said when there are none."""
        names = [keys] if isinstance(keys, str) else list(keys)
        for name in names:
            self.old.pop(name, None)
        if names:
            self.dropped.append(f"{', '.join(names)}: {why}")

    def drop_group(self, group: Iterable[str], why: str) -> None:
        """Drop those keys of the group that the old file holds, in one line."""
        self.drop([name for name in group if name in self.old], why)

    def finish(self) -> Imported:
        """Whatever nobody took is unknown; private keys (a leading underscore) are not worth a line each."""
        self.drop([key for key in self.old if key.startswith("_")], "private notes of the old tool")
        for key in list(self.old):
            self.drop(key, "unknown to this program")
        return Imported(
            run=self.run,
            mapped=self.mapped,
            changed=self.changed,
            dropped=self.dropped,
            source=self.source,
            notes=self.notes,
            silent=self.silent,
            name=self.name,
        )


def short(value: Any, limit: int = 60) -> str:
    """A value for one line of a report."""
    text = f"{value}"
    return text if len(text) <= limit else text[: limit - 3] + "..."
