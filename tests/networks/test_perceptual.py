"""disco.networks.perceptual: the small net in LPIPS' form, the shipped one and one of random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

import disco
from disco.errors import WeightsError
from disco.guidance import Guidance
from disco.networks.perceptual import (
    PerceptualModel,
    PerceptualNet,
    SmallPerceptualNet,
    build_perceptual,
    load_perceptual,
)
from disco.sampling.diffusion import make_steps
from disco.sampling.randomness import FixedRandom
from disco.settings.load import run_from_mapping
from disco.weights.registry import registry
from tests.guidance_fakes import TinyDenoiser, TinySecondary, options

ENTRY = registry().get("lpips", "pocket")
FILE = Path(disco.__file__).parent / "pocket" / "pocket_perceptual.safetensors"


@pytest.fixture(scope="module")
def net() -> PerceptualNet:
    return load_perceptual(FILE, ENTRY.architecture)


def picture(height: int = 64, width: int = 96, seed: int = 0) -> Tensor:
    """Hills before a sky: smooth, with edges and a little texture. [1, 3, H, W] in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    phase, slope = torch.rand(2, generator=generator)
    hill = (y > 0.5 + 0.2 * torch.sin(6 * x + 6 * phase)).float()
    colours = torch.rand(2, 3, 1, 1, generator=generator)
    flat = (1 - hill) * (colours[0] - slope * 0.5 * y) + hill * colours[1]
    return (flat + 0.05 * torch.randn(3, height, width, generator=generator))[None].clamp(0, 1) * 2 - 1


def blurred(x: Tensor, times: int) -> Tensor:
    for _ in range(times):
        x = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return x


def noised(x: Tensor, size: float) -> Tensor:
    return x + size * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))


def moved(x: Tensor, pixels: int) -> Tensor:
    return x.roll(pixels, dims=3)


def tinted(x: Tensor, size: float) -> Tensor:
    return x + size * torch.tensor([1.0, -0.5, -1.0])[:, None, None]


def test_a_picture_is_no_distance_from_itself_and_the_gradient_there_is_zero(net: PerceptualNet) -> None:
    for init in (picture(), torch.zeros(1, 3, 32, 32), torch.full((1, 3, 32, 32), -1.0)):
        at = init.clone().requires_grad_()
        distance = net.prepare(init)(at)
        (gradient,) = torch.autograd.grad(distance.sum(), at)
        assert distance.tolist() == [0.0]
        assert torch.equal(gradient, torch.zeros_like(init))


@pytest.mark.parametrize("start", [picture(), torch.zeros(1, 3, 32, 32)], ids=["hills", "flat"])
def test_the_gradient_beside_the_init_is_finite_and_small(net: PerceptualNet, start: Tensor) -> None:
    at = noised(start, 1e-4).requires_grad_()
    (gradient,) = torch.autograd.grad(net.prepare(start)(at).sum(), at)
    assert gradient.isfinite().all() and 0 < gradient.abs().max() < 1


@pytest.mark.parametrize(
    ("distort", "amounts"),
    [
        (blurred, [1, 3, 9]),
        (noised, [0.05, 0.15, 0.45]),
        (moved, [1, 3, 9]),
        (tinted, [0.05, 0.15, 0.4]),
    ],
    ids=["blurred", "noised", "moved", "tinted"],
)
def test_more_of_a_distortion_is_further_away(net: PerceptualNet, distort, amounts) -> None:
    for seed in range(3):
        init = picture(seed=seed)
        near, middle, far = (float(net.prepare(init)(distort(init, amount))) for amount in amounts)
        assert 0 < near < middle < far


def test_the_distance_is_the_same_both_ways_round(net: PerceptualNet) -> None:
    a, b = picture(seed=1), picture(seed=2)
    torch.testing.assert_close(net.prepare(a)(b), net.prepare(b)(a))


def test_another_picture_is_further_than_the_same_one_spoiled(net: PerceptualNet) -> None:
    init = picture(seed=3)
    distance = net.prepare(init)
    spoiled = [blurred(init, 1), noised(init, 0.05), tinted(init, 0.05)]
    assert max(float(distance(x)) for x in spoiled) < min(float(distance(picture(seed=k))) for k in (4, 5, 6))


def test_pictures_together_get_what_each_gets_alone(net: PerceptualNet) -> None:
    init, others = picture(), torch.cat([picture(seed=1), picture(seed=2)])
    distance = net.prepare(init)
    torch.testing.assert_close(distance(others), torch.cat([distance(x) for x in others.split(1)]))
    pairs = net.prepare(torch.cat([init, others[:1]]))(others)
    torch.testing.assert_close(pairs[1:], net.prepare(others[:1])(others[1:]))


@pytest.mark.parametrize("size", [(32, 32), (96, 32), (33, 47), (48, 256)])
def test_any_size_from_32_up(net: PerceptualNet, size: tuple[int, int]) -> None:
    init = picture(*size)
    distance = net.prepare(init)
    assert 0 < distance(noised(init, 0.1)).item() < distance(noised(init, 0.5)).item()
    layers = net.features(init)
    assert [layer.shape[1] for layer in layers] == ENTRY.architecture["widths"]
    assert [layer.shape[2] for layer in layers] == [size[0] >> k for k in range(5)]


def test_a_guided_step_lowers_the_distance(net: PerceptualNet) -> None:
    init = picture()
    guided = Guidance(
        *(TinyDenoiser(), TinySecondary(), []),
        options(clip_guidance_scale=0, init_scale=1000),
        FixedRandom(1, [0, 1]),
        init=init,
        lpips=net,
    )
    x_t = torch.cat([noised(picture(seed=1), 0.3), noised(picture(seed=2), 0.3)])
    for step in make_steps(25)[8:20:5]:
        _, gradient, losses = guided(x_t, step)
        assert gradient is not None
        x_after = x_t + 0.02 * gradient / gradient.square().mean((1, 2, 3), keepdim=True).sqrt()
        assert (guided(x_after, step)[2]["init"] < losses["init"]).all()


def test_the_features_of_a_place_are_as_long_as_their_heads_allow() -> None:
    torch.manual_seed(0)
    model = PerceptualModel([4, 6])
    net = SmallPerceptualNet(model)
    layers = net.features(10 * picture())
    for layer, head in zip(layers, model.heads, strict=True):
        lengths = (layer / head[:, None, None]).square().sum(1)
        assert lengths.max() <= 1 and not layer.requires_grad
    near, far = ([layer + k for layer in layers] for k in (0.0, 0.5))
    parts = net.parts(far, near)
    assert [part.item() for part in parts] == pytest.approx([4 * 0.25, 6 * 0.25])  # channels times 0.5^2


def test_the_shipped_file_is_small_and_in_half_precision() -> None:
    assert FILE.stat().st_size <= 150_000
    assert {tensor.dtype for tensor in load_file(FILE).values()} == {torch.float16}
    assert ENTRY.name == "pocket_perceptual" and ENTRY.size() == (0, True)
    network = load_perceptual(FILE, ENTRY.architecture).network
    assert not network.training and not any(parameter.requires_grad for parameter in network.parameters())
    assert sum(parameter.numel() for parameter in network.parameters()) == ENTRY.parameters


def test_which_network_init_scale_uses_unless_told_otherwise() -> None:
    pocket = run_from_mapping({}).settings
    assert (pocket.lpips_model, pocket.init_scale.max()) == ("pocket", 20_000)
    published = run_from_mapping({"diffusion_model": "256x256_diffusion_uncond"}).settings
    assert (published.lpips_model, published.init_scale.max()) == ("vgg", 1000)


def test_nothing_is_computed_before_the_file_is_there() -> None:
    net = build_perceptual(ENTRY.architecture)
    assert all(parameter.is_meta for parameter in net.network.parameters())


def test_a_file_that_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "pocket_perceptual.safetensors"
    save_file(PerceptualModel([4, 4, 4, 4, 4]).state_dict(), path)
    with pytest.raises(WeightsError) as error:
        load_perceptual(path, ENTRY.architecture)
    shapes = "stages.0.0.weight has shape [4, 3, 3, 3], expected [16, 3, 3, 3]"
    assert str(error.value).startswith(f"{path}: does not fit the network: {shapes}; ")
    assert str(error.value).endswith("The file looks like a perceptual network of Disco's own kind")
    secondary = FILE.with_name("pocket_secondary.safetensors")
    with pytest.raises(WeightsError, match=r"The file looks like a secondary network$"):
        load_perceptual(secondary, ENTRY.architecture)
