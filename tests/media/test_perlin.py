"""Perlin init: the original's pictures to the 8-bit level, order of draws, edges."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps

from disco.media.perlin import FINE_WEIGHTS, MODES, gradient_noise, octave_noise, perlin_init, perlin_picture
from tests.conftest import relative


def seeded(seed=11):
    return torch.Generator().manual_seed(seed)


def assert_same_levels(ours, golden):
    """Equal; but where float32 rounds otherwise, a pixel in a thousand may fall on the next level."""
    difference = np.abs(np.asarray(ours, dtype=int) - golden)
    assert difference.max() <= 3
    assert (difference > 0).mean() < 1e-3


def noise_of(generator, cells, weights):
    points = torch.arange(cells << len(weights))
    return octave_noise(generator, points, points, cells, weights)


def test_one_octave_is_the_originals(golden):
    noise = gradient_noise(seeded(), torch.arange(24), torch.arange(16), (3, 2), 8)
    assert relative(noise, golden("f_perlin")["perlin_w3_h2_scale8"]) < 1e-6
    assert torch.equal(noise[::8, ::8], torch.zeros(3, 2))  # gradient noise is 0 at the corners of its cells


def test_octaves_are_the_originals(golden):
    arrays, generator = golden("f_perlin"), seeded()
    assert relative(noise_of(seeded(), 2, [0.5, 0.33, 0.2]), arrays["perlin_ms_gray"]) < 1e-6
    color = [noise_of(generator, 2, [0.5, 0.33]) for _ in range(3)]
    assert relative(torch.cat(color), arrays["perlin_ms_color"]) < 1e-6


@pytest.mark.parametrize("look", ["gray", "color"])
def test_a_noise_picture_is_the_originals(golden, look):
    weights = FINE_WEIGHTS[:4]
    ours = perlin_picture(seeded(), 96, 64, 2, weights, gray=look == "gray").permute(1, 2, 0)
    assert_same_levels(ours, golden("f_perlin")[f"noise_oct4_{look}_aa0"])


def half_levels(init):
    return ((init[0] + 1) / 2 * 510).round().int()


@pytest.mark.parametrize("mode", MODES)
def test_the_init_is_the_originals(golden, mode):
    init = perlin_init(seeded(), 96, 64, mode)
    assert init.shape == (1, 3, 64, 96) and init.dtype == torch.float32
    assert_same_levels(half_levels(init), golden("f_perlin")[f"regen_{mode}_aa0"])


def test_the_second_of_a_stream_is_the_originals_too(golden):
    generator = seeded()
    perlin_init(generator, 96, 64, "mixed")
    second = perlin_init(generator, 96, 64, "mixed")
    assert_same_levels(half_levels(second), golden("f_perlin")["regen_mixed_aa0_second"])


def test_without_a_generator_the_global_stream_is_drawn_from():
    with torch.random.fork_rng():
        torch.manual_seed(11)
        stream = perlin_init(None, 32, 32, "gray")
    assert torch.equal(stream, perlin_init(seeded(), 32, 32, "gray"))


def test_a_generator_leaves_the_global_stream_alone():
    before = torch.get_rng_state()
    perlin_init(seeded(), 32, 32, "gray")
    assert torch.equal(before, torch.get_rng_state())


def test_gray_has_equal_channels_and_color_has_not():
    gray, color = (perlin_init(seeded(), 64, 32, mode)[0] for mode in ("gray", "color"))
    assert torch.equal(gray[0], gray[1]) and torch.equal(gray[0], gray[2])
    assert not torch.equal(color[0], color[1])
    assert gray.min() >= -1 and gray.max() <= 1


def test_reading_few_points_gives_what_the_whole_grid_gives():
    rows, columns = torch.tensor([0, 5, 15]), torch.arange(3, 9)
    some = octave_noise(seeded(), rows, columns, 2, [0.5, 0.3, 0.2])
    assert torch.equal(some, noise_of(seeded(), 2, [0.5, 0.3, 0.2])[rows][:, 3:9])


@pytest.mark.parametrize("width, height", [(130, 70), (96, 64), (100, 36), (33, 7)])
def test_a_picture_is_the_whole_grid_resized(width, height):
    weights = FINE_WEIGHTS[:4]
    whole = F.interpolate(noise_of(seeded(), 2, weights)[None, None], (height, width), mode="bilinear")
    levels = (whole[0, 0].clamp(0, 1) * 255).byte().numpy()
    stretched = np.array(ImageOps.autocontrast(Image.fromarray(levels)))
    ours = perlin_picture(seeded(), width, height, 2, weights, gray=True)
    assert np.array_equal(ours[0], stretched)


def test_a_picture_larger_than_the_grid():
    picture = perlin_picture(seeded(), 130, 70, 2, [0.5, 0.3], gray=True)
    assert picture.shape == (3, 70, 130)
    assert (picture.min(), picture.max()) == (0, 255)


def test_noise_without_contrast_stays_as_it_is():
    assert perlin_picture(seeded(), 8, 8, 2, [0.0], gray=True).unique().tolist() == [127]


def test_an_unknown_mode_is_named():
    with pytest.raises(ValueError, match=r"^perlin_mode is 'grey': it must be one of mixed, color, gray$"):
        perlin_init(None, 64, 64, "grey")
