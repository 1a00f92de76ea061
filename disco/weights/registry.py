"""Every network that Disco knows by name: files, sizes, hashes, mirrors, architecture, licence, defaults.

The facts stand in registry.yaml, which is read once. No torch, no network, no disk beyond that one file.
fetch.py gets the files that an entry names, networks/load.py builds the network.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict

from disco.errors import InputError, closest
from disco.files.places import REGISTRY
from disco.files.yaml_io import read_documents

Kind = Literal["diffusion", "secondary", "clip", "lpips", "depth", "flow", "upscale"]
Compat = Literal["fixed", "dd57"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_KIND_WORDS = {
    "diffusion": "diffusion network",
    "secondary": "secondary network",
    "clip": "CLIP",
    "lpips": "LPIPS",
    "depth": "depth network",
    "flow": "flow network",
    "upscale": "upscaler",
}
_QUICKGELU = "-quickgelu"
# Weights outside the list that were trained with QuickGELU, by the tags open_clip gives them.
_QUICK_GELU_TAGS = frozenset(
    {"openai", "metaclip_400m", "metaclip_fullcc", "metaclip_altogether", "dfn2b", "dfn5b"}
)
_PAIR = re.compile(r"[A-Za-z][\w.+-]*/[A-Za-z][\w.+-]*")


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class HubFile(_Fact):
    """A file on the Hugging Face hub. also: the same weights in other formats, tried when it is missing."""

    repo: str
    filename: str
    repo_type: Literal["model", "space", "dataset"] = "model"
    also: tuple[str, ...] = ()


class WeightFile(_Fact):
    """One file of a network.

    name: file name in the models folder. bytes: exact, or None where nobody published it. sha256 (64 hex
    digits) or sha256_prefix (the first few). hub, then mirrors: where it is published, in the order they are
    tried. bundled: path inside disco/pocket/; such a file comes with Disco and is never downloaded.
    """

    name: str
    bytes: int | None = None
    sha256: str | None = None
    sha256_prefix: str | None = None
    mirrors: tuple[str, ...] = ()
    hub: HubFile | None = None
    bundled: str | None = None


class Entry(_Fact):
    """One network. defaults: Disco's setting names -> values that hold with it (not to be changed in place).

    parameters: their number, None if not counted. forced_cuts: in compat dd57 the four cut keys of `defaults`
    win over the settings file, as in the original (quirk Q14). unlisted: for a pair that only open_clip
    knows; it has no files, open_clip finds them under architecture's model and pretrained.
    """

    name: str
    kind: Kind
    title: str
    files: tuple[WeightFile, ...] = ()
    architecture: dict[str, Any]
    licence: str = "not stated"
    defaults: dict[str, Any] = {}
    notes: str = ""
    aliases: tuple[str, ...] = ()
    parameters: int | None = None
    forced_cuts: bool = False
    unlisted: bool = False

    def size(self) -> tuple[int | None, bool]:
        """(bytes of the files to be fetched, whether that is exact); (None, False) where nobody knows."""
        sizes = [file.bytes for file in self.files if file.bundled is None]
        if not self.unlisted and None not in sizes:
            return sum(size for size in sizes if size is not None), True
        return (self.parameters * 4, False) if self.parameters else (None, False)


class Registry:
    """All entries of registry.yaml. clip_flags: Disco's check boxes, in the original's load order."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.clip_flags: dict[str, str] = dict(data["clip_flags"])
        self._entries = {kind: _entries(kind, data) for kind in KINDS}
        self._aliases = {
            kind: {alias: entry.name for entry in entries.values() for alias in entry.aliases}
            for kind, entries in self._entries.items()
        }

    def names(self, kind: Kind) -> tuple[str, ...]:
        """The names of a kind, in the registry's order; aliases are not among them."""
        return tuple(self._entries[kind])

    def entries(self) -> tuple[Entry, ...]:
        """All entries of all kinds, in the registry's order."""
        return tuple(entry for kind in KINDS for entry in self._entries[kind].values())

    def get(self, kind: Kind, name: str) -> Entry:
        """The entry of this name or alias (CLIPs: find_clip). Raises InputError ("Did you mean ...?")."""
        entry = self._entry_of(kind, name)
        if entry is None:
            raise InputError(f"no such {_KIND_WORDS[kind]}: {name}. {self._hint(kind, name)}")
        return entry

    def find(self, name: str) -> Entry:
        """The entry of this name whatever its kind, as `models fetch NAME` needs it. Raises InputError."""
        for kind in KINDS:
            entry = self._entry_of(kind, name)
            if entry is not None:
                return entry
        if name in self.clip_flags or _PAIR.fullmatch(name.replace("::", "/")):
            return self.find_clip(name)[0]
        known = [known for kind in KINDS for known in (*self.names(kind), *self._aliases[kind])]
        raise InputError(f"no such network: {name}. {_did_you_mean(name, known)}")

    def find_clip(self, name: str, compat: Compat = "fixed") -> tuple[Entry, str | None]:
        """The CLIP that a user means, and a sentence to show if it is not quite what was written.

        name: a name of the registry, OpenAI's (`ViT-B/32`, looked up first), a Disco flag (`ViTB32`), or
        `architecture/weights` (`::` is read as `/`) as open_clip calls them. A -quickgelu architecture is
        chosen where the weights were trained with QuickGELU; dd57 keeps what its OpenCLIP flags loaded.
        Raises InputError for anything else.
        """
        wanted = self.clip_flags.get(name, name).replace("::", "/")
        entry = self._entry_of("clip", wanted)
        if entry is not None:
            return entry, None
        if not _PAIR.fullmatch(wanted):
            raise InputError(
                f"no such CLIP: {name}. {self._hint('clip', name)} "
                "Any architecture/weights of open_clip is allowed too, like ViT-B-16/datacomp_xl_s13b_b90k."
            )
        model, weights = wanted.split("/")
        twin = model.removesuffix(_QUICKGELU) if model.endswith(_QUICKGELU) else model + _QUICKGELU
        other = self._entry_of("clip", f"{twin}/{weights}")
        if other is None:
            return _unlisted(model, weights)
        if compat == "dd57" and weights != "openai":
            return _as_written(other, model, weights), _kept_notice(name, model, other)
        return other, _changed_notice(name, other)

    def _entry_of(self, kind: Kind, name: str) -> Entry | None:
        return self._entries[kind].get(self._aliases[kind].get(name, name))

    def _hint(self, kind: Kind, name: str) -> str:
        flags = list(self.clip_flags) if kind == "clip" else []
        return _did_you_mean(name, [*self.names(kind), *self._aliases[kind], *flags])


@lru_cache(maxsize=1)
def registry() -> Registry:
    """The registry that comes with Disco, read once."""
    return Registry(_read(REGISTRY))


def _read(path: Path) -> dict[str, Any]:
    (document,) = read_documents(path)
    return document.data


def _entries(kind: Kind, data: Mapping[str, Any]) -> dict[str, Entry]:
    entries = {}
    for name, raw in data.get(kind, {}).items():
        facts = dict(raw)
        facts["architecture"] = _resolve(facts["architecture"], data["architectures"])
        facts["defaults"] = _resolve(facts.get("defaults", {}), data["defaults"])
        facts["files"] = [_file(file) for file in facts.get("files", ())]
        entries[name] = Entry(name=name, kind=kind, **facts)
    return entries


def _resolve(value: str | Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    """A name in `table`, or a mapping that may say `like: name` and what differs -> the full mapping."""
    facts: Mapping[str, Any] = table[value] if isinstance(value, str) else value
    base = _resolve(facts["like"], table) if "like" in facts else {}
    return base | {key: item for key, item in facts.items() if key != "like"}


def _file(raw: Mapping[str, Any]) -> WeightFile:
    return WeightFile(**dict(raw, hub=_hub(raw["hub"]) if "hub" in raw else None))


def _hub(text: str) -> HubFile:
    """`[spaces/]owner/name/path[|other path]...` -> HubFile."""
    address, *also = text.split("|")
    kind: Literal["model", "space"] = "space" if address.startswith("spaces/") else "model"
    owner, name, filename = address.removeprefix("spaces/").split("/", 2)
    return HubFile(repo=f"{owner}/{name}", filename=filename, repo_type=kind, also=tuple(also))


def _did_you_mean(name: str, known: list[str]) -> str:
    near = closest(name, known)
    if near:
        return f"Did you mean {near}?"
    return "`python run.py models list` shows those that Disco knows."


def _unlisted(model: str, weights: str) -> tuple[Entry, str]:
    if weights in _QUICK_GELU_TAGS and not model.endswith(_QUICKGELU):
        model += _QUICKGELU
    name = f"{model}/{weights}"
    architecture = {"family": "open_clip", "model": model, "pretrained": weights}
    entry = Entry(name=name, kind="clip", title=f"OpenCLIP {name}", architecture=architecture, unlisted=True)
    return (
        entry,
        f"{name}: not in Disco's list; fetched by open_clip, so its size is not known yet",
    )


def _as_written(entry: Entry, model: str, weights: str) -> Entry:
    """The entry with the architecture that was written, though its weights want the other GELU."""
    architecture = entry.architecture | {"model": model, "quick_gelu_mismatch": True}
    architecture["quick_gelu"] = model.endswith(_QUICKGELU)
    return entry.model_copy(
        update={"name": f"{model}/{weights}", "architecture": architecture, "aliases": ()}
    )


def _kept_notice(name: str, model: str, entry: Entry) -> str:
    return f"{name}: compat dd57 keeps {model} as the original did, though its {_trained(entry)}"


def _changed_notice(name: str, entry: Entry) -> str:
    return f"{name}: read as {entry.name}, because its {_trained(entry)}"


def _trained(entry: Entry) -> str:
    return f"weights were trained {'with' if entry.architecture.get('quick_gelu') else 'without'} QuickGELU"
