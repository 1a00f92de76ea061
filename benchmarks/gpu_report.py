"""The result of one part of a GPU day: a JSON file that is whole after every row, and a Markdown section."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

State = Literal["running", "done", "failed"]


@dataclass
class Result:
    """path: of the JSON. key: which code and device it is for; another key makes it out of date.

    tables: title -> rows, which have the same keys. failures: texts. seconds: taken, of `limit`.
    cpu_seconds: of the process and those that it started and that have ended.
    """

    path: Path
    part: str
    title: str
    key: Mapping[str, Any]
    limit: float
    state: State = "running"
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    machine: Mapping[str, Any] = field(default_factory=dict)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Result | None:
        """None: there is none, or another program's."""
        try:
            return cls(path=path, **json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write(self) -> None:
        """As it stands now; a process that is killed meanwhile leaves the file as it was before."""
        values = {name: value for name, value in asdict(self).items() if name != "path"}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_suffix(".tmp")
        new.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
        os.replace(new, self.path)

    def add(self, table: str, **row: Any) -> None:
        """A row, on disk at once."""
        self.tables.setdefault(table, []).append(row)
        self.write()

    def fail(self, text: str) -> None:
        """The part goes on; in the end it has failed."""
        self.failures.append(text)
        self.write()

    @contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """An error within is written down, and what comes after is still measured."""
        try:
            yield
        except Exception as error:
            self.fail(f"{what}: {described(error)}")

    def end(self, seconds: float, failure: str = "") -> None:
        """failure: why it ended too early."""
        self.seconds = round(seconds, 1)
        self.failures += [failure] if failure else []
        self.state = "failed" if self.failures else "done"
        self.write()

    def markdown(self) -> str:
        """The section of the report."""
        from benchmarks.machine import table

        about = self.machine
        where = about.get("gpu") or about.get("cpu") or "unknown machine"
        versions = about.get("versions", {})
        facts = f"{about.get('date', '')[:10]}, {where}, torch {versions.get('torch')}, {self.key['commit']}"
        lines = [f"## {self.part}", f"{self.title}. {facts}: {self.seconds:.0f} s of {self.limit:.0f}."]
        for title, rows in self.tables.items():
            lines += [f"### {title}", table(rows)]
        lines += [f"FAILED:\n\n```text\n{text}\n```" for text in self.failures]
        return "\n\n".join(lines) + "\n\n"


def described(error: BaseException) -> str:
    """Kind and text; of a missing package its name."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"the package {error.name} is missing"
    return f"{type(error).__name__}: {error}"[:2000]
