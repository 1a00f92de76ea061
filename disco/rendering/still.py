"""One batch of pictures rendered together, from noise to PNG, stoppable after any step."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from disco.errors import InputError, one_line
from disco.events import Event, Notice, PartialSaved, PictureFinished, PictureStarted, StepDone
from disco.media.images import png_bytes, to_uint8
from disco.memory.policy import Stage
from disco.rendering.batch import Batch
from disco.rendering.checkpoint_writer import CheckpointWriter, keep_start, numbers
from disco.rendering.decode import StepPictures
from disco.rendering.finish import finish_picture
from disco.rendering.prepare import RunContext, perlin_start
from disco.rendering.steps import steps_of
from disco.runs.checkpoints import Checkpoint
from disco.runs.metadata import picture_metadata
from disco.runs.names import partial_steps
from disco.sampling.diffusion import Step, make_steps
from disco.sampling.randomness import Randomness, StreamRandom
from disco.sampling.samplers import Sample, start


def executed_steps(context: RunContext) -> list[Step]:
    return make_steps(context.settings.steps, context.settings.skip_steps)


def render_batch(batch: Batch) -> Iterator[Event]:
    """Render, going on from the run's checkpoint if it is of these pictures; save what is wanted.

    When `stop` asks for it, the step is finished, a checkpoint saved, `stats.stopped` set, and that is all.
    An exception or a closed generator leaves a checkpoint of the last whole step too.
    """
    context, folder, settings = batch.context, batch.folder, batch.context.settings
    random = context.randomness(batch.pictures)
    checkpoint = folder.checkpoints.load(batch.pictures)
    done = checkpoint.step if checkpoint else 0
    yield PictureStarted(batch.pictures, done)
    oom_retry, before = context.oom_retry, random.state()
    x_t, init = oom_retry.run(lambda: _begin(batch, random, checkpoint, before), stage=Stage.START)
    labels = partial_steps(settings.intermediate_saves, batch.steps[0].n, compat=settings.compat)
    writer = CheckpointWriter(batch, random)
    began = time.monotonic()
    try:
        if checkpoint is not None and done == batch.steps[0].n:
            writer.sample = _last_sample(batch, checkpoint)
        begin = (x_t, done, checkpoint.history if checkpoint else ())
        for sample in steps_of(batch, random, begin, init, writer.checkpoint):
            writer.reached(sample)
            pictures = StepPictures(context, sample)
            event = _step_done(batch, pictures, time.monotonic() - began, done)
            writer.seconds_left = event.seconds_left
            yield from (Notice(text) for text in oom_retry.pop_messages())
            yield event
            yield from _save_partials(batch, pictures, labels)
            oom_retry.run(partial(writer.progress, pictures), stage=Stage.PICTURE)
            if sample.step.i + 1 < sample.step.n and batch.stop():
                batch.stats.stopped = True
                return
            writer.checkpoint_if_due()
            writer.resume_stream()
        yield from _finish(batch, writer, time.monotonic() - began)
    finally:
        batch.stats.seconds += time.monotonic() - began
        writer.close()


def _last_sample(batch: Batch, checkpoint: Checkpoint) -> Sample:
    """All steps were done when the run stopped: only the saving was left (a full disk, say)."""
    assert checkpoint.pred_x0 is not None
    return Sample(batch.steps[-1], checkpoint.x_t, checkpoint.pred_x0, {})


def _begin(
    batch: Batch, random: Randomness, checkpoint: Checkpoint | None, before: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor | None]:
    """x_t before the next step, and the picture that the init loss pulls to. before: the random state."""
    context, settings = batch.context, batch.context.settings
    random.restore(before)
    if isinstance(random, StreamRandom) and batch.start is not None:
        _restore(random, batch.start, batch.pictures)
    perlin = perlin_start(settings, random).to(context.device) if settings.perlin_init else None
    space = context.networks.space
    init = context.init if perlin is None else perlin
    # In dd57 the init loss pulls to the Perlin init too (quirk Q9).
    target = init if settings.compat == "dd57" else context.init
    if checkpoint is not None:
        random.restore(checkpoint.random_state)
        return checkpoint.x_t.to(context.device), target
    noise = random.start_noise(space.shape(len(batch.pictures), settings.width_height)).to(context.device)
    x0 = None if init is None else _encoded(context, init).expand_as(noise)
    return start(x0, batch.steps[0], noise, settings.skip_steps), target


def _restore(random: StreamRandom, start: str, pictures: Sequence[int]) -> None:
    """Raises InputError for random states that are damaged inside."""
    try:
        random.restore_snapshot(start)
    except (ValueError, RuntimeError) as error:
        text = f"picture {pictures[0]}: the random states that it begins with are damaged"
        cure = "Use a picture or a run folder that nothing changed."
        raise InputError(f"{text} ({one_line(str(error))}). {cure}") from error


def _encoded(context: RunContext, pictures: Tensor) -> Tensor:
    return context.oom_retry.run(lambda: context.networks.space.encode(pictures), stage=Stage.PICTURE)


def _step_done(batch: Batch, pictures: StepPictures, seconds: float, done: int) -> StepDone:
    sample, step = pictures.sample, pictures.sample.step
    per_step = seconds / max(step.i + 1 - done, 1)
    return StepDone(
        pictures=batch.pictures,
        step=step.i,
        n=step.n,
        losses=lambda: numbers(sample.losses),
        preview=lambda: _previews(pictures),
        seconds_left=per_step * (step.n - step.i - 1 + batch.steps_after),
    )


def _previews(pictures: StepPictures) -> list[Any]:
    """[H, W, 3] uint8, one per picture."""
    run = pictures.context.oom_retry.run
    return run(lambda: [to_uint8(picture) for picture in pictures.pixels], stage=Stage.PICTURE)


def _save_partials(batch: Batch, pictures: StepPictures, labels: Mapping[int, str]) -> Iterator[Event]:
    step = pictures.sample.step.i
    label = labels.get(step)
    if label is None:
        return
    for picture, guess in zip(batch.pictures, pictures.pixels, strict=True):
        if picture in batch.wanted:
            png = _png(batch, guess, metadata_of(batch, picture) | {"partial": step})
            in_subfolder = batch.context.settings.intermediates_in_subfolder
            path = batch.folder.save_partial(picture, label, png, in_subfolder=in_subfolder)
            batch.stats.partials += 1
            yield PartialSaved(path)


def _finish(batch: Batch, writer: CheckpointWriter, seconds: float) -> Iterator[Event]:
    """Save the pictures. In dd57 the next picture's start is on disk before this one is."""
    sample = writer.sample
    assert sample is not None
    if batch.context.stream is not None and batch.postprocess is None:
        keep_start(batch.folder, batch.pictures[-1] + 1, batch.context.stream)
    pictures = StepPictures(batch.context, sample).pixels
    for picture, guess in zip(batch.pictures, pictures, strict=True):
        if picture in batch.wanted:
            shown = guess if batch.postprocess is None else batch.postprocess(guess)
            png = _png(batch, shown, metadata_of(batch, picture))
            path = batch.folder.save_picture(picture, png)
            yield PictureFinished(picture, path, seconds / len(batch.pictures))
            finish_picture(batch.context, batch.folder, picture, png)
    writer.finished = True
    batch.folder.checkpoints.clear(batch.pictures)


def _png(batch: Batch, picture: Tensor, metadata: Mapping[str, Any]) -> bytes:
    return batch.context.oom_retry.run(lambda: png_bytes(picture, metadata), stage=Stage.PICTURE)


def metadata_of(batch: Batch, picture: int) -> dict[str, Any]:
    """What the PNG of a picture carries."""
    context = batch.context
    return picture_metadata(
        batch.saved,
        seed=context.seed,
        picture=picture,
        batch=batch.pictures,
        machine=context.machine,
        weights=context.networks.hashes,
        inputs=context.inputs,
        stream=batch.start,
    )


def machine_report(context: RunContext) -> dict[str, Any]:
    """For the report: the device, the memory saving, the peak of its memory on CUDA."""
    device = context.device
    return {
        "device": str(device),
        "memory": context.oom_retry.saving.plain(),
        "peak_memory": torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
    }
