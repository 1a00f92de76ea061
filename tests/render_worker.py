"""Real processes that render with small fakes and are killed: reads a JSON order per line, forks, obeys.

The parent imports torch once, so that a hundred children cost nothing. Each child prints JSON lines.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import disco.__main__
import disco.rendering.api
import disco.runs.resume
from disco.events import Notice, PictureFinished, RunFinished, StepDone
from disco.networks.load import Networks
from disco.rendering.api import render
from disco.weights.registry import registry
from tests.conftest import EightNumberClip, GaussianDenoiser

MODULES = (
    *("rendering/api.py", "rendering/still.py", "rendering/animate.py", "files/atomic.py", "runs/folder.py"),
    *("runs/checkpoints.py", "runs/new_run.py", "runs/frames.py", "runs/report.py"),
)


def networks() -> Networks:
    return Networks(GaussianDenoiser(), clips=[EightNumberClip()], hashes={"fake/eight": "0" * 64})  # type: ignore[arg-type,list-item]


class ReadingClip(EightNumberClip):
    """As one that was loaded: its text tower can be let go."""

    def remember(self, texts: Sequence[str]) -> None:
        pass

    def free_text_tower(self) -> None:
        pass


class SlowDenoiser(GaussianDenoiser):
    """Tells of every pass, and takes its time."""

    def __init__(self, pause: float) -> None:
        super().__init__()
        self.pause = pause

    def __call__(self, x_t: Tensor, t: float | Tensor) -> Tensor:
        say(denoising=float(torch.as_tensor(t).flatten()[0]))
        time.sleep(self.pause)
        return super().__call__(x_t, t)


def say(**what: Any) -> None:
    # One write call: lines of several children do not mix.
    os.write(STDOUT, (json.dumps({"pid": os.getpid(), **what}) + "\n").encode())


def go(
    settings: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    *,
    out: Path,
    resume: int | str | None = None,
    die_at_event: int = -1,
    die_in: Sequence[int] = (),
    pause: float = 0.0,
) -> None:
    """Render; kill -9 ourselves at an event, or in a picture: die_in = [picture, step], at the step's end.

    pause: seconds to sleep at every step.
    """
    events = render(settings, out=out, resume=resume, networks=networks())  # type: ignore[arg-type]
    for n, event in enumerate(events):
        is_inside = isinstance(event, StepDone) and [event.pictures[0], event.step] == list(die_in)
        if n == die_at_event or is_inside:
            os.kill(os.getpid(), signal.SIGKILL)
        if isinstance(event, StepDone):
            say(step=event.step, pictures=event.pictures)
            torch.rand(3)  # a listener may draw from torch's stream
            time.sleep(pause)
        elif isinstance(event, PictureFinished):
            say(picture=event.picture, path=str(event.path))
        elif isinstance(event, Notice):
            say(notice=event.text)
        elif isinstance(event, RunFinished):
            say(run=event.report["run"], finished=not event.interrupted)
    say(end=True)


def go_to_line(settings: Mapping[str, Any], *, out: Path, line: int) -> None:
    """Render until `line` lines of the modules that render and write have run, then kill -9 ourselves."""
    left = line

    def trace(frame: Any, event: str, _: object) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.endswith(MODULES):
            return None
        left -= event == "line"
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    go(settings, out=out)
    sys.settrace(None)
    say(lines=line - left)


def resume_unnamed(*, out: Path) -> None:
    """`--resume` without a settings file."""
    run = disco.runs.resume.unfinished_run(out, (), "latest")
    for event in render(run, out=out, resume="latest", networks=networks()):
        if isinstance(event, PictureFinished):
            say(picture=event.picture)
    say(end=True)


def command(*, out: Path, words: Sequence[str], pause: float = 0.0, load_pause: float = 0.0) -> None:
    """The command line, with fakes in place of the networks; what it prints goes to a file `log` in `out`."""

    def load_for(run: Any, **_: Any) -> Networks:
        say(loading=True)
        time.sleep(load_pause)
        return Networks(SlowDenoiser(pause), clips=[ReadingClip()], hashes={"fake/eight": "0" * 64})  # type: ignore[arg-type,list-item]

    setattr(disco.rendering.api, "load_for", load_for)  # noqa: B010
    log = os.open(out / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    code = disco.__main__.main([*words, "--out", str(out / "images")])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    os.dup2(2, 1)  # our messages have a way of their own
    torch.set_num_threads(1)
    os.fsync = lambda descriptor: None  # type: ignore[assignment]  # only a power cut needs it, and it is slow
    registry()  # read once, for all children
    say(ready=True)
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "wait":
            statuses = [os.waitpid(child, 0)[1] for child in children]
            children.clear()
            say(statuses=statuses, done=True)
            continue
        in_background = order.pop("in_background", False)
        child = os.fork()
        if child == 0:
            try:
                globals()[order.pop("do")](out=Path(order.pop("out")), **order)
            except BaseException as error:
                say(error=type(error).__name__, text=str(error))
            os._exit(0)
        if in_background:
            children.append(child)
            say(child=child)
        else:
            say(child=child, status=os.waitpid(child, 0)[1], done=True)


children: list[int] = []
STDOUT = os.dup(1)

if __name__ == "__main__":
    main()
