"""Which tool wrote an old settings file: told by the weight of all its keys, and by values of one tool."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from disco.settings.aliases import known_names
from disco.settings.importers import disco, discoart, progrock
from disco.settings.importers.builder import Source
from disco.settings.model import KEYS
from disco.settings.network_defaults import POCKET

# Ties go to the first; Disco Diffusion's files are by far the most common.
KEYS_OF: dict[Source, frozenset[str]] = {
    "disco": disco.KEYS,
    "progrock": progrock.KEYS,
    "discoart": discoart.KEYS,
}
OWN = frozenset(KEYS) - disco.KEYS - progrock.KEYS - discoart.KEYS  # only this program has them
ALONE, SHARED, SURE = 4.0, 1.0, 8.0  # a key that one tool has, that two have; a value that only one writes
_CHOICE = re.compile(r"<[^<>]*\|[^<>]*>")


def recognise(old: Mapping[str, Any], is_json: bool) -> Source | None:
    """The tool whose keys weigh most; None if none of the three wrote this, or this program did."""
    keys = set(old)
    score = {source: _weight(old, source) for source in KEYS_OF}
    if is_json:
        score["discoart"] -= SHARED / 2  # it writes YAML, the other two JSON
    elif "seed" in keys:
        score["discoart"] += SHARED / 2
    best = max(score, key=lambda source: score[source])
    known = keys & KEYS_OF[best]
    if _is_ours(old, is_json) and score[best] < SURE:
        return None
    if is_json and score[best] == 0 and keys and known == keys:
        return best
    return best if score[best] > 0 and (score[best] >= ALONE or 3 * len(known) >= len(keys)) else None


def _is_ours(old: Mapping[str, Any], is_json: bool) -> bool:
    """A settings file of this program: its keys load here, and it is YAML or has keys that no other has."""
    keys, own = set(old), set(old) & OWN or old.get("diffusion_model") == POCKET
    is_native = not is_json and keys <= {*KEYS, "extends", "sweep"}
    return keys <= set(known_names()) and (is_native or bool(own))


def _weight(old: Mapping[str, Any], source: Source) -> float:
    return sum(_key_weight(key, source) for key in old) + sum(_signs(old, source))


def _key_weight(key: str, source: Source) -> float:
    """The fewer tools know a key, the more it says. What forks of Disco took from progrock says less."""
    knowing = [name for name, keys in KEYS_OF.items() if key in keys]
    if source not in knowing:
        return 0.0
    if len(knowing) == 1 and not (source == "progrock" and progrock.is_borrowed(key)):
        return ALONE
    saved = 0.5 if source == "disco" and key in disco.UNSAVED else 0.0
    return (SHARED if len(knowing) < len(KEYS_OF) else 0.0) - saved


def _signs(old: Mapping[str, Any], source: Source) -> Iterable[float]:
    """Values that only one tool writes."""
    prompts, mode = old.get("text_prompts"), old.get("sampling_mode")
    values = [value for value in old.values() if isinstance(value, str)]
    if source == "discoart":
        names = old.get("clip_models")
        if isinstance(names, list) and any("::" in str(name) for name in names):
            yield SURE
        if isinstance(prompts, Mapping) and "version" in prompts and "prompts" in prompts:
            yield SURE
    if source == "disco" and mode in ("bicubic", "bilinear", "nearest"):
        yield ALONE
    if source == "progrock":
        if mode in ("ddim", "plms"):
            yield SHARED
        yield from (ALONE for value in values if value in ("auto", "random") or _CHOICE.fullmatch(value))
        groups = prompts.values() if isinstance(prompts, Mapping) else ()
        if any(isinstance(group, Mapping) and "0" in group for group in groups):
            yield SURE
