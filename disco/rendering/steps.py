"""The steps of a batch of pictures, each tried until it fits into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from torch import Tensor

from disco.guidance import Guidance, Perceptual, in_parts
from disco.memory.devices import move
from disco.memory.policy import MemoryPolicy
from disco.memory.streams import executor_for
from disco.networks.compile import is_worth_it, prepare
from disco.networks.perceptual import PerceptualNet
from disco.rendering.batch import Batch
from disco.rendering.prepare import RunContext
from disco.sampling.diffusion import Step
from disco.sampling.masks import make_mask_blend, make_steady, resize_mask
from disco.sampling.randomness import Randomness
from disco.sampling.samplers import (
    SAMPLERS,
    BeforeStep,
    Guided,
    History,
    Sample,
    SamplerOptions,
    identity,
    in_turn,
    make_symmetry,
)
from disco.settings import methods
from disco.settings.frame import step_count

Loop = Callable[[Tensor, int, History], Iterator[Sample]]


def steps_of(
    batch: Batch,
    random: Randomness,
    begin: tuple[Tensor, int, History],
    init: Tensor | None,
    keep: Callable[[], None],
) -> Iterator[Sample]:
    """Every step that is left, noisiest first.

    begin: x_t before the first of them, its index among all, and the history of the step before (tensors on
    any device). init: what the init loss pulls to. keep: writes the checkpoint of the last whole step; called
    before a memory saving is turned on, so that a resumed run turns it on at the same step.
    """
    oom_retry, networks = batch.context.oom_retry, batch.context.networks
    steps_left = len(batch.steps) - begin[1] + batch.steps_after
    prepare(networks, is_worth_it(batch.context.settings, networks, steps_left), oom_retry.tell)
    loop = oom_retry.run(lambda: _loop(batch, random, _Guide(batch, random, init)))
    x_t, done, history = begin
    history = tuple(value.to(x_t.device) if isinstance(value, Tensor) else value for value in history)
    for _ in batch.steps[done:]:
        once = partial(_once, loop, random, random.state(), (x_t, done, history))
        sample = oom_retry.run(once, pictures=len(batch.pictures), keep=keep)
        yield sample
        x_t, done, history = sample.x_t, done + 1, sample.history


def _once(
    loop: Loop,
    random: Randomness,
    state: Mapping[str, Tensor],
    begin: tuple[Tensor, int, History],
) -> Sample:
    """One step from its very beginning, with the random numbers that come then."""
    if state:
        random.restore(state)
    return next(loop(*begin))


class _Guide:
    """Denoiser and guidance of a batch, made anew whenever the memory saving changes."""

    def __init__(self, batch: Batch, random: Randomness, init: Tensor | None) -> None:
        self.batch, self.random, self.init = batch, random, init
        self._made: tuple[MemoryPolicy, Guided] | None = None

    def __call__(self, x_t: Tensor, step: Step) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        saving = self.batch.context.oom_retry.saving
        if self._made is None or self._made[0] != saving:
            self._made = None  # let go of what it kept before the new one comes
            self._made = (saving, self._make(saving))
        return self._made[1](x_t, step)

    def _make(self, saving: MemoryPolicy) -> Guided:
        context, pictures = self.batch.context, self.batch.pictures
        together = saving.together or len(pictures)
        if together >= len(pictures):
            return self._one(saving, self.random, self.init, context.networks.lpips)
        loaded, parts = context.networks.lpips, []
        lpips = None if loaded is None else _CachedPerceptual(loaded)
        for at in range(0, len(pictures), together):
            some = slice(at, at + together)
            init = self.init if self.init is None or len(self.init) == 1 else self.init[some]
            parts.append((some, self._one(saving, context.randomness(pictures[some]), init, lpips)))
        return in_parts(parts)

    def _one(
        self, saving: MemoryPolicy, random: Randomness, init: Tensor | None, lpips: Perceptual | None
    ) -> Guided:
        context = self.batch.context
        return Guidance(
            context.networks.denoiser,
            context.networks.secondary,
            context.targets,
            context.settings,
            random,
            init=init,
            lpips=lpips,
            compat=context.settings.compat,
            saving=saving,
            side=executor_for(context.device, saving),
            space=context.networks.space,
        )


class _CachedPerceptual:
    """A perceptual network whose prepare() runs once for all parts of a batch."""

    def __init__(self, lpips: PerceptualNet) -> None:
        self.lpips = lpips
        self._known: tuple[Tensor, Callable[[Tensor], Tensor]] | None = None

    def prepare(self, init: Tensor) -> Callable[[Tensor], Tensor]:
        if self._known is None or self._known[0] is not init:
            self._known = (init, self.lpips.prepare(init))
        return self._known[1]


def _loop(batch: Batch, random: Randomness, guided: Guided) -> Loop:
    """loop(x_t, done, history): the steps from `done` on."""
    sampler, options = SAMPLERS[batch.context.settings.diffusion_sampling_mode], _options(batch, random)
    return lambda x_t, done, history: sampler(x_t, batch.steps, guided, options, begin=done, history=history)


def _options(batch: Batch, random: Randomness) -> SamplerOptions:
    context, settings = batch.context, batch.context.settings
    shape = context.networks.space.shape(len(batch.pictures), settings.width_height)
    hooks = (_symmetry(batch), _steady(context, random, shape), _mask_blend(context, random, shape))
    return SamplerOptions(
        eta=lambda step: float(settings.eta.at(step.index)),
        noise=lambda step: move(random.step_noise(step, shape), context.device),
        before_step=in_turn(*hooks),
        clip_denoised=settings.clip_denoised,
        compat=settings.compat,
    )


def _symmetry(batch: Batch) -> BeforeStep:
    """Mirrors x_t when it is due, with the samplers that allow it."""
    settings = batch.context.settings
    if not methods.SAMPLERS[settings.diffusion_sampling_mode].symmetry:
        return identity
    return make_symmetry(
        batch.steps[0].n,
        settings.use_horizontal_symmetry,
        settings.use_vertical_symmetry,
        settings.transformation_percent,
        settings.compat,
    )


def _steady(context: RunContext, random: Randomness, shape: tuple[int, ...]) -> BeforeStep:
    """Leaves what the frame before showed already out of the first steps."""
    steady_fraction = context.settings.video_init_steady
    if context.known is None or steady_fraction == 0:
        return identity
    assert context.init is not None
    noise = random.start_noise(shape).to(context.device)
    start = context.networks.space.encode(context.init)
    return make_steady(start, resize_mask(context.known, shape), noise, steady_fraction)


def _mask_blend(context: RunContext, random: Randomness, shape: tuple[int, ...]) -> BeforeStep:
    """Holds the part of the init picture that the mask keeps."""
    if context.mask is None:
        return identity
    assert context.init is not None
    to_repaint = step_count(context.settings.steps_to_repaint, context.settings.steps)
    original = context.networks.space.encode(context.init)
    mask = resize_mask(context.mask.to(context.device), shape)

    def noise(step: Step) -> Tensor:
        return move(random.mask_noise(step, shape), context.device)

    return make_mask_blend(original, mask, noise, to_repaint)
