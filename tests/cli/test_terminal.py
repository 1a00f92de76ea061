"""What the terminal shows of a run, from a list of events."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from disco.cli import terminal
from disco.cli.lines import PlainLines
from disco.cli.terminal import PlainOutput, ProgressBars
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
    listen,
)
from tests.places import ROOT

FOLDER = Path("images_out/harbour")


def step(k: int, n: int = 2, left: float | None = 3725.0, **losses: Sequence[float]) -> StepDone:
    return StepDone((0, 1), k, n, lambda: losses, list, left)


def run(*, interrupted: bool = False, resumed: bool = False) -> list[Event]:
    return [
        RunStarted(FOLDER, 3, FOLDER / "harbour(3)_settings.yaml", (0, 1), 2, ("a notice",), resumed),
        Download("pocket.safetensors", 10, 100),
        Download("pocket.safetensors", 100, 100),
        Download("clip.pt", 5, None),
        NetworksLoaded(("pocket", "pocket-conv"), 1.25),
        Notice("read as another name"),
        PictureStarted((0, 1)),
        step(0, clip=[1.0, 2.0], range=[0.0, 0.25], nan=[0.0, 0.0]),
        PartialSaved(FOLDER / "partials" / "harbour(3)_0000-50%.png"),
        step(1, clip=[0.5, 0.5]),
        PictureFinished(0, FOLDER / "harbour(3)_0000.png", 1.0),
        PictureFinished(1, FOLDER / "harbour(3)_0001.png", 1.0),
        RunFinished({}, None if interrupted else FOLDER / "harbour(3)_grid.png", interrupted),
    ]


@pytest.fixture(autouse=True)
def every_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "LOSS_EVERY", -1.0)
    monkeypatch.setenv("COLUMNS", "200")


def test_quiet_prints_paths_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    listen(run(), PlainOutput())
    out, err = capsys.readouterr()
    assert out == "images_out/harbour/harbour(3)_0000.png\nimages_out/harbour/harbour(3)_0001.png\n"
    assert err == "a notice\nread as another name\n"


def test_bars(capsys: pytest.CaptureFixture[str]) -> None:
    listen(run(), ProgressBars())
    out, err = capsys.readouterr()
    assert out.split() == [str(FOLDER / f"harbour(3)_{name}.png") for name in ("0000", "0001", "grid")]
    lines = [line.strip() for line in err.replace("\r", "\n").splitlines()]
    assert "starting run 3 in images_out/harbour (2 steps a picture)" in lines
    assert "a notice" in lines and "read as another name" in lines
    assert "networks loaded in 1.2 s" in lines
    assert "partial images_out/harbour/partials/harbour(3)_0000-50%.png\n" in err
    assert "pocket.safetensors:" in err and "clip.pt:" in err
    assert "pictures 0-1:  50%" in err and "| 1/2 " in err
    assert "run 1:02:05 left clip=1.5 range=0.125]" in err
    assert "clip=0.5]" in err
    assert "pictures: 100%" in err and "| 2/2 " in err


def test_pictures_of_several_workers_have_a_bar_each(capsys: pytest.CaptureFixture[str]) -> None:
    bars = ProgressBars()
    for event in [*run()[:7], step(0, clip=[1.0]), PictureStarted((2,)), step(1, clip=[0.5])]:
        bars.handle(event)
    assert {pictures: bar.n for pictures, bar in bars.steps.items()} == {(0, 1): 2, (2,): 0}
    bars.handle(StepDone((2,), 0, 2, lambda: {"clip": [3.0]}, list, None))
    bars.handle(PictureFinished(1, FOLDER / "harbour(3)_0001.png", 1.0))
    assert {pictures: bar.n for pictures, bar in bars.steps.items()} == {(2,): 1}
    bars.close()
    assert not bars.steps and "picture 2:" in capsys.readouterr().err


def test_a_resumed_run_says_so_and_begins_at_its_step(capsys: pytest.CaptureFixture[str]) -> None:
    events = run(resumed=True)
    events[6:9] = [PictureStarted((1,), 1)]
    listen(events, ProgressBars())
    err = capsys.readouterr().err
    assert "going on with run 3 in images_out/harbour" in err
    assert "picture 1:  50%" in err and "picture 1:   0%" not in err


@pytest.mark.parametrize("listener", [PlainOutput, ProgressBars])
def test_an_interrupted_run(listener: type[PlainOutput], capsys: pytest.CaptureFixture[str]) -> None:
    listen(run(interrupted=True), listener())
    out, err = capsys.readouterr()
    assert "stopped after a finished step; --resume goes on from there" in err
    assert "grid" not in out


def test_no_time_left_before_it_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    events = run()
    events[7:10] = [step(0, left=None, clip=[1.0])]
    listen(events, ProgressBars())
    err = capsys.readouterr().err
    assert ", clip=1]" in err and "left" not in err


def test_losses_are_read_twice_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading them waits for the device."""
    monkeypatch.setattr(terminal, "LOSS_EVERY", 0.5)
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    read = []

    def losses(k: int) -> Mapping[str, Sequence[float]]:
        read.append(k)
        return {"clip": [1.0]}

    bars = ProgressBars()
    bars.handle(PictureStarted((0,)))
    for k in range(10):
        bars.handle(StepDone((0,), k, 10, lambda k=k: losses(k), list, 1.0))  # type: ignore[misc]
        now += 0.2
    bars.close()
    assert read == [0, 3, 6, 9]


@pytest.mark.parametrize(
    "seconds, text", [(0, "00:00"), (59.9, "00:59"), (61, "01:01"), (3599, "59:59"), (36000, "10:00:00")]
)
def test_clock(seconds: float, text: str) -> None:
    assert terminal.clock(seconds) == text


def test_losses_as_text() -> None:
    losses = {"clip": [1234.5, 0.5], "range": [1e-7], "init": [], "nan": [0.0, 0.0]}
    assert terminal._losses(losses) == ["clip=618", "range=1e-07"]
    assert terminal._losses({"nan": [1.0, 0.0]}) == ["nan=0.5"]


def test_the_bars_close_when_the_run_fails(capsys: pytest.CaptureFixture[str]) -> None:
    def failing() -> Iterator[Event]:
        yield from run()[:8]
        raise RuntimeError("out of memory")

    bars = ProgressBars()
    with pytest.raises(RuntimeError, match="out of memory"):
        listen(failing(), bars)
    assert bars.pictures is None and not bars.steps and bars.download is None
    assert capsys.readouterr().err.count("pictures:")


def test_a_download_that_starts_over_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    bars = ProgressBars()
    for done in (50, 80, 0, 20):
        bars.handle(Download("a.pt", done, 100))
        assert bars.download is not None and bars.download.n == done
    bars.close()


def test_a_bar_for_each_video(capsys: pytest.CaptureFixture[str]) -> None:
    videos = [VideoProgress(f"{name}.mp4", done, 3) for name in ("video", "vr") for done in (1, 2, 3)]
    events = [*run()[:-1], *videos, Notice("video: vr.mp4"), run()[-1]]
    listen(events, PlainOutput())
    assert "frame" not in capsys.readouterr().err
    bars = ProgressBars()
    listen(events, bars)
    err = capsys.readouterr().err
    assert "video.mp4:  " in err and "vr.mp4:  " in err and "| 3/3 " in err
    assert bars.video is None


HALF_READ = """
from tests.cli.test_terminal import run
from disco.cli.terminal import *
from disco.events import listen
handled = []
class Counted({listener}):
    def handle(self, event):
        super().handle(event)
        handled.append(event)
import sys
from disco.cli.streams import safe_streams
with safe_streams():
    listen(run() * 3, Counted())
print(f"handled {{len(handled)}}", file=sys.{other}, flush=True)
"""


@pytest.mark.parametrize("gone, other", [("stdout", "stderr"), ("stderr", "stdout")])
@pytest.mark.parametrize("listener", ["PlainOutput", "ProgressBars"])
def test_nobody_reads_the_paths(listener: str, gone: str, other: str) -> None:
    """`run.py ... | head -1`: the pictures are rendered to the end all the same."""
    child = subprocess.Popen(
        [sys.executable, "-c", HALF_READ.format(listener=listener, other=other)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        text=True,
    )
    getattr(child, gone).close()
    with getattr(child, other) as stream:
        said = stream.read()
    assert child.wait() == 0, said
    assert f"handled {3 * len(run())}" in said
    assert "Traceback" not in said and "BrokenPipe" not in said


class Screen:
    """A terminal of so many columns in place of stdout and stderr; read() gives what it shows."""

    def __init__(self, columns: int) -> None:
        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.stream = os.fdopen(theirs, "w")
        self.shown = b""
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        try:
            while data := os.read(self.ours, 1 << 16):
                self.shown += data
        except OSError:  # all is closed
            pass

    def read(self) -> list[str]:
        self.stream.close()
        self.reader.join()
        text = re.sub(r"\x1b\[[A-Z]", "", self.shown.decode()).replace("\r", "\n")
        return [line for line in text.splitlines() if line.strip()]


def watched(columns: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    screen = Screen(columns)
    monkeypatch.delenv("COLUMNS")
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, screen.stream)
    events = run()
    events[7] = step(0, clip=[1.0], range=[0.5], tv=[3.25], sat=[0.125], init=[12.5], nan=[0.0])
    listen(events, ProgressBars())
    monkeypatch.undo()
    return screen.read()


@pytest.mark.parametrize("columns", range(40, 201, 10))
def test_a_bar_fits_its_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = watched(columns, monkeypatch)
    bars = [line for line in lines if "|" in line and line.startswith("pictures 0-1:")]
    assert bars and all(len(line) <= columns for line in bars)
    for line in bars if columns >= 80 else ():
        cells = line.split("|")[1]
        assert len(cells) >= 10, line
    clocks = any("left" in line for line in bars)
    assert clocks == (columns >= terminal.WIDE) and any("clip=" in line for line in bars) == clocks


def test_paths_on_a_terminal_can_be_pasted(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = watched(120, monkeypatch)
    assert "'images_out/harbour/harbour(3)_0000.png'" in lines
    assert "'images_out/harbour/harbour(3)_grid.png'" in lines
    assert lines[-1] == "render one again: python run.py 'images_out/harbour/harbour(3)_0001.png'"


def test_what_fits_of_the_losses() -> None:
    parts = ["run 01:05 left", "clip=1", "range=0.5"]
    fitting = [terminal._fitting(parts, most) for most in (13, 14, 20, 21, 30, 31)]
    two = "run 01:05 left clip=1"
    assert fitting == ["", parts[0], parts[0], two, two, " ".join(parts)]


def test_lines_for_logs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """No carriage return; one line at a start, one a minute, and the path of each picture."""
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    lines = PlainLines()
    for event in run()[:7]:
        lines.handle(event)
    for k in range(20):
        now += 10
        lines.handle(step(k, 20, 65.0, clip=[1.0]))
    now += 60
    lines.handle(VideoProgress("a.mp4", 3, 9))
    for event in run()[10:]:
        lines.handle(event)
    out, err = capsys.readouterr()
    assert out.split() == [str(FOLDER / f"harbour(3)_{name}.png") for name in ("0000", "0001", "grid")]
    assert err.splitlines() == [
        "a notice",
        "starting run 3 in images_out/harbour: 2 pictures, 2 steps each",
        "fetching pocket.safetensors (0 MiB)",
        "fetching clip.pt",
        "networks loaded in 1.2 s",
        "read as another name",
        "pictures 0-1: step 6 of 20, the run about 01:05 more",
        "pictures 0-1: step 12 of 20, the run about 01:05 more",
        "pictures 0-1: step 18 of 20, the run about 01:05 more",
        "a.mp4: frame 3 of 9",
    ]
    assert "\r" not in err
