"""Perceptual distances from a picture: LPIPS (Zhang et al. 2018, arXiv:1801.03924), pocket's network."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from disco.errors import WeightsError
from disco.networks.identify import describe_state_dict
from disco.networks.state_dicts import load_strict, read_state_dict

_SLICES = {1: range(0, 4), 2: range(4, 9), 3: range(9, 16), 4: range(16, 23), 5: range(23, 30)}


def build_lpips() -> nn.Module:
    """lpips.LPIPS with VGG16 on the meta device: no random numbers drawn, no weights downloaded."""
    import lpips

    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore", UserWarning)  # lpips still spells torchvision's arguments the old way
        network: nn.Module = lpips.LPIPS(pretrained=False, net="vgg", pnet_rand=True, verbose=False)
    return network


def lpips_state(network: nn.Module, vgg: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """torchvision's VGG16 (features.N.*) and the package's own linear heads under the names in `network`.

    Classifier layers are left out. Raises WeightsError if the heads are missing in the installed package.
    """
    import lpips

    state = {name: own for name, own in network.state_dict().items() if name.startswith("scaling_layer.")}
    state |= {
        f"net.slice{part}.{index}.{kind}": vgg[f"features.{index}.{kind}"]
        for part, indices in _SLICES.items()
        for index in indices
        for kind in ("weight", "bias")
        if f"features.{index}.{kind}" in vgg
    }
    path = Path(lpips.__file__).parent / "weights" / "v0.1" / "vgg.pth"
    if not path.is_file():
        raise WeightsError(f"{path}: the lpips package lacks its own weights. Install it again")
    heads = torch.load(path, map_location="cpu", weights_only=True)  # lin0.model.1.weight, ...
    for name, tensor in heads.items():
        state[name] = tensor.float()
        state[name.replace("lin", "lins.", 1)] = state[name]
    return state


class PerceptualNet:
    """A perceptual distance from a fixed picture, whose features are computed once: here that of LPIPS."""

    def __init__(self, network: nn.Module) -> None:
        """network: an lpips.LPIPS with its weights; frozen here."""
        self.network: Any = network.requires_grad_(False).eval()

    def features(self, pictures: Tensor) -> list[Tensor]:
        """[B, 3, H, W] in [-1, 1] -> [B, C, h, w] of each layer, of unit length at each place."""
        import lpips

        layers = self.network.net(self.network.scaling_layer(pictures))
        return [lpips.normalize_tensor(layer) for layer in layers]

    def parts(self, layers: list[Tensor], targets: list[Tensor]) -> list[Tensor]:
        """The terms of the distance: one per layer, [B] each."""
        return [
            head((layer - target) ** 2).mean(dim=(1, 2, 3))
            for head, layer, target in zip(self.network.lins, layers, targets, strict=True)
        ]

    def prepare(self, init: Tensor) -> Callable[[Tensor], Tensor]:
        """init: [1 or B, 3, H, W] in [-1, 1], sides >= 32.

        Returns distance(pictures [B, 3, H, W] in [-1, 1]) -> [B] float32, with gradient; it raises ValueError
        for pictures of another size.
        """
        if min(init.shape[2:]) < 32:
            size = f"{init.shape[3]}x{init.shape[2]}"
            raise ValueError(f"init is {size}; init_scale needs sides of at least 32")
        with torch.no_grad():
            targets = self.features(init.float())

        def distance(pictures: Tensor) -> Tensor:
            if pictures.shape[1:] != init.shape[1:]:
                raise ValueError(f"pictures {list(pictures.shape)} against an init {list(init.shape)}")
            return torch.stack(self.parts(self.features(pictures.float()), targets)).sum(dim=0)

        return distance


_FLAT = (
    1e-3  # squared length below which a place has hardly a feature: no division by zero, no steep gradient
)


def _convs(*channels: int) -> list[nn.Module]:
    """3x3 convolutions with SiLU: as good as ReLU for the distance, and its gradient is smooth."""
    pairs = itertools.pairwise(channels)
    return [layer for a, b in pairs for layer in (nn.Conv2d(a, b, 3, padding=1), nn.SiLU())]


class PerceptualModel(nn.Module):
    """Stages of the given widths, each at half the size of the one before (Zhang et al. 2018, figure 3).

    The distance of two pictures is the squared difference of their features, summed over channels, averaged
    over places, summed over stages: 0 for the same picture, the same both ways round.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        first = nn.Sequential(*_convs(3, widths[0], widths[0]))
        others = (nn.Sequential(nn.AvgPool2d(2), *_convs(*pair)) for pair in itertools.pairwise(widths))
        self.stages = nn.ModuleList([first, *others])
        self.heads = nn.ParameterList(nn.Parameter(torch.full((width,), 0.5)) for width in widths)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """[B, 3, H, W] in [-1, 1], sides >= 2^(stages - 1) -> [B, C, h, w] of each stage, largest first.

        At each place of unit length, then each channel times its head: the square root of LPIPS' weight.
        """
        features = []
        x = pictures
        for stage, head in zip(self.stages, self.heads, strict=True):
            x = stage(x)
            length = (x.square().sum(dim=1, keepdim=True) + _FLAT).sqrt()  # [B, 1, h, w]
            features.append(x / length * head[:, None, None])
        return features


class SmallPerceptualNet(PerceptualNet):
    """The same for a PerceptualModel, whose features are weighted already."""

    def features(self, pictures: Tensor) -> list[Tensor]:
        return list(self.network(pictures))

    def parts(self, layers: list[Tensor], targets: list[Tensor]) -> list[Tensor]:
        pairs = zip(layers, targets, strict=True)
        return [(layer - target).square().sum(dim=1).mean(dim=(1, 2)) for layer, target in pairs]


def build_perceptual(architecture: Mapping[str, Any]) -> PerceptualNet:
    """The network of a registry entry of kind lpips, without weights, on the meta device."""
    if architecture["family"] == "lpips":
        return PerceptualNet(build_lpips())
    with torch.device("meta"):
        return SmallPerceptualNet(PerceptualModel(architecture["widths"]))


def load_perceptual(
    path: Path, architecture: Mapping[str, Any], *, device: torch.device | str = "cpu"
) -> PerceptualNet:
    """The net of a registry entry's architecture from its file. Raises WeightsError.

    For LPIPS that is torchvision's VGG16; the heads are lpips' own.
    """
    net = build_perceptual(architecture)
    state = read_state_dict(path)
    if architecture["family"] == "lpips":
        state = lpips_state(net.network, state)
        load_strict(net.network, state, path, describe=lambda _: _EXPECTED)
    else:
        load_strict(net.network, state, path, describe=lambda entries: describe_state_dict(entries, []))
    net.network.requires_grad_(False).to(device)
    return net


_EXPECTED = "Expected is torchvision's vgg16-397923af.pth"
