"""Shared by the tests: fakes with known answers, and the golden numbers of the original.

Fakes are plain classes: `from tests.conftest import GaussianDenoiser`.
"""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Callable
from types import MappingProxyType, ModuleType

# One thread for each process of tests, and for those that they start: they run side by side, and two teams of
# threads on the same cores wait for each other. Before torch is imported, which reads it once.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from torch import Tensor

from disco.sampling.diffusion import Step, alphas_bar, predict_x0
from tests.places import GOLDEN


def pytest_runtest_setup(item: pytest.Item) -> None:
    """`-m gpu` on a machine without a GPU skips by name."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU that torch can use")


class GaussianDenoiser:
    """The exact noise prediction for pictures whose pixels are independent, normal (mean, std).

    With it DDIM carries N(0, 1) to N(mean, std^2). For 1000 training steps (`steps` a divisor of 1000).
    """

    def __init__(self, mean: float = 0.3, std: float = 0.5) -> None:
        self.mean, self.std = mean, std
        self.alphas_bar = alphas_bar(1000)

    def __call__(self, x_t: Tensor, t: float | Tensor) -> Tensor:
        bar = torch.as_tensor(self.alphas_bar)[torch.as_tensor(t).long()].reshape(-1, 1, 1, 1)
        alpha, sigma = bar.sqrt().float(), (1 - bar).sqrt().float()
        variance = alpha**2 * self.std**2 + sigma**2  # of x_t
        return sigma * (x_t - alpha * self.mean) / variance


class EightNumberClip:
    """A CLIP whose embedding is MATRIX times a cutout's mean colour; texts are names of colours."""

    name = "eight"
    image_size = 16
    embed_dim = 8
    MATRIX = torch.tensor(
        [[1, 0, 0, 1, 1, 0, 0.5, 0], [0, 1, 0, 1, 0, 1, 0, 0.5], [0, 0, 1, 0, 1, 1, 0.5, 0.5]]
    )
    COLOURS = MappingProxyType({"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "white": (1, 1, 1)})

    def encode_image(self, cutouts: Tensor) -> Tensor:
        """cutouts: [N, 3, S, S] in [0, 1] -> [N, 8]."""
        return cutouts.mean((2, 3)) @ self.MATRIX.to(cutouts)

    def encode_text(self, texts: list[str]) -> Tensor:
        """Each text -> the embedding of the first colour it names, [P, 8]; without one, of white."""
        named = [next((c for c in self.COLOURS if c in text), "white") for text in texts]
        return torch.tensor([self.COLOURS[c] for c in named], dtype=torch.float32) @ self.MATRIX


def toy_eps(x: Tensor, t: float) -> Tensor:
    """The closed-form network of golden/README.md."""
    columns = torch.arange(x.shape[-1])
    return (
        x * math.sin(t / 1000 * math.pi / 2)
        + 0.1 * torch.tanh(x.roll(1, -1))
        + 0.05 * torch.cos(t / 100 + columns)
    )


def toy_guided(x: Tensor, step: Step) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Its guidance."""
    pull = -0.02 * (x - 0.3 * torch.sin(torch.arange(x.shape[-1]) / 3))
    return toy_eps(x, step.t), pull * (1 + step.t / 1000), {}


def guided_through_the_guess(x: Tensor, step: Step) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """One pass that serves both: the gradient of -sum(0.01 (pred_x0 - 0.5)^2) through the network."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        eps = toy_eps(x, step.t)
        loss = (0.01 * (predict_x0(x, eps, step) - 0.5) ** 2).sum((1, 2, 3))
        (grad,) = torch.autograd.grad(-loss.sum(), x)
    return eps.detach(), grad, {"toward": loss.detach()}


def relative(ours: Tensor | np.ndarray, golden: np.ndarray) -> float:
    """max |a - b| / max |b|, the measure of golden/README.md."""
    difference = np.asarray(ours, dtype=np.float64) - golden.astype(np.float64)
    return float(np.abs(difference).max() / np.abs(golden).max())


@pytest.fixture(scope="session")
def golden() -> Callable[[str], dict[str, np.ndarray]]:
    """golden("e_trajectories") -> the arrays of that file, by name."""

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(GOLDEN / f"{name}.npz") as arrays:
            return dict(arrays)

    return load


@pytest.fixture(scope="session")
def golden_recipe() -> ModuleType:
    """The module golden_recipe: fill(module, tag, gain), tensor(key, shape), gauss(key, shape)."""
    spec = importlib.util.spec_from_file_location("golden_recipe", GOLDEN / "golden_recipe.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
