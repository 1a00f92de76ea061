"""What ships of the training: the preconditioning is exact, captions fit, files load."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import disco
from disco.networks.denoiser import Denoiser, build_unet
from disco.networks.preconditioning import Frequencies, cosine_basis
from training import diffusion
from training.captions import title_fits
from training.clip import ranked
from training.common import export, linear_alpha_sigma
from training.halves import guides, judges
from training.spectral import Preconditioned, SpectralError, usual_sizes
from training.towers import Tower, hybrid_tower
from training.views import cut, random_boxes

POCKET = Path(disco.__file__).parent / "pocket"


def test_the_basis_is_orthonormal_and_begins_with_the_mean_brightness():
    basis = cosine_basis(4)
    assert torch.allclose(basis @ basis.T, torch.eye(48), atol=1e-5)
    assert torch.allclose(basis[0], torch.full((48,), 48**-0.5), atol=1e-6)


def test_an_untrained_network_starts_as_the_linear_guess():
    sizes = usual_sizes(torch.randn(8, 3, 64, 64), 4)
    unet = build_unet(diffusion.ARCHITECTURE)
    for parameter in unet.out[2].parameters():
        nn.init.zeros_(parameter)
    tokens, t = torch.randn(2, 48, 16, 16), torch.tensor([100, 800])
    linear = Frequencies(sizes).split(tokens, *linear_alpha_sigma(t))[1]
    expected = torch.einsum("kc,bkhw->bchw", cosine_basis(4), linear)
    assert torch.allclose(Preconditioned(unet, sizes)(tokens, t), expected, atol=1e-4)


def test_the_shipped_network_answers_as_the_trained_one(tmp_path):
    torch.manual_seed(0)
    trained = Preconditioned(build_unet(diffusion.ARCHITECTURE), usual_sizes(torch.randn(8, 3, 64, 64), 4))
    nn.init.normal_(trained.unet.out[2].weight, std=0.02)
    diffusion.export_network(trained.eval().state_dict(), tmp_path)
    architecture = json.loads((tmp_path / "pocket_diffusion.json").read_text())
    network = build_unet(architecture)
    network.load_state_dict(load_file(tmp_path / "pocket_diffusion.safetensors"))
    x_t, t = torch.randn(1, 3, 64, 64), torch.tensor([300])
    with torch.no_grad():
        eps = Denoiser(network, architecture)(x_t, 300.0)
        x_0 = diffusion.guess(trained, x_t, t, 4)
    alpha, sigma = linear_alpha_sigma(t)
    assert torch.allclose(eps, (x_t - alpha * x_0) / sigma, atol=0.03)  # bfloat16 in training


def test_a_whole_error_costs_as_much_in_frequencies_as_in_pixels():
    pictures = torch.randn(64, 3, 16, 16)
    sizes = usual_sizes(pictures, 4)
    assert SpectralError(sizes)(pictures).mean() == pytest.approx(float(pictures.square().mean()), rel=1e-3)


def test_exported_networks_are_half_precision_and_load_strictly(tmp_path):
    network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    export(network.state_dict(), tmp_path / "net.safetensors")
    state = load_file(tmp_path / "net.safetensors")
    assert state["0.weight"].dtype == torch.float16 and state["1.num_batches_tracked"].dtype == torch.int64
    exact = network[0].weight.detach().clone()
    network.load_state_dict(state)
    assert torch.equal(network[0].weight, exact.half().float())


def test_the_bundled_networks_fit_into_32_megabytes_and_15_each():
    sizes = {path: path.stat().st_size for path in POCKET.rglob("*") if path.is_file()}
    assert len(sizes) >= 7 and sum(sizes.values()) <= 32_000_000
    assert max(sizes.values()) <= 15_000_000


def test_a_caption_that_fits_costs_nothing_once_it_is_far_ahead_and_doubtful_ones_are_left_out():
    logits = torch.tensor([[20.0, 0.0, 30.0]])
    assert float(ranked(logits, torch.tensor([[1, 0, -1]]))) == pytest.approx(0, abs=1e-6)
    assert float(ranked(logits, torch.tensor([[0, 1, -1]]))) == pytest.approx(20, rel=1e-4)
    assert float(ranked(logits, torch.tensor([[-1, -1, -1]]))) == 0


def test_a_title_fits_its_own_picture_and_is_not_held_against_one_with_a_like_title():
    titles = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.9, 0.436], [0.0, 1.0]])
    fits = title_fits(titles, titles.abs().sum(1) > 0)
    assert fits.tolist() == [[1, -1, 0], [-1, -1, -1], [-1, 1, 0], [0, 0, 1]]


def test_guides_and_judge_never_learn_from_the_same_picture():
    seen = {k for k in range(100) if guides("scenes", k, "train")}
    judged = {k for k in range(100) if judges("scenes", k)}
    assert seen | judged == set(range(100)) and not seen & judged
    assert not guides("scenes", 4, "test") and guides("tiny", 5, "train") and not judges("tiny", 5)


def test_cuts_keep_their_least_area_and_stay_inside_the_picture():
    torch.manual_seed(0)
    boxes = random_boxes(torch.full((500,), 0.4))
    area = (boxes[:, 0, 0] * boxes[:, 1, 1] - boxes[:, 0, 1] * boxes[:, 1, 0]).abs()
    assert float(area.min()) > 0.25 and float(area.max()) <= 1.0 + 1e-6  # 0.4, less what stretching cuts off
    untouched = cut(torch.rand(1, 3, 8, 8), torch.tensor([[[1.0, 0, 0], [0, 1.0, 0]]]), 8)
    assert untouched.shape == (1, 3, 8, 8)


def test_a_tower_gives_unit_embeddings_and_the_vit_guesses_nine_places_of_the_teachers_map():
    tower = Tower("vit").eval()
    with torch.no_grad():
        embeds, features = tower.with_features(torch.rand(2, 3, 96, 96))
        again = tower(torch.rand(2, 3, 64, 64))
    assert features.shape == (2, 9, 1280) and embeds.shape == again.shape == (2, 64)
    assert torch.allclose(embeds.norm(dim=-1), torch.ones(2), atol=1e-5)


def test_the_vit_begins_as_the_first_stages_of_the_other_tower_and_leaves_them_alone():
    conv = Tower("conv").eval()
    vit = hybrid_tower(conv).eval()
    picture = torch.rand(1, 3, 96, 96)
    wanted = conv.visual.trunk.forward_intermediates(picture, indices=[3], intermediates_only=True)[0]
    assert torch.equal(vit.visual.trunk.patch_embed.backbone(picture)[0], wanted)
    learned = {name for name, weight in vit.named_parameters() if weight.requires_grad}
    assert not any("backbone" in name for name in learned)
    assert {"scale", "features.weight", "visual.trunk.patch_embed.proj.weight"} <= learned
    assert not vit.train().visual.trunk.patch_embed.backbone.bn1.training
