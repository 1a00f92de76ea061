"""Settings that have no effect as things are, and values that may mean something else than they seem to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from disco.errors import InputError
from disco.files.yaml_io import KeyPath
from disco.settings.checks import Check, CheckContext, Issue, is_usual, needs
from disco.settings.layers import SourcedValue
from disco.settings.methods import LOSSES, SAMPLERS
from disco.settings.model import KEYS, Settings, facts_of, is_animation
from disco.settings.network_defaults import CUSTOM
from disco.settings.prompts import lookalike_warning, prompt_path, unused_frames, weight_warning
from disco.settings.schedules import Schedule
from disco.weights.registry import registry


def notices(context: CheckContext) -> Iterator[Issue]:
    """What the user should know about these settings, in the order of the checks below."""
    for function in _CHECKS:
        yield from function(context)


def _dd57(settings: Settings) -> bool:
    return settings.compat == "dd57"


def _symmetric(settings: Settings) -> bool:
    return settings.use_vertical_symmetry or settings.use_horizontal_symmetry


def _without_eta(settings: Settings) -> bool:
    return not SAMPLERS[settings.diffusion_sampling_mode].uses_eta


def _ignores(key: str) -> Callable[[Settings], object]:
    """Is this symmetry asked for, of a sampler that has none, in dd57? Else it is an error: see checks."""

    def is_idle(settings: Settings) -> object:
        symmetry = SAMPLERS[settings.diffusion_sampling_mode].symmetry
        return getattr(settings, key) and not symmetry and _dd57(settings)

    return is_idle


def _no_init(settings: Settings) -> bool:
    if settings.animation_mode == "Video Input":
        return False
    return settings.init_image is None and not (settings.perlin_init and _dd57(settings))


def _no_mask(settings: Settings) -> bool:
    return settings.mask_path is None and settings.video_mask_path is None


_AS_BEFORE = "with compat: dd57, as in the original"
# Keys that a user may write for nothing; why ({sampler}: the one that is set); when.
_IGNORED: tuple[tuple[str, str, Callable[[Settings], object]], ...] = (
    *((key, _AS_BEFORE, _dd57) for key, loss in LOSSES.items() if not loss.in_dd57),
    ("video_init_range_scale", _AS_BEFORE, _dd57),
    ("hue_jitter_max", _AS_BEFORE, _dd57),
    *((key, _AS_BEFORE, _dd57) for key in ("noise_by", "noise_cast", "noise_size")),
    ("eta", "with {sampler}", _without_eta),
    ("rand_mag", "without fuzzy_prompt: true", lambda s: not s.fuzzy_prompt),
    ("perlin_mode", "without perlin_init: true", lambda s: not s.perlin_init),
    ("clamp_max", "with clamp_grad: false", lambda s: not s.clamp_grad),
    ("init_scale", "without an init_image", _no_init),
    ("init_image", "as the start: perlin_init wins", lambda s: s.init_image and s.perlin_init),
    ("mask_blur", "without a mask_path", _no_mask),
    ("steps_to_repaint", "without a mask_path", _no_mask),
    ("transformation_percent", "without a symmetry", lambda s: not _symmetric(s)),
    ("custom_path", "without diffusion_model: custom", lambda s: s.diffusion_model != CUSTOM),
    ("custom_config", "without diffusion_model: custom", lambda s: s.diffusion_model != CUSTOM),
    ("use_checkpoint", "with use_secondary_model: true", lambda s: s.use_secondary_model),
    *(
        (key, "with {sampler}, as in the original", _ignores(key))
        for key in ("use_vertical_symmetry", "use_horizontal_symmetry")
    ),
)


def _idle(context: CheckContext) -> Iterator[Issue]:
    """Only for values that are not the defaults: saved settings hold every key, and nobody meant those."""
    for key, why, is_idle in _IGNORED:
        if (
            key in context.written
            and not is_usual(context, key)
            and not context.unreadable
            and is_idle(context.settings)
        ):
            yield Issue(key, f"has no effect {why.format(sampler=context.settings.diffusion_sampling_mode)}")


def _without_effect(context: CheckContext) -> Iterator[Issue]:
    for key in KEYS:
        why = facts_of(key).get("no_effect")
        if why and key in context.written:
            yield Issue(key, f"has no effect here: {why}")


@needs("cut_ic_pow", "width_height", "clip_models")
def _inner_cuts(context: CheckContext) -> Iterator[Issue]:
    """Where no side is longer than what CLIP sees, all inner cuts have the same size."""
    sides = [_input_side(choice.name) for choice in context.settings.clip_models]
    shorter = min(context.settings.width_height)
    if "cut_ic_pow" not in context.written or is_usual(context, "cut_ic_pow") or not sides:
        return
    if all(side is not None and shorter <= side for side in sides):
        width, height = context.settings.width_height
        text = f"has no effect at {width}x{height}: no inner cut is smaller than its shorter side"
        yield Issue("cut_ic_pow", text)


def _input_side(name: str) -> int | None:
    """The side of a CLIP's input in pixels, where the registry knows it."""
    try:
        side = registry().find_clip(name)[0].architecture.get("image_size")
    except InputError:
        return None
    return side if isinstance(side, int) else None


@needs("compat", "transformation_percent")
def _never_fires(context: CheckContext) -> Iterator[Issue]:
    if (
        _dd57(context.settings)
        and _symmetric(context.settings)
        and 0.0 in context.settings.transformation_percent
    ):
        yield Issue("transformation_percent", "0 has no effect with compat: dd57, as in the original")


@needs("diffusion_model", "custom_config")
def _custom_config(context: CheckContext) -> Iterator[Issue]:
    if context.settings.diffusion_model == CUSTOM and not context.settings.custom_config:
        text = "not given: read off weights of a published architecture, else the original's for custom"
        yield Issue("custom_config", text)


def _frames(context: CheckContext) -> Iterator[Issue]:
    if is_animation(context.settings):
        return
    for key in KEYS:
        value = getattr(context.settings, key)
        if isinstance(value, Schedule) and value.frames is not None:
            frame = value.frames.keys[0][0]
            yield Issue(key, f"a still uses the schedule of frame {frame}; the others are for animations")


@needs("text_prompts", "image_prompts")
def _prompts(context: CheckContext) -> Iterator[Issue]:
    for key in ("text_prompts", "image_prompts"):
        prompts = getattr(context.settings, key)
        unused = unused_frames(prompts)
        if unused and not is_animation(context.settings):
            used = next(frame for frame in prompts if frame not in unused)
            listed = ", ".join(map(str, unused))
            yield Issue(key, f"a still uses the prompts of {used}; those of {listed} are for animations")
    sourced = context.layer.get("text_prompts")
    if sourced is None:
        yield Issue("text_prompts", "none given: the default prompts are painted")
        return
    yield from _weight_warnings(context.settings, sourced)


def _weight_warnings(settings: Settings, sourced: SourcedValue) -> Iterator[Issue]:
    for frame, group in settings.text_prompts.items():
        for index, prompt in enumerate(group):
            path = prompt_path(sourced.value, frame, index)
            warning = weight_warning(prompt)
            if warning is None and isinstance(_part(sourced.value, path), str):
                warning = lookalike_warning(prompt)
            if warning:
                yield Issue("text_prompts", warning, path)


def _part(value: Any, path: KeyPath) -> Any:
    for key in path:
        value = value[key]
    return value


_CHECKS: tuple[Check, ...] = (
    _idle,
    _without_effect,
    _inner_cuts,
    _never_fires,
    _custom_config,
    _frames,
    _prompts,
)
