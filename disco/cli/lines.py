"""What is said of a run where nobody watches: a plain line a picture and one a minute, for logs."""

from __future__ import annotations

import time

from disco.cli.terminal import PlainOutput, clock
from disco.events import (
    Download,
    Event,
    NetworksLoaded,
    PartialSaved,
    RunFinished,
    RunStarted,
    StepDone,
    VideoProgress,
)

EVERY = 60.0  # seconds between two lines about the same work


class PlainLines(PlainOutput):
    """Finished pictures on stdout; whole lines on stderr: starts, notices, and where the run stands."""

    def __init__(self) -> None:
        self.said_at = time.monotonic()
        self.downloading = ""

    def handle(self, event: Event) -> None:
        super().handle(event)
        if isinstance(event, RunStarted):
            verb = "going on with" if event.resumed else "starting"
            count = len(event.pictures)
            self.say(f"{verb} run {event.run} in {event.folder}: {count} pictures, {event.steps} steps each")
            self.said_at = time.monotonic()
        elif isinstance(event, NetworksLoaded):
            self.say(f"networks loaded in {event.seconds:.1f} s")
        elif isinstance(event, PartialSaved):
            self.say(f"partial {event.path}")
        elif isinstance(event, Download):
            self._downloaded(event)
        elif isinstance(event, StepDone):
            first, last = event.pictures[0], event.pictures[-1]
            name = f"picture {first}" if first == last else f"pictures {first}-{last}"
            left = "" if event.seconds_left is None else f", the run about {clock(event.seconds_left)} more"
            self.say_now_and_then(f"{name}: step {event.step + 1} of {event.n}{left}")
        elif isinstance(event, RunFinished) and event.grid is not None:
            self.result(event.grid)
        elif isinstance(event, VideoProgress):
            self.say_now_and_then(f"{event.name}: frame {event.done} of {event.total}")

    def say_now_and_then(self, text: str) -> None:
        """Say it if a minute has passed since the last such line."""
        if time.monotonic() - self.said_at >= EVERY:
            self.said_at = time.monotonic()
            self.say(text)

    def _downloaded(self, event: Download) -> None:
        of = "" if event.total is None else f" of {event.total >> 20}"
        if event.name != self.downloading:
            self.downloading, self.said_at = event.name, time.monotonic()
            size = "" if event.total is None else f" ({event.total >> 20} MiB)"
            self.say(f"fetching {event.name}{size}")
        self.say_now_and_then(f"{event.name}: {event.done >> 20}{of} MiB")
