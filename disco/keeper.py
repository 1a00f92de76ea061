"""Remembers the last whole step of a batch and writes it down: checkpoints, progress picture, status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from disco.batch import Batch
from disco.checkpoints import Checkpoint
from disco.images import contact_sheet, png_bytes, to_uint8
from disco.randomness import Randomness, StreamRandom
from disco.run_folder import RunFolder
from disco.sampling import Sample
from disco.settings import picture_count


class Keeper:
    """Remembers the last whole step, and writes it down: checkpoints, progress picture, status."""

    def __init__(self, batch: Batch, random: Randomness) -> None:
        self.batch, self.random = batch, random
        self.sample: Sample | None = None
        self.state: Mapping[str, Tensor] = {}
        self.saved_step = -1
        self.finished = False
        self.seconds_left: float | None = None

    def reached(self, sample: Sample) -> None:
        self.sample, self.state = sample, self.random.state()
        tally = self.batch.tally
        tally.steps += 1
        if "nan" in sample.losses:  # added up on the device, so that no step waits for it
            nan = sample.losses["nan"].sum()
            tally.nan_steps = nan if tally.nan_steps is None else tally.nan_steps + nan

    def resume_stream(self) -> None:
        """Whoever listened to the events may have drawn from torch's global stream: dd57 goes on."""
        if self.state:
            self.random.restore(self.state)

    def checkpoint_if_due(self) -> None:
        assert self.sample is not None
        every = self.batch.studio.settings.checkpoint_every
        if every and (self.sample.step.i + 1) % every == 0 and self.sample.step.i + 1 < self.sample.step.n:
            self.checkpoint()

    def checkpoint(self) -> None:
        sample = self.sample
        if sample is None or sample.step.i == self.saved_step:
            return
        self.batch.folder.checkpoints.save(
            Checkpoint(
                pictures=self.batch.pictures,
                step=sample.step.i + 1,
                x_t=sample.x_t,
                pred_x0=sample.pred_x0,
                history=sample.history,
                random_state=self.state,
            )
        )
        self.saved_step = sample.step.i
        self.batch.tally.checkpoints += 1

    def progress(self, sample: Sample) -> None:
        """Refresh the progress picture and the status at the first step and at every display_rate-th."""
        batch, step = self.batch, sample.step
        if step.i != 0 and (step.i + 1) % batch.studio.settings.display_rate != 0:
            return
        batch.folder.write_progress(png_bytes(contact_sheet(previews(sample))))
        batch.folder.write_status(
            {
                "picture": batch.pictures[0],
                "of": picture_count(batch.studio.settings),
                "step": step.i + 1,
                "steps": step.n,
                "seconds_left": self.seconds_left,
                "losses": numbers(sample.losses),
            }
        )
        batch.tally.previews += 1

    def close(self) -> None:
        """However the loop ended: leave a checkpoint unless the pictures are saved."""
        if not self.finished:
            self.checkpoint()


def previews(sample: Sample) -> list[Any]:
    """The guesses of a step as [H, W, 3] uint8, one per picture."""
    return [to_uint8(picture) for picture in sample.pred_x0]


def numbers(losses: Mapping[str, Tensor]) -> dict[str, list[float]]:
    """Waits for the device: name -> one number per picture."""
    return {name: [float(value) for value in loss.tolist()] for name, loss in losses.items()}


def keep_start(folder: RunFolder, picture: int, stream: StreamRandom) -> None:
    """Write down the random states at a picture's start, so that it can be rendered alone (compat dd57)."""
    starts = dict(folder.info.get("starts", {}))
    folder.update_info(starts=starts | {str(picture): stream.snapshot()})
