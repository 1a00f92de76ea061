"""memory.grad_checkpoint: the same numbers, less kept; the blocks of all kinds of networks are found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from disco.memory.grad_checkpoint import blocks_of, grad_checkpoint, set_grad_checkpoint, tower_of
from disco.networks.clip import ClipConfig, build_clip
from disco.networks.denoiser import build_unet
from disco.networks.perceptual import build_perceptual
from disco.secondary_model import SecondaryModel
from disco.weights.registry import registry

TEXT = {"context_length": 8, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1}
VISION: dict[str, dict[str, Any]] = {
    "ViT": {"image_size": 32, "layers": 3, "width": 64, "head_width": 32, "patch_size": 8},
    "ResNet": {"image_size": 32, "layers": [1, 2, 1, 1], "width": 8, "patch_size": None, "head_width": 8},
    "timm": {
        "timm_model_name": "mobilenetv2_050",
        "timm_pool": "avg",
        "timm_proj": "linear",
        "image_size": 32,
    },
}
UNET = {
    "image_size": 16,
    "num_channels": 32,
    "num_res_blocks": 1,
    "channel_mult": "1,2",
    "num_head_channels": 16,
    "attention_resolutions": "8",
    "use_scale_shift_norm": True,
    "resblock_updown": True,
}


def tower(kind: str) -> nn.Module:
    torch.manual_seed(0)
    config = ClipConfig({"embed_dim": 16, "vision_cfg": VISION[kind], "text_cfg": TEXT}, (0.5,), (0.5,), kind)
    visual: nn.Module = build_clip(config).visual  # type: ignore[assignment]
    return visual.requires_grad_(False).eval()


def unet(use_checkpoint: bool = False) -> nn.Module:
    torch.manual_seed(0)
    network = build_unet(UNET, use_checkpoint=use_checkpoint).requires_grad_(False).eval()
    for parameter in network.parameters():
        parameter.add_(torch.randn(parameter.shape) * 0.02)  # its last layers are made as zeros
    return network


def gradient(run: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> tuple[Tensor, Tensor, int]:
    """Output, gradient at the input, bytes that autograd's hooks see kept."""
    kept: list[Tensor] = []
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1)).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        out = run(x)
    (grad,) = torch.autograd.grad(out.square().sum(), x)
    return out.detach(), grad, sum(tensor.nbytes for tensor in kept)


@pytest.mark.parametrize("kind, n", [("ViT", 3), ("ResNet", 5), ("timm", 17)])
def test_the_towers_of_clips(kind: str, n: int) -> None:
    visual = tower(kind)
    assert len(blocks_of(visual)) == n
    plain = gradient(visual, (2, 3, 32, 32))
    set_grad_checkpoint(visual, True)
    frugal = gradient(visual, (2, 3, 32, 32))
    assert torch.equal(plain[0], frugal[0]) and torch.equal(plain[1], frugal[1])
    assert frugal[2] < 0.6 * plain[2]
    set_grad_checkpoint(visual, True)
    set_grad_checkpoint(visual, False)
    assert not any("forward" in block.__dict__ for block in visual.modules())
    assert gradient(visual, (2, 3, 32, 32))[2] == plain[2]


def test_every_block_works_twice_and_once_without_gradient() -> None:
    visual, calls = tower("ViT"), []
    block = blocks_of(visual)[0]
    block.ln_1.register_forward_hook(lambda *args: calls.append(1))  # type: ignore[union-attr, operator]
    set_grad_checkpoint(visual, True)
    gradient(visual, (1, 3, 32, 32))
    assert len(calls) == 2
    with torch.no_grad():
        visual(torch.zeros(1, 3, 32, 32))
    assert len(calls) == 3


@pytest.mark.parametrize("use_checkpoint", [False, True])
@pytest.mark.parametrize("whole", [False, True])
def test_the_unet(use_checkpoint: bool, whole: bool) -> None:
    """Whole, by its blocks, both, and with guided-diffusion's own switch."""
    t = torch.tensor([7.0])
    plain = gradient(lambda x: unet(use_checkpoint)(x, t), (1, 3, 16, 16))
    network = unet(use_checkpoint)
    set_grad_checkpoint(network, True)
    assert any("forward" in block.__dict__ for block in network.modules()) is not use_checkpoint
    run = (lambda x: grad_checkpoint(network, x, t)) if whole else (lambda x: network(x, t))
    frugal = gradient(run, (1, 3, 16, 16))
    assert torch.equal(plain[0], frugal[0]) and torch.equal(plain[1], frugal[1])
    assert plain[1].abs().max() > 0


def test_the_secondary_network_as_a_whole() -> None:
    torch.manual_seed(0)
    network, t = SecondaryModel(8).requires_grad_(False), torch.tensor([0.4])
    plain = gradient(lambda x: network(x, t).pred_x0, (1, 3, 32, 32))
    frugal = gradient(lambda x: grad_checkpoint(network, x, t).pred_x0, (1, 3, 32, 32))
    assert torch.equal(plain[0], frugal[0]) and torch.equal(plain[1], frugal[1])


def test_no_random_number_is_drawn() -> None:
    visual = tower("ViT")
    set_grad_checkpoint(visual, True)
    before = torch.get_rng_state()
    gradient(visual, (1, 3, 32, 32))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name, n", [("vgg", 5), ("pocket", 3)])
def test_the_stages_of_perceptual_networks(name: str, n: int) -> None:
    net = build_perceptual(registry().get("lpips", name).architecture)
    found = blocks_of(tower_of(net.network))
    assert len(found) >= n and all(isinstance(block, nn.Sequential) for block in found)
    layers = [layer for layer in tower_of(net.network).modules() if isinstance(layer, nn.Conv2d)]
    inside = [layer for block in found for layer in block.modules() if isinstance(layer, nn.Conv2d)]
    assert len(inside) == len(layers)
