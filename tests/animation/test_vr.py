"""disco/animation/vr.py: the original's eye views, and their symmetry."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch

from disco.animation import vr
from disco.animation.camera3d import DD57_BRIGHTNESS, Lens, rotation_matrix, shift
from disco.animation.vr import eyes, fisheye, fisheye_grid
from disco.media.images import to_uint8
from tests.animation_pictures import flat, golden_frame, noise, spot, whereabouts
from tests.places import GOLDEN


def test_the_view_is_the_originals(golden: Any) -> None:
    arrays = golden("g_animation")
    depth = torch.from_numpy(arrays["3d_depth_after"])[None, None]
    lens = Lens(brightness_offset=DD57_BRIGHTNESS)
    _, right = eyes(
        golden_frame(), depth, lens, eye_angle=0, ipd=4
    )  # half of it, 2 / 200, is the golden shift
    assert np.array_equal(to_uint8(right[0]), arrays["3d_spherical/out_rgb"])


def test_both_cameras_stand_where_the_originals_did(monkeypatch: pytest.MonkeyPatch) -> None:
    golden = json.loads((GOLDEN / "g_text_and_schedules.json").read_text(encoding="utf-8"))["vr_eyes"]
    seen: list[dict[str, torch.Tensor]] = []
    monkeypatch.setattr(vr, "fisheye", lambda frame, depth, lens, **camera: seen.append(camera))
    eyes(noise(), flat(noise()), Lens(), eye_angle=0.5, ipd=5)
    for camera, original in zip(seen, golden, strict=True):
        assert camera["move"].tolist() == pytest.approx([original["translate_x_units"], 0, 0], rel=1e-6)
        turn = rotation_matrix((0, math.degrees(original["rotate_y_rad"]), 0))
        torch.testing.assert_close(camera["turn"], turn)


def test_the_eyes_mirror_each_other() -> None:
    frame = noise(24, 40)
    left, right = eyes(frame, flat(frame), Lens(), eye_angle=2, ipd=20)
    mirrored, _ = eyes(frame.flip(-1), flat(frame), Lens(), eye_angle=2, ipd=20)
    torch.testing.assert_close(right, mirrored.flip(-1), rtol=0, atol=1e-4)
    assert not torch.allclose(left, right, atol=0.1)


def test_the_left_eye_sees_things_further_right() -> None:
    frame = spot(16, 16)
    left, right = eyes(frame, flat(frame), Lens(), eye_angle=0, ipd=10)
    assert whereabouts(left)[0] > 16.3 > 15.7 > whereabouts(right)[0]
    same = eyes(frame, flat(frame), Lens(), eye_angle=0, ipd=0)
    assert torch.equal(*same)


def test_the_fish_eye_keeps_the_middle_and_shows_black_corners() -> None:
    frame = torch.ones(1, 3, 31, 31)
    seen = fisheye(frame, flat(frame), Lens(), turn=torch.eye(3), move=shift((0, 0, 0)))
    assert seen[..., 15, 15].min() > 0.9999
    assert seen[..., 0, 0].max() == -1
    places = fisheye_grid(31, 31)[0]
    assert places[15, 15].abs().max() < 1e-6
    assert places[15, 30].tolist() == pytest.approx([1.4, 0], abs=1e-6)


def test_a_depth_of_another_size_is_refused() -> None:
    left = noise(7, 11)
    with pytest.raises(ValueError, match=r"^depth \[1, 1, 7, 12\] for a frame \[1, 3, 7, 11\]$"):
        eyes(left, torch.ones(1, 1, 7, 12), Lens(), eye_angle=0.5, ipd=5)
