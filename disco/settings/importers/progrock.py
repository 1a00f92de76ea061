"""progrockdiffusion's JSON -> our keys, `compat: fixed`.

Its settings files are layers over its own settings.json, so what a file leaves out means what that one held.
It works out "auto" from the other settings, and picks one of "<a|b|c>" by chance; here that is done once and
stays.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from disco.settings.importers.animation import put_animation, put_mode
from disco.settings.importers.builder import ImportBuilder, Imported
from disco.settings.importers.clips import put_clips
from disco.settings.importers.old_values import (
    ORIGINAL_NETWORK,
    nothing,
    put_batch_name,
    put_init_image,
    put_network,
    put_schedule,
    put_size,
    ramp,
)
from disco.settings.importers.progrock_auto import automatic_clamp, automatic_eta, automatic_scale
from disco.settings.importers.progrock_prompts import first_choice, put_prompts

# What its settings.json holds (July 2022), of the keys that go over.
DEFAULTS: dict[str, Any] = {
    "n_batches": 1,
    "steps": 250,
    "display_rate": 10,
    "width": 832,
    "height": 512,
    "set_seed": "random_seed",
    "clip_guidance_scale": "auto",
    "tv_scale": 0,
    "range_scale": 150,
    "sat_scale": 0,
    "cutn_batches": 8,
    "skip_steps": 0,
    "init_scale": 1000,
    "perlin_init": False,
    "perlin_mode": "mixed",
    "skip_augs": False,
    "clip_denoised": False,
    "clamp_grad": True,
    "clamp_max": "auto",
    "fuzzy_prompt": False,
    "rand_mag": 0.05,
    "eta": "auto",
    "diffusion_model": ORIGINAL_NETWORK,
    "use_secondary_model": True,
    "sampling_mode": "ddim",
    "ViTB32": 1.0,
    "ViTB16": 1.0,
    "RN50": 1.0,
    "cut_overview": "[5]*400+[1]*600",
    "cut_innercut": "[1]*400+[5]*600",
    "cut_ic_pow": "[1]*500+[10]*500",
    "cut_icgray_p": "[0.2]*400+[0]*600",
}
SCHEDULES = (
    "tv_scale",
    "range_scale",
    "sat_scale",
    "init_scale",
    "skip_augs",
    "cut_overview",
    "cut_innercut",
    "cut_icgray_p",
)
AS_THEY_ARE = (
    "n_batches",
    "display_rate",
    "use_secondary_model",
    "perlin_init",
    "clip_denoised",
    "clamp_grad",
    "fuzzy_prompt",
    "rand_mag",
)
FLAGS = (
    *("ViTB32", "ViTB16", "ViTL14", "ViTL14_336", "RN101", "RN50", "RN50x4", "RN50x16", "RN50x64"),
    *("ViTB32_laion2b_e16", "ViTB32_laion400m_e31", "ViTB32_laion400m_32"),
    *("ViTB32quickgelu_laion400m_e31", "ViTB32quickgelu_laion400m_e32"),
    *("ViTB16_laion400m_e31", "ViTB16_laion400m_e32", "RN50_yffcc15m", "RN50_cc12m"),
    *("RN50_quickgelu_yfcc15m", "RN50_quickgelu_cc12m", "RN101_yfcc15m", "RN101_quickgelu_yfcc15m"),
)
CONTRAST = re.compile(r"(?:high|low)_(?:contrast|brightness)_|fix_brightness_contrast|adjustment_interval")
ENLARGING = ("gobig_scale", "gobig_orientation", "gobig_skip_ratio", "sharpen_preset", "keep_unsharp")
SYMMETRY = (
    "symmetry_loss",
    "symmetry_loss_v",
    "symmetry_loss_h",
    "symm_loss_scale",
    "sloss_scale",
    "symm_switch",
)
MARKS = frozenset(
    (
        *("cutn_batches_final", "cut_ic_pow_final", "skip_steps_ratio", "stop_early", "smooth_schedules"),
        *("width_height_scale", "use_jpg", "add_metadata", "render_mask"),
        *(*ENLARGING, *SYMMETRY),
    )
)
CONTRASTS = frozenset(
    f"{level}_{what}_{part}"
    for level in ("high", "low")
    for what in ("contrast", "brightness")
    for part in ("threshold", "adjust_amount", "start", "adjust")
) | {"fix_brightness_contrast", "adjustment_interval"}
ANIMATION = (
    *("animation_mode", "key_frames", "max_frames", "interp_spline", "angle", "zoom", "translation_x"),
    *("translation_y", "video_init_path", "extract_nth_frame", "frames_scale", "frames_skip_steps"),
)
BORROWED = frozenset((*ENLARGING, *SYMMETRY, "render_mask", "use_jpg", "add_metadata"))
KEYS = frozenset(
    MARKS
    | DEFAULTS.keys()
    | set(FLAGS)
    | set(ANIMATION)
    | {"batch_name", "text_prompts", "image_prompts", "init_image", "intermediate_saves"}
    | {"randomize_class", "diffusion_steps", "width_height"}
    | CONTRASTS
)


def is_borrowed(key: str) -> bool:
    """Have forks of Disco taken this key over?"""
    return key in BORROWED or bool(CONTRAST.match(key))


def import_progrock(old: Mapping[str, Any], path: Path) -> Imported:
    """A progrockdiffusion settings file, already read, in our keys. path: only its name is used."""
    builder = ImportBuilder(old, "progrock", path.name)
    silent = [key for key in DEFAULTS if old.get(key) is None and not (key in FLAGS and _flags_of(old))]
    builder.old |= {key: DEFAULTS[key] for key in silent}
    put_batch_name(builder, builder.take("batch_name"), path)
    _settle_choices(builder)
    put_prompts(builder, int(builder.old["steps"]), path.parent)
    builder.change(
        "compat", "fixed", "the random numbers differ, so the pictures do; picture k does not use seed + k"
    )
    seed = builder.take("set_seed")
    builder.keep("set_seed", seed if seed == "random_seed" else int(seed))
    _put_network(builder, path.parent)
    size = _size(builder)
    put_size(builder, size, "sides are multiples of 64, rounded down as progrockdiffusion did")
    _put_clips(builder)
    _put_automatic(builder, size)
    _put_steps(builder)
    _put_cuts(builder)
    for key in SCHEDULES:
        put_schedule(builder, key, builder.take(key))
    for key in AS_THEY_ARE:
        builder.keep(key, builder.take(key))
    builder.keep("diffusion_sampling_mode", builder.take("sampling_mode"), was="sampling_mode")
    builder.keep("perlin_mode", str(builder.take("perlin_mode")).replace("grey", "gray"))
    _put_saves(builder)
    _drop_rest(builder, path.parent)
    _note_silent(builder, silent)
    return builder.finish()


def _flags_of(old: Mapping[str, Any]) -> list[str]:
    return [flag for flag in FLAGS if flag in old]


def _note_silent(builder: ImportBuilder, silent: list[str]) -> None:
    """Defaults were written like the file's own keys; keep them apart."""
    lines = {"width": "width_height", "sampling_mode": "sampling_mode -> diffusion_sampling_mode"}
    lines |= dict.fromkeys(set(FLAGS), "ViTB32, ViTB16, RN50 -> clip_models")
    written = dict.fromkeys(lines.get(key, key) for key in silent)
    builder.silent = [line.rpartition(" ")[2] for line in written if line in builder.mapped]
    builder.mapped = [line for line in builder.mapped if line not in written]


def _settle_choices(builder: ImportBuilder) -> None:
    """ "<0.2|0.5>" becomes its first value, "random" what it would be if left alone."""
    for key, value in list(builder.old.items()):
        if not isinstance(value, str) or key in ("batch_name", "init_image"):
            continue
        if value == "random":
            builder.old[key] = DEFAULTS.get(key, 0)
            builder.changed.append(f"{key}: a random value -> {builder.old[key]} (write the one you like)")
        elif "<" in value:
            builder.old[key] = first_choice(value)
            builder.changed.append(
                f"{key}: {value} -> {builder.old[key]} (the first choice; sweep renders them all)"
            )


def _put_network(builder: ImportBuilder, folder: Path) -> None:
    name = builder.take("diffusion_model")
    put_network(builder, name)
    image = builder.old.get("init_image")
    if image and re.fullmatch(r"_\w+_", str(image)):
        builder.drop("init_image", f"{image} stands for any picture of a folder; name one")
    put_init_image(builder, folder)


def _size(builder: ImportBuilder) -> list[float]:
    scale = builder.take("width_height_scale", 1)
    sides = builder.take("width_height")  # its later versions
    if sides is not None:
        builder.old["width"], builder.old["height"] = sides
    return [builder.take(key) * scale for key in ("width", "height")]


def _put_clips(builder: ImportBuilder) -> None:
    """Flags are shares from 0 to 1. There they thinned out the cuts, here they weigh the loss."""
    shares = {flag: _weight(builder.take(flag, 0)) for flag in FLAGS}
    on = {("ViTL14_336px" if flag == "ViTL14_336" else flag): s for flag, s in shares.items() if s > 0}
    put_clips(builder, on, was=", ".join(on))
    if any(weight != 1 for weight in on.values()):
        builder.notes["clip_models"] = "weights were shares of the cuts, here they weigh each network's loss"


def _weight(value: Any) -> float:
    return 1 if float(value) == 1 else float(value)


def _put_automatic(builder: ImportBuilder, size: list[float]) -> None:
    """ "auto" by progrockdiffusion's own rules, from the steps and the pixels."""
    steps = int(builder.old["steps"])
    automatic = {
        "clip_guidance_scale": (automatic_scale(size[0] * size[1]), "of the number of pixels"),
        "clamp_max": (
            automatic_clamp(steps, bool(builder.old["use_secondary_model"])),
            "of the number of steps",
        ),
        "eta": (automatic_eta(steps), "of the number of steps"),
    }
    for key, (value, origin) in automatic.items():
        typed = builder.take(key)
        if typed == "auto":
            builder.change(key, value, f'what its "auto" makes {origin}')
        else:
            put_schedule(builder, key, typed)


def _put_steps(builder: ImportBuilder) -> None:
    """skip_steps_ratio counts only with something to start from, and when skip_steps is 0."""
    skip, steps, ratio = (
        builder.take("skip_steps"),
        builder.take("steps"),
        builder.old.get("skip_steps_ratio", 0.33),
    )
    builder.keep("steps", int(steps))
    if int(skip) == 0 and ("init_image" in builder.run or builder.old.get("perlin_init")):
        fraction = ratio if 0 < ratio <= 1 else 0.33
        builder.change(
            "skip_steps", int(int(steps) * fraction), f"skip_steps_ratio {fraction} of {steps} steps"
        )
        builder.take("skip_steps_ratio")
        return
    builder.keep("skip_steps", int(skip))
    builder.drop_group(
        ("skip_steps_ratio",), "counts only with a picture to start from, and with skip_steps 0"
    )


def _put_cuts(builder: ImportBuilder) -> None:
    for key, whole in (("cutn_batches", True), ("cut_ic_pow", False)):
        first, last = builder.take(key), builder.take(f"{key}_final")
        if nothing(last) or isinstance(first, str):
            put_schedule(builder, key, first)
        else:
            builder.change(
                key, ramp(float(first), float(last), whole=whole), f"evenly from {first} to {last}"
            )


def _put_saves(builder: ImportBuilder) -> None:
    """A count, step numbers, or shares of the steps; here step numbers begin after the skipped ones."""
    saves = builder.take("intermediate_saves")
    if saves is None:
        return
    if not isinstance(saves, list):
        builder.keep("intermediate_saves", saves)
        return
    steps, skip = int(builder.run["steps"]), int(builder.run["skip_steps"])
    numbers = [int(steps * save if save < 1 else save) - skip for save in saves]
    numbers = [number for number in numbers if 1 <= number < steps - skip]
    if numbers == saves:
        builder.keep("intermediate_saves", saves)
    elif numbers:
        builder.change("intermediate_saves", numbers, "steps after the skipped ones", old=saves)
    else:
        builder.dropped.append(f"intermediate_saves: none of {saves} is among the steps")


def _drop_rest(builder: ImportBuilder, folder: Path) -> None:
    builder.drop_group(("randomize_class",), "never had an effect")
    builder.drop_group(("diffusion_steps",), "follows from steps")
    put_animation(builder)
    put_mode(builder, folder)
    contrast = [key for key in builder.old if CONTRAST.match(key)]
    builder.drop(contrast, "no correction of brightness and contrast here; see sat_scale and range_scale")
    builder.drop_group(
        ENLARGING,
        "gobig renders parts anew and sharpens, which this program does not; upscale: x4 only enlarges",
    )
    symmetric = [key for key in ("symmetry_loss", "symmetry_loss_v") if builder.old.get(key)]
    symmetric += ["symmetry_loss_h"] if builder.old.get("symmetry_loss_h") else []
    hint = "; nearest are use_horizontal_symmetry and use_vertical_symmetry" if symmetric else ""
    builder.drop_group(SYMMETRY, f"no symmetry loss here{hint}")
    builder.drop_group(("smooth_schedules",), "schedules are followed as they stand")
    builder.drop_group(("stop_early",), "every picture is finished here")
    builder.drop_group(("render_mask",), "see mask_path for what a mask does here")
    builder.drop_group(("use_jpg", "add_metadata"), "pictures are PNG files and carry their settings")
