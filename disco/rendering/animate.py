"""The frames of an animation, one after another: each starts from the frame before it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

from torch import Tensor

from disco.animation.load import add_motion_networks
from disco.animation.transition import FrameTransition
from disco.animation.turbo import Turbo, blend, turbo_of
from disco.errors import InputError
from disco.events import Event, Notice, PictureFinished, PictureStarted
from disco.losses.targets import PromptTarget
from disco.media.images import png_bytes
from disco.rendering.batch import ArtifactSink, Batch, Stop
from disco.rendering.finish import finish_eye, finish_group, finish_picture
from disco.rendering.prepare import RunContext, open_run
from disco.rendering.still import executed_steps, metadata_of, render_batch
from disco.runs.frame_ranges import has_frame, load_frame, needed_frames
from disco.runs.frames import FrameState, FrameStore
from disco.runs.inputs import Pictures
from disco.runs.names import RunNames
from disco.runs.new_run import Job, saved_values
from disco.runs.report import RunStats
from disco.settings.frame import at_frame, executed, is_chained, random_place, stream_seed
from disco.settings.load import Run
from disco.settings.model import Settings

FIRST = 0
Postprocess = Callable[[Tensor], Tensor]


class FrameStates(Protocol):
    """The states of frames, which later ones start from."""

    def load(self, frame: int) -> FrameState | None: ...

    def save(self, state: FrameState) -> Any: ...

    def keep(self, frames: Collection[int]) -> None:
        """Remove all others."""


@dataclass(frozen=True)
class FrameChain:
    """Frames of a run that one process renders, in order. folder, store: where their files and states go.

    wanted: those that are still to be saved.
    """

    run: Run
    seed: int
    folder: ArtifactSink
    store: FrameStates
    frames: tuple[int, ...]
    wanted: frozenset[int]


class _StoredFrames(FrameStore):
    """The frames of a run's folder, and of the run that a range goes on from."""

    def __init__(self, job: Job) -> None:
        super().__init__(job.folder.names.state)
        self.runs = _sources(job)

    def load(self, frame: int) -> FrameState | None:
        return load_frame(self.runs, frame)


@dataclass
class AnimationState:
    """The state of an animation. context: of the run, with its networks; last: the frame rendered last."""

    chain: FrameChain
    context: RunContext
    pictures: Pictures
    stats: RunStats
    stop: Stop
    transition: FrameTransition
    turbo: Turbo | None
    last: FrameState | None = None
    first: Tensor | None = None
    saved: dict[str, Any] = field(default_factory=dict)
    encoded: tuple[Any, tuple[PromptTarget, ...]] | None = None

    @property
    def settings(self) -> Settings:
        return self.chain.run.settings


@dataclass(frozen=True)
class FrameInputs:
    """What a frame starts from. before: state of the frame before; moved, old: pictures moved to this one.

    known: which parts of `moved` are to be repainted only lightly.
    """

    frame: int
    before: Tensor | None = None
    moved: Tensor | None = None
    old: Tensor | None = None
    known: Tensor | None = None


def render_frames(
    job: Job, context: RunContext, pictures: Pictures, stats: RunStats, stop: Stop
) -> Iterator[Event]:
    """Render the wanted frames, going on from those there. Raises InputError if a frame before is missing."""
    frames = tuple(frame for (frame,) in job.groups)
    chain = FrameChain(job.run, job.seed, job.folder, _StoredFrames(job), frames, job.wanted)
    is_left = partial(finish_group, job, context)
    yield from render_chain(chain, context, pictures, stats, stop, is_left)


def render_chain(
    chain: FrameChain,
    context: RunContext,
    pictures: Pictures,
    stats: RunStats,
    stop: Stop,
    is_left: Callable[[tuple[int]], bool] = lambda frame: True,
) -> Iterator[Event]:
    """render_frames for these frames. is_left: asked before each of them whether it is to be rendered."""
    settings, networks = chain.run.settings, context.networks
    motion: dict[str, object] = {"3D": networks.depth, "Video Input": networks.flow}
    if motion.get(settings.animation_mode, networks) is None:  # the caller handed others in
        add_motion_networks(networks, settings)
    transition = FrameTransition(settings, context.device, networks.depth, networks.flow, pictures.video)
    transition = context.oom_retry.wrap(transition)
    turbo = turbo_of(settings)
    saved = saved_values(chain.run)
    animation = AnimationState(chain, context, pictures, stats, stop, transition, turbo, saved=saved)
    left = steps_left(settings, chain.wanted)
    for frame in chain.frames:
        if not is_left((frame,)):
            stats.stopped = frame != chain.frames[-1] and stop()
            if stats.stopped:
                return
            continue
        inputs = yield from _inputs_of(animation, frame)
        if not is_rendered(turbo, frame):
            yield from _left_out(animation, inputs)
        else:
            left -= executed(settings, frame)
            yield from render_batch(_batch(animation, inputs, left))
        if stats.stopped:
            return
        chain.store.keep({FIRST, frame - 1, frame} if _looks_at_first(settings) else {frame - 1, frame})


def is_rendered(turbo: Turbo | None, frame: int) -> bool:
    """False for a frame that turbo makes of earlier ones."""
    return turbo is None or turbo.is_rendered(frame)


def steps_left(settings: Settings, frames: Collection[int]) -> int:
    """All steps of these frames."""
    turbo = turbo_of(settings)
    return sum(executed(settings, frame) for frame in frames if is_rendered(turbo, frame))


def _looks_at_first(settings: Settings) -> bool:
    return settings.color_coherence != "none" and settings.color_coherence_to == "first"


def check_frames(job: Job) -> None:
    """Raises InputError if a frame that must be there before others is not, neither as floats nor as PNG."""
    for needed in needed_frames(job.run.settings, sorted(job.wanted)):
        if not any(has_frame(names, needed) for names in _sources(job)):
            raise _gone(job.folder.names, needed)


def states_before(job: Job, frames: Sequence[int]) -> tuple[FrameState, ...]:
    """The states that these frames start from, as far as they are there."""
    states = (load_frame(_sources(job), frame) for frame in needed_frames(job.run.settings, frames))
    return tuple(state for state in states if state is not None)


def _sources(job: Job) -> tuple[RunNames, ...]:
    return (job.folder.names,) if job.source is None else (job.folder.names, job.source)


def _gone(names: RunNames, frame: int) -> InputError:
    path = names.picture(frame)
    again = f"render from an earlier frame on with --resume and resume_from_frame: {max(frame - 1, 0)}"
    return InputError(
        f"{path}: frame {frame} is missing, and later frames start from it. Put it back, or {again}"
    )


def _earlier(animation: AnimationState, frame: int) -> Generator[Event, None, FrameState]:
    """The state of an earlier frame, with a notice if only its PNG is there."""
    if animation.last is not None and animation.last.frame == frame:
        return animation.last
    state = animation.chain.store.load(frame)
    if state is None:
        raise _gone(animation.chain.folder.names, frame)
    width, height = animation.settings.width_height
    if state.picture.shape[-2:] != (height, width):
        there = f"{state.picture.shape[-1]}x{state.picture.shape[-2]}"
        raise InputError(
            f"frame {frame} is {there}, width_height is {width}x{height}: no frame can start from it"
        )
    if not state.exact and animation.settings.compat == "fixed":
        yield Notice(f"frame {frame} is read from its 8-bit PNG: the frames after it change slightly")
    return state


def _inputs_of(animation: AnimationState, frame: int) -> Generator[Event, None, FrameInputs]:
    settings, turbo = animation.settings, animation.turbo
    if frame == 0 or not is_chained(settings):
        return FrameInputs(frame)
    before = yield from _earlier(animation, frame - 1)
    (moved, known), old = animation.transition.moved(frame, before.picture), None
    if turbo is not None and frame > turbo.preroll:
        old = moved if before.old is None else animation.transition.moved(frame, before.old)[0]
    if _looks_at_first(settings) and animation.first is None:
        first = yield from _earlier(animation, FIRST)
        animation.first = first.picture
    return FrameInputs(frame, before.picture, moved, old, known)


def _batch(animation: AnimationState, inputs: FrameInputs, steps_after: int) -> Batch:
    """The frame as a batch of one, from its own settings, start and random numbers."""
    settings, frame, context = (
        at_frame(animation.settings, inputs.frame),
        inputs.frame,
        _frame_context(animation, inputs.frame),
    )
    init = animation.transition.start(frame, inputs.moved, inputs.before, animation.first)
    if init is not None:
        context = replace(context, init=init.to(context.device))
    context = replace(context, settings=settings, mask=animation.pictures.mask_of(frame), known=inputs.known)
    return _of_one(
        animation, frame, context, steps_after, lambda guess: _keep_for_next(animation, inputs, guess)
    )


def _of_one(
    animation: AnimationState,
    frame: int,
    context: RunContext,
    steps_after: int = 0,
    postprocess: Postprocess | None = None,
) -> Batch:
    return Batch(
        context,
        animation.chain.folder,
        (frame,),
        frozenset({frame}),
        animation.saved,
        animation.stop,
        animation.stats,
        steps_after=steps_after,
        steps=executed_steps(context) if postprocess is not None else [],
        postprocess=postprocess,
    )


def _frame_context(animation: AnimationState, frame: int) -> RunContext:
    """The frame's prompts, and in dd57 its random stream. Init picture and mask are those of frame 0."""
    settings, seed = at_frame(animation.settings, frame), animation.chain.seed
    shared = (animation.context.networks, animation.context.oom_retry, animation.pictures)
    if settings.compat == "dd57":
        return open_run(settings, seed, *shared, stream_seed(animation.settings, seed, frame))
    prompts = (settings.text_prompts, settings.image_prompts, settings.clip_models)
    if animation.encoded is None or animation.encoded[0] != prompts:
        animation.encoded = (prompts, open_run(settings, seed, *shared).targets)
    drawn_as = (random_place(settings, frame),)
    return replace(animation.context, targets=animation.encoded[1], drawn_as=drawn_as)


def _keep_for_next(animation: AnimationState, inputs: FrameInputs, guess: Tensor) -> Tensor:
    """Keep a rendered frame [3, H, W] for the next one; returns what its PNG shows."""
    picture, moved, turbo = animation.transition.kept(guess[None]), inputs.moved, animation.turbo
    if turbo is None or moved is None:
        _keep(animation, FrameState(inputs.frame, picture), picture)
        return guess
    old = turbo.next_old(inputs.frame, picture, moved, inputs.old)
    shown = animation.transition.shown(blend(picture, moved, turbo.weight(inputs.frame)))
    _keep(animation, FrameState(inputs.frame, picture, old), shown)
    return shown[0]


def _left_out(animation: AnimationState, inputs: FrameInputs) -> Iterator[Event]:
    """A frame that turbo makes of the two before it."""
    turbo, frame, began = animation.turbo, inputs.frame, time.monotonic()
    assert turbo is not None and inputs.moved is not None
    yield PictureStarted((frame,))
    old = turbo.next_old(frame, None, inputs.moved, inputs.old)
    shown = animation.transition.shown(blend(inputs.moved, old, turbo.weight(frame)))
    _keep(animation, FrameState(frame, inputs.moved, old), shown)
    metadata = metadata_of(_of_one(animation, frame, animation.context), frame)
    png = png_bytes(shown[0], metadata)
    path = animation.chain.folder.save_picture(frame, png)
    yield PictureFinished(frame, path, time.monotonic() - began)
    finish_picture(animation.context, animation.chain.folder, frame, png)
    if frame != animation.chain.frames[-1] and animation.stop():
        animation.stats.stopped = True


def _keep(animation: AnimationState, state: FrameState, shown: Tensor) -> None:
    """Save what must be on disk before the frame's PNG, which marks it as done."""
    animation.chain.store.save(state)
    animation.last = state
    if state.frame == FIRST:
        animation.first = state.picture
    if animation.settings.vr_mode and animation.settings.animation_mode == "3D":
        for side, eye in zip("lr", animation.transition.eyes(shown), strict=True):
            png = png_bytes(eye[0])
            animation.chain.folder.save_eye(state.frame, side, png)
            finish_eye(animation.context, animation.chain.folder, state.frame, side, png)
