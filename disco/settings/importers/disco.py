"""Disco Diffusion's own `<batch>(<run>)_settings.txt` (JSON, up to 5.7) -> our keys, `compat: dd57`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from disco.settings.importers.animation import put_animation
from disco.settings.importers.clips import put_clips
from disco.settings.importers.draft import ImportBuilder, Imported
from disco.settings.importers.old_values import (
    put_batch_name,
    put_image_prompts,
    put_init_image,
    put_network,
    put_schedule,
    put_size,
)
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
NOT_STORED = "display_rate, intermediate_saves, animation_mode and the like"


def import_disco(old: Mapping[str, Any], path: Path) -> Imported:
    """A Disco Diffusion settings file, already read, in our keys. path: only its name is used."""
    draft = ImportBuilder(old, "disco", path.name)
    put_batch_name(draft, draft.take("batch_name"), path)
    _put_prompts(draft, path.parent)
    draft.change("compat", "dd57", "the original's results, quirks included")
    _put_seed(draft)
    _put_steps(draft)
    put_network(draft, draft.take("diffusion_model", "512x512_diffusion_uncond_finetune_008100"))
    if "width" in draft.old and "height" in draft.old:
        width, height = draft.take("width"), draft.take("height")
        put_size(draft, (width, height), "sides are multiples of 64, rounded down as the original did")
    # The registry lists the flags in the order of loading, which in dd57 is the order of random draws.
    on = [flag for flag in registry().clip_flags if draft.take(flag, False)]
    put_clips(draft, dict.fromkeys(on, 1), was=", ".join(on), compat="dd57")
    put_init_image(draft, path.parent)
    for key in SCHEDULES:
        if key in draft.old:
            put_schedule(draft, key, draft.take(key))
    for key in AS_THEY_ARE:
        if draft.old.get(key) is not None:
            draft.keep(key, draft.take(key))
    _put_cutn(draft)
    _drop_rest(draft)
    return draft.finish()


def _put_prompts(draft: ImportBuilder, folder: Path) -> None:
    """{"0": [...], "100": [...]}: keys become numbers; a list or a single text is frame 0 (old versions)."""
    prompts = draft.take("text_prompts")
    if isinstance(prompts, Mapping):
        frames = {int(frame): group for frame, group in prompts.items() if group}
        prompts = frames[0] if list(frames) == [0] else frames
        if len(frames) > 1:
            draft.notes["text_prompts"] = f"a still uses frame {min(frames)} only"
    if prompts:
        draft.keep("text_prompts", prompts)
    put_image_prompts(draft, draft.take("image_prompts"), folder)


def _put_seed(draft: ImportBuilder) -> None:
    seed = draft.take("seed")
    if seed is not None:
        draft.keep("set_seed", int(seed), was="seed")
        draft.notes["set_seed"] = "the seed of the run's first picture; the others follow it in one stream"
    draft.change("n_batches", 1, "not in Disco's files; raise it for the pictures after the first")
    draft.changed.append(f"{NOT_STORED} are not in Disco's files: a still, with the defaults of this program")


def _put_steps(draft: ImportBuilder) -> None:
    if "skip_timesteps" in draft.old:
        draft.keep("skip_steps", int(draft.take("skip_timesteps")), was="skip_timesteps")
    respacing = str(draft.take("timestep_respacing", ""))
    if respacing and "steps" not in draft.old:
        digits = respacing.removeprefix("ddim")
        if digits.isdigit():
            draft.keep("steps", int(digits), was="timestep_respacing")
        else:
            draft.drop(
                "timestep_respacing", f"{respacing!r} is no ddimN; the network's number of steps holds"
            )
    draft.drop_group(("diffusion_steps",), "follows from steps")


def _put_cutn(draft: ImportBuilder) -> None:
    cutn = draft.take("cutn")
    if cutn is not None and not {"cut_overview", "cut_innercut"} & draft.run.keys():
        why = "versions before 3 took all their cuts at random; here they are shared out as in the later ones"
        draft.change("cutn", int(cutn), why)


def _drop_rest(draft: ImportBuilder) -> None:
    draft.drop_group(("randomize_class",), "never had an effect")
    slip = [key for key in draft.old if key.startswith("SLIP")]
    on = [key for key in slip if draft.old[key]]
    draft.drop([key for key in slip if key not in on], "SLIP networks, switched off")
    draft.drop(on, "SLIP networks are not supported: the picture will differ")
    moved = put_animation(draft)
    if moved:
        keys = ", ".join(moved)
        draft.changed.append(
            f"animation_mode: not in Disco's files: write 2D, 3D or Video Input, and these act: {keys}"
        )
