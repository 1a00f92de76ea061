"""disco.losses.pixel: the original's numbers, and edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from disco.losses.pixel import LOSSES, clamp_grad, range_loss, sat_loss, spherical_dist, tv_loss
from disco.settings import methods
from tests.conftest import relative
from tests.places import GOLDEN
from tests.test_secondary_model import load_recipe

RECIPE = load_recipe()


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "c_losses.npz") as arrays:
        return dict(arrays)


@pytest.fixture
def image() -> Tensor:
    return torch.from_numpy(1.2 * RECIPE.gauss("c/x", (2, 3, 12, 16))).requires_grad_()


@pytest.mark.parametrize(("name", "loss"), [("tv", tv_loss), ("range", range_loss)])
def test_picture_losses_are_the_originals(name, loss, image, golden) -> None:
    values = loss(image)
    (grad,) = torch.autograd.grad(values.sum(), image)
    assert relative(values.detach(), golden[name]) < 1e-5
    assert relative(grad, golden[f"grad_{name}"]) < 1e-5


def test_sat_loss_is_the_originals_mean_over_all_pictures(image, golden) -> None:
    value = sat_loss(image).mean()
    (grad,) = torch.autograd.grad(value, image)
    assert relative(value.detach(), golden["sat"]) < 1e-5
    assert relative(grad, golden["grad_sat"]) < 1e-5


def test_spherical_dist_is_the_originals(golden) -> None:
    a = torch.from_numpy(RECIPE.gauss("c/a", (5, 1, 32))).requires_grad_()
    b = torch.from_numpy(RECIPE.gauss("c/b", (1, 3, 32)))
    values = spherical_dist(a, b)
    (grad,) = torch.autograd.grad(values.sum(), a)
    assert relative(values.detach(), golden["spherical"]) < 1e-5
    assert relative(grad, golden["grad_spherical"]) < 1e-5


def test_spherical_dist_of_known_angles() -> None:
    a = torch.tensor([[3.0, 0.0]])
    b = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-5.0, 0.0]])
    expected = torch.tensor([0.0, (math.pi / 2) ** 2 / 2, math.pi**2 / 2])
    torch.testing.assert_close(spherical_dist(a, b), expected)


def test_spherical_dist_has_finite_gradients_at_same_opposite_and_zero() -> None:
    a = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]], requires_grad=True)
    (grad,) = torch.autograd.grad(spherical_dist(a, torch.tensor([1.0, 0.0])).sum(), a)
    assert grad.isfinite().all()


def test_spherical_dist_refuses_other_lengths() -> None:
    with pytest.raises(ValueError, match=r"^embeddings of 3 and of 4 numbers cannot be compared$"):
        spherical_dist(torch.ones(2, 3), torch.ones(2, 4))


@pytest.mark.parametrize("case", ["over", "under"])
def test_clamp_is_the_originals(case, golden) -> None:
    grad = float(golden[f"clamp_scale_{case}"]) * torch.from_numpy(RECIPE.gauss("c/g", (1, 3, 12, 16)))
    assert relative(clamp_grad(grad, 0.05), golden[f"clamp_{case}"]) < 1e-5


def test_clamp_is_per_picture_and_leaves_zero_at_zero() -> None:
    grad = torch.stack([torch.zeros(3, 4, 4), torch.full((3, 4, 4), 0.01), torch.full((3, 4, 4), -8.0)])
    clamped = clamp_grad(grad, 0.05)
    torch.testing.assert_close(clamped, grad.clamp(min=-0.05))


@pytest.mark.parametrize("loss", [tv_loss, range_loss, sat_loss])
def test_losses_of_a_picture_ignore_its_batch_mates(loss, image) -> None:
    torch.testing.assert_close(loss(image)[1:], loss(image[1:]))


@pytest.mark.parametrize("loss", [tv_loss, range_loss, sat_loss])
def test_flat_grey_costs_nothing(loss) -> None:
    assert loss(torch.full((1, 3, 1, 1), 0.5)).item() == 0


def test_settings_know_every_loss() -> None:
    assert {loss.setting for loss in LOSSES} == set(methods.LOSSES)
    assert len({loss.name for loss in LOSSES}) == len(LOSSES)
