"""disco.animation.consistency on scenes whose hidden parts are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from disco.animation.consistency import blend, looks_alike, shared, visible
from disco.animation.flow import DisFlow, warp
from tests.animation.test_flow import constant, texture

SIDE, TOP, LEFT, SIZE, STEP = 48, 16, 14, 14, 6  # a square that moves STEP pixels right


def square(left: int = LEFT) -> Tensor:
    """Where the square is, [1, 1, H, W] of bool."""
    mask = torch.zeros(1, 1, SIDE, SIDE, dtype=torch.bool)
    mask[..., TOP : TOP + SIZE, left : left + SIZE] = True
    return mask


def true_flows() -> tuple[Tensor, Tensor]:
    """Exact flows from the first frame to the second, and back."""
    step = constant(STEP, 0, SIDE, SIDE)
    return square() * step, square(LEFT + STEP) * -step


def frames() -> tuple[Tensor, Tensor]:
    """A textured square over a still background, before and after its move."""
    background, thing = texture(SIDE, SIDE, seed=1), texture(SIDE, SIDE, seed=2)
    first = torch.where(square(), thing, background)
    return first, torch.where(square(LEFT + STEP), thing.roll(STEP, -1), background)


def test_a_still_scene_is_seen_throughout() -> None:
    still = torch.zeros(1, 2, 9, 13)
    for softness in (0, 1, 5):
        assert torch.equal(visible(still, still, softness=softness), torch.ones(1, 1, 9, 13))


def test_what_the_square_comes_to_hide_is_hidden() -> None:
    there, back = true_flows()
    covered = square(LEFT + STEP) & ~square()
    assert torch.equal(visible(there, back, boundaries=False, softness=0) == 0, covered)


def test_what_the_square_lays_open_was_hidden() -> None:
    there, back = true_flows()
    laid_open = square() & ~square(LEFT + STEP)
    assert torch.equal(visible(back, there, boundaries=False, softness=0) == 0, laid_open)


def test_the_edges_of_what_moves_are_left_out() -> None:
    there, back = true_flows()
    plain = visible(there, back, boundaries=False, softness=0)
    strict = visible(there, back, softness=0)
    edge = (strict == 0) & (plain == 1)
    assert edge[..., TOP, LEFT + 2]
    assert edge[..., TOP - 1, LEFT + 2]
    assert not edge[..., TOP + 1 : TOP + SIZE - 1, LEFT + 1 : LEFT + SIZE - 1].any()
    assert not edge[..., : TOP - 1, :].any()


def test_what_leaves_the_picture_is_hidden() -> None:
    there, back = constant(5, 0, 12, 20), constant(-5, 0, 12, 20)
    mask = visible(there, back, softness=0)
    assert mask[..., :15].min() == 1
    assert mask[..., 15:].max() == 0
    mask = visible(constant(0, -0.4, 12, 20), constant(0, 0.4, 12, 20), softness=0)
    assert mask.min() == 1  # a tremble at the border is no leaving


def test_the_threshold_grows_with_the_motion() -> None:
    def seen(there: float, back: float) -> bool:
        flows = constant(there, 0, 64, 64), constant(back, 0, 64, 64)
        return bool(visible(*flows, softness=0)[0, 0, 32, 32])

    # |there + back|^2 against 0.01 * (there^2 + back^2) + 0.5
    assert seen(0, 0.7)
    assert not seen(0, 0.72)
    assert seen(20, -18.2)  # 3.24 against 7.81
    assert not seen(20, -17)  # 9 against 7.39


def test_the_soft_mask_is_zero_where_hidden_and_rises_beside_it() -> None:
    there, back = true_flows()
    hard = visible(there, back, boundaries=False, softness=0)
    soft = visible(there, back, boundaries=False, softness=3)
    assert soft[hard == 0].max() == 0
    assert soft.min() >= 0
    row = soft[0, 0, TOP + SIZE // 2, LEFT + SIZE + STEP :]  # to the right of the hidden strip
    assert (row.diff() >= 0).all()
    assert 0 < row[0] < 0.5 < row[4]
    assert row[6:].min() == 1


def test_dis_finds_the_hidden_strip() -> None:
    a, b = frames()
    flow = DisFlow()
    mask = visible(flow(a, b), flow(b, a), softness=0)
    inner = slice(TOP + 3, TOP + SIZE - 3)
    assert mask[..., inner, LEFT + SIZE + 1 : LEFT + SIZE + STEP - 1].mean() < 0.2
    assert mask[..., inner, LEFT + 3 : LEFT + SIZE - 4].mean() > 0.8
    assert mask[..., : TOP - 6, :].mean() > 0.95
    assert mask[..., TOP + SIZE + 6 :, :].mean() > 0.95


def test_dis_follows_a_small_square() -> None:
    """14 pixels wide: without being enlarged it loses it, by two pixels of six."""
    (a, b), (there, _) = frames(), true_flows()
    error = (DisFlow()(a, b) - there).norm(dim=1)
    assert error[square()[:, 0]].mean() < 0.5
    assert error.mean() < 0.25


def test_a_plain_part_is_shared_though_nobody_can_measure_its_motion() -> None:
    sky = torch.full((1, 3, 12, 20), 0.4)
    there, back = constant(5, 0, 12, 20), constant(2, 0, 12, 20)
    assert visible(there, back).max() == 0
    mask = shared(sky, sky, there, back)
    assert mask[..., :15].min() == 1
    assert mask[..., 15:].max() == 0, "what comes from outside is not known"


def test_what_is_laid_open_is_not_shared() -> None:
    first, second = frames()
    there, back = true_flows()
    laid_open = square() & ~square(LEFT + STEP)
    mask = shared(second, first, back, there)
    assert mask[laid_open].mean() < 0.15
    assert mask[..., : TOP - 4, :].min() == 1
    inner = square(LEFT + STEP + 2) & square(LEFT + STEP - 2)
    assert mask[inner].mean() > 0.95


def test_how_much_alike() -> None:
    dark = torch.full((1, 3, 5, 5), -0.5)
    found = [float(looks_alike(dark, dark + levels / 127.5).mean()) for levels in (0, 4, 6, 10, 12, 40)]
    assert found == pytest.approx([1, 1, 0.75, 0.25, 0, 0], abs=1e-3)
    spot = dark.clone()
    spot[..., 2, 2] += 90 / 127.5  # 10 levels over the 9 pixels around
    assert looks_alike(dark, spot)[0, 0, 1:4, 1:4].flatten().tolist() == pytest.approx([0.25] * 9, abs=1e-3)
    assert looks_alike(dark, spot)[0, 0, 0].tolist() == [1] * 5


def test_the_check_takes_the_wrong_out_of_a_warp() -> None:
    """The square's second frame from its first: without the mask the square is there twice."""
    first, second = frames()
    there, back = true_flows()
    warped = warp(first, back)  # the first frame carried to the second
    mask = visible(back, there, boundaries=False, softness=0)
    assert (warped - second).abs().max() > 0.1
    assert (blend(second, warped, mask, 1) - second).abs().max() < 1e-3
    assert (blend(first, warped, None, 1) - warped).abs().max() == 0


def test_blend_between_raw_and_warped() -> None:
    raw, warped = torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)
    assert torch.equal(blend(raw, warped, None, 0), raw)
    assert torch.equal(blend(raw, warped, None, 1), warped)
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., 0], mask[..., 1] = 1, 0.5
    result = blend(raw, warped, mask, 0.8)
    assert result[0, :, 2].tolist() == [[pytest.approx(v) for v in (0.8, 0.4, 0, 0)]] * 3
    both = torch.rand(1, 3, 4, 4)
    assert torch.allclose(blend(both, both, mask, 0.3), both, atol=1e-6)


def test_errors() -> None:
    raw = torch.zeros(1, 3, 4, 6)
    for amount in (-0.1, 1.5):
        with pytest.raises(ValueError, match=f"amount is {amount}; allowed are 0 to 1"):
            blend(raw, raw, None, amount)
    with pytest.raises(ValueError, match="the sizes differ: 6x4 and 4x6"):
        blend(raw, raw, torch.ones(1, 1, 6, 4), 0.5)
    with pytest.raises(ValueError, match="the sizes differ"):
        visible(torch.zeros(1, 2, 4, 6), torch.zeros(1, 2, 6, 4))
