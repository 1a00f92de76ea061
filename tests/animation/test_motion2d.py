"""disco/animation/motion2d.py: the original's matrices and warps, and moves whose result is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from disco.animation.motion2d import BORDERS, Border, matrix2d, warp2d
from tests.animation_pictures import noise, spot, whereabouts
from tests.conftest import relative

MOVES = ("identity", "zoom", "rot", "shrink")


def move(angle: float = 0, zoom: float = 1, x: float = 0, y: float = 0) -> dict[str, float]:
    return {"angle": angle, "zoom": zoom, "translation_x": x, "translation_y": y}


@pytest.mark.parametrize("name", MOVES)
def test_matrices_are_the_originals(name: str, golden: Any) -> None:
    arrays = golden("g_animation")
    ours = matrix2d(64, 48, **move(*arrays[f"2d_{name}/args"].tolist()))
    assert relative(ours, arrays[f"2d_{name}/matrix"]) < 1e-12


def test_the_shift_comes_before_the_turn() -> None:
    ours = matrix2d(64, 48, **move(10, 1.05, 3, -2))
    shift = np.array([[1, 0, 3], [0, 1, -2], [0, 0, 1]])
    assert np.allclose(ours, matrix2d(64, 48, **move(10, 1.05)) @ shift, atol=1e-12)
    assert not np.allclose(ours, shift @ matrix2d(64, 48, **move(10, 1.05)), atol=1e-3)


@pytest.mark.parametrize("name", MOVES)
def test_warps_are_the_originals_before_it_rounds(name: str, golden: Any) -> None:
    arrays = golden("g_animation")
    frame = torch.from_numpy(arrays["img_bgr"]).permute(2, 0, 1)[None].float()
    ours = warp2d(frame, **move(*arrays[f"2d_{name}/args"].tolist()), border="wrap")
    levels = ours[0].permute(1, 2, 0)
    assert np.array_equal(levels.round().to(torch.uint8).numpy(), arrays[f"2d_{name}/out"])
    assert np.abs(levels.numpy() - arrays[f"2d_{name}/out"]).max() <= 0.5


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("shape", [(7, 11), (11, 7), (8, 8), (1, 1), (1, 5)])
def test_no_motion_is_the_identity(border: Border, shape: tuple[int, int]) -> None:
    frame = noise(*shape)
    assert torch.equal(warp2d(frame, **move(), border=border), frame)


@pytest.mark.parametrize("border", BORDERS)
def test_whole_pixels_right_and_down(border: Border) -> None:
    frame = noise(7, 11)
    moved = warp2d(frame, **move(x=3, y=2), border=border)
    assert torch.equal(moved[..., 2:, 3:], frame[..., :-2, :-3])
    if border == "wrap":
        assert torch.equal(moved, frame.roll((2, 3), (-2, -1)))
    if border == "replicate":
        assert torch.equal(moved[..., 2:, :3], frame[..., :-2, :1].expand(-1, -1, -1, 3))
        assert torch.equal(moved[..., :2, 3:], frame[..., :1, :-3].expand(-1, -1, 2, -1))
    if border == "reflect":
        assert torch.equal(moved[..., 2:, :3], frame[..., :-2, :3].flip(-1))
        assert torch.equal(moved[..., :2, 3:], frame[..., :2, :-3].flip(-2))


def test_a_shift_of_many_widths_stays_inside() -> None:
    frame = noise(7, 11)
    assert torch.equal(warp2d(frame, **move(x=11 * 5 + 1), border="wrap"), frame.roll(1, -1))
    assert torch.equal(warp2d(frame, **move(x=22 * 3 - 1), border="reflect")[..., 1:-1], frame[..., 2:])
    assert torch.equal(warp2d(frame, **move(y=-999), border="replicate"), frame[..., -1:, :].expand_as(frame))


def test_a_quarter_turn_of_a_square_is_counter_clockwise() -> None:
    frame = noise(8, 8)
    turned = warp2d(frame, **move(90), border="wrap")
    assert torch.equal(turned, frame.rot90(1, (-2, -1)).roll(1, -2))  # about pixel (4, 4), not (3.5, 3.5)
    back = warp2d(turned, **move(-90), border="wrap")
    assert torch.equal(back, frame)


def test_four_quarter_turns_of_an_odd_square_are_none() -> None:
    frame = turned = noise(9, 9)
    for _ in range(4):
        turned = warp2d(turned, **move(90), border="replicate")
    assert torch.equal(turned, frame)
    assert torch.equal(warp2d(frame, **move(90), border="replicate"), frame.rot90(1, (-2, -1)))


def test_half_a_pixel_is_the_mean_of_two() -> None:
    frame = noise(7, 11)
    moved = warp2d(frame, **move(x=0.5), border="wrap")
    torch.testing.assert_close(moved, (frame + frame.roll(1, -1)) / 2)


def test_zoom_enlarges_about_the_centre_and_keeps_it() -> None:
    frame = spot(19, 16)
    for zoom in (1.5, 0.75):
        x, y = whereabouts(warp2d(frame, **move(zoom=zoom), border="replicate"))
        assert x == pytest.approx(16 + 3 * zoom, abs=0.02)
        assert y == pytest.approx(16, abs=0.02)
    larger = warp2d(spot(16, 16), **move(zoom=1.5), border="replicate")
    assert (larger + 1).sum() > 2 * (spot(16, 16) + 1).sum()


def test_tiny_moves_are_not_lost() -> None:
    frame = spot(16, 16)
    for _ in range(50):
        frame = warp2d(frame, **move(x=0.01), border="replicate")
    assert whereabouts(frame)[0] == pytest.approx(16.5, abs=1e-3)


def test_a_batch_is_its_pictures() -> None:
    frames, how = noise(7, 11, batch=3), move(7, 1.1, 2, -1)
    moved = warp2d(frames, **how, border="reflect")
    for k in range(3):
        assert torch.equal(moved[k : k + 1], warp2d(frames[k : k + 1], **how, border="reflect"))
    assert moved.dtype == torch.float32 and moved.shape == frames.shape
    assert moved.abs().max() <= frames.abs().max()


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"^zoom is 0; allowed are numbers above 0$"):
        warp2d(noise(7, 11), **move(zoom=0))
    with pytest.raises(ValueError, match=r"^zoom is nan; allowed are numbers above 0$"):
        warp2d(noise(7, 11), **move(zoom=float("nan")))
    with pytest.raises(ValueError, match=r"^border is 'mirror'; allowed are wrap, reflect, replicate$"):
        warp2d(noise(7, 11), **move(), border="mirror")  # type: ignore[arg-type]
