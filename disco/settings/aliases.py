"""Names that users bring from other versions and tools, read as ours; names that mean nothing here."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from disco.errors import show
from disco.settings.kinds import read_value
from disco.settings.layers import Layer, Report, SourcedValue, did_you_mean
from disco.settings.methods import SAMPLERS
from disco.settings.model import KEYS, facts_of
from disco.weights.registry import registry

SIZE_512, SIZE_256 = "width_height_for_512x512_models", "width_height_for_256x256_models"
# These wait until the network and the steps are known: network_defaults.py reads them.
DEFERRED = (SIZE_512, SIZE_256, "diffusion_steps", "sweep")
OTHER_NAMES = ("seed", "transformation_steps", "timestep_respacing", "cutn", "useCPU")
# Keys of the original's notebook that have nothing to do here, and why.
IGNORED = {
    "persistent_frame_output_in_batch_folder": "the frames of a video are kept in a cache, by its content",
    "force_download": "every download is always checked",
    "force_flow_generation": "the flow is always up to date",
    "folder": "use run.py video FOLDER",
    "run": "use run.py video FOLDER --run N",
    "turbo_frame_blend": "turbo always blends its frames",
    "skip_video_for_run_all": "use make_video",
}
# Disco's cut presets for some networks, by the keys that they stand for.
PRESETS = {
    f"{family}_{key}": key
    for family in ("pad_or_pulp", "watercolor")
    for key in ("cut_overview", "cut_innercut", "cut_ic_pow", "cut_icgray_p")
}


_MOST_UNKNOWN = 20  # unknown keys that are named one by one, each with the nearest known name


def translate(layer: Layer, report: Report) -> Layer:
    """A layer with our names for the others. CLIP flags and DEFERRED keys stay; unknown keys are reported."""
    ours: Layer = {key: sourced for key, sourced in layer.items() if key in KEYS or _waits(key)}
    unknown: list[str] = []
    for key, sourced in layer.items():
        if key in _READERS:
            _READERS[key](sourced, ours, report)
        elif key in IGNORED:
            report.notice(sourced.location, key, f"has no effect: {IGNORED[key]}")
        elif key in PRESETS:
            text = f"has no effect: presets are defaults of their networks; write {PRESETS[key]} to change it"
            report.notice(sourced.location, key, text)
        elif key not in ours:
            unknown.append(key)
    for key in unknown[:_MOST_UNKNOWN]:
        report.problem(layer[key].location, key, f"no such setting{_hint(key)}")
    if len(unknown) > _MOST_UNKNOWN:
        first, more = unknown[_MOST_UNKNOWN], len(unknown) - _MOST_UNKNOWN
        report.problem(layer[first].location, first, f"no such setting; {more} in all from here on")
    return ours


def known_names() -> list[str]:
    """Every key that a settings file may hold."""
    flags = registry().clip_flags
    return [*KEYS, "extends", *DEFERRED, *OTHER_NAMES, *flags, *PRESETS, *IGNORED]


def _hint(key: str) -> str:
    if key in ("width", "height"):
        return ": write width_height: [1280, 768]. `python run.py import` reads the files of other tools"
    near = did_you_mean(key, known_names())
    return f".{near}" if near else "; settings/default.yaml lists them all"


def _waits(key: str) -> bool:
    return key in DEFERRED or key in registry().clip_flags


def _put(ours: Layer, names: tuple[str, str], sourced: SourcedValue, value: Any, report: Report) -> None:
    """names: (other, ours). Set ours to what the other gave, unless the layer contradicts it under ours."""
    other, key = names
    beside = ours.get(key)
    if beside is not None and beside.value != value:
        report.problem(sourced.location, other, f"contradicts {key}: {show(beside.value)}; keep one of them")
        return
    ours[key] = SourcedValue(value, sourced.location)


def _other(key: str, name: str) -> Callable[[SourcedValue, Layer, Report], None]:
    """Another name for `key`, with the same values."""

    def read(sourced: SourcedValue, ours: Layer, report: Report) -> None:
        report.notice(sourced.location, name, f"read as {key}")
        _put(ours, (name, key), sourced, sourced.value, report)

    return read


def _sampling_mode(sourced: SourcedValue, ours: Layer, report: Report) -> None:
    """A name of two settings: ddim and plms are samplers, bicubic and the like look up pixels in 3D."""
    if sourced.value in tuple(SAMPLERS):
        del ours["sampling_mode"]
        report.notice(sourced.location, "sampling_mode", "read as diffusion_sampling_mode")
        _put(ours, ("sampling_mode", "diffusion_sampling_mode"), sourced, sourced.value, report)
    elif sourced.value not in ("bicubic", "bilinear", "nearest"):
        del ours["sampling_mode"]
        samplers = " or ".join(SAMPLERS)
        text = f"is not allowed: write {samplers} (the sampler), or bicubic, bilinear or nearest (3D)"
        report.problem(sourced.location, "sampling_mode", f"{show(sourced.value)} {text}")


def _respacing(sourced: SourcedValue, ours: Layer, report: Report) -> None:
    match = re.fullmatch(r"ddim(\d{1,5})", str(sourced.value))
    if match is None:
        text = f"{show(sourced.value)} is not allowed: write ddim and the number of steps, like ddim250"
        report.problem(sourced.location, "timestep_respacing", text)
        return
    report.notice(sourced.location, "timestep_respacing", f"read as steps: {match[1]}")
    _put(ours, ("timestep_respacing", "steps"), sourced, int(match[1]), report)


def _cutn(sourced: SourcedValue, ours: Layer, report: Report) -> None:
    n = sourced.value
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= 1000:
        report.problem(
            sourced.location, "cutn", f"{show(n)} is not allowed: write a whole number from 1 to 1000"
        )
        return
    for key in ("cut_overview", "cut_innercut"):
        if key in ours:
            report.problem(sourced.location, "cutn", f"stands beside {key}; keep one of them")
            return
    few = n // 4
    overview, inner = f"[{n - few}]*400+[{few}]*600", f"[{few}]*400+[{n - few}]*600"
    report.notice(sourced.location, "cutn", f'read as cut_overview: "{overview}", cut_innercut: "{inner}"')
    ours["cut_overview"], ours["cut_innercut"] = (
        SourcedValue(overview, sourced.location),
        SourcedValue(inner, sourced.location),
    )


def _use_cpu(sourced: SourcedValue, ours: Layer, report: Report) -> None:
    flag = read_flag(sourced, "useCPU", report)
    if flag:
        report.notice(sourced.location, "useCPU", "read as device: cpu")
        _put(ours, ("useCPU", "device"), sourced, "cpu", report)
    elif flag is False:
        report.notice(
            sourced.location, "useCPU", "has no effect: device says where to compute, auto by default"
        )


def read_flag(sourced: SourcedValue, key: str, report: Report) -> bool | None:
    """A bool under another name; None when it is none, which is reported."""
    try:
        return bool(read_value(sourced.value, facts_of("resume_run")))
    except ValueError as error:
        report.faults(sourced.location, key, error)
        return None


_READERS: dict[str, Callable[[SourcedValue, Layer, Report], None]] = {
    "seed": _other("set_seed", "seed"),
    "transformation_steps": _other("transformation_percent", "transformation_steps"),
    "sampling_mode": _sampling_mode,
    "timestep_respacing": _respacing,
    "cutn": _cutn,
    "useCPU": _use_cpu,
}
