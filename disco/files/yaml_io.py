"""Safe YAML that remembers file and line, and plain data on one line of YAML. The only user of yaml."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from disco.errors import SettingsError, closest_file, one_line, shortened, show
from disco.files.paths import names_of, path_fault
from disco.files.regular import MAX_SETTINGS, read_regular
from disco.files.text_files import NotTextError, decode, join_halves
from disco.files.yaml_slips import Refusal, explain, no_setting

_MOST_NODES = 100_000  # values of a file; a few lines can spell out millions of them through aliases
_MOST_PROBLEMS = 100  # that are named one by one
_MOST_DEEP = 50  # lists and maps inside each other
_INT = re.compile(r"[-+]?[0-9]{1,300}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_WORDS: dict[str, Any] = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
_WORDS |= {word: True for word in ("true", "True", "TRUE")}
_WORDS |= {word: False for word in ("false", "False", "FALSE")}
_INFINITE = {".inf": math.inf, "+.inf": math.inf, "-.inf": -math.inf, ".nan": math.nan}
_STR = "tag:yaml.org,2002:str"
_TOO_MUCH = f"the file nests or repeats too much: more than {_MOST_NODES} values or {_MOST_DEEP} levels"
KeyPath = tuple[Any, ...]  # keys and list positions that lead from a document to a value


@dataclass(frozen=True)
class Document:
    """One document of a file: its data, and the line (from 1) of every key and list entry by its path.

    data: a dict with text keys. lines: {("text_prompts", 0, 1): 7, ...}; () is the document itself.
    """

    file: str
    data: dict[str, Any]
    lines: dict[tuple[Any, ...], int] = field(default_factory=dict)

    def line(self, path: KeyPath) -> int:
        """The line of a path, or of the nearest thing that holds it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


class _TooMuchError(Exception):
    """A file that nests or repeats too much, from a line on."""


class _Loader(yaml.SafeLoader):
    """Scans and composes only; what a plain scalar means is decided in _scalar."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 - the name and form that PyYAML expects
    nodes = deep = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.check_limits()
        node: yaml.Node | None = super().compose_node(parent, index)
        self.deep -= 1
        return node

    def check_limits(self) -> None:
        """Before a node is composed: a small file may hold too much for the memory or the stack."""
        self.nodes, self.deep = self.nodes + 1, self.deep + 1
        if self.nodes > _MOST_NODES or self.deep > _MOST_DEEP + 1:
            raise _TooMuchError(self.get_mark().line + 1)


_Loader.add_implicit_resolver("!plain", re.compile(".*", re.S), None)


class _Builder:
    """Turns the nodes of one document into plain data and notes their lines."""

    def __init__(self, file: str) -> None:
        self.file, self.noted, self.count = file, dict[str, None](), 0
        self.lines: dict[tuple[Any, ...], int] = {}

    def problem(self, node: yaml.Node, text: str) -> None:
        if len(self.noted) <= _MOST_PROBLEMS:
            full = len(self.noted) == _MOST_PROBLEMS
            text = f"more problems, of which the first is: {text}" if full else text
            self.noted[one_line(f"{self.file}:{_line(node)}: {text}")] = None

    @property
    def problems(self) -> list[str]:
        return list(self.noted)

    def build(self, node: yaml.Node, path: KeyPath, above: tuple[int, ...] = ()) -> Any:
        self.lines.setdefault(path, _line(node))
        self.count += 1
        if self.count > _MOST_NODES or id(node) in above or len(above) > _MOST_DEEP:
            raise SettingsError([f"{self.file}:{_line(node)}: {_TOO_MUCH}"])
        inside = (*above, id(node))
        if isinstance(node, yaml.SequenceNode):
            self.check_tag(node, "seq")
            return [self.build(entry, (*path, index), inside) for index, entry in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            self.check_tag(node, "map")
            return self.mapping(node, path, inside)
        assert isinstance(node, yaml.ScalarNode)
        return self.scalar(node)

    def mapping(self, node: yaml.MappingNode, path: KeyPath, above: tuple[int, ...]) -> dict[Any, Any]:
        data: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self.problem(key_node, "a list or map cannot be a key")
                continue
            key = self.scalar(key_node)
            if not isinstance(key, (str, int)) or isinstance(key, bool):
                key = key_node.value
            key_path = (*path, key)
            if key in data:
                first = self.lines[key_path]
                whole = ": ".join(map(str, key_path))
                self.problem(key_node, f"{whole}: written twice (first on line {first})")
                continue
            self.lines[key_path] = _line(key_node)
            data[key] = self.build(value_node, key_path, above)
        return data

    def scalar(self, node: yaml.ScalarNode) -> Any:
        if node.tag == "!plain":
            return read_scalar(node.value)
        self.check_tag(node, "str")
        try:
            return join_halves(node.value)
        except ValueError as error:
            self.problem(node, str(error))
            return node.value.encode(errors="replace").decode()

    def check_tag(self, node: yaml.Node, kind: str) -> None:
        if node.tag != f"tag:yaml.org,2002:{kind}":
            hint = f'; a text that begins with ! needs quotes: "{node.tag}"' if node.tag[0] == "!" else ""
            self.problem(node, f"{node.tag}: tags are not allowed in settings{hint}")


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def read_scalar(text: str) -> Any:
    """What an unquoted scalar means: None, bool, int, float or the text itself."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return _INFINITE.get(text.lower(), text)


def read_documents(path: str | Path) -> list[Document]:
    """All documents of a file, paths shown as given. Raises SettingsError for whatever is wrong with it."""
    name = str(path)
    return parse_documents(_read_text(name), name)


def parse_documents(text: str, name: str) -> list[Document]:
    """As read_documents, for text that is already here; `name` stands where errors name the file."""
    documents: list[Document] = []
    problems: list[str] = []
    for node in _nodes(text, lambda line, what: SettingsError([f"{name}:{line}: {what}"])):
        builder = _Builder(name)
        data = builder.build(node, ())
        problems += builder.problems
        if data is None:
            continue
        if not isinstance(data, dict):
            line = text.splitlines()[_line(node) - 1]
            slip = no_setting(line) or f"{show(data)} is no setting: write lines like steps: 100"
            problems.append(f"{name}:{_line(node)}: {slip}")
            continue
        numbers = [key for key in data if not isinstance(key, str)]
        problems += [f"{name}:{builder.lines[(key,)]}: {key}: no such setting" for key in numbers]
        documents.append(Document(name, data, builder.lines))
    if problems:
        raise SettingsError(problems)
    if not documents:
        raise SettingsError(
            [f"{name}: the file is empty: write at least one setting, like text_prompts: a cat"]
        )
    return documents


def parse_value(text: str, origin: str) -> Any:
    """One value written in YAML, for --set. Raises SettingsError that begins with `origin`."""
    nodes = _nodes(text, lambda _line, what: SettingsError([f"{origin}: {what}"]))
    if not nodes:
        return None
    builder = _Builder(origin)
    value = builder.build(nodes[0], ())
    if builder.problems or len(nodes) > 1:
        what = (
            builder.problems[0].removeprefix(f"{origin}:1: ") if builder.problems else "more than one value"
        )
        raise SettingsError([f"{origin}: {what}"])
    return value


def dump(data: Any) -> str:
    """Plain data as YAML that reads back equal, in the given order, lines up to 110 characters."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


class _Dumper(yaml.SafeDumper):
    """Quotes every text that either YAML 1.1 or read_scalar would take for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _write_str(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "'" if not isinstance(read_scalar(text), str) else None
    if any(not character.isprintable() for character in text.replace("\n", "")):
        style = '"'  # only there are such characters written as escapes
    return dumper.represent_scalar(_STR, text, style=style)


_Dumper.add_representer(str, _write_str)


# ---- reading the bytes, and what the parser says ----


def _read_text(name: str) -> str:
    path, fault = Path(name), path_fault(name)
    if fault:
        raise SettingsError([f"{shortened(name)}: no such path: {fault}"])
    if os.path.isdir(path):
        raise SettingsError([f"{name}: a folder; name a settings file in it"])
    try:
        raw = read_regular(path, MAX_SETTINGS)
    except FileNotFoundError:
        raise SettingsError([f"{name}: no such file{_looked_for(path)}"]) from None
    except (OSError, ValueError) as error:
        raise SettingsError(
            [f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}"]
        ) from None
    try:
        return decode(raw)
    except NotTextError as error:
        raise SettingsError([f"{name}:{error.line}: {error}"]) from None


def _looked_for(path: Path) -> str:
    folder = path.parent
    if not os.path.isdir(folder):
        return f": the folder {folder} does not exist (looked from {Path.cwd()})"
    siblings = [name for name in names_of(folder) if name.endswith((".yaml", ".yml"))]
    near = closest_file(path.name, siblings)
    hint = f". Did you mean {path.with_name(near)}?" if near else ""
    if not near and " " in path.name.strip() and not path.suffix:
        hint = f'. A sentence? --prompt "{path.name}"'
    return f" (looked in {folder.resolve()}){hint}"


def _refusal(error: yaml.MarkedYAMLError) -> Refusal:
    mark, context = error.problem_mark or error.context_mark, error.context_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    return Refusal(error.problem or "not readable", line, column, context.line if context else None)


def _nodes(text: str, fail: Callable[[int, str], SettingsError]) -> list[yaml.Node]:
    try:
        return list(yaml.compose_all(text, Loader=_Loader))
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise fail(line, f"the character U+{ord(text[error.position]):04X} is not allowed here") from None
    except yaml.MarkedYAMLError as error:
        raise fail(*explain(_refusal(error), text)) from None
    except (_TooMuchError, RecursionError) as error:
        line = error.args[0] if isinstance(error, _TooMuchError) else 1
        raise fail(line, _TOO_MUCH) from None


_PLAIN = re.compile(r"[A-Za-z0-9][\w./-]*(?: [\w./-]+)*", re.ASCII)
_NO_NUMBER = re.compile(r"[A-Za-z]|.*[g-nq-wyzG-NQ-WYZ]")  # begins with a letter, or holds one no number has
_YAML_WORDS = frozenset(("true", "false", "yes", "no", "on", "off", "y", "n", "null", "none"))


def flow_yaml(value: Any) -> str:
    """None, bools, numbers, texts, lists and maps of them; YAML 1.1 and 1.2 readers agree on the result."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow_yaml(key)}: {flow_yaml(part)}" for key, part in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(flow_yaml(part) for part in value) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        text = repr(value)  # 1e-05 would be a text in YAML 1.1, hence the dot
        return text.replace("e", ".0e") if "e" in text and "." not in text else text
    text = str(value)
    plain = _PLAIN.fullmatch(text) and _NO_NUMBER.match(text) and text.lower() not in _YAML_WORDS
    return text if plain else _quoted(text)


def _quoted(text: str) -> str:
    """Double quotes as JSON has them, which YAML reads; what cannot be printed is escaped."""

    def escaped(char: str) -> str:
        if char.isprintable():
            return char
        return f"\\U{ord(char):08x}" if ord(char) > 0xFFFF else f"\\u{ord(char):04x}"

    return "".join(escaped(char) for char in json.dumps(text, ensure_ascii=False))
