"""An Imported as YAML that a person likes to read: sections, short lines, changes noted beside them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from disco.files.yaml_io import flow_yaml
from disco.settings.importers.builder import TITLES, Imported
from disco.settings.model import KEYS, SECTIONS

WIDTH = 110


def to_yaml(imported: Imported) -> str:
    """A settings file of ours, commented; it loads to exactly imported.run."""
    lines = [f"# Imported from {_flat(imported.name)}, a settings file of {TITLES[imported.source]}."]
    if imported.dropped:
        lines.append("# Left out:")
        for line in imported.dropped:
            lines += textwrap.wrap(_flat(line), WIDTH, initial_indent="#   ", subsequent_indent="#     ")
    sections = {section.title: list(section.model_fields) for section in SECTIONS}
    sections["Other"] = [key for key in imported.run if key not in KEYS]
    for title, keys in sections.items():
        written = [key for key in keys if key in imported.run]
        if written:
            lines += ["", f"# {title}"]
        for key in written:
            lines += _entry(key, imported.run[key], imported.notes.get(key))
    return "\n".join(lines) + "\n"


def _entry(key: str, value: Any, note: str | None) -> Iterator[str]:
    """One key; its note stands behind it when the line has room, above it otherwise."""
    comment = f"# {_flat(note)}" if note else ""
    inside = list(value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ())
    if any(isinstance(part, (str, list, Mapping)) for part in inside):
        yield f"{key}:  {comment}" if comment else f"{key}:"
        yield from _block(value, "  ")
        return
    line = f"{key}: {flow_yaml(value)}"
    if comment and len(line) + 2 + len(comment) > WIDTH:
        yield from textwrap.wrap(comment, WIDTH, subsequent_indent="# ")
        comment = ""
    yield f"{line}  {comment}" if comment else line


def _block(value: Any, indent: str) -> Iterator[str]:
    """Prompts by frame as lists under their keys; a list's entries on a line each."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield f"{indent}{flow_yaml(key)}:"
            yield from _block(part, indent + "  ")
    else:
        for part in value if isinstance(value, list) else [value]:
            yield f"{indent}- {flow_yaml(part)}"


def _flat(text: str) -> str:
    """Text that can stand in a comment."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
