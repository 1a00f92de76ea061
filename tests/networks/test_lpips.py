"""disco.networks.perceptual against the lpips package itself, on random VGG weights."""

from __future__ import annotations

from pathlib import Path

import lpips
import pytest
import torch
from torch import Tensor

from disco.networks.perceptual import PerceptualNet, build_lpips, lpips_state

CHANNELS = {
    **{0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128), 10: (128, 256), 12: (256, 256), 14: (256, 256)},
    **{17: (256, 512), 19: (512, 512), 21: (512, 512), 24: (512, 512), 26: (512, 512), 28: (512, 512)},
}


def random_vgg() -> dict[str, Tensor]:
    """torchvision's vgg16 names with random features, and a classifier that nobody needs."""
    generator = torch.Generator().manual_seed(0)
    state = {"classifier.0.weight": torch.zeros(1), "classifier.0.bias": torch.zeros(1)}
    for index, (before, after) in CHANNELS.items():
        scale = (2 / (9 * before)) ** 0.5
        state[f"features.{index}.weight"] = scale * torch.randn(after, before, 3, 3, generator=generator)
        state[f"features.{index}.bias"] = 0.1 * torch.randn(after, generator=generator)
    return state


@pytest.fixture(scope="module")
def vgg() -> dict[str, Tensor]:
    return random_vgg()


@pytest.fixture(scope="module")
def net(vgg: dict[str, Tensor]) -> PerceptualNet:
    network = build_lpips()
    network.load_state_dict(lpips_state(network, vgg), strict=True, assign=True)
    return PerceptualNet(network)


def pictures(count: int, height: int = 32, width: int = 48, seed: int = 1) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a download was tried")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse, raising=False)
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    assert all(parameter.is_meta for parameter in build_lpips().parameters())


def test_vgg_and_heads_lie_where_the_package_has_them(net: PerceptualNet, vgg: dict[str, Tensor]) -> None:
    slices = net.network.net
    assert torch.equal(slices.slice1[0].weight, vgg["features.0.weight"])
    assert torch.equal(slices.slice5[-2].bias, vgg["features.28.bias"])
    path = Path(lpips.__file__).parent / "weights" / "v0.1" / "vgg.pth"
    heads = torch.load(path, map_location="cpu", weights_only=True)
    assert torch.equal(net.network.lins[3].model[1].weight, heads["lin3.model.1.weight"])
    assert net.network.lins[3].model[1].weight is net.network.lin3.model[1].weight
    assert torch.equal(net.network.scaling_layer.shift.flatten(), torch.tensor([-0.030, -0.088, -0.188]))
    assert not net.network.training
    assert not any(parameter.requires_grad for parameter in net.network.parameters())


def test_distances_are_the_packages_own(net: PerceptualNet) -> None:
    init, others = pictures(1), pictures(3, seed=2)
    expected = net.network(others, init.expand(3, -1, -1, -1)).flatten()
    distances = net.prepare(init)(others)
    assert distances.shape == (3,)
    torch.testing.assert_close(distances, expected, atol=1e-6, rtol=1e-6)
    paired = pictures(3, seed=3)
    torch.testing.assert_close(
        net.prepare(paired)(others), net.network(others, paired).flatten(), atol=1e-6, rtol=1e-6
    )


def test_a_picture_is_no_distance_from_itself_and_the_gradient_leads_there(net: PerceptualNet) -> None:
    init = pictures(1)
    distance = net.prepare(init)
    assert distance(init).item() == 0
    other = pictures(1, seed=2).requires_grad_()
    before = distance(other)
    (grad,) = torch.autograd.grad(before.sum(), other)
    with torch.no_grad():
        after = distance(other - 0.5 * grad / grad.square().mean().sqrt() * 0.02)
    assert after.item() < before.item()


def test_the_init_is_looked_at_once(net: PerceptualNet, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    handle = net.network.net.slice1.register_forward_hook(lambda module, args, out: seen.append(len(args[0])))
    distance = net.prepare(pictures(1))
    distance(pictures(2))
    distance(pictures(2, seed=2))
    handle.remove()
    assert seen == [1, 2, 2]


def test_sizes_are_checked(net: PerceptualNet) -> None:
    with pytest.raises(ValueError, match=r"^init is 24x32; init_scale needs sides of at least 32$"):
        net.prepare(pictures(1, 32, 24))
    distance = net.prepare(pictures(1, 32, 32))
    with pytest.raises(ValueError) as error:
        distance(pictures(2))
    assert str(error.value) == "pictures [2, 3, 32, 48] against an init [1, 3, 32, 32]"
