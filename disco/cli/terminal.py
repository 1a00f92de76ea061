"""What a terminal shows of a run: bars for pictures and steps, or only paths; listeners of its events."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from disco.cli.streams import is_terminal
from disco.events import (
    Download,
    Event,
    NetworksLoaded,
    Notice,
    PartialSaved,
    PictureFinished,
    PictureStarted,
    RunFinished,
    RunStarted,
    StepDone,
    VideoProgress,
)
from disco.files.paths import shell_quoted

LOSS_EVERY = 0.5  # seconds; reading losses waits for the device
WIDE = 100  # columns from which a bar has room for losses and the run's clock
_BAR = 75  # columns of a bar without these: its name, numbers and ten cells


def _columns() -> int:
    """The width of the terminal on stderr."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError, AttributeError):
        return shutil.get_terminal_size().columns


class PlainOutput:
    """--quiet: finished pictures on stdout, what must be read on stderr."""

    def handle(self, event: Event) -> None:
        if isinstance(event, Notice):
            self.say(event.text)
        elif isinstance(event, RunStarted):
            for notice in event.notices:
                self.say(notice)
        elif isinstance(event, PictureFinished):
            self.result(event.path)
        elif isinstance(event, RunFinished) and event.interrupted:
            self.say("stopped after a finished step; --resume goes on from there")

    def say(self, text: str) -> None:
        print(text, file=sys.stderr)

    def result(self, path: Path) -> None:
        """Print a path to stdout: as it is for programs, to be pasted into a shell on a terminal."""
        self.write(shell_quoted(path) if is_terminal(sys.stdout) else str(path))
        sys.stdout.flush()

    def write(self, text: str) -> None:
        print(text)

    def close(self) -> None:
        pass


class ProgressBars(PlainOutput):
    """tqdm bars on stderr: downloads, pictures, steps with the time left and the current losses, videos."""

    def __init__(self) -> None:
        self.pictures: tqdm[NoReturn] | None = None
        self.steps: dict[tuple[int, ...], tqdm[NoReturn]] = {}  # by pictures: workers have several at once
        self.download: tqdm[NoReturn] | None = None
        self.video: tqdm[NoReturn] | None = None
        self.losses_at = 0.0
        self.n_steps: int | None = None
        self.last: Path | None = None

    def handle(self, event: Event) -> None:
        super().handle(event)
        if isinstance(event, RunStarted):
            verb = "going on with" if event.resumed else "starting"
            self.say(f"{verb} run {event.run} in {event.folder} ({event.steps} steps a picture)")
            self.n_steps = event.steps
            self.pictures = tqdm(total=len(event.pictures), desc="pictures", unit="picture", file=sys.stderr)
        elif isinstance(event, Download):
            self._downloaded(event)
        elif isinstance(event, NetworksLoaded):
            self._end_download()
            self.say(f"networks loaded in {event.seconds:.1f} s")
        elif isinstance(event, PictureStarted):
            self._start_steps(event)
        elif isinstance(event, StepDone):
            self._stepped(event)
        elif isinstance(event, PartialSaved):
            self.say(f"partial {event.path}")
        elif isinstance(event, PictureFinished) and self.pictures is not None:
            self._end_steps(event.picture)
            self.pictures.update(1)
            self.last = event.path
        elif isinstance(event, VideoProgress):
            self._video_written(event)
        elif isinstance(event, RunFinished):
            self._end_run(event)

    def say(self, text: str) -> None:
        tqdm.write(text, file=sys.stderr)

    def write(self, text: str) -> None:
        tqdm.write(text, file=sys.stdout)

    def close(self) -> None:
        self._end_download()
        self._end_steps()
        self._end_video()
        if self.pictures is not None:
            self.pictures.close()
            self.pictures = None

    def _downloaded(self, event: Download) -> None:
        if self.download is None or self.download.desc != event.name:
            self._end_download()
            self.download = tqdm(
                total=event.total,
                desc=event.name,
                unit="B",
                unit_scale=True,
                unit_divisor=1024,
                leave=False,
                file=sys.stderr,
            )
        self.download.update(event.done - self.download.n)

    def _start_steps(self, event: PictureStarted) -> None:
        first, last = event.pictures[0], event.pictures[-1]
        name = f"picture {first}" if first == last else f"pictures {first}-{last}"
        self._end_steps(first)
        self.steps[event.pictures] = tqdm(
            total=self.n_steps, initial=event.step, desc=name, unit="step", leave=False, file=sys.stderr
        )

    def _stepped(self, event: StepDone) -> None:
        steps = self.steps.get(event.pictures)
        if steps is None:
            return
        steps.total = event.n
        columns = _columns()
        if columns >= WIDE and time.monotonic() - self.losses_at > LOSS_EVERY:
            self.losses_at = time.monotonic()
            left = [] if event.seconds_left is None else [f"run {clock(event.seconds_left)} left"]
            parts = [*left, *_losses(event.losses())]
            steps.set_postfix_str(_fitting(parts, columns - _BAR), refresh=False)
        steps.update(event.step + 1 - steps.n)

    def _video_written(self, event: VideoProgress) -> None:
        if self.video is None or self.video.desc != event.name:
            self._end_steps()
            self._end_video()
            self.video = tqdm(total=event.total, desc=event.name, unit="frame", leave=False, file=sys.stderr)
        self.video.update(event.done - self.video.n)

    def _end_run(self, event: RunFinished) -> None:
        self.close()
        if event.grid is not None:
            self.result(event.grid)
        if self.last is not None and is_terminal(sys.stdout):
            self.say(f"render one again: python run.py {shell_quoted(self.last)}")
            self.last = None

    def _end_steps(self, picture: int | None = None) -> None:
        """Close the bar of the pictures that this one is rendered with, or all bars."""
        for pictures in [pictures for pictures in self.steps if picture is None or picture in pictures]:
            self.steps.pop(pictures).close()

    def _end_video(self) -> None:
        if self.video is not None:
            self.video.close()
            self.video = None

    def _end_download(self) -> None:
        if self.download is not None:
            self.download.close()
            self.download = None


def _losses(losses: Mapping[str, Sequence[float]]) -> list[str]:
    """Mean of each loss over the pictures. "nan" (1 for a step without a gradient) only if it is not 0."""
    means = {name: sum(values) / len(values) for name, values in losses.items() if values}
    return [f"{name}={mean:.3g}" for name, mean in means.items() if mean or name != "nan"]


def _fitting(parts: Sequence[str], most: int) -> str:
    """As many of the parts, in their order, as fit into `most` columns."""
    fitting = range(len(parts), 0, -1)
    return next((text for n in fitting if len(text := " ".join(parts[:n])) <= most), "")


def clock(seconds: float) -> str:
    """ "02:05" or "1:02:05"."""
    whole = int(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes:02}:{whole % 60:02}"
