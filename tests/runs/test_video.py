"""Pictures -> video files, read back: how many frames, how large, which colours; blends; what goes wrong."""

from __future__ import annotations

import os
import stat
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from disco.animation.frame_blend import blended
from disco.errors import InputError, RunError
from disco.events import Notice, VideoProgress
from disco.media.ffmpeg_read import executable, probe
from disco.media.images import png_bytes
from disco.runs.footage import (
    VideoSource,
    find_run,
    folder_footage,
    partials_footage,
    run_footage,
    saved_values,
    spans,
)
from disco.runs.names import RunNames
from disco.runs.video import (
    CODECS,
    VideoForm,
    check_video,
    form_of,
    summary,
    write_run_videos,
    write_video,
)
from disco.settings.animation import MOST_FPS, VideoOutSettings
from disco.settings.load import run_from_mapping
from disco.settings.model import Settings
from tests.footage import COLOURS, make_run, means, metadata, plain, shown

USUAL = VideoOutSettings()


def footage_of(folder: Path, size: tuple[int, int] = (32, 32), frames: int = 5) -> VideoSource:
    return run_footage(make_run(folder, range(frames), size=size), USUAL)


def said(error: pytest.ExceptionInfo[BaseException]) -> str:
    return str(error.value)


def loops(path: Path) -> bool:
    with Image.open(path) as file:
        return file.info.get("loop") == 0


def webp_times(path: Path) -> list[int]:
    """Milliseconds of each frame: equal neighbours are one frame there."""
    data, at, times = path.read_bytes(), 12, []
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at + 4)
        if data[at : at + 4] == b"ANMF":
            times.append(int.from_bytes(data[at + 20 : at + 23], "little"))
        at += 8 + length + length % 2
    return times


# every format


@pytest.mark.parametrize("size", [(32, 32), (33, 31)])
@pytest.mark.parametrize("codec", CODECS)
def test_every_frame_is_in_the_video(codec, size, tmp_path: Path) -> None:
    footage, done = footage_of(tmp_path / "run", size), []
    form = VideoForm(fps=10, codec=codec)
    path = write_video(footage, form, progress=lambda n, of: done.append((n, of)))
    assert path == tmp_path / "run" / f"run(0)_video{CODECS[codec].ending}"
    assert means(path) == list(COLOURS), "frame 0 too, in order"
    height, width = shown(path)[0].shape[:2]
    even = CODECS[codec].is_yuv
    assert (width, height) == ((34, 32) if even and size == (33, 31) else size)
    assert done == [(n, 5) for n in range(1, 6)]
    if codec == "webp":
        assert webp_times(path) == [100] * 5
    else:
        assert probe(path).fps == 10
    assert not [name for name in os.listdir(tmp_path / "run") if name.endswith(".tmp")]


def test_what_is_added_to_odd_sides_is_their_edge(tmp_path: Path) -> None:
    pixels = plain((0, 0, 0), (33, 31))
    pixels[:, -1], pixels[-1] = 255, 255
    (tmp_path / "a.png").write_bytes(png_bytes(pixels))
    (frame,) = shown(write_video(folder_footage(tmp_path), VideoForm()))
    assert frame.shape == (32, 34, 3)
    assert frame[:, -2:].min() > 230 and frame[-2:].min() > 230 and frame[:30, :30].mean() < 10


@pytest.mark.parametrize(
    "codec, fps", [("gif", 24), ("gif", 50), ("h264", 23.976), ("vp9", 240), ("webp", 0.5)]
)
def test_rates(codec, fps: float, tmp_path: Path) -> None:
    path = write_video(footage_of(tmp_path, (16, 16)), VideoForm(fps=fps, codec=codec))
    assert len(shown(path)) == 5
    if codec == "h264":
        assert probe(path).fps == pytest.approx(fps, abs=0.01)
    if codec == "gif":
        with Image.open(path) as file:
            times = []
            for n in range(5):
                file.seek(n)
                times.append(file.info["duration"])
        assert sum(times) == pytest.approx(5000 / fps, abs=10)
    if codec == "webp":
        assert webp_times(path) == [2000] * 5


def test_a_comment_says_what_made_it(tmp_path: Path) -> None:
    footage = footage_of(tmp_path)
    for codec in ("h264", "vp9"):
        path = write_video(footage, VideoForm(codec=codec))
        log = subprocess.run([executable(), "-i", path], capture_output=True, text=True).stderr.lower()
        assert "comment" in log
        for part in ('text_prompts: {"0": [a lake]}', "set_seed: 5", "steps: 4", "disco 0."):
            assert part in log
    assert summary({}) == "" and len(summary({"text_prompts": {0: ["sea " * 5000]}})) == 4000
    assert saved_values(tmp_path / "none.png") == {}


# in time


def test_gif_and_webp_repeat_if_asked(tmp_path: Path) -> None:
    footage = footage_of(tmp_path)
    for codec in ("gif", "webp"):
        once, for_ever = (write_video(footage, VideoForm(codec=codec, loop=loop)) for loop in (False, True))
        assert (loops(once), loops(for_ever)) == (False, True)
        assert len(shown(for_ever)) == 5


def test_other_loops_run_forth_and_back(tmp_path: Path) -> None:
    red, green, blue = COLOURS[:3]
    path = write_video(footage_of(tmp_path / "3", frames=3), VideoForm(loop=True))
    assert means(path) == [red, green, blue, green]
    for n in (1, 2):
        path = write_video(footage_of(tmp_path / str(n), frames=n), VideoForm(loop=True))
        assert means(path) == [red, green][:n]


@pytest.mark.parametrize("codec", CODECS)
def test_the_end_is_held(codec, tmp_path: Path) -> None:
    path = write_video(footage_of(tmp_path, frames=2), VideoForm(fps=4, codec=codec, hold=2))
    if codec == "webp":
        assert webp_times(path) == [250, 2250]
    else:
        assert means(path) == [COLOURS[0]] + [COLOURS[1]] * 9


# blends


def tensor(rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor(rows)[None, None].expand(1, 3, -1, -1).contiguous()


def test_linear_blend() -> None:
    frames = [tensor([[value]]) for value in (0.0, 1.0, -1.0)]
    assert [float(frame[0, 0, 0, 0]) for frame in blended(frames, "linear", 0.25)] == [0, 0.75, -0.5]
    assert [float(frame[0, 0, 0, 0]) for frame in blended(frames, "none", 0.25)] == [0, 1, -1]
    assert [float(frame[0, 0, 0, 0]) for frame in blended(frames, "linear", 0)] == [0, 1, -1]
    assert list(blended([], "linear", 0.5)) == []


def test_flow_blend_carries_the_frame_before_along() -> None:
    """A slope that goes to the right by two pixels a frame, seen by an estimator that knows."""
    slopes = [tensor([[(x - 2 * k) / 32 for x in range(16)]] * 16) for k in range(3)]

    def knows(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        forth = any(a is slopes[k + 1] and b is slopes[k] for k in (0, 1))
        return torch.tensor([-2.0 if forth else 2.0, 0]).view(1, 2, 1, 1).expand(1, 2, 16, 16)

    knows.name = "knows"
    found = list(blended(slopes, "flow", 0.5, knows))
    assert torch.equal(found[0], slopes[0])
    for frame, slope in zip(found[1:], slopes[1:], strict=True):
        assert torch.allclose(frame, slope, atol=1e-6), "what moved is where it is"
    ghosts = list(blended(slopes, "linear", 0.5))
    assert torch.allclose(ghosts[1], slopes[1] + 1 / 32, atol=1e-6)


def test_flow_blend_leaves_out_what_the_motion_denies() -> None:
    frames = [tensor([[0.0] * 16] * 16), tensor([[1.0] * 16] * 16)]

    def denies(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.full((1, 2, 16, 16), 5.0)  # forth is never the opposite of back

    denies.name = "denies"
    assert torch.equal(list(blended(frames, "flow", 0.5, denies))[1], frames[1])


def test_flow_blend_by_dis() -> None:
    """A soft spot moves by three pixels: with flow it stays one spot, without it is smeared."""
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="ij")
    waves = 0.2 * torch.sin(x / 3) * torch.cos(y / 4)

    def spot(at: int) -> torch.Tensor:
        bump = torch.exp(-((x - at) ** 2 + (y - 24) ** 2) / 40)
        return (bump + waves.roll(at, 1) - 0.3)[None, None].expand(1, 3, -1, -1).contiguous()

    frames = [spot(20), spot(23)]
    inner = (..., slice(8, 40), slice(8, 40))
    errors = [
        float((list(blended(frames, mode, 0.5))[1] - frames[1])[inner].abs().mean())
        for mode in ("flow", "linear")
    ]
    assert errors[0] < errors[1] / 3


def test_blends_reach_the_file(tmp_path: Path) -> None:
    footage = footage_of(tmp_path, frames=2)
    red, green = COLOURS[:2]
    path = write_video(footage, VideoForm(codec="webp", blend="linear", amount=0.25))
    assert means(path) == [red, (80, 160, 40)]
    assert means(write_video(footage, VideoForm(codec="webp", blend="flow", amount=0)))[1] == green


# where to


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    footage = footage_of(tmp_path, frames=1)
    paths = [write_video(footage, VideoForm()) for _ in range(3)]
    stem = f"{tmp_path.name}(0)_video"
    assert [path.name for path in paths] == [f"{stem}.mp4", f"{stem}-2.mp4", f"{stem}-3.mp4"]
    target = tmp_path / "new" / "folder" / "film.mp4"
    assert write_video(footage, VideoForm(), target=target) == target
    before = target.read_bytes()
    assert write_video(footage, VideoForm(fps=3), target=target).name == "film-2.mp4"
    assert target.read_bytes() == before


def test_what_a_killed_command_left_is_cleaned(tmp_path: Path) -> None:
    footage = footage_of(tmp_path, frames=1)
    code = (
        "import os, sys; from pathlib import Path; from disco.files.atomic import part_file\n"
        "with part_file(Path(sys.argv[1])) as path: path.write_bytes(b'x'); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)])
    assert [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]
    write_video(footage, VideoForm())
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]


def test_an_end_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    footage = footage_of(tmp_path)
    before = sorted(os.listdir(tmp_path))

    def stop(done: int, of: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        write_video(footage, VideoForm(), progress=stop)
    assert sorted(os.listdir(tmp_path)) == before and time.monotonic() - began < 30


# which frames


def test_the_newest_run_with_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    for run in (0, 2, 10):
        make_run(folder, range(2), run=run)
    (folder / ".state" / "11").mkdir(parents=True)
    for name in (
        "lake(12)_settings.yaml",
        "lake(13)_grid.png",
        "lake(14)_0000-34%.png",
        "lake(15)_0000_l.png",
    ):
        (folder / name).touch()
    names = find_run(folder)
    assert names is not None and (names.batch_name, names.run) == ("lake", 10)
    assert [path.name for (path,) in run_footage(names, USUAL).shots] == [
        "lake(10)_0000.png",
        "lake(10)_0001.png",
    ]
    assert find_run(folder, 2).run == 2
    (folder / "lake(0)_settings.yaml").touch()
    assert find_run(folder / "lake(0)_settings.yaml").run == 0
    with pytest.raises(InputError) as error:
        find_run(folder, 5)
    assert said(error) == f"{folder}: no pictures of run 5 in it. Runs here: 0, 2, 10."
    with pytest.raises(InputError) as error:
        find_run(folder / "lake(0)_settings.yaml", 5)
    assert said(error) == "--run: 5: lake(0)_settings.yaml is of run 0. Leave one of them out."
    with pytest.raises(InputError) as error:
        run_footage(find_run(folder / "lake(12)_settings.yaml"), USUAL)
    assert said(error) == f"{folder}: no pictures of run 12 in it. Render some first."


def test_names_are_not_patterns(tmp_path: Path) -> None:
    folder = tmp_path / "a[x]*(1)"
    make_run(folder, range(2))
    names = find_run(folder)
    assert names is not None and names.batch_name == "a[x]*(1)"
    assert len(run_footage(names, USUAL).shots) == 2


def test_folders_of_other_names(tmp_path: Path) -> None:
    make_run(tmp_path / "lake", range(2))
    moved = (tmp_path / "lake").rename(tmp_path / "moved")
    names = find_run(moved)
    assert names is not None and names.batch_name == "lake"
    (moved / "sea(3)_0000.png").touch()
    with pytest.raises(InputError) as error:
        find_run(moved)
    advice = "Give the settings file of one of the runs."
    assert said(error) == f"{moved}: runs of several batches in it: lake, sea. {advice}"


def test_parts_of_a_run(tmp_path: Path) -> None:
    names = make_run(tmp_path / "a", range(40, 46))

    def numbers(settings: VideoOutSettings = USUAL, **part: int) -> list[int]:
        return [int(shot[0].stem[-4:]) for shot in run_footage(names, settings, **part).shots]

    assert numbers() == [40, 41, 42, 43, 44, 45]
    assert numbers(first=42, last=43) == [42, 43]
    assert numbers(VideoOutSettings(init_frame=41, last_frame=99)) == [41, 42, 43, 44, 45]
    assert numbers(VideoOutSettings(init_frame=41, last_frame=43), first=40) == [40, 41, 42, 43]
    for option, number in (("first", 39), ("last", 46)):
        with pytest.raises(InputError) as error:
            numbers(**{option: number})
        assert said(error) == f"--{option}: {number}: run 0 has frames 40-45"
    with pytest.raises(InputError) as error:
        numbers(first=44, last=42)
    assert said(error) == (
        "no frames from 44 to 42: run 0 has frames 40-45. Choose others with --first and --last."
    )


def test_gaps(tmp_path: Path) -> None:
    names = make_run(tmp_path / "a", [0, 1, 2, 4, 8, 9])
    with pytest.raises(InputError) as error:
        run_footage(names, USUAL)
    assert said(error) == (
        f"{tmp_path / 'a'}: frames of run 0 are missing: 3, 5-7. Render them, or choose a part without gaps "
        "by --first and --last."
    )
    assert len(run_footage(names, USUAL, first=8).shots) == 2
    assert (
        spans([5]) == "5" and spans(range(0, 30, 2)) == "0, 2, 4, 6, 8 ..." and spans([1, 2, 7]) == "1-2, 7"
    )


def test_folders_of_any_pictures(tmp_path: Path) -> None:
    for n, name in enumerate(("b10.jpg", "b2.png", "B1.webp")):
        Image.fromarray(plain(COLOURS[n])).save(tmp_path / name, quality=95)
    (tmp_path / "notes.txt").touch()
    assert find_run(tmp_path) is None
    footage = folder_footage(tmp_path)
    assert [path.name for (path,) in footage.shots] == ["B1.webp", "b2.png", "b10.jpg"]
    path = write_video(footage, VideoForm())
    assert path == tmp_path / f"{tmp_path.name}.mp4" and means(path) == list(COLOURS[2::-1])
    assert [path.name for (path,) in folder_footage(tmp_path, first=1, last=1).shots] == ["b2.png"]
    with pytest.raises(InputError) as error:
        folder_footage(tmp_path, last=3)
    assert said(error) == f"--last: 3: {tmp_path} has pictures 0 to 2"
    with pytest.raises(InputError) as error:
        folder_footage(tmp_path, first=2, last=1)
    assert said(error) == "--last: 1 is before --first: 2"


def test_the_eyes(tmp_path: Path) -> None:
    names = make_run(tmp_path / "a", range(3))
    with pytest.raises(InputError) as error:
        run_footage(names, USUAL, eyes="left")
    advice = "run 0 has no pictures of each eye. vr_mode: true makes them, in 3D animations."
    assert said(error) == f"{tmp_path / 'a'}: {advice}"
    for frame in range(3):
        for side, colour in (("l", COLOURS[0]), ("r", COLOURS[1])):
            (tmp_path / "a" / f"a(0)_{frame:04}_{side}.png").write_bytes(png_bytes(plain(colour)))
    assert len(run_footage(names, USUAL).shots) == 3, "they are no frames of their own"
    path = write_video(run_footage(names, USUAL, eyes="side-by-side"), VideoForm())
    assert path.name == "a(0)_vr.mp4"
    frame = shown(path)[2]
    assert frame.shape == (32, 64, 3)
    assert np.abs(frame[:, 4:28].mean((0, 1)) - COLOURS[0]).max() < 4
    assert np.abs(frame[:, 36:60].mean((0, 1)) - COLOURS[1]).max() < 4
    assert run_footage(names, USUAL, eyes="left").target.name == "a(0)_left"
    names.eyes_there("r")[1].unlink()
    with pytest.raises(InputError, match="frames of run 0 are missing: 1"):
        run_footage(names, USUAL, eyes="side-by-side")


# make_video


def test_the_form_that_settings_say() -> None:
    settings = VideoOutSettings(fps=30, video_codec="gif", video_blend="linear", blend=0.2, video_loop=True)
    assert form_of(settings, "2D") == VideoForm(30, "gif", "linear", 0.2, True)
    assert form_of(settings, "Video Input").blend == "flow", "the original's default there"
    assert form_of(VideoOutSettings(video_init_blend_mode="None"), "Video Input").blend == "none"
    assert form_of(VideoOutSettings(), "None") == VideoForm(12, "h264", "none", 0.5, False)


def test_videos_of_a_run(tmp_path: Path) -> None:
    names = make_run(tmp_path / "a", range(2))
    settings = run_from_mapping({"animation_mode": "2D", "make_video": True, "video_codec": "gif"}).settings
    told = list(write_run_videos(names, settings))
    assert told == [
        VideoProgress("a(0)_video.gif", 1, 2),
        VideoProgress("a(0)_video.gif", 2, 2),
        Notice(f"video: {tmp_path / 'a' / 'a(0)_video.gif'}"),
    ]
    for frame, side in ((0, "l"), (0, "r"), (1, "l"), (1, "r")):
        (tmp_path / "a" / f"a(0)_{frame:04}_{side}.png").write_bytes(png_bytes(plain(COLOURS[0])))
    settings = Settings(animation_mode="3D", vr_mode=True, video_codec="webp")
    told = [event for event in write_run_videos(names, settings) if isinstance(event, Notice)]
    assert [event.text for event in told] == [
        f"video: {tmp_path / 'a' / name}" for name in ("a(0)_video.webp", "a(0)_vr.webp")
    ]


@pytest.mark.parametrize("codec", CODECS)
def test_a_run_that_is_left_alone_in_the_middle_of_its_video(codec, tmp_path: Path) -> None:
    names = make_run(tmp_path / "a", range(4))
    settings = Settings(animation_mode="2D", make_video=True, video_codec=codec)
    before = sorted(os.listdir(tmp_path / "a"))
    writing = write_run_videos(names, settings)
    assert next(writing) == VideoProgress(f"a(0)_video{CODECS[codec].ending}", 1, 4)
    writing.close()  # type: ignore[attr-defined]
    assert sorted(os.listdir(tmp_path / "a")) == before


def test_settings_that_a_format_cannot_hold() -> None:
    from disco.errors import SettingsError

    values = {"animation_mode": "2D", "make_video": True, "video_codec": "gif", "fps": 60}
    with pytest.raises(SettingsError) as error:
        run_from_mapping(values)
    assert said(error) == "settings: fps: 60 is too fast for video_codec: gif: write at most 50"
    run_from_mapping(values | {"make_video": False})
    assert MOST_FPS.keys() == CODECS.keys()


# partials


def test_a_timelapse_is_in_order(tmp_path: Path) -> None:
    names = make_run(tmp_path / "a", [0, 1])
    names.partials.mkdir()
    for label, colour in (("100%", 3), ("34%", 1), ("67%", 2)):
        names.partial(0, label).write_bytes(png_bytes(plain(COLOURS[colour])))
    footage = partials_footage(names.picture(0))
    assert [path.stem.partition("-")[2] for (path,) in footage.shots] == ["34%", "67%", "100%", ""]
    assert footage.target.name == "a(0)_0000_timelapse"
    for step in (2, 11):  # labelled otherwise, of a render with a list of steps; in the folder itself
        png = png_bytes(plain(COLOURS[0]), metadata(0) | {"partial": step})
        names.partial(1, f"{step:03}", in_subfolder=False).write_bytes(png)
    assert [path.stem.partition("-")[2] for (path,) in partials_footage(names.picture(1)).shots] == [
        "002",
        "011",
        "",
    ]
    png = png_bytes(plain(COLOURS[0]), metadata(0) | {"partial": 5})
    names.partial(1, "50%").write_bytes(png)
    labels = [path.stem.partition("-")[2] for (path,) in partials_footage(names.picture(1)).shots]
    assert labels == ["002", "50%", "011", ""]


def test_no_partials(tmp_path: Path) -> None:
    names = make_run(tmp_path / "a", [0])
    picture = names.picture(0)
    with pytest.raises(InputError) as error:
        partials_footage(picture)
    assert said(error) == (
        f"{picture}: no partials of it, here or in {names.partials}. intermediate_saves makes them: "
        f"render it again by python run.py '{picture}' --set intermediate_saves=20"
    )
    for name, what in (
        ("a(0)_0000-34%.png", "a partial. Give a(0)_0000.png."),
        (
            "b.png",
            "not named as a finished picture of a run. Give one as the run named it: name(0)_0000.png.",
        ),
    ):
        with pytest.raises(InputError) as error:
            partials_footage(tmp_path / "a" / name)
        assert said(error) == f"{tmp_path / 'a' / name}: {what}"
    with pytest.raises(InputError, match="no such picture"):
        partials_footage(names.picture(7))


# what goes wrong


def test_pictures_of_two_sizes(tmp_path: Path) -> None:
    names = make_run(tmp_path / "a", range(2))
    make_run(tmp_path / "a", [2], size=(32, 48))
    with pytest.raises(InputError) as error:
        write_video(run_footage(names, USUAL), VideoForm())
    assert said(error) == (
        f"{names.picture(2)}: its size is 32x48, that of a(0)_0000.png 32x32. The frames of a video have one "
        "size: leave others out by --first and --last."
    )
    for n, size in enumerate(((32, 32), (32, 30))):
        Image.fromarray(plain(COLOURS[n], size)).save(tmp_path / f"{n}.jpg")
    with pytest.raises(InputError, match=r"1\.jpg: its size is 32x30, that of 0\.jpg 32x32"):
        write_video(folder_footage(tmp_path), VideoForm())
    assert not list(tmp_path.rglob("*.mp4")) and not list(tmp_path.rglob("*.tmp"))


def test_unfinished_pictures(tmp_path: Path) -> None:
    names = make_run(tmp_path / "a", range(3))
    whole = names.picture(1).read_bytes()
    cases = {
        whole[:-20]: f"a damaged PNG: it ends after {len(whole) - 20} bytes. Render the picture again.",
        b"": "an empty file, not a PNG. Render the picture again.",
        whole[:60] + b"#" + whole[61:]: "a damaged PNG: wrong checksum at byte 33. Render the picture again.",
    }
    for data, what in cases.items():
        names.picture(1).write_bytes(data)
        with pytest.raises(InputError) as error:
            write_video(run_footage(names, USUAL), VideoForm())
        assert said(error) == f"{names.picture(1)}: {what}"
        assert not list(tmp_path.rglob("*.mp4")) and not list(tmp_path.rglob("*.tmp"))


def test_rates_that_a_format_has_not(tmp_path: Path) -> None:
    footage = footage_of(tmp_path, frames=1)
    for fps, codec, most in (
        (51, "gif", 50),
        (241, "h264", 240),
        (0.05, "webp", 240),
        (float("nan"), "vp9", 240),
    ):
        with pytest.raises(InputError) as error:
            write_video(footage, VideoForm(fps=fps, codec=codec))
        assert said(error) == (
            f"fps: {fps:g}: a {codec} video has 0.1 to {most} frames per second. "
            "Choose another --fps, or another --codec."
        )


def test_sizes_that_a_format_has_not(tmp_path: Path) -> None:
    footage = footage_of(tmp_path, (16384, 1), frames=1)
    with pytest.raises(InputError) as error:
        write_video(footage, VideoForm(codec="webp"))
    assert said(error).endswith(
        ": 16384x1: a webp video has at most 16383 pixels a side. Choose another --codec."
    )


def fake_ffmpeg(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    program = folder / "my-ffmpeg"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
    return program


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
def test_an_ffmpeg_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    footage = footage_of(tmp_path / "a", (256, 256))
    program = fake_ffmpeg(
        tmp_path, monkeypatch, "echo \"[vost] [fatal] Unknown encoder 'libx264'\" >&2; exit 8"
    )
    with pytest.raises(RunError) as error:
        write_video(footage, VideoForm())
    assert said(error) == (
        "ffmpeg could not write the video: Unknown encoder 'libx264'. "
        f"{program} cannot write h264: unset IMAGEIO_FFMPEG_EXE, or try another codec."
    )
    fake_ffmpeg(
        tmp_path, monkeypatch, 'cat > /dev/null; echo "[out] [error] No space left on device" >&2; exit 1'
    )
    with pytest.raises(RunError) as error:
        write_video(footage, VideoForm())
    assert said(error) == (
        "ffmpeg could not write the video: No space left on device. "
        "Check the disk, or choose another place by --out."
    )
    fake_ffmpeg(tmp_path, monkeypatch, "exit 3")
    with pytest.raises(RunError, match=r"^ffmpeg could not write the video: it ended with 3\. "):
        write_video(footage, VideoForm())
    assert not list(tmp_path.rglob("*.mp4")) and not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("codec", CODECS)
def test_ours_can_write_every_format(codec) -> None:
    check_video(Settings(animation_mode="2D", make_video=True, video_codec=codec, fps=12))


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
def test_an_ffmpeg_of_no_use_is_told_before_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = Settings(animation_mode="2D", make_video=True)
    program = fake_ffmpeg(tmp_path, monkeypatch, "echo \"Codec 'libx264' is not recognized by FFmpeg.\"")
    with pytest.raises(InputError) as error:
        check_video(wanted)
    assert said(error) == (
        f"{program}: has no libx264, which h264 needs. Unset IMAGEIO_FFMPEG_EXE to use the ffmpeg that comes "
        "with Disco, or choose another video_codec."
    )
    program.write_text("no program at all")
    with pytest.raises(InputError) as error:
        check_video(wanted)
    assert said(error) == (
        f"{program}: does not run. Unset IMAGEIO_FFMPEG_EXE to use the ffmpeg that comes with Disco."
    )
    for other in ({"make_video": False}, {"animation_mode": "None"}):
        check_video(wanted.model_copy(update=other))


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="other permissions")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    footage = footage_of(tmp_path / "a", frames=1)
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(RunError, match="no permission to write there"):
        write_video(footage, VideoForm(), target=tmp_path / "locked" / "a.mp4")


def test_names_of_files() -> None:
    names = RunNames(Path("out"), "a", 3)
    assert names.video(".mp4") == Path("out/a(3)_video.mp4") and names.video("", "vr") == Path("out/a(3)_vr")
