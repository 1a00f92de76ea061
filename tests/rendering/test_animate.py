"""Whole animations with small fakes: each mode, its frames' starts and random numbers, ranges, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import disco
from disco.animation.motion2d import warp2d
from disco.errors import InputError, ResumeError
from disco.events import Notice, PictureFinished, PictureStarted, RunFinished, RunStarted
from disco.media.images import from_uint8, png_bytes, read_pixels
from disco.media.png import read_metadata
from disco.runs.frames import FrameStore
from disco.runs.new_run import read_again
from tests.animation_run import ANIMATIONS, animated, animation, frames_of, mean_difference, write_clip
from tests.small_run import StopAfter, pictures, rendered, same, small_networks


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "clip")


def notices(events: list[Any]) -> list[str]:
    return [event.text for event in events if isinstance(event, Notice)]


@pytest.mark.parametrize("kind", ANIMATIONS)
def test_all_frames_of_every_kind(kind: str, tmp_path: Path) -> None:
    events = animated(tmp_path / "out", animation(kind))
    n = animation(kind)["max_frames"]
    (started,) = [event for event in events if isinstance(event, RunStarted)]
    assert started.pictures == tuple(range(n))
    frames = pictures(tmp_path / "out")
    assert list(frames) == list(range(n))
    assert all(not np.array_equal(frames[k], frames[k + 1]) for k in range(n - 1))
    (report,) = [event.report for event in events if isinstance(event, RunFinished)]
    assert (report["pictures"], report["of"], report["nan_steps"]) == (n, n, 0)
    metadata = read_metadata(tmp_path / "out" / "small" / "small(0)_0002.png")
    assert (metadata["picture"], metadata["batch"], metadata["seed"]) == (2, [2], 5)
    assert metadata["settings"]["animation_mode"] == animation(kind)["animation_mode"]


@pytest.mark.parametrize("kind", ANIMATIONS)
def test_stopped_after_any_step_and_resumed(kind: str, tmp_path: Path) -> None:
    """Between frames and inside them, at frames that turbo leaves out too: the same frames bit for bit."""
    whole = tmp_path / "whole"
    frames_of(whole, animation(kind))
    rendered(tmp_path / "out", animation(kind), stop=StopAfter(3))
    for _ in range(40):
        again = animation(kind, resume_run=True)
        if not rendered(tmp_path / "out", again, stop=StopAfter(3)).interrupted:
            break
    assert same(pictures(tmp_path / "out"), pictures(whole))
    eyes = sorted(path.name for path in (whole / "small").glob("*_[lr].png"))
    assert eyes == sorted(path.name for path in (tmp_path / "out" / "small").glob("*_[lr].png"))
    assert len(eyes) == (8 if kind == "3D" else 0)


def test_a_frame_starts_from_the_last_one_moved(tmp_path: Path) -> None:
    """With one step left to it, little but the moved picture is seen."""
    values = {"angle": 0, "zoom": 1, "translation_x": 5, "color_coherence": "none", "frames_scale": 0}
    values |= {"steps": 50, "frames_skip_steps": 49, "max_frames": 2, "clip_guidance_scale": 0}
    frames_of(tmp_path / "out", animation("2D", **values))
    first, second = pictures(tmp_path / "out").values()
    moved = warp2d(from_uint8(first), angle=0, zoom=1, translation_x=5, translation_y=0, border="reflect")
    expected = ((moved[0] + 1) * 127.5).permute(1, 2, 0).numpy()
    assert mean_difference(second, expected) < 0.25 * mean_difference(second, first)


def test_frames_have_random_numbers_of_their_own(tmp_path: Path) -> None:
    """A video whose frames stand alone: frame 2 by itself is frame 2; one seed for all gives others."""
    free = {"video_init_flow_warp": False}
    frames_of(tmp_path / "a", animation("video", **free))
    frames_of(tmp_path / "b", animation("video", **free), images=[2])
    a = pictures(tmp_path / "a")
    assert np.array_equal(pictures(tmp_path / "b")[2], a[2])
    frames_of(tmp_path / "c", animation("video", **free, video_init_seed_continuity=True))
    c = pictures(tmp_path / "c")
    assert np.array_equal(a[0], c[0]) and not np.array_equal(a[1], c[1])


def test_a_video_decides_how_many_frames(tmp_path: Path) -> None:
    made = frames_of(tmp_path / "out", animation("video", max_frames=99, extract_nth_frame=2))
    assert list(made) == [0, 1]
    saved = read_metadata(made[1])
    assert saved["settings"]["max_frames"] == 2 and len(saved["inputs"]["clip"]) == 64


def test_the_flow_carries_the_picture_along(tmp_path: Path) -> None:
    """With blend 1 the start is the last frame alone, with 0 the video's own."""
    few = {"video_init_steps": 50, "video_init_skip_steps": 48, "video_init_frames_skip_steps": 49}
    few |= {"clip_guidance_scale": 0, "video_init_clip_guidance_scale": 0, "max_frames": 3}
    for blend in (0, 1):
        frames_of(tmp_path / str(blend), animation("video", **few, video_init_flow_blend=blend))
    raw = [read_pixels(tmp_path / "clip" / f"{k}.png") for k in range(3)]
    own, carried = pictures(tmp_path / "0"), pictures(tmp_path / "1")
    assert mean_difference(own[2], raw[2]) < 8
    assert mean_difference(own[2], raw[2]) < mean_difference(carried[2], raw[2])
    assert mean_difference(carried[2], raw[2]) < mean_difference(carried[2], raw[0])


def test_a_mask_video_keeps_what_is_black(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    half = torch.ones(3, 32, 32)
    half[..., :16] = -1
    for k in range(4):
        (tmp_path / "masks" / f"{k}.png").write_bytes(png_bytes(half))
    values = {"video_mask_path": "masks", "mask_blur": 0, "video_init_flow_warp": False}
    frames_of(tmp_path / "out", animation("video", **values))
    for k, frame in pictures(tmp_path / "out").items():
        raw = read_pixels(tmp_path / "clip" / f"{k}.png")
        assert mean_difference(frame[:, :16], raw[:, :16]) < 0.5 < mean_difference(frame[:, 16:], raw[:, 16:])


def test_turbo_renders_some_frames_only(tmp_path: Path) -> None:
    events = animated(tmp_path / "out", animation("turbo"))
    steps = {k: 0 for k in range(6)}
    for event in events:
        if type(event).__name__ == "StepDone":
            steps[event.pictures[0]] += 1
    assert steps == {0: 6, 1: 3, 2: 0, 3: 3, 4: 0, 5: 0}
    assert [e.pictures for e in events if isinstance(e, PictureStarted)] == [(k,) for k in range(6)]
    assert [e.picture for e in events if isinstance(e, PictureFinished)] == list(range(6))


def test_only_the_last_frames_are_kept_as_floats(tmp_path: Path) -> None:
    frames_of(tmp_path / "out", animation("3D"))
    assert FrameStore(tmp_path / "out" / "small" / ".state" / "0").frames() == [2, 3]
    frames_of(tmp_path / "out", animation("2D"))  # looks at the colours of frame 0
    assert FrameStore(tmp_path / "out" / "small" / ".state" / "1").frames() == [0, 2, 3]


# ---- compat: dd57 ----


def test_a_frame_of_dd57_is_the_still_that_the_original_made_of_it(tmp_path: Path) -> None:
    """Frame k: seed + k, from the last PNG, moved in 8 bits, wrapped at the border (quirk Q15)."""
    values = {"skip_augs": True, "max_frames": 2}
    frames_of(tmp_path / "out", animation("dd57", **values))
    first, second = pictures(tmp_path / "out").values()
    moved = np.roll(first, 3, axis=1)
    (tmp_path / "moved.png").write_bytes(png_bytes(moved))
    still = animation("dd57", **values, animation_mode="None", set_seed=6, init_image="moved.png")
    still |= {"skip_steps": 3, "init_scale": 100, "n_batches": 1}
    frames_of(tmp_path / "still", still)
    assert np.array_equal(pictures(tmp_path / "still")[0], second)


def test_frames_of_dd57_can_be_rendered_alone(tmp_path: Path) -> None:
    """Each has a seed of its own, and its start went through 8 bits anyway."""
    frames_of(tmp_path / "out", animation("dd57"))
    made = frames_of(tmp_path / "out", animation("dd57"), images=[2, 3])
    whole = pictures(tmp_path / "out")
    assert sorted(made) == [2, 3] and "small(1)" in str(made[2])
    assert all(np.array_equal(read_pixels(made[k]), whole[k]) for k in (2, 3))


def test_keys_past_the_end_squeeze_the_motion_of_dd57(tmp_path: Path) -> None:
    """What is written for frame 9 is reached at the last frame, as the original had it."""
    for name, keys in (("past", "0: (0), 9: (8)"), ("end", "0: (0), 2: (8)"), ("fixed", "0: (0), 9: (8)")):
        compat = "fixed" if name == "fixed" else "dd57"
        values = {"max_frames": 3, "translation_x": keys, "compat": compat, "border_mode": "wrap"}
        frames_of(tmp_path / name, animation("dd57", **values))
    assert same(pictures(tmp_path / "past"), pictures(tmp_path / "end"))
    first, last = (pictures(tmp_path / "fixed")[k] for k in (1, 2))
    moves = [mean_difference(np.roll(first, shift, axis=1), last) for shift in range(9)]
    assert int(np.argmin(moves)) == 2, "and in fixed by 16/9"


# ---- ranges, resuming, rendering again ----


def test_a_range_starts_from_the_saved_frame_before_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    frames_of(out, animation("3D", vr_mode=False, set_seed=77))
    whole = pictures(out)
    events = animated(out, animation("3D", vr_mode=False, set_seed="random_seed"), images=[3])
    assert notices(events) == []  # frame 2 is there float for float, and the seed is that run's
    (made,) = [event.path for event in events if isinstance(event, PictureFinished)]
    assert np.array_equal(read_pixels(made), whole[3])
    assert read_metadata(made)["seed"] == 77
    events = animated(out, animation("3D", vr_mode=False, set_seed=77), images=[1, 2])
    text = "frame 0 is read from its 8-bit PNG: the frames after it change slightly"
    assert notices(events) == [text]
    made = [event.path for event in events if isinstance(event, PictureFinished)]
    assert all(mean_difference(read_pixels(path), whole[k]) < 4 for k, path in zip((1, 2), made, strict=True))


def test_a_range_without_the_frame_before_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError) as caught:
        animated(out, animation("2D"), images=[2, 3])
    assert str(caught.value) == (
        f"--images: frame 2 starts from frame 0, 1, and no run of small in {out} with these settings has it. "
        "Render the frames before it first: --images 0-3, or without --images"
    )
    assert not (out / "small").exists()
    with pytest.raises(InputError, match=r"--images: 4: this run has frames 0 to 3 \(max_frames: 4\)"):
        animated(out, animation("2D"), images=[4])


def test_resume_from_frame_moves_later_frames_aside(tmp_path: Path) -> None:
    out = tmp_path / "out"
    frames_of(out, animation("3D"))
    before = pictures(out)
    events = animated(out, animation("3D", resume_run=True, resume_from_frame=1))
    assert "frame 1 is read from its 8-bit PNG" in notices(events)[-1]
    after = pictures(out)
    assert np.array_equal(after[1], before[1]) and mean_difference(after[3], before[3]) < 6
    retained = sorted(path.name for path in (out / "small" / "retained").iterdir())
    assert {"small(0)_0002.png", "small(0)_0002_l.png", "small(0)_0003_r.png"} <= set(retained)


def test_more_frames_extend_a_run(tmp_path: Path) -> None:
    frames_of(tmp_path / "whole", animation("3D"))
    frames_of(tmp_path / "out", animation("3D", max_frames=2))
    frames_of(tmp_path / "out", animation("3D", resume_run=True))
    assert same(pictures(tmp_path / "out"), pictures(tmp_path / "whole"))


def test_a_frame_that_is_gone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    frames_of(out, animation("3D", max_frames=3))
    for path in (out / "small").glob("small(0)_000[12].png"):
        path.unlink()
    for path in (out / "small" / ".state" / "0").glob("frame-*"):
        path.unlink()
    made = frames_of(out, animation("3D", max_frames=3, resume_run=True))
    assert sorted(made) == [1, 2]  # frame 0 is there as a picture
    (out / "small" / "small(0)_0001.png").unlink()
    (out / "small" / "small(0)_0002.png").unlink()
    (out / "small" / "small(0)_0000.png").rename(out / "0.png")
    for path in (out / "small" / ".state" / "0").glob("frame-*"):
        path.unlink()
    made = frames_of(out, animation("3D", max_frames=3, resume_run=True))
    assert sorted(made) == [0, 1, 2]


def test_a_finished_frame_once_more(tmp_path: Path) -> None:
    out = tmp_path / "out"
    made = frames_of(out, animation("dd57"))
    again = read_again(made[2])
    events = disco.render(again.run, out=tmp_path / "copy", again=again, networks=small_networks())
    (copy,) = [event.path for event in events if isinstance(event, PictureFinished)]
    assert np.array_equal(read_pixels(copy), pictures(out)[2])
    alone = tmp_path / "alone(0)_0002.png"
    alone.write_bytes(made[2].read_bytes())
    again = read_again(alone)
    with pytest.raises(InputError, match="frame 2 starts from frame 1, which is not beside it"):
        list(disco.render(again.run, out=tmp_path / "copy", again=again, networks=small_networks()))


def test_other_settings_are_not_resumed(tmp_path: Path) -> None:
    frames_of(tmp_path, animation("2D", max_frames=2))
    with pytest.raises(ResumeError, match="angle: saved '0: \\(5\\), 3: \\(-5\\)', now 7"):
        frames_of(tmp_path, animation("2D", angle=7), resume="latest")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("empty", "empty: a folder without pictures: it is empty."),
        ("text.mp4", "text.mp4: "),
    ],
)
def test_a_video_that_is_none(path: str, text: str, tmp_path: Path) -> None:
    """Before any network is loaded and any folder is made."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(InputError) as caught:
        animated(tmp_path / "out", animation("video", video_init_path=path), networks=None)
    assert text in str(caught.value)
    assert not (tmp_path / "out" / "small").exists()


def test_networks_handed_in_may_lack_depth(tmp_path: Path) -> None:
    networks = small_networks()
    assert networks.depth is None
    frames_of(tmp_path / "out", animation("3D", max_frames=2), networks=networks)
    assert networks.depth is not None


def test_a_run_goes_on_with_the_video_that_it_began_with(tmp_path: Path) -> None:
    rendered(tmp_path / "out", animation("video"), stop=StopAfter(5))
    write_clip(tmp_path / "clip", size=40)
    with pytest.raises(InputError, match=r"clip: changed since: SHA-256 is \w{12}\.\.\., it was "):
        animated(tmp_path / "out", animation("video", resume_run=True))
    write_clip(tmp_path / "clip")
    assert frames_of(tmp_path / "out", animation("video", resume_run=True))
