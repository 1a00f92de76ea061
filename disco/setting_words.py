"""What a setting accepts, in words: the sentence of every error and of the documentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def allowed(facts: Mapping[str, Any]) -> str:
    """The values that a setting accepts, in words: "a whole number from 2 to 1000"."""
    name, _, number = facts["kind"].partition(":")
    unit = f" ({facts['unit']})" if facts.get("unit") else ""
    if name == "schedule" and number == "bool":
        return "true, false or a schedule of them"
    if name in ("schedule", "int", "float"):
        noun = "whole number" if "int" in (name, number) else "number"
        plan = " or a schedule of them" if name == "schedule" else ""
        return f"a {noun}{_limits(facts)}{plan}{unit}"
    if name == "choice":
        return "one of " + ", ".join(facts["choices"])
    return f"{_WORDS[name]}{_limits(facts)}{unit}"


def _limits(facts: Mapping[str, Any]) -> str:
    ge, le = facts.get("ge"), facts.get("le")
    if ge is not None and le is not None:
        return f" from {ge} to {le}"
    return f" from {ge} up" if ge is not None else f" up to {le}" if le is not None else ""


def outside(number: float, facts: Mapping[str, Any]) -> bool:
    """Is it below ge or above le?"""
    ge, le = facts.get("ge"), facts.get("le")
    return (ge is not None and number < ge) or (le is not None and number > le)


_WORDS = {
    "bool": "true or false",
    "text": "some text",
    "path": "a path or none",
    "device": "auto, cpu, cuda, cuda:0 or mps",
    "mapping": "a map of names to values",
    "file_name": "a name for files",
    "seed": "random_seed or a whole number",
    "auto_int": "auto or a whole number",
    "auto_bool": "auto, true or false",
    "latest_int": "latest or a whole number",
    "final_int": "final_frame or a whole number",
    "keyframes": 'a number, key frames such as "0: (1), 10: (1.05)" or {0: 1, 10: 1.05}, or a formula of t',
    "steps": 'a share of the steps such as "60%", or a number of steps',
    "digits": "a whole number",
    "size": "two sides such as [1280, 768], each a whole number",
    "saves": "a whole number or a list of steps, each",
    "shares": "a list of numbers, each",
    "clips": "a list of names or {name, weight}",
    "prompts": "a text, a list of them, or {0: [...], 100: [...]}",
    "image_prompts": "a path or address, a list of them, or {0: [...], 100: [...]}",
}
