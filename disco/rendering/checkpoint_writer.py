"""Remembers the last whole step of a batch and writes it down: checkpoints, progress picture, status.

Beside a GPU, which would wait, a thread packs and writes what is due during a picture. Before the picture
itself is saved, before memory is given up, and however the loop ends, all of that is on the disk.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait

from torch import Tensor

from disco.media.images import contact_sheet, png_bytes, to_uint8
from disco.rendering.batch import ArtifactSink, Batch
from disco.rendering.decode import StepPictures
from disco.runs.checkpoints import Checkpoint
from disco.sampling.randomness import Randomness, StreamRandom
from disco.sampling.samplers import Sample
from disco.settings.model import picture_count


class CheckpointWriter:
    """Remembers the last whole step, and writes it down: checkpoints, progress picture, status.

    beside: whether a thread of its own writes during a picture; by itself on CUDA alone (elsewhere the
    writing is under 1 % of a step, and would take its cores).
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
        """Whoever listened to the events may have drawn from torch's global stream: dd57 goes on."""
        if self.state:
            self.random.restore(self.state)

    def checkpoint_if_due(self) -> None:
        """To be called after every step; after the last one what is under way is waited for."""
        assert self.sample is not None
        every, done = self.batch.context.settings.checkpoint_every, self.sample.step.i + 1
        if done == self.sample.step.n:
            self.writer.finish()
        elif every and done % every == 0:
            self._save()

    def checkpoint(self) -> None:
        """The last whole step, on the disk when this returns, also where an earlier writing failed."""
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
            batch.folder.write_progress(png_bytes(contact_sheet([to_uint8(guess) for guess in guesses])))
            batch.folder.write_status(status | {"losses": numbers(sample.losses)})

        self.writer.do(write)
        batch.stats.previews += 1

    def close(self) -> None:
        """However the loop ended: leave a checkpoint unless the pictures are saved."""
        try:
            if not self.finished:
                self.checkpoint()
        finally:
            self.writer.close()


def numbers(losses: Mapping[str, Tensor]) -> dict[str, list[float]]:
    """Waits for the device: name -> one number per picture."""
    return {name: [float(value) for value in loss.tolist()] for name, loss in losses.items()}


def keep_start(folder: ArtifactSink, picture: int, stream: StreamRandom) -> None:
    """Write down the random states at a picture's start, so that it can be rendered alone (compat dd57)."""
    starts = dict(folder.info.get("starts", {}))
    folder.update_info(starts=starts | {str(picture): stream.snapshot()})


class Background:
    """One thread of its own, begun when it is first needed. An error comes back at the next call of a method.

    on: else all is done at once, by whoever asks. room: how much may be under way; who adds more waits.
    """

    def __init__(self, on: bool = True, room: int = 2) -> None:
        self.on, self.room = on, room
        self._thread: ThreadPoolExecutor | None = None
        self._under_way: deque[Future[None]] = deque()

    def do(self, work: Callable[[], None]) -> None:
        """Have it done. work must not touch what the main thread will change."""
        if not self.on:
            work()
            return
        while self._under_way and (self._under_way[0].done() or len(self._under_way) >= self.room):
            self._under_way.popleft().result()
        if self._thread is None:
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="disco-writer")
        self._under_way.append(self._thread.submit(work))

    def finish(self) -> None:
        """Wait until all is done, also where some of it failed; then the first error, if there is one."""
        wait(self._under_way)
        under_way, self._under_way = self._under_way, deque()
        for one in under_way:
            one.result()

    def close(self) -> None:
        """finish(), and let the thread go."""
        try:
            self.finish()
        finally:
            if self._thread is not None:
                self._thread.shutdown()
                self._thread = None
