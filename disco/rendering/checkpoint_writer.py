"""Keep the last whole step of a batch and save it: checkpoints, progress picture, status.

On CUDA a thread packs and writes them, so that the GPU does not wait. All of it is on the disk before the
picture itself is saved, before the next memory saving, and however the loop ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress

from torch import Tensor

from disco.errors import RunError
from disco.media.images import contact_sheet, png_bytes, to_uint8
from disco.rendering.batch import ArtifactSink, Batch
from disco.rendering.decode import StepPictures
from disco.runs.checkpoints import Checkpoint
from disco.sampling.randomness import Randomness, StreamRandom
from disco.sampling.samplers import Sample
from disco.settings.model import picture_count


class CheckpointWriter:
    """Keeps the last whole step and saves it: checkpoints, progress picture, status.

    beside: whether a thread writes during a picture; None: on CUDA alone (elsewhere writing takes under 1 %
    of a step, and the thread would take its cores).
    """

    def __init__(self, batch: Batch, random: Randomness, beside: bool | None = None) -> None:
        self.batch, self.random = batch, random
        self.writer = Background(batch.context.device.type == "cuda" if beside is None else beside)
        self.sample: Sample | None = None
        self.state: Mapping[str, Tensor] = {}
        self.saved_step = -1
        self.finished = False
        self.seconds_left: float | None = None

    def reached(self, sample: Sample) -> None:
        self.sample, self.state = sample, self.random.state()
        stats = self.batch.stats
        stats.steps += 1
        if "nan" in sample.losses:  # added up on the device, so that no step waits for it
            nan = sample.losses["nan"].sum()
            stats.nan_steps = nan if stats.nan_steps is None else stats.nan_steps + nan

    def resume_stream(self) -> None:
        """Restore dd57's stream: listeners of the events may have used torch's global generator."""
        if self.state:
            self.random.restore(self.state)

    def checkpoint_if_due(self) -> None:
        """To be called after every step; after the last one it waits for pending writes."""
        assert self.sample is not None
        every, done = self.batch.context.settings.checkpoint_every, self.sample.step.i + 1
        if done == self.sample.step.n:
            self.writer.finish()
        elif every and done % every == 0:
            self._save()

    def checkpoint(self) -> None:
        """Save the last whole step, durable at return, also where an earlier write failed."""
        try:
            self.writer.finish()
        finally:
            self._save()
            self.writer.finish()

    def _save(self) -> None:
        sample = self.sample
        if sample is None or sample.step.i == self.saved_step:
            return
        checkpoint = Checkpoint(
            pictures=self.batch.pictures,
            step=sample.step.i + 1,
            x_t=sample.x_t,
            pred_x0=sample.pred_x0,
            history=sample.history,
            random_state=self.state,
        )

        def save() -> None:
            self.batch.folder.checkpoints.save(checkpoint)
            self.saved_step = sample.step.i
            self.batch.stats.checkpoints += 1

        self.writer.do(save)

    def progress(self, pictures: StepPictures) -> None:
        """Refresh the progress picture and the status at the first step and at every display_rate-th."""
        sample = pictures.sample
        batch, step = self.batch, sample.step
        if step.i != 0 and (step.i + 1) % batch.context.settings.display_rate != 0:
            return
        status = {
            "picture": batch.pictures[0],
            "of": picture_count(batch.context.settings),
            "step": step.i + 1,
            "steps": step.n,
            "seconds_left": self.seconds_left,
        }

        pixels = pictures.pixels

        def write() -> None:
            guesses = pixels.cpu() if self.writer.on else pixels
            sheet = png_bytes(contact_sheet([to_uint8(guess) for guess in guesses]))
            with suppress(RunError):  # no preview stops a run: checkpoints and pictures say what is wrong
                batch.folder.write_progress(sheet)
                batch.folder.write_status(status | {"losses": numbers(sample.losses)})

        self.writer.do(write)
        batch.stats.previews += 1

    def close(self) -> None:
        """Leave a checkpoint unless the pictures are saved, however the loop ended."""
        try:
            if not self.finished:
                self.checkpoint()
        finally:
            self.writer.close()


def numbers(losses: Mapping[str, Tensor]) -> dict[str, list[float]]:
    """Waits for the device: name -> one number per picture."""
    return {name: [float(value) for value in loss.tolist()] for name, loss in losses.items()}


def keep_start(folder: ArtifactSink, picture: int, stream: StreamRandom) -> None:
    """Save the random states at a picture's start, so that it can be rendered alone (compat dd57)."""
    starts = dict(folder.info.get("starts", {}))
    folder.update_info(starts=starts | {str(picture): stream.snapshot()})


class Background:
    """A writer thread, started when first needed. An error is raised by the next call of a method.

    on: False runs all work at once in the calling thread. limit: of pending work; `do` waits beyond it.
    """

    def __init__(self, on: bool = True, limit: int = 2) -> None:
        self.on, self.limit = on, limit
        self._thread: ThreadPoolExecutor | None = None
        self._pending: deque[Future[None]] = deque()

    def do(self, work: Callable[[], None]) -> None:
        """Run work. It must not touch what the main thread will change."""
        if not self.on:
            work()
            return
        while self._pending and (self._pending[0].done() or len(self._pending) >= self.limit):
            self._pending.popleft().result()
        if self._thread is None:
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="disco-writer")
        self._pending.append(self._thread.submit(work))

    def finish(self) -> None:
        """Wait for all pending work, also where some failed; then raise the first error, if there is one."""
        wait(self._pending)
        pending, self._pending = self._pending, deque()
        for one in pending:
            one.result()

    def close(self) -> None:
        """finish(), and end the thread."""
        try:
            self.finish()
        finally:
            if self._thread is not None:
                self._thread.shutdown()
                self._thread = None
