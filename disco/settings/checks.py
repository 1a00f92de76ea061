"""What no single setting can tell: combinations that cannot work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from disco.errors import show
from disco.files.yaml_io import KeyPath
from disco.settings.frame import step_count
from disco.settings.kinds import ClipChoice, read_value
from disco.settings.layers import Layer
from disco.settings.methods import SAMPLERS, too_large
from disco.settings.model import Settings, facts_of
from disco.settings.network_defaults import CUSTOM, size_multiple
from disco.settings.prompts import ImagePrompt, Prompt, prompts_at
from disco.settings.schedules import LENGTH, Schedule
from disco.weights.registry import Entry

SMALLEST_SUM = 1e-3  # prompt weights are divided by the absolute value of their sum


@dataclass(frozen=True)
class CheckContext:
    """One set of settings to check.

    layer: what stands behind them. written: the keys that a user wrote. entry: the diffusion network, None
    for custom. unreadable: the keys whose values are placeholders for wrong ones, to be left alone.
    """

    settings: Settings
    layer: Layer
    written: frozenset[str]
    entry: Entry | None
    unreadable: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Issue:
    """A message about a key.

    path: the way to the part of its value that is meant. beside: the keys at whose line it stands if nobody
    wrote the key itself.
    """

    key: str
    text: str
    path: KeyPath = ()
    beside: tuple[str, ...] = ()


Check = Callable[[CheckContext], Iterator[Issue]]


def needs(*keys: str) -> Callable[[Check], Check]:
    """A check that is left out when one of its keys has a value that could not be read."""

    def wrap(function: Check) -> Check:
        def checked(context: CheckContext) -> Iterator[Issue]:
            if not context.unreadable & set(keys):
                yield from function(context)

        return checked

    return wrap


def is_usual(context: CheckContext, key: str) -> bool:
    """The default of the settings, or that of the network."""
    value, own = getattr(context.settings, key), context.entry.defaults if context.entry else {}
    return value == Settings.model_fields[key].default or (
        key in own and value == read_value(own[key], facts_of(key))
    )


def problems(context: CheckContext) -> Iterator[Issue]:
    """What cannot work, in the order of the checks below."""
    for function in _CHECKS:
        yield from function(context)


def of_one_picture(context: CheckContext) -> Iterator[Issue]:
    """The part of it that may be another for each frame of an animation."""
    for function in (_mask_acts, _no_cuts, _weights):
        yield from function(context)


@needs("steps", "skip_steps")
def _skip_steps(context: CheckContext) -> Iterator[Issue]:
    steps, skip = context.settings.steps, context.settings.skip_steps
    if skip >= steps and context.settings.animation_mode != "Video Input":  # which has keys of its own
        text = f"{skip} of {steps} steps leaves none: write at most {steps - 1}"
        yield Issue("skip_steps", text, beside=("steps",))


@needs("steps", "skip_steps", "intermediate_saves")
def _saves(context: CheckContext) -> Iterator[Issue]:
    saves, last = (
        context.settings.intermediate_saves,
        context.settings.steps - context.settings.skip_steps - 1,
    )
    if isinstance(saves, int) or last < 1:
        return
    for index, number in enumerate(saves):
        if not 1 <= number <= last:
            text = f"there is no step {number}: write steps from 1 to {last}"
            yield Issue("intermediate_saves", text, (index,))


@needs("width_height", "diffusion_model", "custom_config")
def _sides(context: CheckContext) -> Iterator[Issue]:
    step = size_multiple(context.settings, context.entry)
    for index, side in enumerate(context.settings.width_height):
        if side % step:
            below, above = side // step * step, side // step * step + step
            near = f"{below} or {above}" if below else f"{above}"
            network = context.settings.diffusion_model
            text = f"{side} is no multiple of {step}, which {network} needs: write {near}"
            yield Issue("width_height", text, (index,), ("diffusion_model",))


@needs("diffusion_sampling_mode", "use_vertical_symmetry", "use_horizontal_symmetry", "compat")
def _symmetry(context: CheckContext) -> Iterator[Issue]:
    """A symmetry with a sampler that has none; dd57 ignores it, as the original did (quirk Q17)."""
    settings, sampler = context.settings, context.settings.diffusion_sampling_mode
    if SAMPLERS[sampler].symmetry or settings.compat == "dd57":
        return
    others = " or ".join(name for name, facts in SAMPLERS.items() if facts.symmetry)
    for key in ("use_vertical_symmetry", "use_horizontal_symmetry"):
        if getattr(settings, key):
            yield Issue(key, f"{sampler} has no symmetry: write diffusion_sampling_mode: {others}")


@needs("mask_path", "init_image", "animation_mode")
def _mask_needs_a_picture(context: CheckContext) -> Iterator[Issue]:
    settings = context.settings
    if settings.mask_path is not None and settings.init_image is None:
        if settings.animation_mode != "Video Input":
            yield Issue("mask_path", "needs an init_image: the picture of which the mask keeps a part")


@needs("mask_path", "video_mask_path", "steps_to_repaint", "steps", "skip_steps")
def _mask_acts(context: CheckContext) -> Iterator[Issue]:
    settings = context.settings
    left = settings.steps - settings.skip_steps
    is_masked = settings.mask_path is not None or (
        settings.video_mask_path is not None and settings.animation_mode == "Video Input"
    )
    if is_masked and step_count(settings.steps_to_repaint, settings.steps) >= left > 0:
        text = f"{show(settings.steps_to_repaint)} leaves no step to the mask: write at most {left - 1}"
        yield Issue("steps_to_repaint", text, beside=("skip_steps", "steps", "mask_path"))


@needs("compat", "batch_size")
def _compat_batch(context: CheckContext) -> Iterator[Issue]:
    if context.settings.compat == "dd57" and context.settings.batch_size > 1:
        text = "compat: dd57 renders one picture at a time: write 1, or compat: fixed"
        yield Issue("batch_size", text, beside=("compat",))


@needs("diffusion_model", "custom_path")
def _custom(context: CheckContext) -> Iterator[Issue]:
    if context.settings.diffusion_model == CUSTOM and context.settings.custom_path is None:
        text = "diffusion_model: custom needs the path of its weights here"
        yield Issue("custom_path", text, beside=("diffusion_model",))


@needs("cut_overview", "cut_innercut", "clip_guidance_scale")
def _no_cuts(context: CheckContext) -> Iterator[Issue]:
    settings = context.settings
    bad = [
        index
        for index in range(LENGTH)
        if settings.clip_guidance_scale.at(index) and not _cuts(settings, index)
    ]
    if bad:
        text = f"no cutouts at all {_span(bad)}: cut_innercut is 0 there too"
        yield Issue("cut_overview", text, beside=("cut_innercut",))


def _cuts(settings: Settings, index: int) -> float:
    return settings.cut_overview.at(index) + settings.cut_innercut.at(index)


def _span(indices: list[int]) -> str:
    """The first run of indices, in words."""
    last = indices[0]
    while last + 1 in indices:
        last += 1
    if (indices[0], last) == (0, LENGTH - 1):
        return "anywhere"
    return f"at index {last}" if indices[0] == last else f"at indices {indices[0]} to {last}"


@needs("text_prompts", "image_prompts", "clip_models", "clip_guidance_scale")
def _weights(context: CheckContext) -> Iterator[Issue]:
    settings = context.settings
    prompts: list[Prompt | ImagePrompt] = [*prompts_at(settings.text_prompts, 0)]
    prompts += prompts_at(settings.image_prompts, 0)
    if settings.clip_guidance_scale.max() == 0:
        return
    if not prompts:
        yield Issue("text_prompts", "no prompt: write one, or clip_guidance_scale: 0 to go unguided")
        return
    if not settings.clip_models:
        yield Issue("clip_models", "no CLIP: name at least one, or write clip_guidance_scale: 0")
    elif all(choice.weight.max() == 0 for choice in settings.clip_models):
        yield Issue("clip_models", "every weight is 0: nothing would guide; write clip_guidance_scale: 0")
    seen: set[str] = set()
    for choice in settings.clip_models:
        mine = [prompt for prompt in prompts if not prompt.clip_models or choice.name in prompt.clip_models]
        if not mine:
            text = f"no prompt is meant for {choice.name}: it would be loaded without use"
            yield Issue("clip_models", text, beside=("text_prompts", "image_prompts"))
            continue
        text = _zero_sum([prompt.weight for prompt in mine], choice, settings)
        if text and text not in seen:
            seen.add(text)
            only = f" for {choice.name}" if len(mine) < len(prompts) else ""
            text = f"the prompt weights{only} {text}"
            yield Issue("text_prompts", text, beside=("image_prompts", "clip_models"))


def _zero_sum(weights: list[Schedule], choice: ClipChoice, settings: Settings) -> str:
    """What is wrong with the sum of the weights at the indices where this CLIP guides, or ""."""
    scale = settings.clip_guidance_scale
    schedules = [*weights, choice.weight, scale]
    indices = [0] if all(schedule.constant for schedule in schedules) else range(LENGTH)
    bad = [
        index
        for index in indices
        if scale.at(index) and choice.weight.at(index) and abs(_sum(weights, index)) < SMALLEST_SUM
    ]
    if not bad:
        return ""
    terms = " + ".join(f"{weight.at(bad[0]):g}" for weight in weights).replace("+ -", "- ")
    range_of_levels = "" if len(indices) == 1 else f" {_span(bad)}"
    return f"sum to 0{range_of_levels} ({terms}): change one, they are divided by their sum"


def _sum(weights: list[Schedule], index: int) -> float:
    return sum(weight.at(index) for weight in weights)


@needs("upscale", "width_height")
def _upscaled_size(context: CheckContext) -> Iterator[Issue]:
    settings = context.settings
    if settings.upscale == "none":
        return
    fault = too_large(settings.width_height, settings.upscale)
    if fault:
        smaller = "x2 or none" if settings.upscale == "x4" else "none"
        yield Issue(
            "upscale", f"{fault}: write {smaller}, or a smaller width_height", beside=("width_height",)
        )


_CHECKS: tuple[Check, ...] = (
    _skip_steps,
    _saves,
    _sides,
    _symmetry,
    _mask_needs_a_picture,
    _mask_acts,
    _compat_batch,
    _custom,
    _no_cuts,
    _weights,
    _upscaled_size,
)
