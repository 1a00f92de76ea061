"""Read an old settings file and see from its content which tool wrote it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from disco.errors import InputError, SettingsError, shortened, show
from disco.files.text_files import join_all_halves
from disco.files.yaml_io import parse_documents
from disco.settings.importers.builder import TITLES, Imported, Source
from disco.settings.importers.disco import import_disco
from disco.settings.importers.discoart import import_discoart
from disco.settings.importers.encodings import read_text
from disco.settings.importers.progrock import import_progrock
from disco.settings.importers.recognise import recognise
from disco.settings.kinds import allowed
from disco.settings.load import Run, run_from_mapping
from disco.settings.model import KEYS, facts_of

_IMPORTERS: dict[Source, Callable[[Mapping[str, Any], Path], Imported]] = {
    "disco": import_disco,
    "discoart": import_discoart,
    "progrock": import_progrock,
}
_LOOKED_FOR = (
    "Looked for Disco Diffusion's _settings.txt (JSON with seed, width and height), DiscoArt's YAML (CLIP "
    "names such as ViT-B-32::openai, or keys such as gif_fps) and progrockdiffusion's JSON (keys such as "
    "skip_steps_ratio, values such as auto)"
)
_MOST_DIGITS = 300  # of a whole number, as in our own settings files
# Strings first, so that what stands inside them is left alone.
_STRING_OR_COMMENT = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
_STRING_OR_COMMA = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*[}\]])', re.DOTALL)
_PYTHON_TAG = re.compile(r"!!python/(?:tuple|list|str|unicode)\b ?")


def import_settings(path: str | Path) -> Imported:
    """Another tool's settings file in our keys, checked to load here.

    Raises InputError for a file that cannot be read, that no known tool wrote, or whose values contradict
    each other.
    """
    file = Path(path)
    text, encoding = read_text(file)
    old, is_json = parse_old(text, file)
    source = recognise(old, is_json)
    if source is None:
        keys = ", ".join(list(map(str, old))[:8]) or "none"
        raise InputError(
            f"{file}: no other tool's settings file was recognised. {_LOOKED_FOR}. Found the keys: {keys}. "
            "A settings file of this program needs no import"
        )
    imported, run = _without_contradictions(_imported(old, source, file), file)
    imported = _without_idle(imported, run.notices, old)
    if encoding == "UTF-8":
        return imported
    warning = f"the file is not UTF-8: read as {encoding}. Are the prompts right? If not, save it as UTF-8"
    return replace(imported, warnings=[warning, *imported.warnings])


_DAMAGE = (TypeError, ValueError, AttributeError, KeyError, IndexError, OverflowError, RecursionError)


def _imported(old: Mapping[str, Any], source: Source, file: Path) -> Imported:
    """Everything that can be read; a value of a kind that no importer expects is left out and named."""
    importer = _IMPORTERS[source]
    try:
        return importer(old, file)
    except _DAMAGE:
        pass
    good: dict[str, Any] = {}
    damaged: list[str] = []
    for key, value in old.items():
        try:
            importer({**good, key: value}, file)
        except _DAMAGE:
            words = allowed(facts_of(key)) if key in KEYS else f"it as {TITLES[source]} does"
            damaged.append(f"{key}: {show(value)} is not allowed: write {words}; the default holds")
        else:
            good[key] = value
    imported = importer(good, file)
    return replace(imported, dropped=[*damaged, *imported.dropped])


def _without_contradictions(imported: Imported, file: Path) -> tuple[Imported, Run]:
    """The import and its run; settings that cannot be together as they are give way to their defaults."""
    try:
        return imported, run_from_mapping(imported.run, name=file.name)
    except SettingsError as error:
        problems = error.problems
    if any(problem.startswith(f"{file.name}: text_prompts: ") for problem in problems):
        raise _contradictory(file, problems)  # without them another picture would be painted
    rejected = [problem.removeprefix(f"{file.name}: ").partition(": ") for problem in problems]
    less = replace(
        imported,
        run={key: value for key, value in imported.run.items() if key not in {key for key, _, _ in rejected}},
        dropped=[*imported.dropped, *(f"{key}: {text}; the default holds" for key, _, text in rejected)],
    )
    try:
        return less, run_from_mapping(less.run, name=file.name)
    except SettingsError:
        raise _contradictory(file, problems) from None


def _contradictory(file: Path, problems: Iterable[str]) -> InputError:
    return InputError("\n".join((f"{file}: its settings contradict each other:", *problems)))


def _without_idle(imported: Imported, notices: Iterable[str], old: Mapping[str, Any]) -> Imported:
    """Leave out what has no effect beside the other settings, such as rand_mag without fuzzy_prompt.

    A settings file that says so at every run would be a nuisance; the old value stands in the account.
    init_image stays: where Perlin noise wins as the start, init_scale still pulls towards it.
    """
    idle: dict[str, str] = {}
    for notice in notices:
        _, key, text = notice.removeprefix(imported.name).split(": ", 2)
        if key in imported.run and key != "init_image" and text.startswith("has no effect"):
            idle[key] = f"{key}: {shortened(imported.run[key])} {text}"
    silent = [key for key in imported.silent if key not in idle]
    changed = [line for line in imported.changed if line.partition(":")[0] not in idle]
    if silent:
        changed.append(f"not in the file, {TITLES[imported.source]}'s defaults written: {', '.join(silent)}")
    return replace(
        imported,
        run={key: value for key, value in imported.run.items() if key not in idle},
        notes={key: note for key, note in imported.notes.items() if key not in idle},
        mapped=[line for line in imported.mapped if line.rpartition(" ")[2] not in idle],
        changed=changed,
        dropped=[*imported.dropped, *(line for key, line in idle.items() if key in old)],
        silent=silent,
    )


def parse_old(text: str, path: Path) -> tuple[dict[str, Any], bool]:
    """Its keys and values, and whether it was written as JSON (comments and last commas allowed)."""
    bare = _STRING_OR_COMMENT.sub(lambda match: match[1] or "", text)
    is_json = bare.lstrip().startswith("{")
    if not is_json:
        return _read_yaml(text, path), False
    try:
        plain = _STRING_OR_COMMA.sub(lambda match: match[1] or "", bare)
        data = json.loads(plain, strict=False, parse_int=_whole_number)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: not readable as JSON: {error.msg}") from None
    except RecursionError:
        raise InputError(f"{path}: not readable as JSON: its lists and maps nest too deeply") from None
    except _TooManyDigits as error:
        line = text[: text.index(str(error))].count("\n") + 1
        digits = f"a number of {len(str(error))} digits, {_MOST_DIGITS} at most are allowed"
        raise InputError(f"{path}:{line}: {digits}") from None
    return _with_whole_characters(data, text, path), True


class _TooManyDigits(Exception):
    """Its text is the number."""


def _whole_number(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise _TooManyDigits(digits)
    return int(digits)


def _with_whole_characters(data: dict[str, Any], text: str, path: Path) -> dict[str, Any]:
    """JSON joins the halves that stand side by side; one that stands alone is an error with its line."""
    try:
        return dict(join_all_halves(data))
    except ValueError as error:
        halves = re.compile(r"(?:\\u[dD][89abAB]\w\w\\u[dD][c-fC-F]\w\w)|(\\u[dD][89a-fA-F]\w\w)")
        lone = next((match for match in halves.finditer(text) if match[1]), None)
        line = text[: lone.start()].count("\n") + 1 if lone else 1
        raise InputError(f"{path}:{line}: {error}") from None


def _read_yaml(text: str, path: Path) -> dict[str, Any]:
    try:
        documents = parse_documents(_PYTHON_TAG.sub("", text), str(path))
    except SettingsError as error:
        raise InputError(f"{error.problems[0]}. {_LOOKED_FOR}") from None
    return documents[0].data
