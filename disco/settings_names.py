"""Names that users bring from other versions and tools, read as ours; names that stills have no use for."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from disco.registry import registry
from disco.setting_fields import read_value
from disco.settings import KEYS, facts_of
from disco.settings_layers import Given, Layer, Report, did_you_mean
from disco.values import show

SIZE_512, SIZE_256 = "width_height_for_512x512_models", "width_height_for_256x256_models"
# These wait until the network and the steps are known: settings_networks.py reads them.
DEFERRED = (SIZE_512, SIZE_256, "diffusion_steps", "sweep")
OTHER_NAMES = ("seed", "transformation_steps", "sampling_mode", "timestep_respacing", "cutn", "useCPU")
STILL_GROUPS: dict[str, tuple[str, ...]] = {
    "animation settings": (
        *("key_frames", "max_frames", "interp_spline", "angle", "zoom", "translation_x", "translation_y"),
        *("translation_z", "rotation_3d_x", "rotation_3d_y", "rotation_3d_z", "frames_scale"),
        *("frames_skip_steps", "padding_mode"),
    ),
    "3D settings": (
        *("midas_depth_model", "midas_weight", "near_plane", "far_plane", "fov", "turbo_mode", "turbo_steps"),
        *("turbo_preroll", "vr_mode", "vr_eye_angle", "vr_ipd"),
    ),
    "video input settings": (
        *("video_init_path", "extract_nth_frame", "persistent_frame_output_in_batch_folder"),
        *("video_init_seed_continuity", "video_init_flow_warp", "video_init_flow_blend"),
        *("video_init_check_consistency", "video_init_blend_mode", "video_init_steps"),
        *("video_init_clip_guidance_scale", "video_init_tv_scale", "video_init_range_scale"),
        *("video_init_sat_scale", "video_init_cutn_batches", "video_init_skip_steps"),
        *("video_init_frames_scale", "video_init_frames_skip_steps", "force_download"),
        "force_flow_generation",
    ),
    "video file settings": (
        *("skip_video_for_run_all", "blend", "folder", "run", "init_frame", "last_frame", "fps"),
    ),
}
# Disco's cut presets for some networks, by the keys that they stand for.
PRESETS = {
    f"{family}_{key}": key
    for family in ("pad_or_pulp", "watercolor")
    for key in ("cut_overview", "cut_innercut", "cut_ic_pow", "cut_icgray_p")
}
_GROUP_OF = {key: group for group, keys in STILL_GROUPS.items() for key in keys}
ANIMATION_MODES = ("2D", "3D", "Video Input")


def translate(layer: Layer, report: Report) -> Layer:
    """A layer with our names for the others. CLIP flags and DEFERRED keys stay; unknown keys are reported."""
    ours: Layer = {key: given for key, given in layer.items() if key in KEYS or _waits(key)}
    unused: dict[str, list[str]] = {}
    for key, given in layer.items():
        if key in OTHER_NAMES:
            _READERS[key](given, ours, report)
        elif key == "animation_mode":
            _animation_mode(given, report)
        elif key in PRESETS:
            text = f"has no effect: presets are defaults of their networks; write {PRESETS[key]} to change it"
            report.notice(given.where, key, text)
        elif key in _GROUP_OF:
            unused.setdefault(_GROUP_OF[key], []).append(key)
        elif key not in ours:
            report.problem(given.where, key, f"no such setting{_hint(key)}")
    for group, keys in unused.items():
        where = layer[keys[0]].where
        report.notice(where, ", ".join(keys), f"{group} have no effect on a still")
    return ours


def known_names() -> list[str]:
    """Every key that a settings file may hold."""
    flags = registry().clip_flags
    return [*KEYS, "extends", *DEFERRED, *OTHER_NAMES, "animation_mode", *flags, *PRESETS, *_GROUP_OF]


def _hint(key: str) -> str:
    if key in ("width", "height"):
        return ": write width_height: [1280, 768]. `python run.py import` reads the files of other tools"
    near = did_you_mean(key, known_names())
    return f".{near}" if near else "; settings/default.yaml lists them all"


def _waits(key: str) -> bool:
    return key in DEFERRED or key in registry().clip_flags


def _put(ours: Layer, names: tuple[str, str], given: Given, value: Any, report: Report) -> None:
    """names: (other, ours). Set ours to what the other gave, unless the layer contradicts it under ours."""
    other, key = names
    beside = ours.get(key)
    if beside is not None and beside.value != value:
        report.problem(given.where, other, f"contradicts {key}: {show(beside.value)}; keep one of them")
        return
    ours[key] = Given(value, given.where)


def _other(key: str, name: str) -> Callable[[Given, Layer, Report], None]:
    """Another name for `key`, with the same values."""

    def read(given: Given, ours: Layer, report: Report) -> None:
        report.notice(given.where, name, f"read as {key}")
        _put(ours, (name, key), given, given.value, report)

    return read


def _sampling_mode(given: Given, ours: Layer, report: Report) -> None:
    if given.value in ("ddim", "plms"):
        report.notice(given.where, "sampling_mode", "read as diffusion_sampling_mode")
        _put(ours, ("sampling_mode", "diffusion_sampling_mode"), given, given.value, report)
    elif given.value in ("bicubic", "bilinear", "nearest"):
        report.notice(given.where, "sampling_mode", "3D settings have no effect on a still")
    else:
        text = "is not allowed: write ddim or plms (the sampler), or bicubic, bilinear or nearest (3D)"
        report.problem(given.where, "sampling_mode", f"{show(given.value)} {text}")


def _respacing(given: Given, ours: Layer, report: Report) -> None:
    match = re.fullmatch(r"ddim(\d{1,5})", str(given.value))
    if match is None:
        text = f"{show(given.value)} is not allowed: write ddim and the number of steps, like ddim250"
        report.problem(given.where, "timestep_respacing", text)
        return
    report.notice(given.where, "timestep_respacing", f"read as steps: {match[1]}")
    _put(ours, ("timestep_respacing", "steps"), given, int(match[1]), report)


def _cutn(given: Given, ours: Layer, report: Report) -> None:
    n = given.value
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= 1000:
        report.problem(given.where, "cutn", f"{show(n)} is not allowed: write a whole number from 1 to 1000")
        return
    for key in ("cut_overview", "cut_innercut"):
        if key in ours:
            report.problem(given.where, "cutn", f"stands beside {key}; keep one of them")
            return
    few = n // 4
    overview, inner = f"[{n - few}]*400+[{few}]*600", f"[{few}]*400+[{n - few}]*600"
    report.notice(given.where, "cutn", f'read as cut_overview: "{overview}", cut_innercut: "{inner}"')
    ours["cut_overview"], ours["cut_innercut"] = Given(overview, given.where), Given(inner, given.where)


def _use_cpu(given: Given, ours: Layer, report: Report) -> None:
    flag = read_flag(given, "useCPU", report)
    if flag:
        report.notice(given.where, "useCPU", "read as device: cpu")
        _put(ours, ("useCPU", "device"), given, "cpu", report)
    elif flag is False:
        report.notice(given.where, "useCPU", "has no effect: device says where to compute, auto by default")


def read_flag(given: Given, key: str, report: Report) -> bool | None:
    """A bool under another name; None when it is none, which is reported."""
    try:
        return bool(read_value(given.value, facts_of("resume_run")))
    except ValueError as error:
        report.faults(given.where, key, error)
        return None


def _animation_mode(given: Given, report: Report) -> None:
    if given.value is None or str(given.value).strip().lower() == "none":
        return
    if given.value in ANIMATION_MODES:
        text = "animations come with a later version; write None for stills"
    else:
        later = ", ".join(ANIMATION_MODES)
        text = f"{show(given.value)} is not allowed: write None ({later} come with a later version)"
    report.problem(given.where, "animation_mode", text)


_READERS: dict[str, Callable[[Given, Layer, Report], None]] = {
    "seed": _other("set_seed", "seed"),
    "transformation_steps": _other("transformation_percent", "transformation_steps"),
    "sampling_mode": _sampling_mode,
    "timestep_respacing": _respacing,
    "cutn": _cutn,
    "useCPU": _use_cpu,
}
