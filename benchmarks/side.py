"""One side of a comparison of two programs: a process that renders when it is told to, and says how long.

Orders and answers are JSON, one a line, on stdin and stdout. A side knows nothing of the other; this module
is imported by both, so it needs nothing but torch.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).parent.parent
TEXT = "a lonely lighthouse in a storm"


class Clock:
    """Notes the end of every step: seconds, and seconds of CPU of the whole process."""

    def __init__(self) -> None:
        self.marks: list[tuple[float, float]] = []

    def mark(self, *_: object) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.marks.append((time.perf_counter(), time.process_time()))

    def steps(self) -> list[list[float]]:
        """[seconds, CPU seconds] of every step but the first, whose beginning nobody saw."""
        pairs = zip(self.marks, self.marks[1:], strict=False)
        return [[b - a for a, b in zip(before, after, strict=True)] for before, after in pairs]


def serve(check: Callable[[], Mapping[str, Any]], render: Callable[[], list[list[float]]]) -> None:
    """Answer until stdin ends: "check" with what the networks say, "render" with the steps of a picture."""
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever else prints must not stand among the answers
    for line in sys.stdin:
        answer = {"check": check, "render": render}[json.loads(line)]()
        print(json.dumps(answer), file=answers, flush=True)


def probe(side: int) -> Tensor:
    """A picture that both sides can draw: [1, 3, side, side] in [0, 1]."""
    place = torch.arange(3 * side * side, dtype=torch.float64)
    return ((place * 0.37).sin() / 2 + 0.5).float().view(1, 3, side, side)


def few(answer: Tensor) -> list[float]:
    """64 numbers spread over a network's answer."""
    flat = answer.detach().float().cpu().flatten()
    return [float(value) for value in flat[:: max(len(flat) // 64, 1)][:64]]


class Side:
    """A running side."""

    def __init__(
        self, command: Sequence[str | Path], environment: Mapping[str, str], log: Path, cwd: Path
    ) -> None:
        self.log = log
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        with log.open("w") as words:
            self._process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=words,
                text=True,
                cwd=cwd,
                env={**os.environ, "PYTHONPATH": path, **environment},
            )

    def ask(self, order: str) -> Any:
        """Its answer. Raises RuntimeError with the end of its log if it has died."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            line = ""
        else:
            line = self._process.stdout.readline()
        if not line:
            code = self.close()
            raise RuntimeError(f"ended with {code}; its last words:\n{self.log.read_text()[-2000:]}")
        return json.loads(line)

    def close(self) -> int:
        """Let it end; its exit status."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        code = self._process.wait()
        self._process.stdout.close()
        return code
