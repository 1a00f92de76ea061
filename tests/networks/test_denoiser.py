"""networks.denoiser: the original's UNet, its sizes, and the one form that every diffusion network wears."""

from __future__ import annotations

import importlib.util
import warnings
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from disco.errors import WeightsError
from disco.networks.denoiser import (
    Denoiser,
    SdpaAttention,
    alpha_sigma,
    build_unet,
    channel_mult,
    convert,
    numbers,
    swap_attention,
    timestep_embedding,
)
from disco.sampling.diffusion import make_steps, predict_x0
from disco.weights.registry import registry
from tests.places import GOLDEN

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)
    from guided_diffusion import unet as package

SMALL: dict[str, Any] = {
    "image_size": 64,
    "num_channels": 32,
    "num_res_blocks": 1,
    "num_head_channels": 16,
    "attention_resolutions": "32,16,8",
    "resblock_updown": True,
    "use_scale_shift_norm": True,
    "learn_sigma": True,
}
TINY = {"image_size": 16, "num_channels": 32, "num_res_blocks": 1, "channel_mult": "1,2"}


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_recipe", GOLDEN / "golden_recipe.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def small(recipe: ModuleType) -> nn.Module:
    return recipe.fill(build_unet(SMALL), tag="unet/", gain=0.5)


def awake(network: nn.Module) -> nn.Module:
    """A fresh UNet ends in zeros; give those layers weights too."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.copy_(0.05 * torch.randn(parameter.shape, generator=generator))
    return network


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_forward_agrees_with_the_original(small: nn.Module, recipe: ModuleType) -> None:
    x = torch.from_numpy(recipe.gauss("e/ux", (1, 3, 32, 64)))
    with np.load(GOLDEN / "e_trajectories.npz") as arrays:
        golden = torch.from_numpy(arrays["unet_forward"])
    with torch.no_grad():
        answer = small(x, torch.tensor([480.0]))
        eps = Denoiser(small, SMALL)(x, 480)
    assert (answer - golden).abs().max() / golden.abs().max() < 1e-5
    assert torch.equal(eps, answer[:, :3])


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("512x512_diffusion_uncond_finetune_008100", 557_973_638),
        ("256x256_diffusion_uncond", 552_814_086),
        ("portrait_generator_v001", 139_579_462),
        ("PulpSciFiDiffusion", 113_676_678),
        ("pixelartdiffusion_expanded", 113_676_678),
        ("watercolordiffusion_2", 113_676_678),
        ("custom", 113_676_678),
    ],
)
def test_published_networks_have_their_sizes(name: str, count: int) -> None:
    with torch.device("meta"):
        network = build_unet(registry().get("diffusion", name).architecture)
    assert sum(parameter.numel() for parameter in network.parameters()) == count


@pytest.mark.parametrize("heads_first", [True, False])
@pytest.mark.parametrize(("batch", "heads", "head", "length"), [(2, 3, 8, 50), (1, 1, 64, 7)])
def test_attention_is_the_packages(heads_first: bool, batch: int, heads: int, head: int, length: int) -> None:
    kind = package.QKVAttentionLegacy if heads_first else package.QKVAttention
    qkv = noise(batch, 3 * heads * head, length).requires_grad_()
    ours, theirs = SdpaAttention(heads, heads_first)(qkv), kind(heads)(qkv)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    weights = noise(*ours.shape, seed=1)
    (a,) = torch.autograd.grad((ours * weights).sum(), qkv)
    (b,) = torch.autograd.grad((theirs * weights).sum(), qkv)
    torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


@pytest.mark.parametrize("new_order", [False, True])
def test_attention_is_swapped_here_and_nowhere_else(new_order: bool) -> None:
    before = {name: vars(package)[name].forward for name in ("QKVAttention", "QKVAttentionLegacy")}
    options = {"attention_resolutions": "16,8", "num_heads": 2, "use_new_attention_order": new_order}
    ours = awake(build_unet(TINY | options))
    swapped = [m for m in ours.modules() if isinstance(m, SdpaAttention)]
    assert len(swapped) == 7 and {m.heads_first for m in swapped} == {not new_order}
    assert swap_attention(ours) == 0
    theirs = package.UNetModel(
        image_size=16,
        in_channels=3,
        model_channels=32,
        out_channels=3,
        num_res_blocks=1,
        attention_resolutions=(1, 2),
        channel_mult=(1, 2),
        num_heads=2,
        use_new_attention_order=new_order,
    )
    assert not any(isinstance(m, SdpaAttention) for m in theirs.modules())
    assert before == {name: vars(package)[name].forward for name in before}
    theirs.load_state_dict(ours.state_dict())
    x, t = noise(2, 3, 16, 16), torch.tensor([10.0, 900.0])
    with torch.no_grad():
        torch.testing.assert_close(ours(x, t), theirs(x, t), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dim", [8, 33, 256])
def test_the_embedding_of_timesteps_is_the_packages(dim: int) -> None:
    timesteps = torch.tensor([0.0, 0.5, 480.0, 999.96])
    ours = timestep_embedding(timesteps, dim)
    assert torch.equal(ours, package.timestep_embedding(timesteps, dim)) and ours.shape == (4, dim)
    assert package.UNetModel.forward.__globals__["timestep_embedding"] is not timestep_embedding


class Answer(nn.Module):
    """A network that always says the same, and remembers what it was asked."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.x, self.t = x, t
        return self.answer


def test_variance_channels_are_dropped_and_t_is_given_to_each_picture() -> None:
    network = Answer(noise(2, 6, 8, 8))
    eps = Denoiser(network, TINY | {"learn_sigma": True})(noise(2, 3, 8, 8), 480.5)
    assert torch.equal(eps, network.answer[:, :3])
    assert network.t.tolist() == [480.5, 480.5] and network.t.dtype == torch.float32
    Denoiser(network, TINY)(noise(2, 3, 8, 8), torch.tensor([3, 7]))
    assert network.t.tolist() == [3.0, 7.0]


@pytest.mark.parametrize("t", [0, 20, 500, 999, torch.tensor([0.0, 730.0])])
@pytest.mark.parametrize("patch", [1, 4])
def test_predictions_of_x0_and_v_give_the_noise(t: float | Tensor, patch: int) -> None:
    x_0, eps = noise(2, 3, 8, 8), noise(2, 3, 8, 8, seed=1)
    alpha, sigma = (value.view(-1, 1, 1, 1) for value in alpha_sigma(torch.as_tensor(t)))
    x_t = alpha * x_0 + sigma * eps
    for prediction, answer in (("x0", x_0), ("v", alpha * eps - sigma * x_0), ("eps", eps)):
        network = Answer(nn.functional.pixel_unshuffle(answer, patch))
        denoiser = Denoiser(network, TINY | {"prediction": prediction, "patch": patch})
        torch.testing.assert_close(denoiser(x_t, t), eps, atol=1e-4, rtol=1e-4)
        assert network.x.shape == (2, 3 * patch**2, 8 // patch, 8 // patch)


def test_alpha_and_sigma_are_the_schedules() -> None:
    betas = np.linspace(1e-4, 0.02, 1000)
    alpha_bar = np.cumprod(1 - betas)
    alpha, sigma = alpha_sigma(torch.arange(1000))
    np.testing.assert_allclose(alpha.numpy(), np.sqrt(alpha_bar), rtol=1e-5)
    np.testing.assert_allclose(sigma.numpy(), np.sqrt(1 - alpha_bar), rtol=1e-5)
    between, _ = alpha_sigma(torch.tensor([10.5]))
    assert alpha[11] < between.item() < alpha[10]


@pytest.mark.parametrize(("steps", "left"), [(50, 1e-4), (250, 1e-4), (300, 0.006), (501, 0.05)])
def test_a_prediction_of_x0_passes_the_samplers_maths_unharmed(steps: int, left: float) -> None:
    x_0, eps = noise(1, 3, 32, 32), noise(1, 3, 32, 32, seed=1)
    denoiser = Denoiser(Answer(x_0), TINY | {"prediction": "x0"})
    for step in make_steps(steps):
        x_t = step.alpha * x_0 + step.sigma * eps
        guess = predict_x0(x_t, denoiser(x_t, step.t), step)
        assert (guess - x_0).std() < left


def test_times_beyond_the_schedule_count_as_its_ends() -> None:
    alpha, sigma = alpha_sigma(torch.tensor([-5.0, 0.0, 999.0, 1200.0]))
    assert alpha[0] == alpha[1] and sigma[2] == sigma[3]
    assert sigma[0].item() == pytest.approx(0.01, rel=1e-4)
    x_t = torch.zeros(1, 3, 8, 8)
    assert Denoiser(Answer(x_t), TINY | {"prediction": "x0"})(x_t, -1.0).isfinite().all()


@pytest.mark.parametrize("use_checkpoint", [False, True])
def test_gradients_reach_the_picture_and_not_the_weights(use_checkpoint: bool) -> None:
    torch.manual_seed(0)
    network = awake(build_unet(TINY, use_checkpoint=use_checkpoint))
    plain = build_unet(TINY)
    plain.load_state_dict(network.state_dict())
    x_t = noise(1, 3, 16, 16).requires_grad_()
    grads = []
    for each in (network, plain):
        denoiser = Denoiser(each, TINY)
        (grad,) = torch.autograd.grad(denoiser(x_t, 500).square().sum(), x_t)
        grads.append(grad)
        assert not any(parameter.requires_grad for parameter in each.parameters())
    assert grads[0].abs().sum() > 0
    torch.testing.assert_close(grads[0], grads[1])


def test_a_patch_makes_a_network_of_more_channels() -> None:
    architecture = TINY | {"patch": 4, "prediction": "x0", "size_multiple": 8}
    network = build_unet(architecture)
    assert network.input_blocks[0][0].in_channels == 48  # type: ignore[index, union-attr]
    denoiser = Denoiser(network, architecture)
    assert denoiser(noise(2, 3, 32, 64), 300).shape == (2, 3, 32, 64)
    assert denoiser.size_multiple == 8
    assert Denoiser(network, architecture | {"size_multiple": 64}).size_multiple == 64
    assert Denoiser(network, TINY | {"patch": 4}).size_multiple == 8


def test_lower_precision_changes_the_torso_alone() -> None:
    torch.manual_seed(0)
    network = awake(build_unet(TINY))
    x_t = noise(1, 3, 16, 16)
    with torch.no_grad():
        full = Denoiser(network, TINY)(x_t, 500)
        half = Denoiser(convert(network, torch.bfloat16), TINY)(x_t, 500)
    assert half.dtype == torch.float32
    assert torch.cosine_similarity(full.flatten(), half.flatten(), dim=0) > 0.999
    assert network.out[2].weight.dtype == torch.float32  # type: ignore[index, union-attr]
    assert network.time_embed[0].weight.dtype == torch.float32  # type: ignore[index, union-attr]
    assert network.input_blocks[1][0].in_layers[2].weight.dtype == torch.bfloat16  # type: ignore[index, union-attr]


def test_lists_of_numbers_are_read_however_they_are_written() -> None:
    assert numbers("32, 16, 8") == numbers([32, 16, 8]) == numbers((32, 16, 8)) == (32, 16, 8)
    assert numbers(16) == numbers("16") == (16,)
    assert numbers("") == numbers(None) == ()
    assert channel_mult({"image_size": 512}) == (0.5, 1, 1, 2, 2, 4, 4)
    assert channel_mult({"image_size": 512, "channel_mult": "1,2"}) == (1, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"image_size": 300, "channel_mult": ""},
            "architecture: image_size 300 has no channel_mult of its own "
            "(only 512, 256, 128, 64 have): give channel_mult",
        ),
        (
            {"class_cond": True},
            "architecture: class_cond true: class-conditional networks are not supported",
        ),
        (
            {"noise_schedule": "cosine"},
            "architecture: noise_schedule is 'cosine'; only 'linear' is supported",
        ),
        ({"prediction": "x"}, "architecture: prediction is 'x'; allowed: eps, x0, v"),
    ],
)
def test_what_cannot_be_built_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(WeightsError) as error:
        build_unet(TINY | change)
    assert str(error.value) == message


@pytest.mark.gpu
def test_fp16_on_a_gpu_is_close() -> None:
    torch.manual_seed(0)
    network = awake(build_unet(SMALL)).cuda()
    x_t = noise(1, 3, 64, 64).cuda()
    with torch.no_grad():
        full = Denoiser(network, SMALL)(x_t, 500.0)
        half = Denoiser(convert(network, torch.float16), SMALL)(x_t, 500.0)
    assert half.dtype == torch.float32
    assert torch.cosine_similarity(full.flatten(), half.flatten(), dim=0) > 0.9999
