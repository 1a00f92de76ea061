"""Disco Diffusion's own `<batch>(<run>)_settings.txt` (JSON, up to 5.7) -> our keys, `compat: dd57`.

Also the files of its forks, and all parameters of its notebook's form, as web forms and entmike's YAML have
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from disco.settings.aliases import IGNORED, PRESETS, SIZE_256, SIZE_512
from disco.settings.importers.animation import ORIGINAL, put_animation, put_mode
from disco.settings.importers.builder import ImportBuilder, Imported
from disco.settings.importers.clips import clip_name, put_clips
from disco.settings.importers.networks import CUSTOM_PREFIX, put_disco_network
from disco.settings.importers.old_values import (
    put_batch_name,
    put_image_prompts,
    put_init_image,
    put_schedule,
    put_size,
)
from disco.settings.importers.prompts import put_text_prompts
from disco.settings.model import KEYS as OUR_KEYS
from disco.settings.model import ResumeSettings, facts_of
from disco.settings.syntax import numeral
from disco.weights.registry import registry

# The same name and meaning; of these only some are schedules here, and no Disco file schedules the others.
SCHEDULES = (
    "clip_guidance_scale",
    "tv_scale",
    "range_scale",
    "sat_scale",
    "init_scale",
    "clamp_max",
    "cutn_batches",
    "eta",
    "skip_augs",
    "cut_overview",
    "cut_innercut",
    "cut_ic_pow",
    "cut_icgray_p",
)
AS_THEY_ARE = (
    "steps",
    "skip_steps",
    "diffusion_sampling_mode",
    "use_secondary_model",
    "perlin_init",
    "perlin_mode",
    "clip_denoised",
    "clamp_grad",
    "fuzzy_prompt",
    "rand_mag",
    "use_vertical_symmetry",
    "use_horizontal_symmetry",
    "transformation_percent",
)
# Keys of the notebook's form that Disco's own settings files never hold.
UNSAVED = ("n_batches", "display_rate", "set_seed", "intermediate_saves", "animation_mode")
MACHINE = (
    *("google_drive", "save_models_to_google_drive", "simple_nvidia_smi_display", "cuda_device", "useCPU"),
    *("console_preview", "console_preview_width", "cutout_debug", "model_path", "root_path", "gen_config"),
    *("config_file", "batchNum", "is_colab", "download_midas", "USE_ADABINS", "use_adabins", "args"),
)
RESUME = tuple(ResumeSettings.model_fields)
FLAG_NAMES = {"ViTL14_336": "ViTL14_336px"}  # entmike's name: ours
KEYS = frozenset(
    (
        *(*SCHEDULES, *AS_THEY_ARE, *UNSAVED, *MACHINE, *RESUME, *IGNORED, *PRESETS, *ORIGINAL),
        *(*registry().clip_flags, *FLAG_NAMES, SIZE_512, SIZE_256),
        *("text_prompts", "image_prompts", "init_image", "batch_name", "seed", "width", "height", "cutn"),
        *("width_height", "diffusion_model", "custom_path", "skip_timesteps", "timestep_respacing"),
        *("diffusion_steps", "randomize_class", "use_checkpoint", "check_model_SHA", "SLIPB16", "SLIPL16"),
        *("intermediates_in_subfolder", "clip_models"),
    )
)
NOT_STORED = ("display_rate", "intermediate_saves", "animation_mode")


def import_disco(old: Mapping[str, Any], path: Path) -> Imported:
    """A Disco Diffusion settings file, already read, in our keys. path: only its name is used."""
    builder = ImportBuilder(old, "disco", path.name)
    put_batch_name(builder, builder.take("batch_name"), path)
    put_text_prompts(builder, builder.take("text_prompts"))
    put_image_prompts(builder, builder.take("image_prompts"), path.parent)
    builder.change("compat", "dd57", "the original's results, quirks included")
    _put_seed(builder)
    _put_count(builder)
    _put_steps(builder)
    put_disco_network(builder, path.parent)
    _put_size(builder)
    _put_clips(builder)
    put_init_image(builder, path.parent)
    for key in SCHEDULES:
        if builder.old.get(key) is not None:
            put_schedule(builder, key, builder.take(key))
    for key in AS_THEY_ARE:
        if builder.old.get(key) is not None:
            builder.keep(key, builder.take(key))
    _put_cutn(builder)
    _drop_rest(builder)
    _put_animation(builder, path.parent)
    for key in OUR_KEYS:  # of forks, and of this program
        if builder.old.get(key) is not None:
            builder.keep(key, builder.take(key))
    return builder.finish()


def _put_seed(builder: ImportBuilder) -> None:
    """seed is what was drawn, set_seed what the form asked for."""
    asked, seed = builder.take("set_seed"), builder.take("seed")
    was = "set_seed" if seed is None else "seed"
    if seed is not None and asked is not None:
        builder.dropped.append("set_seed: the file holds the seed that was drawn")
    value = asked if seed is None else seed
    if value is None:
        return
    builder.keep("set_seed", numeral(value), was=was)
    if "set_seed" in builder.run and builder.run["set_seed"] != "random_seed":
        builder.notes["set_seed"] = "the seed of the run's first picture; the others follow it in one stream"


def _put_count(builder: ImportBuilder) -> None:
    """n_batches, which only forks store; and what else the file does not say."""
    if builder.old.get("n_batches") is not None:
        builder.keep("n_batches", builder.take("n_batches"))
    else:
        builder.change("n_batches", 1, "not in Disco's files; raise it for the pictures after the first")
    missing = [key for key in NOT_STORED if builder.old.get(key) is None]
    if missing:
        still = "a still, with" if "animation_mode" in missing else "with"
        text = f"{', '.join(missing)} and the like are not in Disco's files"
        builder.changed.append(f"{text}: {still} the defaults of this program")


def _put_steps(builder: ImportBuilder) -> None:
    if builder.old.get("skip_timesteps") is not None:
        builder.keep("skip_steps", numeral(builder.take("skip_timesteps")), was="skip_timesteps")
    respacing = str(builder.take("timestep_respacing", ""))
    if respacing and "steps" not in builder.old:
        digits = respacing.removeprefix("ddim")
        if digits.isdigit():
            builder.keep("steps", int(digits), was="timestep_respacing")
        else:
            builder.drop(
                "timestep_respacing", f"{respacing!r} is no ddimN; the network's number of steps holds"
            )
    builder.drop_group(("diffusion_steps",), "follows from steps")


def _put_size(builder: ImportBuilder) -> None:
    """width and height, or the form's width_height, or that of its two which fits the network."""
    name = builder.run.get("diffusion_model", "")
    side = registry().get("diffusion", name).architecture.get("image_size") if name else 512
    fitting, other = (SIZE_256, SIZE_512) if side == 256 else (SIZE_512, SIZE_256)
    sides = [builder.take("width"), builder.take("height")]
    named = [value for key in ("width_height", fitting) if (value := builder.take(key)) is not None]
    sizes = [sides] if None not in sides else named
    builder.drop_group((other,), f"has no effect with {name or 'this network'}")
    if sizes:
        put_size(builder, sizes[0], "sides are multiples of 64, rounded down as the original did")
    elif sides != [None, None]:
        builder.dropped.append("width, height: only one of them is in the file; the default holds")


def _put_clips(builder: ImportBuilder) -> None:
    """The flags that are on. The registry lists them in the order of loading, in dd57 of random draws."""
    for old, ours in FLAG_NAMES.items():
        if old in builder.old:
            builder.old.setdefault(ours, builder.take(old))
    present = [flag for flag in registry().clip_flags if builder.old.get(flag) is not None]
    on = [flag for flag in present if builder.take_as(flag, False, facts_of("fuzzy_prompt"))]
    listed = builder.take("clip_models", [])
    names = listed if isinstance(listed, list) else [listed]
    entries = {str(entry.get("name") if isinstance(entry, dict) else entry): entry for entry in names}
    weights = {
        name: entry.get("weight", 1) if isinstance(entry, dict) else 1 for name, entry in entries.items()
    }
    on = [flag for flag in on if clip_name(flag, "dd57") not in {clip_name(name, "dd57") for name in weights}]
    was = ", ".join([*(["clip_models"] if weights else []), *on])
    put_clips(builder, {**weights, **dict.fromkeys(on, 1)}, was=was, compat="dd57")
    if present and "clip_models" not in builder.run:
        builder.warnings.append(
            "clip_models: no CLIP is switched on in the file: the network's defaults guide"
        )


def _put_cutn(builder: ImportBuilder) -> None:
    cutn = numeral(builder.take("cutn"))
    if cutn is None or {"cut_overview", "cut_innercut"} & builder.run.keys():
        return
    if isinstance(cutn, bool) or not isinstance(cutn, int) or not 1 <= cutn <= 1000:
        builder.refuse("cutn", cutn, "a whole number from 1 to 1000")
        return
    why = "versions before 3 took all their cuts at random; here they are shared out as in the later ones"
    builder.change("cutn", cutn, why)


def _drop_rest(builder: ImportBuilder) -> None:
    builder.drop_group(("randomize_class",), "never had an effect")
    slip = [key for key in builder.old if key.startswith("SLIP")]
    on = [key for key in slip if builder.old[key]]
    builder.drop([key for key in slip if key not in on], "SLIP networks, switched off")
    builder.drop(on, "SLIP networks are not supported: the picture will differ")
    builder.drop_group(MACHINE, "of the old program's machine; see device and run.py --help")
    builder.drop_group(RESUME, "of a run of the old program; see --resume")
    builder.drop_group(("check_model_SHA",), "every download is always checked")
    builder.drop_group(
        [key for key in builder.old if key.startswith(CUSTOM_PREFIX)], "no part of an architecture"
    )
    builder.drop_group(PRESETS, "presets are defaults of their networks; write the key without the prefix")


def _put_animation(builder: ImportBuilder, folder: Path) -> None:
    """The animation's settings; without a mode in the file they are there for who writes one."""
    is_stored = builder.old.get("animation_mode") is not None
    skip = builder.old.get("frames_skip_steps")
    if isinstance(skip, str) and skip.strip().isdecimal():
        builder.old["frames_skip_steps"] = f"{skip.strip()}%"  # the original reads a text as a share
    moved = put_animation(builder)
    put_mode(builder, folder)
    if moved and not is_stored:
        keys = ", ".join(moved)
        builder.changed.append(
            f"animation_mode: not in Disco's files: write 2D, 3D or Video Input, and these act: {keys}"
        )
