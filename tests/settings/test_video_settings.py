"""make_video: an animation ends with its video, and each setting of the video file shows in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from disco.cli.plan import describe
from disco.errors import InputError
from disco.events import Notice, RunFinished, VideoProgress
from disco.runs.folder import RunFolder
from disco.runs.report import write_videos
from disco.settings.load import run_from_mapping
from tests.animation_run import animated, animation, frames_of

OTHER: dict[str, tuple[Any, dict[str, Any]]] = {
    "make_video": (False, {}),
    "fps": (20, {}),
    "video_codec": ("webp", {}),
    "video_blend": ("linear", {}),
    "video_init_blend_mode": (
        "linear",
        {"animation_mode": "Video Input", "video_init_path": ".", "video_init_blend_mode": "None"},
    ),
    "blend": (0.9, {"video_blend": "linear"}),
    "video_loop": (True, {}),
    "init_frame": (1, {}),
    "last_frame": (2, {}),
}


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished animation without a video."""
    out = tmp_path_factory.mktemp("out")
    frames_of(out, animation("2D"))
    return RunFolder(out / "small", "small", 0)


@pytest.mark.parametrize("key", OTHER)
def test_another_value_shows(key: str, run_folder: RunFolder) -> None:
    value, needs = OTHER[key]
    base = {"animation_mode": "2D", "max_frames": 4, "make_video": True, "video_codec": "gif", **needs}

    def made(values: dict[str, Any]) -> bytes:
        told = write_videos(run_folder, run_from_mapping(values).settings)
        paths = [Path(text.removeprefix("video: ")) for text in told]
        return b"".join(path.suffix.encode() + path.read_bytes() for path in paths)

    assert made(base) and made(base) == made(base)
    assert made(base | {key: value}) != made(base)


def test_a_run_ends_with_its_video(tmp_path: Path) -> None:
    events = animated(tmp_path, animation("3D", max_frames=2, make_video=True, video_codec="gif"))
    assert isinstance(events[-1], RunFinished)
    told = events[events.index(VideoProgress("small(0)_video.gif", 1, 2)) : -1]
    assert [type(event).__name__ for event in told] == ["VideoProgress", "VideoProgress", "Notice"] * 2
    (frames, eyes) = [event.text for event in told if isinstance(event, Notice)]
    assert frames == f"video: {tmp_path / 'small' / 'small(0)_video.gif'}"
    assert eyes == f"video: {tmp_path / 'small' / 'small(0)_vr.gif'}"


def test_a_stopped_video_is_made_on_resume(tmp_path: Path) -> None:
    """All frames are there, but the run was never marked as finished."""
    values = animation("2D", max_frames=2, video_codec="gif")
    frames_of(tmp_path, values)
    folder = RunFolder(tmp_path / "small", "small", 0)
    folder.mark("running")
    events = animated(tmp_path, values | {"make_video": True}, resume="latest")
    told = [event.text for event in events if isinstance(event, Notice)]
    path = tmp_path / "small" / "small(0)_video.gif"
    assert told[0] == f"video: {path}" and path.is_file()
    assert told[1].startswith("small(0) is finished: nothing to resume.")
    assert folder.info["status"] == "finished"


def test_no_ffmpeg_is_told_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "nowhere"))
    out, values = tmp_path / "out", animation("2D", make_video=True)
    with pytest.raises(InputError, match=r"nowhere: no such program\. IMAGEIO_FFMPEG_EXE names it") as caught:
        animated(out, values, networks=None)
    assert caught.value.exit_code == 2
    with pytest.raises(InputError, match="no such program"):
        describe([run_from_mapping(values)], out)
    assert not out.exists()


def test_frames_with_a_gap_make_no_video(tmp_path: Path) -> None:
    frames_of(tmp_path, animation("2D"))
    values = animation("2D", make_video=True, video_codec="gif")
    events = animated(tmp_path, values, images=[1, 3])
    told = [event.text for event in events if isinstance(event, Notice)]
    assert any(text.startswith("no video: ") and "frames of run 1 are missing: 2" in text for text in told)
