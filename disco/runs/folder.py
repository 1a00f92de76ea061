"""One run's folder: its number, atomic writes, settings, pictures, checkpoints.

<out>/<batch_name>/<batch_name>(<run>)_0000.png        finished pictures, never overwritten
                  /<batch_name>(<run>)_settings.yaml, _grid.png, _sweep.png, _progress.png, _status.json
                  /<batch_name>(<run>)_0000_<finisher>.png   what finishers made of a picture
                  /partials/<batch_name>(<run>)_0000-34%.png
                  /retained/                           what a resume or a repair moved out of the way
                  /.state/<run>/                       run.json and its copy, lock, checkpoints
"""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeAlias

from disco.errors import InputError, ResumeError, RunError
from disco.files import atomic
from disco.files.lock import FileLock
from disco.media.png import check_png
from disco.runs.checkpoints import Checkpoint, Checkpoints
from disco.runs.info import NAMES, START_NEW, read_info, write_info
from disco.runs.names import RunNames, check_batch_name, next_number, partial_steps, state_numbers

__all__ = ["Checkpoint", "RunFolder", "RunSummary", "list_runs", "partial_steps"]

Status = Literal["running", "interrupted", "finished"]
State: TypeAlias = Literal["rendering", "unfinished", "finished", "damaged"]


@dataclass(frozen=True)
class RunSummary:
    """One run of a batch, as `--resume` lists it."""

    run: int
    state: State  # rendering: by a process that lives; damaged: no copy of run.json is whole
    done: int
    of: int | None
    settings: Path
    again: bool = False  # a finished picture rendered again

    def __str__(self) -> str:
        of = "?" if self.of is None else self.of
        return f"run {self.run}: {self.state}, {self.done} of {of} pictures ({self.settings})"


def list_runs(out: Path, batch_name: str) -> list[RunSummary]:
    """The runs with saved settings and state, lowest number first. Takes no lock, changes nothing."""
    folder = out / check_batch_name(batch_name)
    runs = []
    for number in state_numbers(folder):
        run = RunFolder(folder, batch_name, number)
        damage = run.damage()
        info = {} if damage else run.info
        is_ours = info.get("settings", {}).get("batch_name") == batch_name  # not so in a renamed folder
        if not (run.names.settings.exists() or is_ours):
            continue  # killed before it began
        state: State = "unfinished"
        if damage:
            state = "damaged"
        elif run.lock.is_held():
            state = "rendering"
        elif info.get("status") == "finished":
            state = "finished"
        done = len(run.names.pictures_there())
        again = bool(info.get("again"))
        runs.append(RunSummary(number, state, done, _planned(info), run.names.settings, again))
    return runs


def renamed_runs(out: Path) -> list[str]:
    """One line per run that no batch name finds, because its folder under `out` has another name now."""
    lines = []
    for folder in sorted(path.parent for path in out.glob("*/.state")):
        for number in state_numbers(folder):
            name = _saved_name(folder, number)
            if name not in (None, folder.name) and RunNames(folder, str(name), number).settings.exists():
                lines.append(
                    f"{folder} holds run {number} of {name}: rename it back to {folder.with_name(str(name))}"
                )
    return lines


def _saved_name(folder: Path, number: int) -> str | None:
    """The batch name that a run was started with, as run.json has it; None if it is not readable."""
    try:
        name = RunFolder(folder, folder.name, number).info.get("settings", {}).get("batch_name")
    except (ResumeError, AttributeError, TypeError):
        return None
    return name if isinstance(name, str) else None


def newest_unfinished(runs: Sequence[RunSummary]) -> int | None:
    """The highest number of a run that is not finished and can be resumed, or waited for."""
    unfinished = (summary.run for summary in runs if summary.state in ("unfinished", "rendering"))
    return max(unfinished, default=None)


def _planned(info: Mapping[str, Any]) -> int | None:
    """How many pictures the run is to have: `wanted`, where it is not all `n_batches`."""
    wanted = info.get("wanted")
    return info.get("n_batches") if wanted is None else len(wanted)


class RunFolder:
    """Made by `create` or `open`, which take its lock; `close` (or `with`) releases it."""

    def __init__(self, folder: Path, batch_name: str, run: int) -> None:
        self.folder = folder
        self.run = run
        self.names = RunNames(folder, batch_name, run)
        self.lock = FileLock(self.names.state / "lock")
        self.checkpoints = Checkpoints(self.names.state)

    @classmethod
    def create(cls, out: Path, batch_name: str) -> RunFolder:
        """Start a new run under the next free number, also when several start at once.

        Raises RunError if the folder cannot be written, InputError for a batch_name that names no folder.
        """
        folder = out / check_batch_name(batch_name)
        states = folder / ".state"
        with atomic.disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            atomic.check_writable(folder)
        with atomic.disk_errors(states):
            states.mkdir(exist_ok=True)
            number = next_number(folder, batch_name)
            while True:
                try:
                    (states / str(number)).mkdir()  # of several processes one alone succeeds
                    break
                except FileExistsError:
                    number += 1
        run = cls(folder, batch_name, number)
        run._take()
        run.update_info(status="running", started=_now())
        return run

    @classmethod
    def open(cls, out: Path, batch_name: str, run: int | Literal["latest"] = "latest") -> RunFolder:
        """Take up run number `run`, or the newest one that is not finished.

        Raises ResumeError: no such run (the text lists all), or another process renders it now.
        """
        runs = list_runs(out, batch_name)
        folder = out / batch_name
        listing = "".join(f"\n  {line}" for line in (*runs, *renamed_runs(out))) or " none."
        if run == "latest":
            newest = newest_unfinished(runs)
            if newest is None:
                raise ResumeError(f"{folder}: no unfinished run to resume. Runs here:{listing}")
            run = newest
        elif run not in [summary.run for summary in runs]:
            raise ResumeError(f"{folder}: no run {run} to resume. Runs here:{listing}")
        opened = cls(folder, batch_name, run)
        damage = opened.damage()
        if damage:
            raise ResumeError(damage)
        opened._take()
        return opened

    def _take(self) -> None:
        if not self.lock.acquire():
            info = self.info
            raise ResumeError(
                f"{self.folder}: run {self.run} is being rendered now, by process {info.get('pid')} on"
                f" {info.get('host')}. Wait for it, or stop it first."
            )
        for folder in (self.folder, self.names.partials, self.names.state):
            atomic.clean_temporaries(folder)
        self.update_info(pid=os.getpid(), host=platform.node())

    def close(self) -> None:
        self.lock.release()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # What the run is: run.json

    @property
    def info(self) -> dict[str, Any]:
        """What `update_info` stored: status, n_batches, seed ...; empty at first. Raises ResumeError."""
        return read_info(self.names.state)

    def damage(self) -> str:
        """Why this run cannot be resumed, with what to do; "" if a copy of run.json is whole."""
        try:
            return "" if self.info else f"{self.names.state / NAMES[0]}: is gone.{START_NEW}"
        except ResumeError as error:
            return str(error)

    def update_info(self, **values: Any) -> None:
        """Add to run.json, or change, values that JSON knows. `n_batches` is what listings show."""
        info = self.info | values | {"run": self.run, "updated": _now()}
        write_info(self.names.state, info)

    def mark(self, status: Status) -> None:
        self.update_info(status=status)

    # What is there

    def finished_pictures(self) -> set[int]:
        """Indices of the finished pictures. A torn file moves to retained/: its picture is rendered anew."""
        whole = set()
        for picture, path in self.names.pictures_there().items():
            if self._is_whole(path):
                whole.add(picture)
        return whole

    def has_finished(self, picture: int, suffix: str) -> bool:
        """Is a finisher's file there, and whole? A torn one moves to retained/."""
        path = self.names.finished(picture, suffix)
        return path.exists() and self._is_whole(path)

    def _is_whole(self, path: Path) -> bool:
        """Is this a whole PNG? Another file moves to retained/."""
        try:
            check_png(path)
        except InputError:
            self._retire(path)
            return False
        return True

    def missing(self, n: int) -> list[int]:
        """Which of the pictures 0 .. n-1 are still to be rendered."""
        return sorted(set(range(n)) - self.finished_pictures())

    def retain(self, from_index: int) -> list[Path]:
        """Move pictures `from_index` and later, with their partials and checkpoints, out of the way.

        Returns where they are now, in retained/; no name there is taken twice.
        """
        moved = [self._retire(path) for path in self.names.from_picture(from_index)]
        self.checkpoints.drop_from(from_index)
        return moved

    # What is written

    def save_settings(self, text: str) -> Path:
        """Write the run's settings, before its first picture."""
        return self._write_new(self.names.settings, text.encode())

    def save_picture(self, picture: int, png: bytes) -> Path:
        """Write a finished picture, safely on disk when this returns. Raises RunError if it exists."""
        return self._write_new(self.names.picture(picture), png)

    def save_eye(self, picture: int, side: str, png: bytes) -> Path:
        """Write what an eye ("l" or "r") sees; one saved before an interruption is the same and stays."""
        path = self.names.eye(picture, side)
        return path if path.exists() else self._write_new(path, png)

    def save_finished(self, picture: int, suffix: str, png: bytes) -> Path:
        """Write what a finisher made of a picture; one saved before an interruption is the same and stays."""
        path = self.names.finished(picture, suffix)
        return path if path.exists() else self._write_new(path, png)

    def save_partial(self, picture: int, label: str, png: bytes, *, in_subfolder: bool = True) -> Path:
        """Write a partial; one saved before an interruption is the same picture and stays."""
        path = self.names.partial(picture, label, in_subfolder=in_subfolder)
        with atomic.disk_errors(path.parent):
            path.parent.mkdir(exist_ok=True)
        return path if path.exists() else self._write_new(path, png)

    def save_grid(self, png: bytes) -> Path:
        """Write the contact sheet; one from before the run was extended moves to retained/."""
        return self._write_latest(self.names.grid, png)

    def save_sweep(self, png: bytes) -> Path:
        """Write the labelled sheet of a sweep, beside the pictures of its first run; as `save_grid`."""
        return self._write_latest(self.names.sweep, png)

    def write_progress(self, png: bytes) -> Path:
        """Refresh the progress picture."""
        atomic.replace(self.names.progress, png, durable=False)
        return self.names.progress

    def write_status(self, status: Mapping[str, Any]) -> Path:
        """Refresh status.json: picture, of, step, steps, seconds_left, losses; run and time are added."""
        text = json.dumps(_finite({**status, "run": self.run, "updated": _now()}), indent=1)
        atomic.replace(self.names.status, text.encode(), durable=False)
        return self.names.status

    def _write_new(self, path: Path, data: bytes) -> Path:
        try:
            atomic.write_new(path, data)
        except FileExistsError:
            advice = "nothing is overwritten. Move it away and run again with --resume"
            raise RunError(f"{path}: exists already, and {advice}.") from None
        return path

    def _write_latest(self, path: Path, data: bytes) -> Path:
        if path.exists():
            self._retire(path)
        return self._write_new(path, data)

    def _retire(self, path: Path) -> Path:
        return atomic.move_aside(path, self.names.retained)


def _finite(value: Any) -> Any:
    """NaN and infinities as null, since other JSON readers refuse them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
