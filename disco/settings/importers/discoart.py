"""DiscoArt's YAML (up to 0.12) -> our keys, `compat: fixed`. What it leaves out has DiscoArt's default."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from disco.settings.importers.builder import ImportBuilder, Imported
from disco.settings.importers.clips import put_clips
from disco.settings.importers.old_values import (
    fold,
    put_batch_name,
    put_init_image,
    put_network,
    put_schedule,
    put_size,
    spell_out,
)
from disco.settings.importers.prompts import put_text_prompts
from disco.settings.methods import SAMPLERS
from disco.settings.model import facts_of
from disco.settings.syntax import numeral

# DiscoArt's defaults (its 0.12), of the keys that go over: the pictures depend on them.
DEFAULTS: dict[str, Any] = {
    "width_height": [1280, 768],
    "steps": 250,
    "skip_steps": 0,
    "diffusion_model": "512x512_diffusion_uncond_finetune_008100",
    "use_secondary_model": True,
    "diffusion_sampling_mode": "ddim",
    "clip_models": ["ViT-B-32::openai", "ViT-B-16::openai", "RN50::openai"],
    "clip_guidance_scale": 5000,
    "tv_scale": 0,
    "range_scale": 150,
    "sat_scale": 0,
    "init_scale": 1000,
    "cutn_batches": 4,
    "cut_overview": "[12]*400+[4]*600",
    "cut_innercut": "[4]*400+[12]*600",
    "cut_ic_pow": 1,
    "cut_icgray_p": "[0.2]*400+[0]*600",
    "eta": 0.8,
    "clamp_grad": True,
    "clamp_max": 0.05,
    "clip_denoised": False,
    "perlin_init": False,
    "perlin_mode": "mixed",
    "use_vertical_symmetry": False,
    "use_horizontal_symmetry": False,
    "transformation_percent": [0.09],
    "n_batches": 4,
    "batch_size": 1,
}
_PULP_POWER = "[12]*500+[10]*500"
CUT_GROUPS: dict[str, dict[str, Any]] = {
    "default": {},
    "pad_or_pulp": {
        "cut_overview": "[15]*200+[12]*200+[6]*100+[4]*100+[2]*200+[0]*200",
        "cut_innercut": "[1]*200+[4]*200+[8]*200+[10]*400",
        "cut_ic_pow": _PULP_POWER,
        "cut_icgray_p": "[.87]*100+[.78]*50+[.73]*50+[.64]*60+[.56]*40+[.5]*50+[.33]*100+[.19]*150+[0]*400",
    },
    "watercolor": {
        "cut_overview": "[14]*200+[12]*200+[4]*400+[0]*200",
        "cut_innercut": "[2]*200+[4]*200+[12]*600",
        "cut_ic_pow": _PULP_POWER,
        "cut_icgray_p": "[.7]*100+[.6]*100+[.45]*100+[.3]*100+[0]*600",
    },
    "han_fav": {
        "cut_overview": "[8]*200+[6]*200+[4]*200+[0]*400",
        "cut_innercut": "[0]*200+[2]*200+[4]*200+[6]*200+[10]*200",
        "cut_ic_pow": "[0]*200+[10]*400+[60]*200+[80]*200",
        "cut_icgray_p": "[.5]*100+[.4]*100+[.2]*100+[.1]*100+[0]*600",
        "tv_scale": 60000,
        "sat_scale": 10000,
        "range_scale": 10000,
        "cutn_batches": 8,
        "clip_guidance_scale": 12000,
        "clamp_max": 0.1,
        "clip_models": [f"{name}::openai" for name in ("ViT-B-32", "ViT-B-16", "ViT-L-14", "RN101", "RN50")],
    },
}
SCHEDULES = (
    "clip_guidance_scale",
    "tv_scale",
    "range_scale",
    "sat_scale",
    "init_scale",
    "cutn_batches",
    "cut_overview",
    "cut_innercut",
    "cut_ic_pow",
    "cut_icgray_p",
    "clamp_max",
)
AS_THEY_ARE = (
    "steps",
    "skip_steps",
    "diffusion_sampling_mode",
    "eta",
    "clip_denoised",
    "perlin_init",
    "perlin_mode",
    "use_vertical_symmetry",
    "use_horizontal_symmetry",
    "transformation_percent",
)
NO_EFFECT = ("randomize_class", "fuzzy_prompt", "rand_mag", "skip_augs")
EVALUATION = ("clip_sequential_evaluate", "clip_sequential_evaluation", "text_clip_on_cpu")
OUTPUT = ("save_rate", "display_rate", "gif_fps", "gif_size_ratio", "image_output", "visualize_cuts")
EVENTS = ("skip_event", "stop_event", "init_document")
MARKS = frozenset(
    (
        *("clip_models_schedules", "on_misspelled_token", "diffusion_model_config", "cut_schedules_group"),
        *("name_docarray", "truncate_overlength_prompt", *EVALUATION, *EVENTS, *OUTPUT),
    )
) - {"display_rate"}
KEYS = frozenset(
    MARKS | DEFAULTS.keys() | set(OUTPUT + NO_EFFECT) | {"text_prompts", "init_image", "seed", "batch_name"}
)


def import_discoart(old: Mapping[str, Any], path: Path) -> Imported:
    """A DiscoArt settings file, already read, in our keys. path: only its name is used."""
    builder = ImportBuilder(old, "discoart", path.name)
    silent = _fill_defaults(builder)
    document = builder.old.get("name_docarray")
    name = builder.take("batch_name") or (None if "{" in str(document) else document)
    put_batch_name(builder, name, path)
    put_text_prompts(builder, builder.take("text_prompts"))
    builder.change(
        "compat", "fixed", "DiscoArt mends the same quirks; the random numbers differ, so do pictures"
    )
    _put_seed(builder)
    put_network(builder, builder.take("diffusion_model"))
    _put_batches(builder)
    put_size(builder, builder.take("width_height"), "sides are multiples of 64, rounded down as DiscoArt did")
    _put_clip_models(builder)
    put_init_image(builder, path.parent)
    for key in SCHEDULES:
        put_schedule(builder, key, builder.take(key))
    for key in AS_THEY_ARE:
        builder.keep(key, builder.take(key))
    for key in ("use_secondary_model", "clamp_grad"):
        _put_switch(builder, key, builder.take(key))
    _mend_symmetry(builder)
    _drop_rest(builder)
    _note_silent(builder, silent)
    return builder.finish()


def _fill_defaults(builder: ImportBuilder) -> set[str]:
    """Add DiscoArt's defaults, and those of its group of cuts below what the file says; which were added."""
    group = builder.take("cut_schedules_group")
    if group is not None and group not in CUT_GROUPS:
        builder.drop("cut_schedules_group", f"{group!r} is none of DiscoArt's groups")
    chosen = CUT_GROUPS.get(str(group), {})
    if chosen:
        builder.mapped.append(f"cut_schedules_group -> {', '.join(chosen)}")
    silent = {key for key in DEFAULTS if builder.old.get(key) is None and key not in chosen}
    for key, value in {**DEFAULTS, **chosen}.items():
        if builder.old.get(key) is None:
            builder.old[key] = value
    return silent


def _note_silent(builder: ImportBuilder, silent: set[str]) -> None:
    """Defaults were written like the file's own keys; keep them apart."""
    builder.silent = [key for key in builder.mapped if key in silent]
    builder.mapped = [key for key in builder.mapped if key not in silent]
    for key in {"skip_steps", "n_batches"} & set(builder.silent):
        builder.notes[key] = "not in the file; DiscoArt's default"


def _put_clip_models(builder: ImportBuilder) -> None:
    """Names with "::"; a switch over the noise levels becomes the network's weight."""
    switches = builder.take("clip_models_schedules", {})
    names = builder.take("clip_models")
    weights = {str(name): 1 for name in (names if isinstance(names, list) else [names])}
    for name, switch in switches.items():
        if name in weights:
            weights[name] = fold([float(bool(on)) for on in spell_out(switch)])
    put_clips(builder, weights, was="clip_models")
    if switches:
        builder.mapped.append("clip_models_schedules -> weights in clip_models")


def _put_seed(builder: ImportBuilder) -> None:
    seed = builder.take("seed")
    if seed is not None:
        builder.keep("set_seed", numeral(seed), was="seed")


def _put_batches(builder: ImportBuilder) -> None:
    """DiscoArt's n_batches counts passes of batch_size pictures; ours counts pictures."""
    passes, together = (
        builder.take_as(key, DEFAULTS[key], facts_of(key)) for key in ("n_batches", "batch_size")
    )
    if together == 1:
        builder.keep("n_batches", passes)
        return
    builder.change("n_batches", passes * together, "pictures in all, not passes", old=passes)
    builder.keep("batch_size", together)


def _put_switch(builder: ImportBuilder, key: str, value: Any) -> None:
    """true or false; over the noise levels (DiscoArt) it can only be on or off here: what it mostly is."""
    try:
        values = [bool(item) for item in spell_out(numeral(value))]
    except ValueError:
        builder.keep(key, value)  # "yes", or dropped with what is allowed
        return
    mostly = 2 * sum(values) >= len(values)
    if all(item == values[0] for item in values):
        builder.keep(key, values[0])
    else:
        builder.change(key, mostly, "no schedule here; its value at most steps", old=value)


def _mend_symmetry(builder: ImportBuilder) -> None:
    sampler = str(builder.run.get("diffusion_sampling_mode"))
    for key in ("use_vertical_symmetry", "use_horizontal_symmetry"):
        if sampler in SAMPLERS and not SAMPLERS[sampler].symmetry and builder.run.get(key):
            builder.change(key, False, f"{sampler} ignored it", old=True)


def _drop_rest(builder: ImportBuilder) -> None:
    builder.drop_group(NO_EFFECT, "had no effect in DiscoArt")
    builder.drop_group(("on_misspelled_token",), "there is no spelling check here")
    builder.drop_group(EVALUATION, "memory is managed here; text towers are freed after the prompts are read")
    builder.drop_group(
        ("truncate_overlength_prompt",), "a prompt that is too long is always cut, and reported"
    )
    builder.drop_group(OUTPUT, "output of another kind; see display_rate and intermediate_saves")
    builder.drop_group(EVENTS, "of DiscoArt's Python interface")
    builder.drop_group(("name_docarray",), "pictures are kept as files, under batch_name")
    if builder.old.get("diffusion_model_config"):
        builder.drop(
            "diffusion_model_config", "the registry knows the architecture; your own needs custom_config"
        )
    builder.drop_group(("diffusion_model_config",), "empty")
    builder.drop([key for key in DEFAULTS if key in builder.old], "empty")
