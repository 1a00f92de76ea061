"""Settings files -> runs: layers, queues, sweeps, --set; all problems of all files at once, with lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from disco.errors import SettingsError, closest, shortened, show
from disco.files.paths import find
from disco.files.urls import is_url
from disco.files.yaml_io import Document, dump, read_documents
from disco.settings.aliases import translate
from disco.settings.animation_checks import animation_notices, animation_problems
from disco.settings.checks import CheckContext, Issue, problems
from disco.settings.frame import at_frame
from disco.settings.kinds import read_value
from disco.settings.layers import (
    Layer,
    Report,
    SourcedValue,
    SourceLocation,
    file_layers,
    mapping_document,
    missing_file,
    override_layers,
    place_of,
)
from disco.settings.model import KEYS, SECTIONS, Settings, facts_of, plain_values
from disco.settings.network_defaults import (
    CUSTOM,
    diffusion_entry,
    forced_cuts,
    resolve_clips,
    resolve_flags,
    resolve_prompt_clips,
    resolve_size,
    with_defaults,
)
from disco.settings.prompts import prompt_path
from disco.settings.sweep import SweepPoint, sweep_points
from disco.settings.warnings import notices
from disco.weights.registry import Entry, registry


@dataclass(frozen=True)
class Run:
    """One run: checked settings and where they come from.

    origins: for every key "default", the network's name, "settings/base.yaml:3", "--set" or "--prompt".
    notices: what the user should know, one line each. raw: every key as YAML can hold it (see plain_values).
    name: the settings file as given; its documents beyond the first are "file [2]". base_dirs: where paths
    are looked for, in order. sweep: this run's place in a sweep, or None.
    """

    settings: Settings
    origins: dict[str, str]
    notices: tuple[str, ...]
    raw: dict[str, Any]
    name: str
    base_dirs: tuple[Path, ...]
    sweep: SweepPoint | None = None

    def is_written(self, key: str) -> bool:
        """Did a file, --set or the program give this setting? Else it is a default."""
        return self.origins[key] not in ("default", self.settings.diffusion_model)

    def with_values(self, values: Mapping[str, Any], origin: str = "this run") -> Run:
        """The same run with other values, like the seed that was drawn; not checked against each other.

        Raises pydantic's ValidationError (a ValueError) for values that a setting cannot have.
        """
        settings = Settings(**{**self.raw, **values})
        origins = {**self.origins, **dict.fromkeys(values, origin)}
        return replace(self, settings=settings, origins=origins, raw=plain_values(settings))


def load_runs(
    files: Sequence[str | Path], *, overrides: Sequence[str] = (), prompt: str | None = None
) -> list[Run]:
    """The runs of all documents of all files in order, sweeps spread out; without a file, the defaults.

    overrides: "key=value" as --set takes them, over every document. prompt: replaces text_prompts.
    Raises SettingsError with all problems of all files, each as one line `where: key: what`.
    """
    report = Report()
    documents: list[tuple[str, Document]] = []
    for file in files:
        try:
            parts = read_documents(file)
        except SettingsError as error:
            report.error(error)
            continue
        documents += [(str(file) + (f" [{n}]" if n > 1 else ""), part) for n, part in enumerate(parts, 1)]
    if not files:
        documents = [("defaults", mapping_document({}, "defaults"))]
    command = (overrides, prompt)
    runs = [run for name, document in documents for run in _runs(name, document, command, report)]
    if not documents:  # every file is unreadable: --set is checked all the same
        for layer in override_layers(overrides, prompt, report):
            translate(layer, report)
    if report.problems:
        raise SettingsError(report.by_line())
    return runs


def run_from_mapping(
    data: Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    name: str = "settings",
    base_dirs: Sequence[str | Path] = (),
) -> Run:
    """One run from a mapping of settings: Python's, or those inside a picture.

    name: stands where errors name the file. base_dirs: where files are looked for after the current folder.
    Raises SettingsError, also for a sweep.
    """
    runs = runs_from_mapping(data, overrides=overrides, name=name, base_dirs=base_dirs)
    if len(runs) > 1:
        raise SettingsError([f"{name}: sweep: gives {len(runs)} runs where one is wanted"])
    return runs[0]


def runs_from_mapping(
    data: Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    name: str = "settings",
    base_dirs: Sequence[str | Path] = (),
) -> list[Run]:
    """As run_from_mapping, with a sweep spread out. Raises SettingsError."""
    report = Report()
    document = mapping_document(data, name)
    runs = _runs(name, document, (overrides, None), report, tuple(Path(path) for path in base_dirs))
    if report.problems:
        raise SettingsError(report.by_line())
    return runs


def dump_yaml(run: Run) -> str:
    """Every setting of the run as YAML, in sections; loading it gives equal settings, without other files."""
    parts = []
    for section in SECTIONS:
        values = {key: run.raw[key] for key in section.model_fields if _worth_saving(key, run.raw[key])}
        parts.append(f"# {section.title}\n{dump(values)}")
    return "\n".join(parts)


def _worth_saving(key: str, value: Any) -> bool:
    """Settings without effect are left out, unless they differ from the default."""
    field = Settings.model_fields[key]
    return "no_effect" not in facts_of(key) or value != field.default


# ---- one document ----


def _runs(
    name: str,
    document: Document,
    command: tuple[Sequence[str], str | None],
    report: Report,
    folders: tuple[Path, ...] = (),
) -> list[Run]:
    overrides, prompt = command
    mine = Report(report.problems)
    here = place_of(document, folders)
    layers = file_layers(here, mine) + override_layers(overrides, prompt, mine, here.folders)
    return [_run(name, here, parts, point, mine) for parts, point in sweep_points(layers, mine)]


def _run(
    name: str, here: SourceLocation, layers: list[Layer], point: SweepPoint | None, above: Report
) -> Run:
    report = Report(above.problems, dict(above.notices))
    layers = [translate(layer, report) for layer in layers]
    written: Layer = {}
    for layer in layers:
        written |= layer
    entry = diffusion_entry(written, report)
    layer = with_defaults(written, entry)
    resolve_size(layers, layer, entry, report)
    resolve_flags(layers, layer, entry, report)
    _check_diffusion_steps(layer, report)
    settings, unreadable = _read(layer, report)
    if entry is None and settings.diffusion_model != CUSTOM:
        unreadable.add("diffusion_model")
    settings = _resolve(settings, layer, entry, report, (here, unreadable))
    context = CheckContext(settings, layer, frozenset(written), entry, frozenset(unreadable))
    first = replace(context, settings=at_frame(settings, 0))
    for issue in chain(problems(first), animation_problems(context)):
        report.problem(_location(issue, layer, here), issue.key, issue.text, issue.path)
    for issue in chain(notices(context), animation_notices(context)):
        report.notice(_location(issue, layer, here), issue.key, issue.text, issue.path)
    origins = {key: layer[key].location.origin if key in layer else "default" for key in KEYS}
    base_dirs = tuple(dict.fromkeys([Path.cwd(), *(folder.resolve() for folder in here.folders)]))
    return Run(settings, origins, tuple(report.notices), plain_values(settings), name, base_dirs, point)


def _location(issue: Issue, layer: Layer, here: SourceLocation) -> SourceLocation:
    """The location of the key; if nobody wrote it, of what it collides with, or the document."""
    for key in (issue.key, *issue.beside):
        sourced = layer.get(key)
        if sourced is not None and (
            sourced.location.document is not None or sourced.location.shown.startswith("--")
        ):
            return sourced.location
    return here


def _read(layer: Layer, report: Report) -> tuple[Settings, set[str]]:
    """The settings, with defaults in place of values that cannot be read; their keys are returned too."""
    good: dict[str, Any] = {}
    unreadable: set[str] = set()
    for key, sourced in layer.items():
        if key not in KEYS:
            continue
        try:
            good[key] = read_value(sourced.value, facts_of(key))
        except ValueError as error:
            report.faults(sourced.location, key, error)
            unreadable.add(key)
    return Settings(**good), unreadable


def _resolve(
    settings: Settings,
    layer: Layer,
    entry: Entry | None,
    report: Report,
    rest: tuple[SourceLocation, set[str]],
) -> Settings:
    """Names and paths as what they stand for."""
    here, unreadable = rest
    if "clip_models" not in unreadable:
        sourced, before = layer.get("clip_models"), len(report.problems)
        settings = resolve_clips(settings, sourced.location if sourced else here, report)
        for key in sorted({"text_prompts", "image_prompts"} & set(layer) - unreadable):
            settings = resolve_prompt_clips(settings, key, layer[key], report)
        if len(report.problems) > before:
            unreadable.add("clip_models")
    settings = forced_cuts(settings, layer, entry, report)
    if entry is not None:
        settings = settings.model_copy(update={"diffusion_model": entry.name})
    return _find_files(settings, layer, report)


def _check_diffusion_steps(layer: Layer, report: Report) -> None:
    """Accepted as the original derives it, so that its settings files can be read."""
    sourced, steps = layer.pop("diffusion_steps", None), layer.get("steps")
    if sourced is None:
        return
    count = steps.value if steps and isinstance(steps.value, int) and steps.value > 0 else 250
    derived = 1000 // count * count if count < 1000 else count
    if isinstance(sourced.value, bool) or sourced.value not in (1000, derived):
        text = f"{show(sourced.value)} is not allowed: it follows from steps; leave it out or write {derived}"
        report.problem(sourced.location, "diffusion_steps", text)
    else:
        report.notice(sourced.location, "diffusion_steps", "has no effect: it follows from steps")


# ---- paths ----


def _find_files(settings: Settings, layer: Layer, report: Report) -> Settings:
    """Paths become what opens them from the current directory; a file that is missing is reported."""
    paths: dict[str, Any] = {}
    used = {"init_image": True, "custom_path": True, **files_in_use(settings)}
    for key, is_used in used.items():
        path, sourced = getattr(settings, key), layer.get(key)
        if path is not None and sourced is not None and is_used:
            paths[key] = _file(path, key, sourced, (), report)
    sourced = layer.get("upscale_model")
    if sourced is not None and settings.upscale != "none":
        paths["upscale_model"] = _upscaler(settings.upscale_model, sourced, report)
    sourced = layer.get("image_prompts")
    if sourced is not None:
        paths["image_prompts"] = {
            frame: tuple(
                replace(prompt, source=_file(prompt.source, "image_prompts", sourced, path, report))
                for prompt, path in (
                    (prompt, prompt_path(sourced.value, frame, index)) for index, prompt in enumerate(group)
                )
            )
            for frame, group in settings.image_prompts.items()
        }
    return settings.model_copy(update=paths)


def _upscaler(name: str, sourced: SourcedValue, report: Report) -> str:
    """A registry name, or the path of a file."""
    known = registry().names("upscale")
    if name in known or find(name, sourced.location.folders, Path.exists) is not None:
        return name if name in known else _file(name, "upscale_model", sourced, (), report)
    near = closest(name, known)
    hint = f"Did you mean {near}?" if near else f"Allowed: {', '.join(known)}, or the path of a file"
    text = f"no such upscaler, and no such file: {shortened(name)}. {hint}"
    report.problem(sourced.location, "upscale_model", text)
    return name


FOLDERS = ("video_init_path", "video_mask_path")  # may be folders of pictures


def files_in_use(settings: Settings) -> dict[str, bool]:
    """Those of an animation are looked for only where they act: saved settings of stills name them too."""
    is_video = settings.animation_mode == "Video Input"
    return {"mask_path": True, "video_init_path": is_video, "video_mask_path": is_video}


def _file(name: str, key: str, sourced: SourcedValue, path: tuple[Any, ...], report: Report) -> str:
    if is_url(name):
        return name
    file = find(name, sourced.location.folders, Path.exists if key in FOLDERS else Path.is_file)
    if file is None:
        is_folder = find(name, sourced.location.folders, Path.is_dir) is not None
        what = f"{name} is a folder; name a file in it" if is_folder else ""
        missing = what or missing_file(name, sourced.location.folders)
        report.problem(sourced.location, key, missing, path)
        return name
    return name if file == Path(name) else str(file)
