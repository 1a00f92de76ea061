"""losses.augment against torchvision's functional operations, one parameter at a time and all together."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torchvision.transforms.functional as TF
from torch import Tensor

from disco.losses.augment import (
    AugmentParams,
    _gather_four,
    _sample_bilinear,
    augment,
    draw_uniform,
    make_params,
    params_of,
)
from disco.losses.augment_dd57 import augment_dd57, augment_image_prompt
from disco.losses.colour_jitter import hue_backward, hue_forward, jitter

SIZE = 12


def neutral(n: int, **changes: Tensor) -> AugmentParams:
    """Parameters that change nothing but what is named."""
    base: dict[str, Tensor] = {
        "flip": torch.zeros(n, dtype=torch.bool),
        "angle": torch.zeros(n),
        "shift": torch.zeros(n, 2),
        "grey": torch.zeros(n, dtype=torch.bool),
        "factors": torch.tensor([1.0, 1.0, 1.0, 0.0]).expand(n, 4),
        "order": torch.arange(4).expand(n, 4),
    }
    return params_of(**(base | changes))


def no_noise(n: int) -> Callable[[int], Tensor]:
    return lambda layer: torch.zeros(n, 3, SIZE, SIZE)


@pytest.fixture
def cutouts() -> Tensor:
    return torch.rand(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


def changed(cutouts: Tensor, **changes: Tensor) -> Tensor:
    return augment(cutouts, neutral(len(cutouts), **changes), no_noise(len(cutouts)))


def test_neutral_parameters_change_nothing(cutouts) -> None:
    torch.testing.assert_close(changed(cutouts), cutouts)


def test_flip_is_torchvisions(cutouts) -> None:
    torch.testing.assert_close(changed(cutouts, flip=torch.ones(4, dtype=torch.bool)), TF.hflip(cutouts))


@pytest.mark.parametrize("flip", [False, True])
def test_affine_is_torchvisions(cutouts, flip) -> None:
    angles, shifts = [10.0, -7.5, 3.0, 0.0], [[1, 0], [0, -1], [-1, 1], [2, -2]]
    ours = changed(
        cutouts,
        angle=torch.tensor(angles),
        shift=torch.tensor(shifts, dtype=torch.float32),
        flip=torch.full((4,), flip),
    )
    for k in range(4):
        image = TF.hflip(cutouts[k : k + 1]) if flip else cutouts[k : k + 1]
        bilinear = TF.InterpolationMode.BILINEAR
        theirs = TF.affine(image, angles[k], shifts[k], 1.0, [0.0, 0.0], bilinear, fill=[0.0, 0.0, 0.0])
        torch.testing.assert_close(ours[k], theirs[0], atol=1e-5, rtol=0)


def test_grey_is_torchvisions(cutouts) -> None:
    which = torch.tensor([True, False, True, False])
    ours = changed(cutouts, grey=which)
    torch.testing.assert_close(ours[which], TF.rgb_to_grayscale(cutouts[which], 3))
    torch.testing.assert_close(ours[~which], cutouts[~which])


@pytest.mark.parametrize(
    ("place", "adjust", "values"),
    [
        (0, TF.adjust_brightness, [0.9, 1.1, 1.0, 1.05]),
        (1, TF.adjust_contrast, [0.9, 1.1, 1.0, 1.05]),
        (2, TF.adjust_saturation, [0.9, 1.1, 1.0, 1.05]),
        (3, TF.adjust_hue, [-0.1, 0.1, 0.0, 0.07]),
    ],
)
def test_colours_are_torchvisions(cutouts, place, adjust, values) -> None:
    factors = torch.tensor([1.0, 1.0, 1.0, 0.0]).repeat(4, 1)
    factors[:, place] = torch.tensor(values)
    ours = changed(cutouts, factors=factors)
    for k, value in enumerate(values):
        torch.testing.assert_close(ours[k], adjust(cutouts[k], value), atol=1e-5, rtol=0)


def test_colour_order_is_each_cutouts_own(cutouts) -> None:
    order = torch.tensor([[3, 2, 1, 0], [0, 1, 2, 3], [2, 0, 3, 1], [1, 3, 0, 2]])
    factors = torch.tensor([1.1, 0.9, 1.1, -0.1]).expand(4, 4)
    ours = changed(cutouts, order=order, factors=factors)
    adjust = [TF.adjust_brightness, TF.adjust_contrast, TF.adjust_saturation, TF.adjust_hue]
    for k in range(4):
        theirs = cutouts[k]
        for kind in order[k].tolist():
            theirs = adjust[kind](theirs, float(factors[k, kind]))
        torch.testing.assert_close(ours[k], theirs, atol=1e-5, rtol=0)


class TurnHue(torch.autograd.Function):
    """The hue alone, without the other changes of colour_jitter."""

    @staticmethod
    def forward(ctx, image, turns):
        turned, saved = hue_forward(image, turns)
        ctx.save_for_backward(*saved)
        return turned

    @staticmethod
    def backward(ctx, grad):
        return hue_backward(grad, ctx.saved_tensors), None


def test_hue_has_a_finite_gradient_on_grey_black_and_out_of_range_pixels() -> None:
    image = torch.tensor([0.0, 0.5, -0.01, 1.2])[:, None, None, None].repeat(1, 3, 2, 2)
    image[:, 0, 0, 0] += 1e-4
    image.requires_grad_()
    (grad,) = torch.autograd.grad(TurnHue.apply(image, torch.full((4,), 0.1)).sum(), image)
    assert grad.isfinite().all()


def test_hue_gradient_is_the_slope() -> None:
    image = torch.rand(1, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    turns = torch.tensor([0.07], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: TurnHue.apply(x, turns), image.requires_grad_())


def test_jitter_gradient_is_the_slope() -> None:
    generator = torch.Generator().manual_seed(3)
    image = torch.rand(6, 3, 3, 3, dtype=torch.float64, generator=generator) * 1.2 - 0.1
    params = make_params(draw_uniform(generator, 6), 3)
    assert len({len(index) for index in params.hue_at}) > 1
    blend = params.blend.double()
    assert torch.autograd.gradcheck(
        lambda x: jitter(x, blend, params.hue_at, params.back), image.requires_grad_()
    )


def test_noise_comes_before_each_of_three_stages(cutouts) -> None:
    noise = {k: torch.rand(4, 3, SIZE, SIZE) for k in range(3)}
    ours = augment(cutouts * 0.5, neutral(4), noise.__getitem__)
    torch.testing.assert_close(ours, cutouts * 0.5 + 0.01 * sum(noise.values()))


def test_a_cutout_does_not_depend_on_its_batch_mates(cutouts) -> None:
    uniform = draw_uniform(torch.Generator().manual_seed(5), 4)
    noise = torch.rand(3, 4, 3, SIZE, SIZE)
    together = augment(cutouts, make_params(uniform, SIZE), lambda layer: noise[layer])
    for k in range(4):
        one = slice(k, k + 1)
        alone = augment(
            cutouts[one], make_params(uniform[one], SIZE), lambda layer, one=one: noise[layer, one]
        )
        torch.testing.assert_close(alone[0], together[k])


def test_parameters_lie_in_their_ranges_and_fill_them() -> None:
    uniform = draw_uniform(torch.Generator().manual_seed(5), 4000)
    params = make_params(uniform, 100)
    assert 0.07 < params.grey.mean() < 0.13
    first, hue_first = params.blend[:, 0], params.hue_at[0]
    assert {len(index) for index in params.hue_at} < set(range(900, 1100))
    torch.testing.assert_close(
        first[hue_first].aminmax(dim=0)[0], torch.tensor([-0.1, 0, 0]), atol=1e-3, rtol=0
    )
    torch.testing.assert_close(
        first[hue_first].aminmax(dim=0)[1], torch.tensor([0.1, 0, 0]), atol=1e-3, rtol=0
    )
    others = torch.cat([params.blend[index, 0] for index in params.hue_at[1:]])
    low, high = others.aminmax(dim=0)
    torch.testing.assert_close(low, torch.tensor([0.9, -0.1, -0.1]), atol=1e-3, rtol=0)
    torch.testing.assert_close(high, torch.tensor([1.1, 0.1, 0.1]), atol=1e-3, rtol=0)
    flipped = torch.linalg.det(params.affine[:, :, :2]) < 0
    assert 0.45 < flipped.float().mean() < 0.55
    angles = torch.rad2deg(torch.asin(params.affine[:, 1, 0].abs()))
    assert 9.9 < angles.max() <= 10.001
    order = uniform[:, 9:].argsort(dim=1)
    assert len(order.unique(dim=0)) == 24


def test_the_deterministic_look_up_is_the_same(cutouts) -> None:
    places = (torch.rand(4, SIZE, SIZE, 2) - 0.5) * 1.4 * SIZE
    torch.testing.assert_close(
        _gather_four(cutouts, places + (SIZE - 1) / 2), _sample_bilinear(cutouts, places), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("chain", [augment_dd57, augment_image_prompt])
def test_dd57_draws_from_the_global_stream(cutouts, chain) -> None:
    torch.manual_seed(3)
    first = chain(cutouts)
    torch.manual_seed(3)
    torch.testing.assert_close(chain(cutouts), first)
    assert not torch.equal(chain(cutouts), first)


def test_dd57_shares_its_parameters_between_cutouts(cutouts) -> None:
    same = cutouts[:1].expand(4, -1, -1, -1)
    torch.manual_seed(11)
    out = augment_dd57(same)
    assert (out - out[:1]).abs().max() < 0.2 and (out[0] - cutouts[0]).abs().max() > 0.2
