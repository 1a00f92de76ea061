"""What an importer returns, and the builder that it fills while it reads an old file key by key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from disco.errors import shortened, show
from disco.settings.importers.nearest import nearest
from disco.settings.kinds import allowed, read_value
from disco.settings.model import DEFAULT_PROMPTS, KEYS, facts_of
from disco.settings.syntax import numeral

Source = Literal["disco", "discoart", "progrock"]

TITLES: dict[Source, str] = {
    "disco": "Disco Diffusion",
    "discoart": "DiscoArt",
    "progrock": "progrockdiffusion",
}
# Digits that stay text: names, prompts, and "60", which the original reads as 60 %.
TEXTS = (
    *("batch_name", "name_docarray", "init_image", "text_prompts", "image_prompts"),
    *("video_init_path", "frames_skip_steps", "video_init_frames_skip_steps", "custom_path"),
)


@dataclass(frozen=True)
class Imported:
    """Another tool's settings file in our keys, and an account of every key it held.

    run: flat keys of ours, ready for load.run_from_mapping. mapped, changed, dropped: one sentence
    each. notes: key of run -> what a reader of that line should know. silent: keys of run that the old file
    left to its tool's defaults. name: the old file's name. warnings: what makes another picture than the old
    file asked for; the report begins with them.
    """

    run: Mapping[str, Any]
    mapped: list[str]
    changed: list[str]
    dropped: list[str]
    source: Source
    notes: Mapping[str, str] = field(default_factory=dict)
    silent: Sequence[str] = ()
    name: str = ""
    warnings: Sequence[str] = ()

    def report(self) -> str:
        """The account as text for the terminal, one line per key."""
        parts = [f"{self.name}: {TITLES[self.source]} settings"]
        parts += [f"WARNING: {line}" for line in self.warnings]
        for title, lines in (("mapped", self.mapped), ("changed", self.changed), ("dropped", self.dropped)):
            parts.append(f"{title}: {len(lines)}")
            parts += [f"  {line}" for line in lines]
        return "\n".join(parts)


class ImportBuilder:
    """An old file on its way: `take` a key, then `keep`, `change` or `drop` it. What is left is unknown."""

    def __init__(self, old: Mapping[str, Any], source: Source, name: str) -> None:
        self.old = {key: value if key in TEXTS else plain(value) for key, value in old.items()}
        self.source: Source = source
        self.name = name
        self.run: dict[str, Any] = {}
        self.notes: dict[str, str] = {}
        self.mapped: list[str] = []
        self.changed: list[str] = []
        self.dropped: list[str] = []
        self.silent: list[str] = []
        self.warnings: list[str] = []

    def take(self, key: str, default: Any = None) -> Any:
        """Remove a key of the old file and return its value; null counts as absent."""
        value = self.old.pop(key, None)
        return default if value is None else value

    def take_as(self, key: str, default: Any, facts: Mapping[str, Any]) -> Any:
        """As take, read as such a setting is; a value that cannot be is named and the default returned.

        facts: see fields.setting; `facts_of("steps")` for a number like steps.
        """
        value = self.take(key)
        if value is None:
            return default
        try:
            return read_value(value, facts)
        except ValueError:
            self.refuse(key, value, allowed(facts))
            return default

    def refuse(self, key: str, value: Any, allowed_words: str) -> None:
        """Name a value that nobody can use, and what would be allowed."""
        self.dropped.append(f"{key}: {show(value)} is not allowed: write {allowed_words}; the default holds")

    def keep(self, key: str, value: Any, was: str | None = None) -> None:
        """The value goes over as it is; `was` is the key's old name if it had another."""
        if self._accept(key, value):
            self.mapped.append(f"{was} -> {key}" if was and was != key else key)

    def change(self, key: str, value: Any, why: str, old: Any = None) -> None:
        """A value the old file did not hold in this form; `why` also stands beside it in the YAML."""
        if not self._accept(key, value):
            return
        self.notes[key] = why
        arrow = f"{shortened(old)} -> {shortened(value)}" if old is not None else shortened(value)
        self.changed.append(f"{key}: {arrow} ({why})")

    def _accept(self, key: str, value: Any) -> bool:
        """Take the value if a settings file of ours may hold it, or else the nearest that it may hold.

        What has no nearest value is dropped, so that the default holds.
        """
        if key in KEYS:
            try:
                read = read_value(value, facts_of(key))
            except ValueError as error:
                self._take_nearest(key, value, error)
                return False
            value = read if facts_of(key)["kind"] in ("bool", "int") else value
        self.run[key] = value
        return True

    def _take_nearest(self, key: str, value: Any, error: ValueError) -> None:
        near = nearest(value, facts_of(key))
        if near is None:
            self.dropped.append(f"{key}: {error}; the default holds")
            return
        self.run[key] = near
        why = f"the nearest of what is allowed: {allowed(facts_of(key))}"
        self.notes[key] = f"was {shortened(value)}; {why}"
        self.changed.append(f"{key}: {shortened(value)} -> {shortened(near)} ({why})")
        if near == 0:
            self.warnings.append(f"{key}: {shortened(value)} became 0, which switches it off")

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

    def _say_what_is_painted(self) -> None:
        """Without a prompt of its own the file would be painted with ours."""
        if "text_prompts" in self.run:
            return
        if "image_prompts" in self.run:
            self.run["text_prompts"] = []
            self.changed.append("text_prompts: none (the image prompts alone, without our default prompts)")
            return
        first = DEFAULT_PROMPTS[0]
        self.warnings.append(f'text_prompts: no prompt to take over: the default is painted, "{first}"')

    def finish(self) -> Imported:
        """Whatever nobody took is unknown; private keys (a leading underscore) are not worth a line each."""
        self._say_what_is_painted()
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
            warnings=self.warnings,
        )


def plain(value: Any) -> Any:
    """A number or a switch that was written as a text: "60", "False"."""
    word = value.strip().lower() if isinstance(value, str) else ""
    return word == "true" if word in ("true", "false") else numeral(value)
