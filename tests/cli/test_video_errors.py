"""Every error of a video user by `run.py`: exit code 2, before a network is loaded or a folder is made."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import disco.rendering.api
from disco.__main__ import main
from tests.clips import make_clip, run_ffmpeg

LOSSLESS = ("-c:v", "ffv1", "-level", "3", "-slicecrc", "1", "-g", "1")
ALLOWED = "Allowed are videos, animated GIFs and folders of pictures."
FOLDERS = "Give a video file, or a folder of .png .jpg .jpeg .webp .bmp .tif .tiff."


def empty(path: Path) -> None:
    path.write_bytes(b"")


def words(path: Path) -> None:
    path.write_text("no video\n" * 40)


def sound(path: Path) -> None:
    run_ffmpeg("-f", "lavfi", "-i", "sine=duration=0.2", str(path))


def no_frames(path: Path) -> None:
    run_ffmpeg("-f", "lavfi", "-i", "testsrc=size=32x32", "-t", "0", "-c:v", "ffv1", str(path))


def cut_off(path: Path) -> None:
    data = make_clip(path).read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])


def one_frame_damaged(path: Path) -> None:
    data = bytearray(make_clip(path, *LOSSLESS).read_bytes())
    data[len(data) // 2 : len(data) // 2 + 8] = bytes(8 * [170])
    path.write_bytes(data)


def folder(path: Path) -> None:
    path.mkdir()


def folder_of_text(path: Path) -> None:
    path.mkdir()
    (path / "notes.txt").write_text("frames are elsewhere")


def two_sizes(path: Path) -> None:
    path.mkdir()
    for k, size in enumerate([(20, 10), (20, 12)]):
        Image.new("RGB", size).save(path / f"{k}.png")


def damaged_picture(path: Path) -> None:
    two_sizes(path)
    (path / "1.png").write_bytes((path / "0.png").read_bytes()[:50])


# name of the file, what it is, and what is said of it
ERRORS: list[tuple[str, Callable[[Path], None], str]] = [
    ("a.mp4", empty, "a.mp4: an empty file. Copy or download it again."),
    ("a.mp4", words, f"a.mp4: not a video that ffmpeg can read. {ALLOWED}"),
    ("a.wav", sound, f"a.wav: holds sound only, no moving pictures. {ALLOWED}"),
    (
        "a.mkv",
        no_frames,
        "a.mkv: a video without any frames, or cut off before the first. Export or copy it again.",
    ),
    (
        "a.mp4",
        cut_off,
        "a.mp4: cut off: the index at its end is missing or damaged. Copy or download it again.",
    ),
    ("a", folder, f"a: a folder without pictures: it is empty. {FOLDERS}"),
    (
        "a",
        folder_of_text,
        f"a: a folder without pictures: it holds 1 other files, such as notes.txt. {FOLDERS}",
    ),
    (
        "a",
        two_sizes,
        "a/1.png: its size is 20x12, that of 0.png 20x10. The pictures of a folder are the frames of one "
        "video: give them one size.",
    ),
]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def loaded(*_: object, **__: object) -> None:
        raise AssertionError("a network was loaded")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(disco.rendering.api, "load_for", loaded)
    Path("clip").mkdir()
    for k in range(3):
        Image.new("RGB", (16, 16), (80 * k, 0, 0)).save(f"clip/{k}.png")


def told(capsys: pytest.CaptureFixture[str], **values: str) -> str:
    """What run.py says of these settings, which it does not render."""
    settings = {"animation_mode": "Video Input", "extract_nth_frame": "1", "text_prompts": "red"}
    settings |= {"width_height": "[32, 32]"} | values
    Path("settings.yaml").write_text("".join(f"{key}: {value}\n" for key, value in settings.items()))
    assert main(["settings.yaml", "--quiet"]) == 2
    made = {str(path) for path in Path("images_out").rglob("*") if path.is_file()}
    assert not {path for path in made if ".video_frames" not in path}
    out, err = capsys.readouterr()
    assert out == ""
    return err.removesuffix("\n")


@pytest.mark.parametrize(("name", "make", "text"), ERRORS, ids=lambda part: getattr(part, "__name__", ""))
@pytest.mark.parametrize("key", ["video_init_path", "video_mask_path"])
def test_of_no_use(
    key: str, name: str, make: Callable[[Path], None], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make(Path(name))
    assert told(capsys, **{"video_init_path": "clip", key: name}) == text


@pytest.mark.parametrize("key", ["video_init_path", "video_mask_path"])
def test_not_there(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = 5 if key == "video_init_path" else 6
    assert told(capsys, **{"video_init_path": "clip", key: "clop"}) == (
        f"settings.yaml:{line}: {key}: no such file: clop (looked in {Path.cwd()}). Did you mean clip?"
    )


def test_none_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys) == (
        "settings.yaml:1: video_init_path: animation_mode: Video Input needs the path of a video, or of a "
        "folder of pictures, here"
    )


def test_in_the_web(capsys: pytest.CaptureFixture[str]) -> None:
    url = "https://example.org/a.mp4"
    text = f"{url}: a web address; only local videos can be read. Download it first."
    assert told(capsys, video_init_path=url) == text


def test_fewer_frames_than_are_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, video_init_path="clip", extract_nth_frame="9") == (
        "clip: extract_nth_frame: 9 is more than the 3 frames there are. "
        "Give 1 to use all of them, at most 3."
    )


def test_a_video_that_would_begin_after_the_last_frame(capsys: pytest.CaptureFixture[str]) -> None:
    values = {"video_init_path": "clip", "make_video": "true", "init_frame": "3"}
    assert told(capsys, **values) == "init_frame: there is no frame 3, the last is 2"


def test_a_corrupt_frame_in_the_middle(capsys: pytest.CaptureFixture[str]) -> None:
    """All frames that are wanted are read first; how ffmpeg puts it is its own."""
    one_frame_damaged(Path("a.mkv"))
    text = told(capsys, video_init_path="a.mkv")
    assert re.fullmatch(
        r"a\.mkv: damaged or cut off at (about )?frame \d( or later)? \([^)]+\)\. Copy or download it again, "
        r'or repair it: \S+ -i "a\.mkv" -crf 12 repaired\.mp4',
        text,
    )


def test_a_damaged_picture_in_the_folder(capsys: pytest.CaptureFixture[str]) -> None:
    damaged_picture(Path("a"))
    start = f"{Path.cwd() / 'a' / '1.png'}: a damaged picture ("
    assert told(capsys, video_init_path="a").startswith(start)


def test_an_odd_size_to_render(capsys: pytest.CaptureFixture[str]) -> None:
    assert "width_height: 33 is no multiple of" in told(
        capsys, video_init_path="clip", width_height="[33, 31]"
    )
