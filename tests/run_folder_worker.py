"""Real processes for the tests of run folders: reads a JSON order per line, forks, and the child obeys it.

The parent imports torch once, so that a hundred children cost nothing. Each child prints JSON lines.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch

from disco.media.images import png_bytes
from disco.runs.checkpoints import Checkpoint
from disco.runs.folder import RunFolder, list_runs


def say(**what: Any) -> None:
    # One write call: lines of several children do not mix.
    os.write(1, (json.dumps({"pid": os.getpid(), **what}) + "\n").encode())


def picture(k: int) -> bytes:
    return png_bytes(torch.full((3, 24, 24), k % 200 / 100 - 1), {"picture": k})


def checkpoint(k: int) -> Checkpoint:
    return Checkpoint(
        (k,), k, torch.full((1, 3, 40, 40), float(k)), history=(torch.full((1, 3, 40, 40), -float(k)),)
    )


def create_many(out: Path, batch_name: str, start: float, times: int) -> None:
    time.sleep(max(0.0, start - time.time()))
    for _ in range(times):
        with RunFolder.create(out, batch_name) as run:
            run.save_settings(f"pid: {os.getpid()}\n")
            say(run=run.run)


def hold(out: Path, batch_name: str) -> None:
    run = RunFolder.create(out, batch_name)
    run.save_settings("a: 1\n")
    run.update_info(n_batches=2)
    say(run=run.run)
    time.sleep(60)


def write_forever(out: Path, batch_name: str) -> None:
    run = RunFolder.open(out, batch_name) if list_runs(out, batch_name) else RunFolder.create(out, batch_name)
    if not run.names.settings.exists():
        run.save_settings("text_prompts: [a lighthouse]\n" * 500)
    k = len(run.finished_pictures())
    say(started=True)
    while True:
        run.write_status({"picture": k, "losses": {"clip": [1.0]}, "note": "x" * 5000})
        run.write_progress(picture(k))
        run.checkpoints.save(checkpoint(k))
        run.save_partial(k, "50%", picture(k))
        run.save_picture(k, picture(k))
        say(saved=k)
        run.checkpoints.save(checkpoint(k + 1))
        run.update_info(n_batches=k + 2)
        k += 1


def die_at_line(out: Path, batch_name: str, line: int) -> None:
    """Write until `line` lines of the modules that write have run, then kill -9 ourselves."""
    left = line

    def trace(frame: Any, event: str, _: object) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.endswith(
            ("files/atomic.py", "runs/checkpoints.py", "runs/folder.py")
        ):
            return None
        left -= event == "line"
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    write_forever(out, batch_name)


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies: a dead child is gone at once
    say(ready=True)
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                globals()[order.pop("do")](Path(order.pop("out")), **order)
            except BaseException as error:
                say(error=repr(error))
            os._exit(0)
        say(child=child)


if __name__ == "__main__":
    main()
