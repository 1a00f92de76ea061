"""What settings mean once the network is known: its defaults, the picture's size, Disco's CLIP flags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from disco.errors import DiscoError, show
from disco.files.paths import find
from disco.files.yaml_io import KeyPath
from disco.settings.aliases import SIZE_256, SIZE_512, read_flag
from disco.settings.kinds import ClipChoice
from disco.settings.layers import Layer, Report, SourcedValue, SourceLocation, did_you_mean
from disco.settings.model import Settings
from disco.settings.prompts import prompt_path
from disco.weights.registry import Entry, registry

CUSTOM = "custom"
POCKET = "pocket"
CLIP_FILES = (".pt", ".pth", ".bin", ".safetensors")  # a CLIP in one file, in OpenAI's format
# Disco's check boxes that are on unless a settings file says otherwise.
FLAGS_ON = ("ViTB32", "ViTB16", "RN50")
_ROUND = 64  # sides of the published networks, also assumed for custom ones
_CUT_KEYS = ("cut_overview", "cut_innercut", "cut_ic_pow", "cut_icgray_p")


def diffusion_entry(layer: Layer, report: Report) -> Entry | None:
    """The registry's entry of the chosen network; None for custom and for a name that it does not know."""
    sourced = layer.get("diffusion_model")
    name = POCKET if sourced is None else sourced.value
    if not isinstance(name, str) or name.strip() == CUSTOM:
        return None
    try:
        return registry().get("diffusion", name.strip())
    except DiscoError as error:
        assert sourced is not None
        report.problem(sourced.location, "diffusion_model", f"{error} Also allowed: custom")
        return None


def with_defaults(layer: Layer, entry: Entry | None) -> Layer:
    """The layer over the defaults of its network; custom has those of settings.py, as in the original."""
    if entry is None:
        return dict(layer)
    location = SourceLocation(entry.name)
    defaults = {key: SourcedValue(value, location) for key, value in entry.defaults.items()}
    return {**defaults, **layer}


def size_multiple(settings: Settings, entry: Entry | None) -> int:
    """What both sides must be a multiple of."""
    facts = entry.architecture if entry is not None else settings.custom_config or {}
    multiple = facts.get("size_multiple", _ROUND)
    return multiple if isinstance(multiple, int) and multiple > 0 else _ROUND


def resolve_size(layers: list[Layer], layer: Layer, entry: Entry | None, report: Report) -> None:
    """width_height_for_512x512_models and its twin: the one that fits the network becomes width_height."""
    side = entry.architecture.get("image_size") if entry is not None else 512
    fitting = {256: SIZE_256, 512: SIZE_512}.get(side if isinstance(side, int) else 0)
    for key in (SIZE_512, SIZE_256):
        sourced = layer.pop(key, None)
        if sourced is None:
            continue
        if key != fitting:
            text = f"has no effect with {entry.name if entry else CUSTOM}; write width_height"
            report.notice(sourced.location, key, text)
            continue
        beside = _highest(layers, "width_height")
        if beside > _highest(layers, key):
            report.notice(sourced.location, key, "is overruled by width_height")
        elif beside == _highest(layers, key) >= 0 and layer["width_height"].value != sourced.value:
            other = show(layer["width_height"].value)
            report.problem(sourced.location, key, f"contradicts width_height: {other}; keep one of them")
        else:
            report.notice(sourced.location, key, "read as width_height")
            layer["width_height"] = sourced


def _highest(layers: list[Layer], *keys: str) -> int:
    """The position of the last layer that gives one of the keys, -1 for none."""
    return max((index for index, layer in enumerate(layers) if any(key in layer for key in keys)), default=-1)


def resolve_flags(layers: list[Layer], layer: Layer, entry: Entry | None, report: Report) -> None:
    """Disco's CLIP flags become clip_models, in the original's load order.

    Alone they are the original's whole row of check boxes: those not mentioned keep its defaults with a
    published network, and are off with pocket. In the same layer as clip_models, or in a later one, they add
    to that list and take away from it. A clip_models in a later layer than all flags overrules them.
    """
    flags = {key: layer.pop(key) for key in registry().clip_flags if key in layer}
    if not flags:
        return
    states = {key: read_flag(sourced, key, report) for key, sourced in flags.items()}
    location = next(iter(flags.values())).location
    shown = ", ".join(flags)
    last_list, last_flag = _highest(layers, "clip_models"), _highest(layers, *flags)
    if last_list > last_flag:
        report.notice(location, shown, "overruled by clip_models")
        return
    sourced = layer.get("clip_models")
    if last_list >= 0 and sourced is not None:
        same = {key for key in flags if last_list == last_flag and key in layers[last_flag]}
        names, gone = _joined(sourced, states, same, report, flags)
        text = "read as clip_models, beside the list" + (f"; without {', '.join(gone)}" if gone else "")
    else:
        published = entry is None or entry.name != POCKET
        on = {key: published and key in FLAGS_ON for key in registry().clip_flags}
        on |= {key: state for key, state in states.items() if state is not None}
        names = [registry().clip_flags[key] for key, state in on.items() if state]
        kept = [key for key in FLAGS_ON if published and key not in states]
        text = f"read as clip_models: {', '.join(names) or 'none'}"
        text += f" ({', '.join(kept)} on, as Disco has them unless told otherwise)" if kept else ""
    report.notice(location, shown, text)
    layer["clip_models"] = SourcedValue(names, location)


def _joined(
    sourced: SourcedValue,
    states: dict[str, bool | None],
    same: set[str],
    report: Report,
    flags: dict[str, SourcedValue],
) -> tuple[list[Any], list[str]]:
    """clip_models with the flagged networks added and removed; (list, removed names)."""
    entries = list(sourced.value) if isinstance(sourced.value, list) else [sourced.value]
    listed = {_known(entry): entry for entry in entries}
    gone: list[str] = []
    for key, state in states.items():
        name = _known(registry().clip_flags[key])
        if state and name not in listed:
            listed[name] = registry().clip_flags[key]
        elif state is False and name in listed:
            if key in same:
                text = f"is false, but clip_models lists {name}; keep one of them"
                report.problem(flags[key].location, key, text)
                continue
            del listed[name]
            gone.append(str(name))
    return list(listed.values()), gone


def _known(entry: Any) -> Any:
    """The registry's name of what stands in clip_models; something unique for what it does not know."""
    name = entry.get("name") if isinstance(entry, dict) else entry
    try:
        return registry().find_clip(str(name))[0].name
    except DiscoError:
        return ("unknown", str(entry))


def resolve_clips(settings: Settings, location: SourceLocation, report: Report) -> Settings:
    """Every CLIP by the registry's own name; unknown and doubled ones are reported."""
    choices: list[ClipChoice] = []
    for index, choice in enumerate(settings.clip_models):
        name = _clip_name(choice.name, settings, (location, "clip_models", (index,)), report)
        if name is not None and any(name == other.name for other in choices):
            report.problem(location, "clip_models", f"{name} is listed twice", (index,))
        elif name is not None:
            choices.append(ClipChoice(name, choice.weight))
    return settings.model_copy(update={"clip_models": tuple(choices)})


ValuePath = tuple[SourceLocation, str, KeyPath]  # source, key, and the path to a part of its value


def _clip_name(name: str, settings: Settings, at: ValuePath, report: Report) -> str | None:
    location, key, path = at
    directory = _clip_folder(name, location.folders)
    if directory is not None:
        return directory
    try:
        entry, notice = registry().find_clip(name, settings.compat)
    except DiscoError as error:
        report.problem(location, key, str(error), path)
        return None
    if entry.unlisted:
        architecture = entry.architecture["model"]
        known = _architectures()
        if known and architecture not in known:
            near = did_you_mean(architecture, known)
            report.problem(location, key, f"no such CLIP architecture: {architecture}.{near}", path)
            return None
    if notice:
        report.notice(location, key, notice, path)
    return entry.name


def _is_clip(path: Path) -> bool:
    is_file = path.suffix in CLIP_FILES and path.is_file()
    return is_file or (path / "open_clip_config.json").is_file()


def _clip_folder(name: str, folders: Sequence[Path]) -> str | None:
    """A folder in open_clip's format or a file, from the current directory or the settings file's."""
    folder = find(name, folders, _is_clip)
    return None if folder is None else name if folder == Path(name) else folder.as_posix()


@lru_cache(maxsize=1)
def _architectures() -> frozenset[str]:
    """What open_clip can build, by its files: importing it takes seconds. Empty if it is not installed."""
    spec = find_spec("open_clip")
    if spec is None or spec.origin is None:
        return frozenset()
    return frozenset(path.stem for path in (Path(spec.origin).parent / "model_configs").glob("*.json"))


def resolve_prompt_clips(settings: Settings, key: str, sourced: SourcedValue, report: Report) -> Settings:
    """clip_models inside prompts, by the registry's names; each must be among the chosen ones."""
    chosen = [choice.name for choice in settings.clip_models]
    frames: dict[int, tuple[Any, ...]] = {}
    for frame, group in getattr(settings, key).items():
        prompts = []
        for index, prompt in enumerate(group):
            at = (sourced.location, key, prompt_path(sourced.value, frame, index))
            names = [_clip_name(name, settings, at, report) for name in prompt.clip_models]
            for name in names:
                if name is not None and name not in chosen:
                    text = f"{name} is not among clip_models: {', '.join(chosen)}"
                    report.problem(at[0], key, text, at[2])
            known = tuple(name for name in names if name is not None)
            prompts.append(replace(prompt, clip_models=known))
        frames[frame] = tuple(prompts)
    return settings.model_copy(update={key: frames})


def forced_cuts(settings: Settings, layer: Layer, entry: Entry | None, report: Report) -> Settings:
    """compat: dd57 lets some networks' cut presets override the settings file, as the original did (Q14)."""
    if entry is None or not entry.forced_cuts or settings.compat != "dd57":
        return settings
    cuts = {key: entry.defaults[key] for key in _CUT_KEYS if key in entry.defaults}
    forced = type(settings)(**cuts)
    for key in cuts:
        if getattr(forced, key) != getattr(settings, key) and key in layer:
            text = f"has no effect: compat dd57 takes the preset of {entry.name}, as the original did"
            report.notice(layer[key].location, key, text)
    return settings.model_copy(update={key: getattr(forced, key) for key in cuts})
