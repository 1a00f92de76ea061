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

    problems: dict[str, None] = field(default_factory=dict)
    notices: dict[str, None] = field(default_factory=dict)

    def problem(self, location: SourceLocation, key: str, text: str, path: KeyPath = ()) -> None:
        """Note an error: `where: key: text`."""
        self.problems[one_line(f"{location.at(*path)}: {key}: {text}")] = None

    def faults(self, location: SourceLocation, key: str, error: ValueError) -> None:
        """Note all faults of a value, each with its own line."""
        for path, text in faults_of(error):
            self.problem(location, key, text, path)

    def notice(self, location: SourceLocation, key: str, text: str, path: KeyPath = ()) -> None:
        """Note something that the user should know."""
        self.notices[one_line(f"{location.at(*path)}: {key}: {text}")] = None

    def error(self, error: SettingsError) -> None:
        """Note the problems of an error that was raised."""
        self.problems |= dict.fromkeys(error.problems)

    def by_line(self) -> list[str]:
        """The problems file by file in the order found, each file's by line."""
        keyed = []
        for problem in self.problems:
            match = re.match(r"(.*?):(\d+): ", problem)
            keyed.append((match[1], int(match[2])) if match else (problem.split(": ")[0], 0))
        files = {file: n for n, file in enumerate(dict.fromkeys(file for file, _ in keyed))}
        order = sorted(range(len(keyed)), key=lambda n: (files[keyed[n][0]], keyed[n][1]))
        problems = list(self.problems)
        return [problems[n] for n in order]


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
    return list(_Extends(report).of(layer_of(location), (Path(location.shown).resolve(),)).values())


_MOST_FILES = 100
_FileLayers = dict[Path, Layer]  # by the file's resolved path, in the order in which they are laid over


class _Extends:
    """Follows `extends`. Each file is read once; of one that is met twice the later place counts."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.known: dict[Path, _FileLayers] = {}

    def of(self, layer: Layer, above: tuple[Path, ...]) -> _FileLayers:
        """The layers of the file above[-1], its own last. above: the files that lead to it, then itself."""
        sourced = layer.pop("extends", None)
        layers: _FileLayers = {}
        if sourced is not None:
            for name in sourced.value if isinstance(sourced.value, list) else [sourced.value]:
                for path, base in self.named(name, sourced.location, above).items():
                    layers.pop(path, None)
                    layers[path] = base
        return {**layers, above[-1]: layer}

    def named(self, name: Any, location: SourceLocation, above: tuple[Path, ...]) -> _FileLayers:
        """The layers of an entry of `extends`; none if it is a problem, which is reported."""
        if not isinstance(name, str) or not name.strip():
            return self.fault(location, "write the path of a settings file")
        file = find(name, location.folders, Path.is_file)
        if file is None:
            return self.fault(location, missing_file(name, location.folders))
        path = file.resolve()
        if path in above:
            circle = " -> ".join(path.name for path in (*above, file))
            return self.fault(location, f"goes in a circle: {circle}")
        if path not in self.known:
            if len(self.known) == _MOST_FILES:
                return self.fault(location, f"more than {_MOST_FILES} files in all")
            self.known[path] = {}  # counts while it is read
            self.known[path] = self.read(file, location, above)
        return self.known[path]

    def read(self, file: Path, location: SourceLocation, above: tuple[Path, ...]) -> _FileLayers:
        """The layers of a file that nobody read yet."""
        try:
            documents = read_documents(file)
        except SettingsError as error:
            self.report.error(error)
            return {}
        if len(documents) == 1:
            return self.of(layer_of(place_of(documents[0])), (*above, file.resolve()))
        text = f"{file} holds {len(documents)} documents: only a single one can be extended"
        return self.fault(location, text)

    def fault(self, location: SourceLocation, text: str) -> _FileLayers:
        self.report.problem(location, "extends", text)
        return {}


def missing_file(name: str, folders: Sequence[Path]) -> str:
    """The name, where it was looked for, and the nearest one that is there; or why no file can be that."""
    fault = path_fault(name)
    if fault:
        return f"no such file: {shortened(name)}: {fault}"
    if find(name, folders) is not None:
        return f"{name}: a named pipe, socket or device; only regular files are read"
    places = (Path(name).parent, *((folder / name).parent for folder in folders))
    looked = list(dict.fromkeys(str(path.resolve()) for path in places))
    names = [name for path in looked for name in names_of(Path(path))]
    near = closest_file(Path(name).name, names)
    return f"no such file: {name} (looked in {' and '.join(looked)})" + (
        f". Did you mean {near}?" if near else ""
    )


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
