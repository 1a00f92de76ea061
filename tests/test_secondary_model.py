"""disco.secondary_model against the numbers of the original network (tests/golden/b_secondary.npz)."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from disco.secondary_model import SecondaryModel
from tests.places import GOLDEN


def load_recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_recipe", GOLDEN / "golden_recipe.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def relative(ours: Tensor, golden: np.ndarray) -> float:
    return float((ours - torch.from_numpy(golden)).abs().max() / np.abs(golden).max())


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    return load_recipe()


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "b_secondary.npz") as arrays:
        return dict(arrays)


@pytest.fixture
def model(recipe: ModuleType) -> SecondaryModel:
    return recipe.fill(SecondaryModel(c=8), tag="sec/")


@pytest.fixture
def x_t(recipe: ModuleType) -> Tensor:
    return torch.from_numpy(recipe.gauss("b/x", (2, 3, 32, 64)))


def test_parameter_names_are_the_originals(model: SecondaryModel, golden: dict[str, np.ndarray]) -> None:
    assert list(model.state_dict()) == [str(name) for name in golden["names"]]


def test_size_is_the_originals() -> None:
    assert sum(p.numel() for p in SecondaryModel().parameters()) == 13_841_547


def test_outputs_agree(model: SecondaryModel, x_t: Tensor, golden: dict[str, np.ndarray]) -> None:
    with torch.no_grad():
        output = model(x_t, torch.tensor([0.13, 0.82]))
    assert relative(output.v, golden["v"]) < 1e-4
    assert relative(output.pred_x0, golden["pred"]) < 1e-4
    assert relative(output.eps, golden["eps"]) < 1e-4


def test_input_gradient_agrees(
    model: SecondaryModel, x_t: Tensor, recipe: ModuleType, golden: dict[str, np.ndarray]
) -> None:
    x_t = x_t[:1].requires_grad_()
    pred_x0 = model(x_t, torch.tensor([0.13])).pred_x0
    weights = torch.from_numpy(recipe.tensor("b/w", (1, 3, 32, 64)))
    (grad,) = torch.autograd.grad((pred_x0 * weights).sum(), x_t)
    assert relative(grad, golden["grad"]) < 1e-4


def test_guess_and_noise_make_the_picture_again(model: SecondaryModel, x_t: Tensor) -> None:
    t = torch.tensor([0.3, 0.6])
    with torch.no_grad():
        output = model(x_t, t)
    angle = (t * (torch.pi / 2))[:, None, None, None]
    torch.testing.assert_close(angle.cos() * output.pred_x0 + angle.sin() * output.eps, x_t)
