"""disco.animation.flow: warping by a known flow, and DIS on pictures whose motion is known."""

from __future__ import annotations

import cv2
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from disco.animation.flow import DisFlow, load_flow, warp
from disco.animation.grid import padded
from disco.errors import InputError


def texture(height: int, width: int, seed: int = 0) -> Tensor:
    """Soft coloured blots, [1, 3, H, W] in [-1, 1]."""
    noise = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))
    soft = functional.avg_pool2d(functional.pad(noise, (4, 4, 4, 4), mode="reflect"), 5, stride=1)
    soft = functional.avg_pool2d(soft, 5, stride=1)
    return (soft - soft.mean()).div(2 * soft.std()).clamp(-1, 1)


def moved(height: int, width: int, right: int, down: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two views of one texture: what is at x in the first is at x + (right, down) in the second."""
    edge = 16
    big = texture(height + 2 * edge, width + 2 * edge, seed)
    second = big[..., edge - down : edge - down + height, edge - right : edge - right + width]
    return big[..., edge : edge + height, edge : edge + width], second


def constant(right: float, down: float, height: int, width: int) -> Tensor:
    return torch.tensor([right, down])[None, :, None, None].expand(1, 2, height, width)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (31, 33), (1, 5)])
def test_no_flow_changes_nothing(height: int, width: int) -> None:
    frame = torch.rand(1, 3, height, width) * 2 - 1
    assert torch.allclose(warp(frame, torch.zeros(1, 2, height, width)), frame, atol=1e-5)


def test_a_whole_flow_looks_up_the_pixel_that_far_away() -> None:
    frame = torch.rand(2, 3, 12, 20)
    result = warp(frame, constant(3, -2, 12, 20))
    assert torch.allclose(result[..., 2:, :-3], frame[..., :-2, 3:], atol=1e-5)


def test_half_a_pixel_is_the_mean_of_two() -> None:
    ramp = torch.arange(8.0).expand(1, 1, 4, 8)
    assert torch.allclose(warp(ramp, constant(0.5, 0, 4, 8))[..., :-1], ramp[..., :-1] + 0.5, atol=1e-5)


def test_what_lies_outside() -> None:
    ramp = torch.arange(8.0).expand(1, 1, 4, 8)
    beyond = constant(2, 0, 4, 8)
    assert warp(ramp, beyond)[0, 0, 0].tolist() == pytest.approx([2, 3, 4, 5, 6, 7, 7, 7], abs=1e-4)
    assert warp(ramp, beyond, "reflection")[0, 0, 0, -2:].tolist() == pytest.approx([7, 6], abs=1e-4)
    assert warp(ramp, beyond, "zeros")[0, 0, 0, -2:].tolist() == pytest.approx([0, 0], abs=1e-4)


def test_each_pixel_goes_its_own_way() -> None:
    frame = torch.rand(1, 1, 6, 6)
    x, y = torch.arange(6.0), torch.arange(6.0)[:, None]
    mirror = torch.stack([(5 - 2 * x).expand(6, 6), (5 - 2 * y).expand(6, 6)])[None]
    assert torch.allclose(warp(frame, mirror), frame.flip(-1, -2), atol=1e-5)


def test_it_keeps_the_type_and_says_if_sizes_differ() -> None:
    assert warp(torch.zeros(1, 3, 4, 6, dtype=torch.float64), torch.zeros(1, 2, 4, 6)).dtype == torch.float64
    with pytest.raises(ValueError, match="the sizes differ: 6x4 and 4x6"):
        warp(torch.zeros(1, 3, 4, 6), torch.zeros(1, 2, 6, 4))
    with pytest.raises(ValueError, match="the sizes differ"):
        DisFlow()(torch.zeros(1, 3, 20, 20), torch.zeros(1, 3, 20, 24))


@pytest.mark.parametrize("name", ["dis", "dis_fast", "dis_ultrafast"])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (47, 61), (128, 96)])
def test_dis_measures_a_shift(name: str, height: int, width: int) -> None:
    a, b = moved(height, width, right=3, down=-2)
    flow = load_flow(name)(a, b)
    assert flow.shape == (1, 2, height, width)
    assert flow.dtype == torch.float32
    inner = flow[..., 12:-12, 12:-12]
    assert inner.mean(dim=(0, 2, 3)).tolist() == pytest.approx([3, -2], abs=0.2)


def test_a_warp_along_it_brings_the_second_frame_onto_the_first() -> None:
    a, b = moved(64, 64, right=4, down=3)
    inside = (..., slice(12, -12), slice(12, -12))
    after = (warp(b, DisFlow()(a, b))[inside] - a[inside]).abs().mean()
    assert after < 0.15 * (b[inside] - a[inside]).abs().mean()


def test_a_still_scene_stands_still() -> None:
    frame = texture(40, 40)
    assert DisFlow()(frame, frame).abs().max() < 0.05


@pytest.mark.parametrize(("height", "width"), [(5, 7), (12, 40), (1, 1)])
def test_pictures_smaller_than_its_patch(height: int, width: int) -> None:
    frame = texture(height, width) if min(height, width) > 1 else torch.zeros(1, 3, 1, 1)
    flow = DisFlow()(frame, frame)
    assert flow.shape == (1, 2, height, width)
    assert flow.abs().max() < 0.05


def test_dis_gives_the_same_with_any_number_of_threads() -> None:
    a, b = moved(96, 96, right=5, down=2)
    before, flows = cv2.getNumThreads(), []
    try:
        for threads in (1, 4):
            cv2.setNumThreads(threads)
            flows.append(DisFlow()(a, b))
            assert cv2.getNumThreads() == threads
    finally:
        cv2.setNumThreads(before)
    assert torch.equal(*flows)


def test_padding_is_even_and_cropping_gives_the_frame_back() -> None:
    frame = torch.rand(1, 3, 31, 130)
    (grown,), crop = padded((frame,), least=128, multiple=8)
    assert grown.shape == (1, 3, 128, 136)
    assert torch.equal(grown[crop], frame)
    assert torch.equal(grown[..., 0, 3:-3], frame[..., 0, :])
    (same,), _ = padded((frame,), least=16)
    assert torch.equal(same, frame)


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match="flow is 'lk'; allowed are dis, dis_fast, dis_ultrafast"):
        DisFlow("lk")
    with pytest.raises(InputError, match=r"no such flow network: raft_larg\. Did you mean raft_large\?"):
        load_flow("raft_larg")
