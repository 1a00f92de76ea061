"""The mean colour of noise, and noise that is refined from that of a smaller picture."""

import pytest
import torch
from torch.nn import functional

from disco.sampling.noise import NoiseOptions, refine, refinement, scale_cast
from disco.sampling.randomness import FixedRandom

NOISE = torch.randn(2, 3, 12, 16, generator=torch.Generator().manual_seed(0))


def test_a_cast_of_1_is_the_noise_itself():
    assert scale_cast(NOISE, 1) is NOISE


def test_the_grey_part_of_the_mean_stays_and_its_chroma_is_scaled():
    mean, scaled = NOISE.mean((2, 3)), scale_cast(NOISE, 0.4).mean((2, 3))
    grey = mean.mean(1, keepdim=True)
    assert torch.allclose(scaled, grey + 0.4 * (mean - grey), atol=1e-6)
    assert torch.allclose(scale_cast(NOISE, 0.4).std((2, 3)), NOISE.std((2, 3)))


@pytest.mark.parametrize(
    "width, height, size, k",
    [
        (256, 256, (128, 128), 2),
        (512, 256, (128, 128), 2),
        (192, 128, (128, 128), 1),
        (128, 128, None, 1),
        (384, 384, (128, 128), 3),
        (640, 512, (128, 128), 4),
        (64, 64, (128, 128), 1),
    ],
)
def test_how_often_a_side_is_divided(width, height, size, k):
    assert refinement((1, 3, height, width), size) == k


def test_refined_noise_is_white_and_has_the_layout_of_the_smaller():
    options, size = NoiseOptions(size=(64, 64)), (1, 3, 128, 128)
    large = FixedRandom(1, [0], options).start_noise(size)
    small = FixedRandom(1, [0]).start_noise((1, 3, 64, 64))
    assert torch.allclose(functional.avg_pool2d(large, 2) * 2, small, atol=1e-5)
    assert abs(large.std() - 1) < 0.02
    neighbours = [(large[..., 1:] * large[..., :-1]).mean(), (large[..., 1:, :] * large[..., :-1, :]).mean()]
    assert max(map(abs, neighbours)) < 0.02


def test_refine_keeps_what_is_finer_than_a_block():
    fine, coarse = torch.zeros(1, 1, 4, 4), torch.tensor([[[[2.0, 4.0], [6.0, 8.0]]]])
    assert refine(fine, coarse)[0, 0, :, 0].tolist() == [1, 1, 3, 3]
