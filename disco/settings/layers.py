"""Who wrote a setting, and where: the layers that a run's settings are made of.

Later layers win: the network's defaults < extends < file < --prompt < --set. Every value keeps its place, so
that an error can name file and line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from disco.errors import SettingsError, closest, closest_file, faults_of, one_line, shortened
from disco.files.paths import find, names_of, path_fault
from disco.files.text_files import join_all_halves
from disco.files.yaml_io import Document, KeyPath, parse_value, read_documents
from disco.settings.kinds import KINDS
from disco.settings.model import KEYS, facts_of


@dataclass(frozen=True)
class SourceLocation:
    """The place of a value. shown: "settings/batch.yaml", "--set eta=7" or the name of a network.

    path: the keys that lead to the value inside the document, if it stands in one. folders: where files that
    the value names are looked for, after the current directory.
    """

    shown: str
    document: Document | None = None
    path: KeyPath = ()
    folders: tuple[Path, ...] = ()

    def at(self, *path: Any) -> str:
        """ "settings/batch.yaml:14", or just what is shown."""
        if self.document is None or not self.document.lines:
            return self.shown
        return f"{self.shown}:{self.document.line((*self.path, *path))}"

    def under(self, *path: Any) -> SourceLocation:
        """The place of a part."""
        return replace(self, path=(*self.path, *path))

    @property
    def origin(self) -> str:
        """What --plan shows: file and line, "--set", "--prompt" or the network's name."""
        return self.shown.split()[0] if self.shown.startswith("--") else self.at()


@dataclass(frozen=True)
class SourcedValue:
    """A value that somebody wrote."""

    value: Any
    location: SourceLocation


Layer = dict[str, SourcedValue]


@dataclass
class Report:
    """The problems and notices found so far, each once, in the order found."""

    problems: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    def problem(self, location: SourceLocation, key: str, text: str, path: KeyPath = ()) -> None:
        """Note an error: `where: key: text`."""
        self._add(self.problems, one_line(f"{location.at(*path)}: {key}: {text}"))

    def faults(self, location: SourceLocation, key: str, error: ValueError) -> None:
        """Note all faults of a value, each with its own line."""
        for path, text in faults_of(error):
            self.problem(location, key, text, path)

    def notice(self, location: SourceLocation, key: str, text: str, path: KeyPath = ()) -> None:
        """Note something that the user should know."""
        self._add(self.notices, one_line(f"{location.at(*path)}: {key}: {text}"))

    def error(self, error: SettingsError) -> None:
        """Note the problems of an error that was raised."""
        for line in error.problems:
            self._add(self.problems, line)

    def by_line(self) -> list[str]:
        """The problems file by file in the order found, each file's by line."""
        keyed = []
        for problem in self.problems:
            match = re.match(r"(.*?):(\d+): ", problem)
            keyed.append((match[1], int(match[2])) if match else (problem.split(": ")[0], 0))
        files = list(dict.fromkeys(file for file, _ in keyed))
        order = sorted(range(len(keyed)), key=lambda n: (files.index(keyed[n][0]), keyed[n][1]))
        return [self.problems[n] for n in order]

    @staticmethod
    def _add(lines: list[str], line: str) -> None:
        if line not in lines:
            lines.append(line)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """ " Did you mean steps?", or nothing when nothing is near."""
    near = closest(name, known)
    return f" Did you mean {near}?" if near else ""


def place_of(document: Document, folders: Sequence[Path] = ()) -> SourceLocation:
    """The document itself; its own folder is where files are looked for, unless it comes from no file."""
    own = [Path(document.file).parent] if document.lines else []
    return SourceLocation(document.file, document, folders=(*own, *folders))


def layer_of(location: SourceLocation) -> Layer:
    """All keys of a document, as written."""
    assert location.document is not None
    return {key: SourcedValue(value, location.under(key)) for key, value in location.document.data.items()}


def file_layers(location: SourceLocation, report: Report) -> list[Layer]:
    """The layers of a document: what it extends, deepest first, then itself."""
    return _extended(layer_of(location), report, (Path(location.shown).resolve(),))


def _extended(layer: Layer, report: Report, above: tuple[Path, ...]) -> list[Layer]:
    sourced = layer.pop("extends", None)
    if sourced is None:
        return [layer]
    names = sourced.value if isinstance(sourced.value, list) else [sourced.value]
    layers: list[Layer] = []
    for name in names:
        if not isinstance(name, str) or not name.strip():
            report.problem(sourced.location, "extends", "write the path of a settings file")
            continue
        file = find(name, sourced.location.folders, Path.is_file)
        if file is None:
            report.problem(
                sourced.location, "extends", f"no such file: {missing_file(name, sourced.location.folders)}"
            )
        elif file.resolve() in above:
            circle = " -> ".join(path.name for path in (*above, file))
            report.problem(sourced.location, "extends", f"goes in a circle: {circle}")
        else:
            layers += _base(file, sourced.location, report, above)
    return [*layers, layer]


def _base(path: Path, location: SourceLocation, report: Report, above: tuple[Path, ...]) -> list[Layer]:
    try:
        documents = read_documents(path)
    except SettingsError as error:
        report.error(error)
        return []
    if len(documents) > 1:
        report.problem(
            location, "extends", f"{path} holds {len(documents)} documents: only a single one can be extended"
        )
        return []
    return _extended(layer_of(place_of(documents[0])), report, (*above, path.resolve()))


def missing_file(name: str, folders: Sequence[Path]) -> str:
    """The name, where it was looked for, and the nearest one that is there; or why no file can be that."""
    fault = path_fault(name)
    if fault:
        return f"{shortened(name)}: {fault}"
    places = (Path(name).parent, *((folder / name).parent for folder in folders))
    looked = list(dict.fromkeys(str(path.resolve()) for path in places))
    names = [name for path in looked for name in names_of(Path(path))]
    near = closest_file(Path(name).name, names)
    return f"{name} (looked in {' and '.join(looked)})" + (f". Did you mean {near}?" if near else "")


def override_layers(
    overrides: Sequence[str], prompt: str | None, report: Report, folders: tuple[Path, ...] = ()
) -> list[Layer]:
    """--prompt, then each --set as a layer of its own, so that a later one wins."""
    layers: list[Layer] = []
    if prompt is not None:
        layers.append({"text_prompts": SourcedValue(prompt, SourceLocation("--prompt"))})
    for text in overrides:
        key, sign, value = text.partition("=")
        key, shown = one_line(key.strip()), one_line(text)
        location = SourceLocation(f"--set {shortened(shown, 80)}", folders=folders)
        if not sign or not key or key == "extends":
            report.problem(location, key or "?", "write --set key=value, like --set steps=100")
            continue
        try:
            layers.append({key: SourcedValue(_override(key, value, location), location)})
        except SettingsError as error:
            report.error(error)
    return layers


def _override(key: str, value: str, location: SourceLocation) -> Any:
    """The value as YAML; texts as they stand, unless they begin like a list, map or quoted text."""
    text = value.strip()
    facts = facts_of(key) if key in KEYS else {}
    if facts and KINDS[facts["kind"]].is_text and text[:1] not in ("[", "{", '"', "'"):
        return None if text in ("", "null", "~") else text
    if facts.get("schedulable") and text.startswith(("[", "(")) and "*" in text:
        return text  # "[12]*400+[4]*600", which YAML would want in quotes
    return parse_value(text, f"{location.shown}: {key}")


def mapping_document(data: Mapping[str, Any], name: str) -> Document:
    """A document without lines, for settings that come from Python or out of a picture."""
    try:
        return Document(name, join_all_halves(data))
    except ValueError as error:
        raise SettingsError([f"{name}: {error}"]) from None
