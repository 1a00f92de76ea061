"""The linear guess is the best one for Gaussian pictures; the network adds what it leaves open."""

from __future__ import annotations

import pytest
import torch

from disco.errors import WeightsError
from disco.networks.denoiser import Denoiser, alpha_sigma, build_unet
from disco.networks.preconditioning import Frequencies, cosine_basis

SIZES = torch.linspace(2.0, 0.1, 12)  # patch 2


def noise_of(alpha_bar: float) -> tuple[torch.Tensor, torch.Tensor]:
    alpha = torch.full((1, 1, 1, 1), alpha_bar**0.5)
    return alpha, torch.full((1, 1, 1, 1), (1 - alpha_bar) ** 0.5)


def gaussian_pictures(count: int) -> torch.Tensor:
    coefficients = torch.randn(count, 12, 2, 2) * SIZES[:, None, None]
    return torch.einsum("kc,bkhw->bchw", cosine_basis(2), coefficients)


def test_the_networks_input_has_size_one_in_every_frequency():
    torch.manual_seed(0)
    alpha, sigma = noise_of(0.4)
    tokens = gaussian_pictures(4000)
    unit, _ = Frequencies(SIZES).split(alpha * tokens + sigma * torch.randn_like(tokens), alpha, sigma)
    assert torch.allclose(unit.square().mean((0, 2, 3)), torch.ones(12), atol=0.06)


def test_for_gaussian_pictures_no_scaled_linear_guess_is_better():
    torch.manual_seed(0)
    alpha, sigma = noise_of(0.4)
    tokens = gaussian_pictures(2000)
    frequencies = Frequencies(SIZES)
    _, linear = frequencies.split(alpha * tokens + sigma * torch.randn_like(tokens), alpha, sigma)
    errors = [
        float((frequencies.join(k * linear, torch.zeros_like(linear), alpha, sigma) - tokens).square().mean())
        for k in (0.8, 0.9, 1.0, 1.1, 1.2)
    ]
    assert errors.index(min(errors)) == 2


def test_what_is_wanted_of_the_network_has_size_one_and_gives_the_picture_exactly():
    torch.manual_seed(0)
    alpha, sigma = noise_of(0.9)
    tokens = gaussian_pictures(4000)
    frequencies = Frequencies(SIZES)
    _, linear = frequencies.split(alpha * tokens + sigma * torch.randn_like(tokens), alpha, sigma)
    sizes = SIZES[:, None, None]
    unit = sizes * sigma / ((alpha * sizes).square() + sigma.square()).sqrt()
    wanted = (torch.einsum("kc,bchw->bkhw", cosine_basis(2), tokens) - linear) / unit
    assert torch.allclose(wanted.square().mean((0, 2, 3)), torch.ones(12), atol=0.06)
    assert torch.allclose(frequencies.join(linear, wanted, alpha, sigma), tokens, atol=1e-4)


ARCHITECTURE = {
    "image_size": 8,
    "num_channels": 32,
    "num_res_blocks": 1,
    "channel_mult": "1",
    "attention_resolutions": "",
    "patch": 2,
    "prediction": "x0",
}


def test_a_silent_network_denoises_linearly_and_gradients_reach_x_t():
    network = build_unet(ARCHITECTURE)
    for parameter in network.out[2].parameters():
        torch.nn.init.zeros_(parameter)
    denoiser = Denoiser(network, ARCHITECTURE | {"frequency_sizes": [1.0] * 12})
    x_t = torch.randn(1, 3, 8, 8, requires_grad=True)
    eps = denoiser(x_t, 500.0)
    eps.sum().backward()
    # With all sizes 1 the guess is alpha x_t, and eps = (x_t - alpha^2 x_t) / sigma = sigma x_t.
    assert torch.allclose(eps, alpha_sigma(torch.tensor(500.0))[1] * x_t, atol=1e-5)
    assert x_t.grad is not None and float(x_t.grad.abs().min()) > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"frequency_sizes": [1.0] * 11},
            "prediction x0 and 3 * patch^2 = 12 numbers; here are x0 and 11",
        ),
        ({"frequency_sizes": [1.0] * 12, "prediction": "eps"}, "here are eps and 12"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(change, message):
    with pytest.raises(WeightsError) as error:
        build_unet(ARCHITECTURE | change)
    assert message in str(error.value)
