"""animation.video and media.ffmpeg_read: tiny clips of known pixels, and every error of a video user."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import disco.animation.video as video
from disco.animation.video import VideoFrames, open_video
from disco.errors import InputError, RunError
from disco.media import ffmpeg_read
from disco.media.images import to_uint8
from disco.sampling.masks import grey
from tests.clips import FPS, frame, make_clip, run_ffmpeg

LOSSLESS = ("-c:v", "ffv1", "-level", "3", "-slicecrc", "1", "-g", "1")
SIZE = (33, 31)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six frames of 33x31, lossless."""
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mkv", *LOSSLESS, size=SIZE)


def pixels_of(frames: VideoFrames, k: int) -> ffmpeg_read.Pixels:
    """As they were before their way to [-1, 1]."""
    return to_uint8(frames[k][0] + 1e-5)


def opened(path: Path, folder: Path, **options: object) -> VideoFrames:
    return open_video(path, **{"size": SIZE, "cache_dir": folder, **options})  # type: ignore[arg-type]


def message(path: Path, folder: Path, **options: object) -> str:
    with pytest.raises(InputError) as caught:
        opened(path, folder, **options)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert not list(folder.glob("*/frames.json"))
    return text.removeprefix(f"{path}: ")


def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(video, "read_frames", refuse)


def test_every_frame_comes_as_it_is(clip: Path, tmp_path: Path) -> None:
    frames = opened(clip, tmp_path)
    assert (len(frames), frames.fps) == (6, FPS)
    assert frames.digest == hashlib.sha256(clip.read_bytes()).hexdigest()
    assert frames[0].shape == (1, 3, 31, 33)
    assert frames[0].dtype == torch.float32
    assert frames[0].min() == -1
    for k in range(6):
        assert np.array_equal(pixels_of(frames, k), frame(k, *SIZE)), k
    for k in (-1, 6):
        with pytest.raises(IndexError, match=f"frame {k} of 6"):
            frames[k]


@pytest.mark.parametrize(
    ("name", "options", "size"),
    [
        ("clip.mp4", ("-c:v", "libx264", "-crf", "1", "-pix_fmt", "yuv420p"), (32, 32)),
        ("clip.webm", ("-c:v", "libvpx-vp9", "-crf", "4", "-pix_fmt", "yuv444p"), (33, 31)),
        ("clip.gif", (), (33, 31)),
        ("clip.avi", ("-c:v", "rawvideo", "-pix_fmt", "bgr24"), (33, 31)),
    ],
)
def test_usual_files(name: str, options: tuple[str, ...], size: tuple[int, int], tmp_path: Path) -> None:
    path = make_clip(tmp_path / name, *options, size=size)
    frames = opened(path, tmp_path / "cache", size=size)
    assert len(frames) == 6
    for k in (0, 5):
        difference = np.abs(pixels_of(frames, k).astype(int) - frame(k, *size))
        assert difference.mean() < 25, k  # a GIF is dithered, and the frames differ by 67


def test_a_gif_of_uneven_times_gives_each_picture_once(tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (20, 10), (40 * k, 0, 0)) for k in range(5)]
    path = tmp_path / "uneven.gif"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=[30, 900, 20, 300, 50], loop=0)
    frames = opened(path, tmp_path / "cache", size=(20, 10))
    assert [int(pixels_of(frames, k)[0, 0, 0]) for k in range(len(frames))] == [0, 40, 80, 120, 160]


@pytest.mark.parametrize(("nth", "expected"), [(1, range(6)), (2, (0, 2, 4)), (4, (0, 4)), (6, (0,))])
def test_every_nth_frame(clip: Path, tmp_path: Path, nth: int, expected: list[int]) -> None:
    frames = opened(clip, tmp_path, nth=nth)
    assert [int(pixels_of(frames, k)[0, 0, 2]) for k in range(len(frames))] == [40 * k for k in expected]
    assert frames.fps == pytest.approx(FPS / nth)


def test_frames_are_resized_as_the_original_does(clip: Path, tmp_path: Path) -> None:
    frames = opened(clip, tmp_path, size=(16, 48))
    expected = Image.fromarray(frame(3, *SIZE)).resize((16, 48), Image.Resampling.LANCZOS)
    assert np.array_equal(pixels_of(frames, 3), np.asarray(expected))


def test_a_mask_video_is_read_the_same_way(tmp_path: Path) -> None:
    for k, level in enumerate((0, 128, 255)):
        Image.new("L", (20, 10), level).save(tmp_path / f"mask{k}.png")
    frames = opened(tmp_path, tmp_path / "cache", size=(20, 10))
    masks = [grey(frames[k]) for k in range(3)]
    assert masks[0].shape == (1, 1, 10, 20)
    assert [float(mask.mean()) for mask in masks] == pytest.approx([0, 128 / 255, 1], abs=1e-3)


def test_transparent_parts_of_masks_are_black(tmp_path: Path) -> None:
    """As those of mask_path, while a video's lie on white; both are kept side by side."""
    half = Image.new("RGBA", (20, 10), (255, 255, 255, 0))
    half.paste((255, 255, 255, 255), (0, 0, 10, 10))
    half.save(tmp_path / "mask0.png")
    usual = opened(tmp_path, tmp_path / "cache", size=(20, 10))
    mask = opened(tmp_path, tmp_path / "cache", size=(20, 10), paper="black")
    assert grey(usual[0]).min() == 1
    assert grey(mask[0])[..., :10].min() == 1 and grey(mask[0])[..., 10:].max() == 0


def test_names_that_look_like_options_or_patterns(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "-y %02d [x] größe.mkv"
    path.write_bytes(clip.read_bytes())
    assert len(opened(path, tmp_path / "cache")) == 6


def test_only_so_many_are_taken_and_the_rest_later(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(opened(clip, tmp_path, most=2)) == 2
    assert len(list(tmp_path.glob("*/*.png"))) == 2
    assert len(opened(clip, tmp_path, most=100)) == 6
    no_decoding(monkeypatch)
    assert len(opened(clip, tmp_path)) == 6
    assert len(opened(clip, tmp_path, most=3)) == 3


def test_the_cache_is_used_again_and_is_one_of_content(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = opened(clip, tmp_path / "cache")
    assert not list(first.folder.glob(".disco-*"))
    other = tmp_path / "other name.mkv"
    other.write_bytes(clip.read_bytes())
    assert opened(clip, tmp_path / "cache", nth=2).folder != first.folder
    assert opened(clip, tmp_path / "cache", size=(16, 16)).folder != first.folder
    no_decoding(monkeypatch)
    assert opened(other, tmp_path / "cache") == first


@pytest.mark.parametrize("harm", ["cut", "flip", "remove", "index", "form"])
def test_a_damaged_cache_is_made_anew(clip: Path, tmp_path: Path, harm: str) -> None:
    frames = opened(clip, tmp_path)
    path = frames.folder / ("frames.json" if harm in ("index", "form") else "000003.png")
    data = bytearray(path.read_bytes())
    if harm == "remove":
        path.unlink()
    elif harm == "flip":
        data[len(data) // 2] ^= 255
        path.write_bytes(data)
    elif harm == "form":
        path.write_bytes(data.replace(b'"form": 1', b'"form": 0'))
    else:
        path.write_bytes(data[: len(data) // 2])
    if harm in ("cut", "flip", "remove"):
        with pytest.raises(RunError, match=r"damaged since the run began\. Run again: it is extracted anew"):
            frames[3]
    again = opened(clip, tmp_path)
    assert again == frames
    assert np.array_equal(pixels_of(again, 3), frame(3, *SIZE))


def test_a_stopped_start_leaves_no_half_cache(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop_at_the_third(path: Path, data: bytes, **options: bool) -> None:
        if path.name == "000002.png":
            raise KeyboardInterrupt
        path.write_bytes(data)

    with monkeypatch.context() as patch:
        patch.setattr(video, "replace", stop_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            opened(clip, tmp_path)
    assert len(list(tmp_path.glob("*/*.png"))) == 2
    assert len(opened(clip, tmp_path)) == 6


def test_a_folder_comes_in_natural_order(tmp_path: Path) -> None:
    for name, level in (("f10.png", 90), ("F2.JPG", 60), ("f1.webp", 30), (".f0.png", 0), ("notes.txt", 0)):
        (tmp_path / name).write_text("no picture")
        if level:
            Image.new("RGB", (20, 10), (level, level, level)).save(tmp_path / name)
    frames = opened(tmp_path, tmp_path / "cache", size=(20, 10))
    assert frames.fps is None
    levels = [int(pixels_of(frames, k).mean().round()) for k in range(len(frames))]
    assert levels == pytest.approx([30, 60, 90], abs=2)
    assert len(opened(tmp_path, tmp_path / "cache", size=(20, 10), nth=2)) == 2


def test_every_level_of_a_folders_picture_is_kept(tmp_path: Path) -> None:
    ramp = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    frames = opened(tmp_path, tmp_path / "cache", size=(16, 16))
    assert np.array_equal(pixels_of(frames, 0), ramp)


def test_a_changed_picture_changes_the_folders_digest(tmp_path: Path) -> None:
    for k in range(2):
        Image.new("RGB", (20, 10), (k, 0, 0)).save(tmp_path / f"{k}.png")
    first = opened(tmp_path, tmp_path / "cache", size=(20, 10))
    Image.new("RGB", (20, 10), (9, 0, 0)).save(tmp_path / "1.png")
    second = opened(tmp_path, tmp_path / "cache", size=(20, 10))
    assert second.digest != first.digest
    assert pixels_of(second, 1)[0, 0, 0] == 9


def test_missing_and_no_video(tmp_path: Path) -> None:
    assert message(tmp_path / "no.mp4", tmp_path) == (
        "no such video. Check the path; a folder of pictures will do too."
    )
    path = tmp_path / "notes.mp4"
    path.write_text("not a video at all\n" * 20)
    assert message(path, tmp_path) == (
        "not a video that ffmpeg can read. Allowed are videos, animated GIFs and folders of pictures."
    )
    path.write_bytes(b"")
    assert message(path, tmp_path) == "an empty file. Copy or download it again."
    with pytest.raises(InputError, match=r"HTTPS://a\.b/c\.mp4: a web address.*Download it first\."):
        open_video("HTTPS://a.b/c.mp4", size=SIZE, cache_dir=tmp_path)


def test_sound_only(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    run_ffmpeg("-f", "lavfi", "-i", "sine=duration=0.2", str(path))
    assert message(path, tmp_path) == (
        "holds sound only, no moving pictures. Allowed are videos, animated GIFs and folders of pictures."
    )


def test_a_song_with_a_cover_is_sound_only(tmp_path: Path) -> None:
    path, cover = tmp_path / "song.mp3", tmp_path / "cover.png"
    Image.new("RGB", (16, 16), "red").save(cover)
    inputs = ("-f", "lavfi", "-i", "sine=duration=0.2", "-i", str(cover))
    run_ffmpeg(*inputs, "-map", "0:a", "-map", "1:v", "-disposition:v", "attached_pic", str(path))
    assert message(path, tmp_path).startswith("holds sound only")


@pytest.mark.parametrize(("name", "codec"), [("0.mkv", "ffv1"), ("0.avi", "mjpeg"), ("0.mp4", "libx264")])
def test_no_frames(tmp_path: Path, name: str, codec: str) -> None:
    path = tmp_path / name
    run_ffmpeg("-f", "lavfi", "-i", "testsrc=size=32x32", "-t", "0", "-c:v", codec, str(path))
    assert message(path, tmp_path) == ffmpeg_read.NO_FRAMES


def test_a_larger_step_than_the_clip(clip: Path, tmp_path: Path) -> None:
    expected = (
        "extract_nth_frame: 7 is more than the 6 frames there are. Give 1 to use all of them, at most 6."
    )
    assert message(clip, tmp_path, nth=7) == expected
    with pytest.raises(ValueError, match="nth is 0; allowed are numbers from 1"):
        opened(clip, tmp_path, nth=0)


def test_a_corrupt_frame_in_the_middle(clip: Path, tmp_path: Path) -> None:
    data = bytearray(clip.read_bytes())
    at = len(data) // 2
    data[at : at + 8] = bytes(8 * [170])
    path = tmp_path / "corrupt.mkv"
    path.write_bytes(data)
    text = message(path, tmp_path)
    found = re.match(r"damaged or cut off at (about )?frame (\d)( or later)? \(.+\)\. Copy or", text)
    assert found, text
    assert int(found[2]) <= 3
    assert text.endswith(f'-i "{path}" -crf 12 repaired.mp4')


def test_an_error_that_ends_ffmpeg_is_told_with_its_frame(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.avi", "-c:v", "mjpeg", "-q:v", "2", size=(64, 64), count=12)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    text = message(path, tmp_path)
    found = re.match(r"damaged or cut off at about frame (\d+) ", text)
    assert found, text
    assert 1 <= int(found[1]) <= 6


@pytest.mark.parametrize("name", ["cut.mkv", "cut.mp4", "cut.gif"])
def test_a_file_that_is_cut_off(tmp_path: Path, name: str) -> None:
    options = LOSSLESS if name == "cut.mkv" else ()
    whole = make_clip(tmp_path / f"whole{Path(name).suffix}", *options)
    path = tmp_path / name
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    start = "cut off: the index at its end" if name == "cut.mp4" else "damaged or cut off at "
    assert message(path, tmp_path).startswith(start)


def test_folders_of_no_use(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    endings = "Give a video file, or a folder of .png .jpg .jpeg .webp .bmp .tif .tiff."
    assert message(folder, tmp_path) == f"a folder without pictures: it is empty. {endings}"
    (folder / "clip.mp4").write_bytes(b"x")
    assert message(folder, tmp_path) == (
        f"a folder without pictures: it holds 1 other files, such as clip.mp4. {endings}"
    )


def test_a_folder_of_differing_sizes(tmp_path: Path) -> None:
    for k, size in enumerate([(20, 10), (20, 10), (20, 12)]):
        Image.new("RGB", size).save(tmp_path / f"{k}.png")
    with pytest.raises(InputError) as caught:
        opened(tmp_path, tmp_path / "cache")
    assert str(caught.value) == (
        f"{tmp_path / '2.png'}: its size is 20x12, that of 0.png 20x10. "
        "The pictures of a folder are the frames of one video: give them one size."
    )


def test_a_damaged_picture_in_a_folder(tmp_path: Path) -> None:
    Image.new("RGB", (20, 10)).save(tmp_path / "0.png")
    (tmp_path / "1.png").write_bytes((tmp_path / "0.png").read_bytes()[:50])
    with pytest.raises(InputError, match=r"1\.png: a damaged picture"):
        opened(tmp_path, tmp_path / "cache")


def test_no_room_for_the_cache(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RunError, match="a file stands where a folder is needed"):
        opened(clip, tmp_path / "file")


def test_an_ffmpeg_that_is_not_there(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "ffmpeg"))
    with pytest.raises(InputError) as caught:
        opened(clip, tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'ffmpeg'}: no such program. IMAGEIO_FFMPEG_EXE names it; unset it to use the ffmpeg "
        "that comes with Disco, or give the path of another."
    )


def fake_ffmpeg(folder: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    script = folder / "fake"
    script.write_text(f"#!/bin/sh\nexec {command}\n")
    script.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", os.fspath(script))


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
def test_an_ffmpeg_that_hangs_is_given_up(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ffmpeg_read, "STALL", 0.3)
    fake_ffmpeg(tmp_path, monkeypatch, "sleep 60")
    with pytest.raises(InputError, match=r"damaged or cut off at about frame 0 \(no picture within 0 s\)"):
        list(ffmpeg_read.read_frames(clip))
    with pytest.raises(InputError, match="ffmpeg cannot read its header within 0 s"):
        ffmpeg_read.probe(clip)


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
def test_an_ffmpeg_that_complains_without_end_is_given_up(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_ffmpeg(tmp_path, monkeypatch, "yes '[h264] [error] lost my way' >&2")
    with pytest.raises(InputError, match=r"at about frame 0 \(lost my way\)"):
        list(ffmpeg_read.read_frames(clip))


def test_a_reader_that_stops_early_leaves_no_process(clip: Path) -> None:
    frames = ffmpeg_read.read_frames(clip)
    assert next(frames).shape == (31, 33, 3)
    frames.close()
    assert list(frames) == []


@pytest.mark.parametrize(
    ("version", "is_old"),
    [("4.4.2-0ubuntu0.22.04.1", True), ("5.0", True), ("n5.1", False), ("9.0", False), ("N-1-g2a5", False)],
)
def test_the_version_decides_an_options_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, is_old: bool
) -> None:
    if sys.platform == "win32":
        pytest.skip("a shell script")
    log = f"[info] ffmpeg version {version}\\n  Stream #0:0: Video: h264, 32x32, 12k fps, 24 tbr\\n"
    fake_ffmpeg(tmp_path, monkeypatch, f"printf '{log}' >&2")
    assert ffmpeg_read.probe(tmp_path) == ffmpeg_read.Probe(12000, is_old)
