"""The frames of an animation, one after another: each starts from what the frame before it left."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from disco.animation.transition import Mover
from disco.animation.turbo import Turbo, blend, turbo_of
from disco.errors import InputError
from disco.events import Event, Notice, PictureFinished, PictureStarted
from disco.losses.targets import Target
from disco.media.images import png_bytes
from disco.rendering.batch import Batch, Stop
from disco.rendering.prepare import Studio, load_moving, open_studio
from disco.rendering.still import executed_steps, metadata_of, render_batch
from disco.runs.frame_ranges import has_frame, load_frame, needed_frames
from disco.runs.frames import FrameState, FrameStore
from disco.runs.inputs import Pictures
from disco.runs.names import RunNames
from disco.runs.new_run import Job, saved_values
from disco.runs.report import Tally
from disco.settings.frame import at_frame, executed, is_chained, random_place, stream_seed
from disco.settings.model import Settings

FIRST = 0
Develop = Callable[[Tensor], Tensor]


@dataclass
class Reel:
    """An animation on its way. studio: of the run, which has the networks; last: the frame rendered last."""

    job: Job
    studio: Studio
    pictures: Pictures
    tally: Tally
    stop: Stop
    mover: Mover
    turbo: Turbo | None
    store: FrameStore
    last: FrameState | None = None
    first: Tensor | None = None
    saved: dict[str, Any] = field(default_factory=dict)
    encoded: tuple[Any, tuple[Target, ...]] | None = None

    @property
    def settings(self) -> Settings:
        return self.job.run.settings


@dataclass(frozen=True)
class _Place:
    """A frame in the reel. before: what the frame before left; moved, old: pictures moved to here.

    known: what of `moved` is to be repainted but lightly.
    """

    frame: int
    before: Tensor | None = None
    moved: Tensor | None = None
    old: Tensor | None = None
    known: Tensor | None = None


def render_frames(job: Job, studio: Studio, pictures: Pictures, tally: Tally, stop: Stop) -> Iterator[Event]:
    """Render what the job wants, going on from what is there. Raises InputError if a frame before is gone."""
    settings, networks = job.run.settings, studio.networks
    if networks.depth is None and networks.flow is None:  # the caller handed networks of stills in
        load_moving(settings).join(networks)
    mover = Mover(settings, studio.device, networks.depth, networks.flow, pictures.video)
    mover = studio.oom_retry.wrap(mover, networks.depth, networks.flow)
    turbo = turbo_of(settings)
    store, saved = FrameStore(job.folder.names.state), saved_values(job.run)
    reel = Reel(job, studio, pictures, tally, stop, mover, turbo, store, saved=saved)
    left = sum(executed(settings, frame) for (frame,) in job.groups if is_rendered(turbo, frame))
    for (frame,) in job.groups:
        place = yield from _placed(reel, frame)
        if not is_rendered(turbo, frame):
            yield from _left_out(reel, place)
        else:
            left -= executed(settings, frame)
            yield from render_batch(_batch(reel, place, left))
        if tally.stopped:
            return
        store.keep({FIRST, frame - 1, frame} if _looks_at_first(settings) else {frame - 1, frame})


def is_rendered(turbo: Turbo | None, frame: int) -> bool:
    """Or does turbo leave it out?"""
    return turbo is None or turbo.is_rendered(frame)


def _looks_at_first(settings: Settings) -> bool:
    return settings.color_coherence != "none" and settings.color_coherence_to == "first"


def check_frames(job: Job) -> None:
    """Raises InputError if a frame that must be there before others is not, neither as floats nor as PNG."""
    frames = [frame for group in job.groups for frame in group]
    for needed in needed_frames(job.run.settings, frames):
        if not any(has_frame(names, needed) for names in _places(job)):
            raise _gone(job, needed)


def _places(job: Job) -> tuple[RunNames, ...]:
    return (job.folder.names,) if job.source is None else (job.folder.names, job.source)


def _gone(job: Job, frame: int) -> InputError:
    path = job.folder.names.picture(frame)
    again = f"render from an earlier frame on with --resume and resume_from_frame: {max(frame - 1, 0)}"
    return InputError(
        f"{path}: frame {frame} is missing, and later frames start from it. Put it back, or {again}"
    )


def _earlier(reel: Reel, frame: int) -> Generator[Event, None, FrameState]:
    """What an earlier frame left, with a notice if only its PNG is there."""
    if reel.last is not None and reel.last.frame == frame:
        return reel.last
    state = load_frame(_places(reel.job), frame)
    if state is None:
        raise _gone(reel.job, frame)
    width, height = reel.settings.width_height
    if state.picture.shape[-2:] != (height, width):
        there = f"{state.picture.shape[-1]}x{state.picture.shape[-2]}"
        raise InputError(
            f"frame {frame} is {there}, width_height is {width}x{height}: no frame can start from it"
        )
    if not state.exact and reel.settings.compat == "fixed":
        yield Notice(f"frame {frame} is read from its 8-bit PNG: the frames after it change slightly")
    return state


def _placed(reel: Reel, frame: int) -> Generator[Event, None, _Place]:
    settings, turbo = reel.settings, reel.turbo
    if frame == 0 or not is_chained(settings):
        return _Place(frame)
    before = yield from _earlier(reel, frame - 1)
    (moved, known), old = reel.mover.moved(frame, before.picture), None
    if turbo is not None and frame > turbo.preroll:
        old = moved if before.old is None else reel.mover.moved(frame, before.old)[0]
    if _looks_at_first(settings) and reel.first is None:
        first = yield from _earlier(reel, FIRST)
        reel.first = first.picture
    return _Place(frame, before.picture, moved, old, known)


def _batch(reel: Reel, place: _Place, steps_after: int) -> Batch:
    """The frame as a batch of one, from its own settings, start and random numbers."""
    settings, frame, studio = at_frame(reel.settings, place.frame), place.frame, _studio(reel, place.frame)
    init = reel.mover.start(frame, place.moved, place.before, reel.first)
    if init is not None:
        studio = replace(studio, init=init.to(studio.device))
    studio = replace(studio, settings=settings, mask=reel.pictures.mask_of(frame), known=place.known)
    return _of_one(reel, frame, studio, steps_after, lambda guess: _develop(reel, place, guess))


def _of_one(
    reel: Reel, frame: int, studio: Studio, steps_after: int = 0, develop: Develop | None = None
) -> Batch:
    return Batch(
        studio,
        reel.job.folder,
        (frame,),
        frozenset({frame}),
        reel.saved,
        reel.stop,
        reel.tally,
        steps_after=steps_after,
        steps=executed_steps(studio) if develop is not None else [],
        develop=develop,
    )


def _studio(reel: Reel, frame: int) -> Studio:
    """The frame's prompts, and in dd57 its random stream. Init picture and mask are those of frame 0."""
    settings, seed = at_frame(reel.settings, frame), reel.job.seed
    given = (reel.studio.networks, reel.studio.oom_retry, reel.pictures)
    if settings.compat == "dd57":
        return open_studio(settings, seed, *given, stream_seed(reel.settings, seed, frame))
    prompts = (settings.text_prompts, settings.image_prompts, settings.clip_models)
    if reel.encoded is None or reel.encoded[0] != prompts:
        reel.encoded = (prompts, open_studio(settings, seed, *given).targets)
    drawn_as = (random_place(settings, frame),)
    return replace(reel.studio, targets=reel.encoded[1], drawn_as=drawn_as)


def _develop(reel: Reel, place: _Place, guess: Tensor) -> Tensor:
    """Keep a rendered frame [3, H, W] for the next one; returns what is shown of it."""
    picture, moved, turbo = reel.mover.kept(guess[None]), place.moved, reel.turbo
    if turbo is None or moved is None:
        _keep(reel, FrameState(place.frame, picture), picture)
        return guess
    old = turbo.next_old(place.frame, picture, moved, place.old)
    shown = reel.mover.shown(blend(picture, moved, turbo.share(place.frame)))
    _keep(reel, FrameState(place.frame, picture, old), shown)
    return shown[0]


def _left_out(reel: Reel, place: _Place) -> Iterator[Event]:
    """A frame that turbo makes of the two before it."""
    turbo, frame, began = reel.turbo, place.frame, time.monotonic()
    assert turbo is not None and place.moved is not None
    yield PictureStarted((frame,))
    old = turbo.next_old(frame, None, place.moved, place.old)
    shown = reel.mover.shown(blend(place.moved, old, turbo.share(frame)))
    _keep(reel, FrameState(frame, place.moved, old), shown)
    metadata = metadata_of(_of_one(reel, frame, reel.studio), frame)
    path = reel.job.folder.save_picture(frame, png_bytes(shown[0], metadata))
    yield PictureFinished(frame, path, time.monotonic() - began)
    if frame != reel.job.groups[-1][0] and reel.stop():
        reel.tally.stopped = True


def _keep(reel: Reel, state: FrameState, shown: Tensor) -> None:
    """All that must be on disk before the frame's own PNG says that it is done."""
    reel.store.save(state)
    reel.last = state
    if state.frame == FIRST:
        reel.first = state.picture
    if reel.settings.vr_mode and reel.settings.animation_mode == "3D":
        for side, eye in zip("lr", reel.mover.eyes(shown), strict=True):
            reel.job.folder.save_eye(state.frame, side, png_bytes(eye[0]))
