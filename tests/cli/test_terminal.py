"""What the terminal shows of a run, from a list of events."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from disco.cli import terminal
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
    assert terminal._clock(seconds) == text


def test_losses_as_text() -> None:
    losses = {"clip": [1234.5, 0.5], "range": [1e-7], "init": [], "nan": [0.0, 0.0]}
    assert terminal._losses(losses) == "clip=618 range=1e-07"
    assert terminal._losses({"nan": [1.0, 0.0]}) == "nan=0.5"


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
