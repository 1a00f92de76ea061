"""Plain data on one line of YAML, the way a person types it: [1280, 768], {0: 12}, "a cat: asleep".

yaml_file.dump writes whole documents in block style; this is for lines that stand among comments.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

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
