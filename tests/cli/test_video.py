"""`run.py video` and `run.py timelapse`: what they take from a run, what they print, how they end."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from disco.__main__ import main
from disco.cli import video
from disco.media.ffmpeg_read import probe
from disco.media.images import png_bytes
from tests.footage import COLOURS, make_run, means, metadata, plain, shown
from tests.places import ROOT

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(capsys: Capture, *words: str) -> Path:
    """The file that the command says it wrote."""
    assert main([*words, "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert err == "" and out.endswith("\n") and out.count("\n") == 1
    return Path(out[:-1])


def refused(capsys: Capture, *words: str) -> str:
    """The last line on stderr."""
    try:
        code: Any = main(words)
    except SystemExit as error:  # argparse leaves so
        code = error.code
    out, err = capsys.readouterr()
    assert (code, out) == (2, ""), err
    assert "Traceback" not in err
    return err.rstrip("\n").splitlines()[-1]


def test_a_run_as_its_settings_say(capsys: Capture) -> None:
    folder = Path("images_out/lake")
    make_run(folder, fps=30, init_frame=1, video_codec="gif", video_loop=True)
    path = made(capsys, "video", "images_out/lake")
    assert path == folder / "lake(0)_video.gif" and means(path) == list(COLOURS[1:])
    assert probe(path).fps == pytest.approx(30, abs=4)
    with Image.open(path) as file:
        assert file.info["loop"] == 0
    words = [
        "--first",
        "0",
        "--last",
        "2",
        "--fps",
        "24",
        "--codec",
        "h264",
        "--no-loop",
        "--blend",
        "linear",
    ]
    path = made(capsys, "video", "images_out/lake", *words)
    red, green, blue = COLOURS[:3]
    mixed = [
        tuple((a + b) // 2 for a, b in zip(*pair, strict=True)) for pair in ((red, green), (green, blue))
    ]
    assert path.name == "lake(0)_video.mp4" and means(path) == [red, *mixed]
    assert probe(path).fps == 24


def test_a_video_input_is_blended_by_flow_unless_told_otherwise(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(Path("a"), range(2), animation_mode="Video Input")
    modes = []
    monkeypatch.setattr("disco.runs.video.blended", lambda frames, mode, amount: modes.append(mode) or frames)
    for words in ([], ["--blend", "none"], ["--blend", "linear"]):
        made(capsys, "video", "a", *words)
    assert modes == ["flow", "none", "linear"]


def test_a_bar_only_on_a_terminal(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(Path("a"), range(3))
    assert main(["video", "a"]) == 0
    assert capsys.readouterr() == ("a/a(0)_video.mp4\n", "")
    Path("a/a(0)_video.mp4").unlink()
    monkeypatch.setattr(video, "is_terminal", lambda stream: True)
    assert main(["video", "a"]) == 0
    out, err = capsys.readouterr()
    assert out == "'a/a(0)_video.mp4'\n" and "video: 100%" in err and "3/3" in err


def test_no_bar_before_an_error(capsys: Capture) -> None:
    make_run(Path("a"), range(3))
    assert main(["video", "a", "--codec", "gif", "--fps", "60"]) == 2
    assert capsys.readouterr().err.startswith("fps: 60: a gif video has 0.1 to 50 frames per second.")


def test_runs_and_where_to(capsys: Capture) -> None:
    make_run(Path("a"), range(2), run=0)
    make_run(Path("a"), range(3), run=1)
    assert len(shown(made(capsys, "video", "a"))) == 3
    assert len(shown(made(capsys, "video", "a", "--run", "0", "--out", "new/film.webm"))) == 2
    assert made(capsys, "video", "a", "--out", "new/film.webm") == Path("new/film-2.webm")
    Path("a/a(0)_settings.yaml").touch()
    assert len(shown(made(capsys, "video", "a/a(0)_settings.yaml", "--out", "b.gif"))) == 2
    assert made(capsys, "video", "a", "--codec", "vp9") == Path("a/a(1)_video.webm")


def test_a_folder_of_pictures(capsys: Capture) -> None:
    Path("holiday").mkdir()
    for n in (2, 10, 1):
        Image.fromarray(plain(COLOURS[n % 5])).save(f"holiday/p{n}.png")
    path = made(capsys, "video", "holiday", "--codec", "webp", "--loop")
    assert path == Path("holiday/holiday.webp")
    assert means(path) == [COLOURS[1], COLOURS[2], COLOURS[0]]


def test_the_eyes(capsys: Capture) -> None:
    make_run(Path("a"), range(2))
    for frame in range(2):
        for side, colour in (("l", COLOURS[3]), ("r", COLOURS[4])):
            Path(f"a/a(0)_{frame:04}_{side}.png").write_bytes(png_bytes(plain(colour)))
    assert means(made(capsys, "video", "a", "--vr", "right")) == [COLOURS[4]] * 2
    assert shown(made(capsys, "video", "a", "--vr", "side-by-side"))[0].shape == (32, 64, 3)


def test_a_timelapse(capsys: Capture) -> None:
    names = make_run(Path("a"), [0])
    names.partials.mkdir()
    for label, colour in (("34%", 1), ("67%", 2)):
        png = png_bytes(plain(COLOURS[colour]), metadata(0) | {"partial": 1})
        names.partial(0, label).write_bytes(png)
    path = made(capsys, "timelapse", "a/a(0)_0000.png")
    assert path == Path("a/a(0)_0000_timelapse.mp4")
    assert means(path) == [COLOURS[1], COLOURS[2], *[COLOURS[0]] * 17], "held for two seconds"
    assert probe(path).fps == 8
    path = made(capsys, "timelapse", "a/a(0)_0000.png", "--fps", "2", "--codec", "gif", "--out", "t.gif")
    assert path == Path("t.gif") and len(shown(path)) == 7


def test_the_partials_of_a_real_run(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    import yaml

    from tests.small_run import SMALL, small_networks

    monkeypatch.setattr("disco.rendering.api.load_for", lambda run, **_: small_networks())
    settings = {**SMALL, "steps": 4, "n_batches": 1, "intermediate_saves": 2}
    Path("s.yaml").write_text(yaml.safe_dump(settings))
    assert main(["s.yaml", "--quiet"]) == 0
    capsys.readouterr()
    path = made(capsys, "timelapse", "images_out/small/small(0)_0000.png", "--fps", "1")
    assert len(shown(path)) == 5


# what is wrong


def test_wrong_words(capsys: Capture) -> None:
    make_run(Path("images_out/lake"), range(2))
    Path("images_out/empty").mkdir()
    Path("images_out/begun/.state").mkdir(parents=True)
    Path("film.mp4").touch()
    lake = "images_out/lake"
    cases = {
        ("images_out/lak",): "images_out/lak: no such folder. Did you mean images_out/lake?",
        ("no/such",): "no/such: no such folder. Check the path.",
        ("film.mp4",): "film.mp4: neither a folder nor the settings file of a run, name(0)_settings.yaml. "
        "Give the batch's folder, or any folder of pictures.",
        ("images_out/empty",): "images_out/empty: no pictures in it. Give a batch's folder, or any folder of "
        "pictures.",
        ("images_out",): "images_out: no pictures in it. Give a batch's folder, like images_out/lake, or any "
        "folder of pictures.",
        ("images_out/begun",): "images_out/begun: no pictures of a run in it. Render some first.",
        (
            "images_out/empty",
            "--run",
            "1",
        ): "images_out/empty: no pictures of run 1 in it. Render some first.",
        (lake, "--run", "1"): f"{lake}: no pictures of run 1 in it. Runs here: 0.",
        (lake, "--last", "2"): "--last: 2: run 0 has frames 0-1",
        (lake, "--fps", "fast"): "run.py video: error: argument --fps: 'fast': write a number of frames per "
        "second, like 24",
        (
            lake,
            "--fps",
            "-1",
        ): "run.py video: error: argument --fps: '-1': write a number of frames per second, like 24",
        (
            lake,
            "--fps",
            "60",
            "--codec",
            "gif",
        ): "fps: 60: a gif video has 0.1 to 50 frames per second. Choose another --fps, or another --codec.",
        (
            lake,
            "--out",
            "film.webm",
            "--codec",
            "gif",
        ): "--out: film.webm: a gif video ends in .gif. Change it, or --codec.",
        (lake, "--out", "film"): "--out: film: a h264 video ends in .mp4. Change it, or --codec.",
        (lake, "--out", "images_out"): "--out: images_out: a folder. Give the name of a file, like "
        "images_out/video.mp4",
        (
            lake,
            "--vr",
            "left",
        ): f"{lake}: run 0 has no pictures of each eye. vr_mode: true makes them, in 3D animations.",
    }
    for words, text in cases.items():
        assert refused(capsys, "video", *words, "--quiet") == text
    assert "argument --codec: invalid choice: 'av1'" in refused(capsys, "video", lake, "--codec", "av1")
    assert "argument --blend: invalid choice: 'x'" in refused(capsys, "video", lake, "--blend", "x")
    assert "the following arguments are required: FOLDER" in refused(capsys, "video")
    assert not [*Path("images_out").rglob("*.mp4"), *Path().rglob("*.tmp")]


def test_wrong_pictures(capsys: Capture) -> None:
    make_run(Path("a"), [0])
    Path("other").mkdir()
    Image.new("RGB", (8, 8)).save("other/x.png")
    said = "--vr: other has no run with pictures of each eye, name(0)_0000_l.png"
    assert refused(capsys, "video", "other", "--vr", "left", "--quiet") == said
    assert "intermediate_saves makes them" in refused(capsys, "timelapse", "a/a(0)_0000.png", "--quiet")
    assert "no such picture" in refused(capsys, "timelapse", "a/a(0)_0007.png")
    assert "required: PICTURE.png" in refused(capsys, "timelapse")
    make_run(Path("b"), [0], fps="fast")
    assert refused(capsys, "video", "b", "--quiet") == (
        "b(0): its pictures carry video settings that this version does not know. "
        "Use the version of Disco that wrote them."
    )


def test_both_verbs_are_in_the_help(capsys: Capture) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    assert "run.py video images_out/NAME" in out and "run.py timelapse PICTURE.png" in out


# the end


def slow_ffmpeg(folder: Path, seconds: int) -> dict[str, str]:
    """One that begins its file, and takes its time."""
    program = folder / "slow-ffmpeg"
    begin = 'for last; do :; done\necho begun > "${last#file:}"'
    program.write_text(f"#!/bin/sh\n{begin}\nexec sleep {seconds}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return {**os.environ, "OMP_NUM_THREADS": "1", "IMAGEIO_FFMPEG_EXE": str(program)}


def parts(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.endswith(".tmp") and path.stat().st_size]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_signal_leaves_no_video(number: signal.Signals, code: int, here: Path, capsys: Capture) -> None:
    make_run(Path("a"), range(3))
    before = sorted(path.name for path in Path("a").iterdir())
    command = [sys.executable, str(ROOT / "run.py"), "video", "a", "--quiet"]
    environment = slow_ffmpeg(here, 20 if number == signal.SIGKILL else 600)
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=here
    )
    until = time.monotonic() + 200
    while not parts(Path("a")) and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.wait(timeout=60) == code and out == ""
    if number != signal.SIGKILL:
        assert err.endswith("stopped at once; no video was written\n") and "Traceback" not in err
        assert sorted(path.name for path in Path("a").iterdir()) == before
    else:  # nothing could be done then; the next command tidies up
        assert not list(Path("a").glob("*.mp4"))
        made(capsys, "video", "a")
        assert not parts(Path("a"))
