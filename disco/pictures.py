"""One batch of pictures rendered together, from noise to PNG, stoppable after any step."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from disco.batch import Batch
from disco.checkpoints import Checkpoint
from disco.diffusion import Step, make_steps
from disco.events import Event, PartialSaved, PictureFinished, PictureStarted, StepDone
from disco.frame_settings import step_count
from disco.guidance import make_guidance
from disco.images import png_bytes
from disco.inpainting import keep_original, make_mask_blend
from disco.keeper import Keeper, keep_start, numbers, previews
from disco.metadata import picture_metadata
from disco.randomness import Randomness, StreamRandom
from disco.run_names import partial_steps
from disco.sampling import BeforeStep, Guided, Sample, ddim, identity, in_turn, make_symmetry, plms, start
from disco.studio import Studio, perlin_start


def executed_steps(studio: Studio) -> list[Step]:
    return make_steps(studio.settings.steps, studio.settings.skip_steps)


def render_batch(batch: Batch) -> Iterator[Event]:
    """Render, going on from the run's checkpoint if it is of these pictures; save what is wanted.

    When `stop` asks for it, the step is finished, a checkpoint saved, `tally.stopped` set, and that is all.
    An exception or a closed generator leaves a checkpoint of the last whole step too.
    """
    studio, folder, settings = batch.studio, batch.folder, batch.studio.settings
    random = studio.randomness(batch.pictures)
    found = folder.checkpoints.load()
    found = found if found is not None and found.pictures == batch.pictures else None
    done = found.step if found else 0
    yield PictureStarted(batch.pictures, done)
    x_t, init = _begin(batch, random, found)
    guided = _guidance(studio, random, init)
    labels = partial_steps(settings.intermediate_saves, batch.steps[0].n, compat=settings.compat)
    keeper = Keeper(batch, random)
    began = time.monotonic()
    try:
        if found is not None and done == batch.steps[0].n:
            keeper.sample = _last_sample(batch, found)
        samples = _loop(batch, random, guided, x_t, done, found.history if found else ())
        for sample in _kept(studio, samples):
            keeper.reached(sample)
            event = _step_done(batch, sample, time.monotonic() - began, done)
            keeper.seconds_left = event.seconds_left
            yield event
            yield from _save_partials(batch, sample, labels)
            keeper.progress(sample)
            if sample.step.i + 1 < sample.step.n and batch.stop():
                batch.tally.stopped = True
                return
            keeper.checkpoint_if_due()
            keeper.resume_stream()
        yield from _finish(batch, keeper, time.monotonic() - began)
    finally:
        batch.tally.seconds += time.monotonic() - began
        keeper.close()


def _last_sample(batch: Batch, found: Checkpoint) -> Sample:
    """All steps were done when the run stopped: only the saving was left (a full disk, say)."""
    assert found.pred_x0 is not None
    return Sample(batch.steps[-1], found.x_t, found.pred_x0, {})


def _begin(batch: Batch, random: Randomness, found: Checkpoint | None) -> tuple[Tensor, Tensor | None]:
    """x_t before the next step, and the picture that the init loss pulls to."""
    studio, settings = batch.studio, batch.studio.settings
    width, height = settings.width_height
    if isinstance(random, StreamRandom) and batch.start is not None:
        random.restore_snapshot(batch.start)
    perlin = perlin_start(settings, random).to(studio.device) if settings.perlin_init else None
    init = studio.init if perlin is None else perlin
    target = init if settings.compat == "dd57" else studio.init  # quirk Q9
    if found is not None:
        random.restore(found.random_state)
        return found.x_t.to(studio.device), target
    noise = random.start_noise((len(batch.pictures), 3, height, width)).to(studio.device)
    x0 = None if init is None else init.expand_as(noise)
    return start(x0, batch.steps[0], noise, settings.skip_steps), target


def _guidance(studio: Studio, random: Randomness, init: Tensor | None) -> Guided:
    networks, settings = studio.networks, studio.settings
    return make_guidance(
        networks.denoiser,
        networks.secondary,
        studio.targets,
        settings,
        random,
        init=init,
        lpips=networks.lpips,
        compat=settings.compat,
    )


def _loop(
    batch: Batch, random: Randomness, guided: Guided, x_t: Tensor, done: int, history: tuple[Tensor, ...]
) -> Iterator[Sample]:
    settings, shape = batch.studio.settings, tuple(x_t.shape)
    left, clip = batch.steps[done:], settings.clip_denoised
    masked = _mask_blend(batch.studio, random, shape)
    if settings.diffusion_sampling_mode == "plms":
        return plms(
            x_t,
            left,
            guided,
            history=history,
            compat=settings.compat,
            before_step=masked,
            clip_denoised=clip,
        )
    symmetry = make_symmetry(
        batch.steps[0].n,
        settings.use_horizontal_symmetry,
        settings.use_vertical_symmetry,
        settings.transformation_percent,
        settings.compat,
    )
    return ddim(
        x_t,
        left,
        guided,
        eta=lambda step: float(settings.eta.at(step.index)),
        noise=lambda step: random.step_noise(step, shape),
        before_step=in_turn(symmetry, masked),
        clip_denoised=clip,
    )


def _mask_blend(studio: Studio, random: Randomness, shape: tuple[int, ...]) -> BeforeStep:
    """Holds the part of the init picture that the mask keeps."""
    if studio.mask is None:
        return identity
    assert studio.init is not None
    to_repaint = step_count(studio.settings.steps_to_repaint, studio.settings.steps)
    mask = studio.mask.to(studio.device)
    return make_mask_blend(studio.init, mask, lambda step: random.mask_noise(step, shape), to_repaint)


def _kept(studio: Studio, samples: Iterator[Sample]) -> Iterator[Sample]:
    """With a mask, what every step shows has the init picture itself where nothing is painted.

    Where the last steps repaint everything, the guesses stay as they are: no seam comes back.
    """
    settings = studio.settings
    if studio.mask is None or studio.init is None or step_count(settings.steps_to_repaint, settings.steps):
        return samples
    init, mask = studio.init, studio.mask
    return (replace(sample, pred_x0=keep_original(sample.pred_x0, init, mask)) for sample in samples)


def _step_done(batch: Batch, sample: Sample, seconds: float, done: int) -> StepDone:
    step = sample.step
    per_step = seconds / max(step.i + 1 - done, 1)
    return StepDone(
        pictures=batch.pictures,
        step=step.i,
        n=step.n,
        losses=lambda: numbers(sample.losses),
        preview=lambda: previews(sample),
        seconds_left=per_step * (step.n - step.i - 1 + batch.steps_after),
    )


def _save_partials(batch: Batch, sample: Sample, labels: Mapping[int, str]) -> Iterator[Event]:
    label = labels.get(sample.step.i)
    if label is None:
        return
    for picture, guess in zip(batch.pictures, sample.pred_x0, strict=True):
        if picture in batch.wanted:
            png = png_bytes(guess, metadata_of(batch, picture) | {"partial": sample.step.i})
            in_subfolder = batch.studio.settings.intermediates_in_subfolder
            path = batch.folder.save_partial(picture, label, png, in_subfolder=in_subfolder)
            batch.tally.partials += 1
            yield PartialSaved(path)


def _finish(batch: Batch, keeper: Keeper, seconds: float) -> Iterator[Event]:
    """Save the pictures. In dd57 the next picture's start is on disk before this one is."""
    sample = keeper.sample
    assert sample is not None
    if batch.studio.stream is not None and batch.develop is None:
        keep_start(batch.folder, batch.pictures[-1] + 1, batch.studio.stream)
    for picture, guess in zip(batch.pictures, sample.pred_x0, strict=True):
        if picture in batch.wanted:
            shown = guess if batch.develop is None else batch.develop(guess)
            path = batch.folder.save_picture(picture, png_bytes(shown, metadata_of(batch, picture)))
            yield PictureFinished(picture, path, seconds / len(batch.pictures))
    keeper.finished = True
    batch.folder.checkpoints.clear()


def metadata_of(batch: Batch, picture: int) -> dict[str, Any]:
    """What the PNG of a picture carries."""
    studio = batch.studio
    return picture_metadata(
        batch.saved,
        seed=studio.seed,
        picture=picture,
        batch=batch.pictures,
        machine=studio.machine,
        weights=studio.networks.hashes,
        inputs=studio.inputs,
        stream=batch.start,
    )


def peak_memory(device: torch.device) -> int | None:
    """Bytes of device memory at its highest, where the device tells."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
