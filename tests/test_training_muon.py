"""training.muon: the orthogonal step, which weights take it, and a checkpoint of both optimisers."""

from __future__ import annotations

import copy

import torch
from torch import nn

from disco.networks.denoiser import build_unet
from training import diffusion
from training.muon import Both, Muon, inner_matrices, orthogonal


def test_an_update_is_nearly_orthogonal_and_points_where_the_gradient_does():
    torch.manual_seed(0)
    for shape in ((16, 40), (40, 16)):
        gradient = torch.randn(shape)
        values = torch.linalg.svdvals(orthogonal(gradient))
        assert 0.6 < values.min() and values.max() < 1.3
        u, _, v = torch.linalg.svd(gradient, full_matrices=False)
        alike = nn.functional.cosine_similarity(orthogonal(gradient).flatten(), (u @ v).flatten(), dim=0)
        assert alike > 0.98


def test_a_step_goes_downhill_and_has_the_size_of_the_rate():
    weight = nn.Parameter(torch.zeros(8, 3, 3, 3))
    weight.grad = torch.randn(8, 3, 3, 3)
    Muon([weight], lr=0.01, momentum=0.0).step()
    assert (weight * weight.grad).sum() < 0
    # An orthogonal [8, 27] has elements of size 27^-1/2; times 0.2 * 27^1/2.
    assert 0.7 < weight.square().mean().sqrt() / (0.01 * 0.2) < 1.3


def test_first_last_and_timestep_layers_are_left_to_adamw():
    network = nn.ModuleDict({"unet": build_unet(diffusion.ARCHITECTURE)})
    chosen = {id(weight) for weight in inner_matrices(network)}
    names = {name for name, weight in network.named_parameters() if id(weight) in chosen}
    assert not any(
        part in name
        for name in names
        for part in ("time_embed", "emb_layers", "unet.out.", "input_blocks.0.")
    )
    assert any("proj_out" in name for name in names) and any("in_layers.2" in name for name in names)
    assert all(network.get_parameter(name).ndim >= 2 for name in names)
    optimizer = Both(network, inner_matrices(network), 1e-3, 1e-3)
    taken = sum(len(group["params"]) for group in optimizer.param_groups)
    assert taken == len(list(network.parameters()))


def test_a_stopped_training_goes_on_as_if_it_had_not_stopped():
    torch.manual_seed(0)
    first = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 4))
    x, wanted = torch.randn(32, 6), torch.randn(32, 4)

    def optimizer_of(network: nn.Sequential) -> Both:
        return Both(network, [network[0].weight], 0.01, 0.01)

    def train(network: nn.Sequential, optimizer: Both, steps: int) -> float:
        for _ in range(steps):
            loss = (network(x) - wanted).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return float(loss.detach())

    optimizer = optimizer_of(first)
    begin = train(first, optimizer, 1)
    train(first, optimizer, 5)
    second = copy.deepcopy(first)
    resumed = optimizer_of(second)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    end = train(first, optimizer, 20)
    assert train(second, resumed, 20) == end < 0.9 * begin
