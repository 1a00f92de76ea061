"""disco/animation/camera3d.py: the original's warps, and camera moves whose result is known."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from disco.animation.camera3d import DD57_BRIGHTNESS, Lens, rotation_matrix, sampling_grid, shift, warp3d
from disco.media.images import to_uint8
from tests.animation_pictures import flat, golden_frame, noise, spot, whereabouts
from tests.conftest import relative
from tests.places import GOLDEN

CASES = ("tz10", "all", "zeros_nearest")
STILL = {"translation": (0, 0, 0), "rotation": (0, 0, 0)}
ORIGINAL = Lens(near=None, far=None, brightness_offset=DD57_BRIGHTNESS)


def moved(frame: Tensor, depth: Tensor | None = None, lens: Lens | None = None, **how: Any) -> Tensor:
    return warp3d(frame, flat(frame) if depth is None else depth, lens or Lens(), **(STILL | how))


@pytest.mark.parametrize("name", CASES)
def test_warps_are_the_originals(name: str, golden: Any) -> None:
    arrays = golden("g_animation")
    modes = json.loads((GOLDEN / "g_text_and_schedules.json").read_text(encoding="utf-8"))["3d_modes"]
    lens = Lens(padding=modes[name][0], sampling=modes[name][1], brightness_offset=DD57_BRIGHTNESS)
    depth = torch.from_numpy(arrays["3d_depth_after"])[None, None]
    x, y, z, *rotation = arrays[f"3d_{name}/args"].tolist()
    ours = warp3d(golden_frame(), depth, lens, translation=(x, y, z), rotation=rotation)
    assert np.array_equal(to_uint8(ours[0]), arrays[f"3d_{name}/out_rgb"])


@pytest.mark.parametrize("name", CASES)
def test_rotations_are_the_originals(name: str, golden: Any) -> None:
    arrays = golden("g_animation")
    ours = rotation_matrix(arrays[f"3d_{name}/args"].tolist()[3:])
    assert relative(ours, arrays[f"3d_{name}/rot_mat"]) < 1e-6


def test_the_projection_is_the_originals(golden: Any) -> None:
    """Its matrix at fov 40: a point to the right goes by 1/tan(20 degrees) times the change of x/z."""
    focal = golden("g_animation")["3d_proj_matrix_fov40"][0, 0]
    depth = torch.full((1, 1, 3, 3), 2.0)
    places = sampling_grid(depth, torch.eye(3), shift((0, 0, 100)), 40)  # from 2 to 1.5 units
    assert places[0, 1, 2, 0].item() == pytest.approx(2 / 3 - focal * (1 / 1.5 - 1 / 2), rel=1e-5)
    assert places[0, 1, 1].abs().max().item() < 1e-7


@pytest.mark.parametrize("sampling", ["bicubic", "bilinear", "nearest"])
@pytest.mark.parametrize("padding", ["border", "zeros", "reflection"])
def test_no_motion_is_the_identity(padding: Any, sampling: Any) -> None:
    for shape in ((24, 40), (37, 23), (1, 2)):
        frame = noise(*shape)
        ours = moved(frame, lens=Lens(padding=padding, sampling=sampling))
        torch.testing.assert_close(ours, frame, rtol=0, atol=2e-5)


def test_forward_enlarges_what_is_near_more() -> None:
    frame = spot(22, 16)
    x, y = whereabouts(moved(frame, translation=(0, 0, 40)))
    assert (x - 16) / (22 - 16) > 1.2 and y == pytest.approx(16, abs=0.05)
    far, _ = whereabouts(moved(frame, flat(frame, 3.0), translation=(0, 0, 40)))
    assert 22 < far < x
    back, _ = whereabouts(moved(frame, translation=(0, 0, -40)))
    assert back < 22
    assert (moved(frame, translation=(0, 0, 40)) + 1).sum() > 1.2 * (frame + 1).sum()


@pytest.mark.parametrize(
    ("move", "goes"),
    [
        ({"translation": (8, 0, 0)}, (-1, 0)),
        ({"translation": (0, 8, 0)}, (0, 1)),
        ({"rotation": (1, 0, 0)}, (0, 1)),
        ({"rotation": (0, 1, 0)}, (-1, 0)),
    ],
)
def test_signs(move: dict[str, Any], goes: tuple[int, int]) -> None:
    x, y = whereabouts(moved(spot(16, 16), **move))
    assert np.sign([round(x - 16, 1), round(y - 16, 1)]).tolist() == list(goes)
    assert abs(x - 16) + abs(y - 16) > 0.5


def test_a_positive_roll_is_counter_clockwise() -> None:
    x, y = whereabouts(moved(spot(22, 16), rotation=(0, 0, 10), lens=Lens(fov=2 * 45)))
    assert x < 22 and y < 15.5


def test_a_wider_view_moves_less() -> None:
    frame = spot(16, 16)
    places = [whereabouts(moved(frame, lens=Lens(fov=fov), translation=(5, 0, 0)))[0] for fov in (30, 90)]
    assert places[0] < places[1] < 16


def test_the_planes_hold_the_depth() -> None:
    frame = noise()
    depth = torch.linspace(0.05, 30, frame.shape[-1]).expand(1, 1, *frame.shape[-2:])
    lens = Lens(near=400, far=5000)
    go = {"translation": (3, 2, 20), "rotation": (1, 2, 3)}
    ours = moved(frame, depth, lens, **go)
    assert torch.equal(ours, moved(frame, depth.clamp(0.4, 5), Lens(near=None, far=None), **go))
    assert not torch.allclose(ours, moved(frame, depth, **go))
    assert not torch.allclose(ours, moved(frame, depth, Lens(near=400, far=None), **go))


def test_what_the_camera_passes_leaves_the_picture() -> None:
    frame = noise()
    ours = moved(frame, flat(frame, 0.25), Lens(padding="zeros"), translation=(0, 0, 100))
    assert bool(ours.isfinite().all())
    assert bool((ours == -1).float().mean() > 0.9)


def test_zeros_are_black() -> None:
    frame = torch.ones(1, 3, 20, 20)
    ours = moved(frame, lens=Lens(padding="zeros", sampling="bilinear"), translation=(60, 0, 0))
    assert ours[..., 0].min() == 1 and ours[..., -1].max() == -1
    for padding in ("border", "reflection"):
        ours = moved(frame, lens=Lens(padding=padding), translation=(60, 0, 0))  # type: ignore[arg-type]
        torch.testing.assert_close(ours, frame)


def test_the_offset_is_of_the_unit_range() -> None:
    frame = torch.full((1, 3, 8, 8), -0.5)
    ours = moved(frame, lens=ORIGINAL)
    torch.testing.assert_close(ours, frame + 2 * (1 / 512 - 0.0001))


def test_a_batch_is_its_pictures() -> None:
    frames, how = noise(batch=3), {"translation": (3, 2, 10), "rotation": (1, 2, 3)}
    depths = torch.stack([flat(frames)[0] * k for k in (1.0, 2.0, 3.0)])
    both = moved(frames, depths, **how)
    for k in range(3):
        assert torch.equal(both[k], moved(frames[k : k + 1], depths[k : k + 1], **how)[0])
    shared = moved(frames, depths[:1], **how)
    assert torch.equal(shared[0], both[0]) and not torch.equal(shared[1], both[1])
    assert shared.dtype == torch.float32 and shared.abs().max() <= 1


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"fov": 180}, "fov is 180; allowed are angles between 0 and 180 degrees"),
        ({"near": 0}, "near_plane is 0 and far_plane 10000; allowed is 0 < near_plane < far_plane"),
        (
            {"near": 300, "far": 200},
            "near_plane is 300 and far_plane 200; allowed is 0 < near_plane < far_plane",
        ),
        ({"padding": "wrap"}, "padding_mode is 'wrap'; allowed are border, zeros, reflection"),
        ({"sampling": "ddim"}, "sampling_mode is 'ddim'; allowed are bicubic, bilinear, nearest"),
    ],
)
def test_a_lens_says_what_is_allowed(wrong: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError) as caught:
        Lens(**wrong)
    assert str(caught.value) == text


@pytest.mark.parametrize("shape", [(1, 1, 24, 41), (1, 3, 24, 40), (2, 1, 24, 40)])
def test_depth_must_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError) as caught:
        moved(noise(), torch.ones(shape))
    assert str(caught.value) == f"depth {list(shape)} for a frame [1, 3, 24, 40]"
