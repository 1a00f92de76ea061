"""The settings of one document as a JSON schema, so that an editor completes and checks what is typed."""

from __future__ import annotations

from functools import cache
from typing import Any

from disco.files.yaml_io import flow_yaml
from disco.settings import KEYS, Settings, facts_of, plain_values
from disco.settings_names import known_names
from disco.weights.registry import registry

_INDEX = "^[0-9]{1,3}$"
_NUMBERS: dict[str, dict[str, Any]] = {
    "float": {"type": "number"},
    "int": {"type": "integer"},
    "bool": {"type": "boolean"},
}


def json_schema() -> dict[str, Any]:
    """The settings of one document as a JSON schema (draft 2020-12)."""
    properties: dict[str, Any] = {}
    for key in KEYS:
        others = network_defaults(key)
        text = sentence(Settings.model_fields[key].description or "")
        text += " The default depends on the diffusion network." if others else ""
        properties[key] = {
            "description": text,
            **_schema(facts_of(key)),
            "default": _keys_as_text(others.get("pocket", plain_defaults()[key])),
        }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Disco settings",
        "type": "object",
        "additionalProperties": False,
        "properties": properties | _other_names() | _FILE_KEYS,
        "$defs": {f"schedule_of_{kind}": _schedule(kind) for kind in _NUMBERS}
        | {"prompt": _PROMPT, "keyframes": _KEYFRAMES},
    }


def _schema(facts: dict[str, Any]) -> dict[str, Any]:
    """One setting's values, as setting_fields.read_value takes them."""
    name, _, number = facts["kind"].partition(":")
    limits = {word: facts[key] for key, word in (("ge", "minimum"), ("le", "maximum")) if key in facts}
    if name == "schedule":
        single = _NUMBERS[number] | (limits if number != "bool" else {})
        return {"anyOf": [single, {"$ref": f"#/$defs/schedule_of_{number}"}]}
    if name in _NUMBERS:
        return _NUMBERS[name] | (limits if name != "bool" else {})
    if name == "choice":
        return {"enum": list(facts["choices"])}
    whole = {"type": "integer", **limits}
    schemas: dict[str, dict[str, Any]] = {
        "text": {"type": "string"},
        "path": {"type": ["string", "null"]},
        "device": {"type": "string", "pattern": "^(auto|cpu|mps|cuda(:[0-9]{1,3})?)$"},
        "mapping": {"type": ["object", "null"]},
        "file_name": {"type": ["string", "integer"]},
        "final_int": {"anyOf": [whole, {"const": "final_frame"}]},
        "digits": {"anyOf": [whole, {"type": "string", "pattern": "^[0-9]+$"}]},
        "steps": {"anyOf": [whole, {"type": "string", "pattern": "^[0-9]{1,3} *%$"}]},
        "keyframes": {"$ref": "#/$defs/keyframes"},
        "seed": {"anyOf": [whole, {"const": "random_seed"}]},
        "auto_int": {"anyOf": [whole, {"const": "auto"}]},
        "auto_bool": {"enum": ["auto", True, False]},
        "latest_int": {"anyOf": [whole, {"const": "latest"}]},
        "size": {
            "anyOf": [{"type": "array", "items": whole, "minItems": 2, "maxItems": 2}, {"type": "string"}]
        },
        "saves": {"anyOf": [whole, {"type": "array", "items": whole}]},
        "shares": {
            "anyOf": [{"type": "number", **limits}, {"type": "array", "items": {"type": "number", **limits}}]
        },
        "clips": _CLIPS,
        "prompts": _PROMPTS,
        "image_prompts": _PROMPTS,
    }
    return schemas[name]


def _schedule(kind: str) -> dict[str, Any]:
    """The forms of a schedule besides the single value."""
    value = _NUMBERS[kind]
    by_index = {"type": "object", "patternProperties": {_INDEX: value}, "additionalProperties": False}
    whole = {"anyOf": [value, {"type": "string"}, by_index]}
    by_frame = {"type": "object", "patternProperties": {"^[0-9]+$": whole}, "additionalProperties": False}
    return {
        "anyOf": [
            {"type": "string", "description": '"[12]*400+[4]*600": 1000 values, the noisiest first'},
            {
                **by_index,
                "minProperties": 1,
                "description": "{0: 12, 400: 4}: each held until the next index",
            },
            {"type": "array", "items": value, "minItems": 1000, "maxItems": 1000},
            {
                "type": "object",
                "properties": {"frames": by_frame},
                "required": ["frames"],
                "additionalProperties": False,
                "description": "{frames: {0: ..., 40: ...}}: over the frames of an animation",
            },
        ]
    }


_FRAME_VALUE = {"anyOf": [{"type": "number"}, {"type": "string"}]}
_KEYFRAMES: dict[str, Any] = {
    "anyOf": [
        {"type": "number"},
        {"type": "string", "description": '"0: (1), 10: (1.05)", or a formula of the frame t'},
        {"type": "object", "patternProperties": {"^[0-9]+$": _FRAME_VALUE}, "additionalProperties": False},
    ]
}
_WEIGHT = {"anyOf": [{"type": "number"}, {"$ref": "#/$defs/schedule_of_float"}]}
_NAMES = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
_PROMPT: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "description": '"a lighthouse" or, with a weight, "a lighthouse:2"'},
        {
            "type": "object",
            "properties": {
                "text": {"type": "string"},
                "image": {"type": "string"},
                "raw": {"type": "string"},
                "weight": _WEIGHT,
                "clip_models": _NAMES,
            },
            "additionalProperties": False,
        },
    ]
}
_GROUP = {"anyOf": [{"$ref": "#/$defs/prompt"}, {"type": "array", "items": {"$ref": "#/$defs/prompt"}}]}
_PROMPTS: dict[str, Any] = {
    "anyOf": [
        _GROUP,
        {"type": "object", "patternProperties": {"^[0-9]+$": _GROUP}, "additionalProperties": False},
    ]
}
_CLIP = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "weight": _WEIGHT},
    "required": ["name"],
    "additionalProperties": False,
}
_CLIPS: dict[str, Any] = {
    "anyOf": [
        {"type": "string"},
        {"type": "array", "items": {"anyOf": [{"type": "string"}, _CLIP]}},
    ]
}
_FILE_KEYS: dict[str, Any] = {
    "extends": {
        "description": "Another settings file to build on; lines of this file override its lines.",
        **_NAMES,
    },
    "sweep": {
        "description": "{clip_guidance_scale: [2000, 5000], eta: [0, 0.8]}: every combination is rendered.",
        "type": "object",
        "additionalProperties": {"type": "array"},
    },
}


def _other_names() -> dict[str, Any]:
    """Names from other versions and tools: accepted, but a new file has better ones."""
    names: dict[str, Any] = {name: {"deprecated": True} for name in known_names() if name not in KEYS}
    for flag, clip in registry().clip_flags.items():
        names[flag] = {"type": "boolean", "description": f"{clip} in clip_models", "deprecated": True}
    return names


def _keys_as_text(value: Any) -> Any:
    """JSON knows only texts as keys."""
    if isinstance(value, dict):
        return {str(key): _keys_as_text(part) for key, part in value.items()}
    return value


def sentence(text: str) -> str:
    """A description as a sentence; one that begins with a value (auto:, dd57) keeps its small letter."""
    first = text.partition(" ")[0].rstrip(":")
    is_value = not first.isalpha() or first == "auto"
    return f"{text[:1] if is_value else text[:1].upper()}{text[1:]}."


def network_defaults(key: str) -> dict[str, Any]:
    """What the diffusion networks set for a key; {} if none says anything but settings.py.

    pocket's value first, then the others by the names of those that share one; the largest group comes
    last as "other networks".
    """
    entries = [registry().get("diffusion", name) for name in registry().names("diffusion")]
    assert entries[0].name == "pocket", "the registry begins with the bundled network"
    written: dict[str, tuple[Any, list[str]]] = {}
    for entry in entries:
        value = entry.defaults.get(key, plain_defaults()[key])
        written.setdefault(flow_yaml(value), (value, []))[1].append(entry.name)
    groups: dict[str, tuple[Any, list[str]]] = {}
    for value, names in written.values():
        plain = plain_values(Settings(**{key: value}))[key]  # 1 and "[1]*1000" are the same
        groups.setdefault(flow_yaml(plain), (plain, []))[1].extend(names)
    if list(groups) == [flow_yaml(plain_defaults()[key])]:
        return {}
    ours = next(iter(groups.values()))[0]
    *few, most = sorted(groups.values(), key=lambda group: len(group[1]))
    named = {", ".join(names): value for value, names in few if value != ours}
    return {"pocket": ours, **named, "other networks": most[0]}


@cache
def plain_defaults() -> dict[str, Any]:
    """Every setting's own default as YAML can hold it."""
    return plain_values(Settings())
