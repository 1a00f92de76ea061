"""Upscalers: a picture -> the same picture, larger, in tiles of one shape; loaded from a file.

The tiles bound the memory. Each shows the network its part of the picture and a halo around it, at least as
wide as the network sees; beyond the picture its edge is repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from disco.errors import InputError, WeightsError
from disco.networks.required import SPANDREL
from disco.networks.srvgg import Srvgg, srvgg_facts
from disco.networks.state_dicts import StateDict, load_strict, read_state_dict
from disco.settings.methods import UPSCALES
from disco.weights.fetch import sha256_of

if TYPE_CHECKING:
    from disco.media.images import Pixels

CORE = 128  # side of the part of the picture that a tile makes, in pixels
HALO = 24  # pixels around it, at least; also of a network of which nobody knows how far it sees

Network = Callable[[Tensor], Tensor]


class Upscaler:
    """A network that enlarges pictures `factor` times, on its device.

    call: [1, 3, h, w] in [0, 1] -> [1, 3, h * factor, w * factor]; network: the module in it.
    halo: pixels around a tile. name, sha256: of its file, for the metadata of a picture.
    """

    def __init__(
        self, network: nn.Module, factor: int, *, call: Network | None = None, halo: int = HALO
    ) -> None:
        self.network = network.requires_grad_(False).eval()
        self.call: Network = call or network
        self.factor, self.halo = factor, halo
        self.name, self.sha256 = "", ""

    def __call__(self, pixels: Pixels, upscale: str) -> Pixels:
        """[H, W, 3] uint8 -> [H * n, W * n, 3], n by `upscale`: x2 or x4. Raises InputError as check()."""
        self.check(upscale)
        larger = self._enlarged(pixels)
        return larger if UPSCALES[upscale] == self.factor else halved(larger)

    def facts(self) -> dict[str, str]:
        """What the metadata of an enlarged picture says of it."""
        return {"name": self.name, "sha256": self.sha256}

    def check(self, upscale: str) -> None:
        """Raises InputError if the network enlarges by a factor that cannot give this."""
        possible = [word for word, n in UPSCALES.items() if self.factor in (n, 2 * n)]
        if upscale not in possible:
            cure = f"Write upscale: {possible[0]}, or name" if possible else "Name"
            does = f"{self.name} enlarges {self.factor} times, which gives no {upscale}"
            raise InputError(f"upscale_model: {does}. {cure} another network")

    def _enlarged(self, pixels: Pixels) -> Pixels:
        (height, width, _), n = pixels.shape, self.factor
        larger = np.empty((height * n, width * n, 3), np.uint8)
        for top, left in corners(height, width):
            part = larger[top * n : (top + CORE) * n, left * n : (left + CORE) * n]
            part[:] = self._tile(pixels, top, left)[: part.shape[0], : part.shape[1]]
        return larger

    def _tile(self, pixels: Pixels, top: int, left: int) -> Pixels:
        """[CORE * factor, CORE * factor, 3] of the picture from (top, left) on."""
        around = np.arange(-self.halo, CORE + self.halo)
        rows, columns = ((start + around).clip(0, side - 1) for start, side in _starts(pixels, top, left))
        seen = torch.from_numpy(pixels[rows][:, columns]).permute(2, 0, 1)[None]  # [1, 3, side, side]
        device = next(self.network.parameters()).device
        is_cpu = device.type == "cpu"
        form = torch.channels_last if is_cpu else torch.contiguous_format
        with torch.no_grad():
            made = self.call(seen.to(device).float().div(255).contiguous(memory_format=form))
        edge = self.halo * self.factor
        inner = made[0, :, edge : edge + CORE * self.factor, edge : edge + CORE * self.factor]
        result: Pixels = inner.float().clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
        return result


def _starts(pixels: Pixels, top: int, left: int) -> Iterator[tuple[int, int]]:
    yield top, pixels.shape[0]
    yield left, pixels.shape[1]


def corners(height: int, width: int) -> list[tuple[int, int]]:
    """(top, left) of the tiles of a picture, in pixels. Their order changes nothing."""
    return [(top, left) for top in range(0, height, CORE) for left in range(0, width, CORE)]


def halved(pixels: Pixels) -> Pixels:
    """[2H, 2W, 3] uint8 -> [H, W, 3]: the mean of each 2x2 pixels, rounded."""
    height, width = pixels.shape[0] // 2, pixels.shape[1] // 2
    fours = pixels.reshape(height, 2, width, 2, 3).astype(np.uint16)
    return ((fours.sum(axis=(1, 3)) + 2) // 4).astype(np.uint8)


def upscaler_of(networks: Sequence[Any], upscale: str) -> Upscaler:
    """The one of these loaded networks, checked. Raises InputError if there is none."""
    if not networks:
        raise InputError(
            f"upscale: {upscale}: the networks that were passed in have no upscaler. Load them with these "
            "settings, or write upscale: none"
        )
    upscaler: Upscaler = networks[0]
    upscaler.check(upscale)
    return upscaler


def build_srvgg(facts: Mapping[str, Any]) -> Srvgg:
    """The network of a registry entry, without weights, on the meta device."""
    with torch.device("meta"):
        return Srvgg(*(int(facts[key]) for key in ("width", "depth", "factor")))


def load_upscaler(
    name: str, path: Path, architecture: Mapping[str, Any], *, device: torch.device | str = "cpu"
) -> Upscaler:
    """An upscaler from its file: SRVGG ("compact") by Disco, any other by spandrel, if that is installed.

    architecture: a registry entry's; {} for a user's file. Raises WeightsError.
    """
    upscaler = _loaded(path, architecture, device)
    upscaler.name, upscaler.sha256 = name, sha256_of(path)
    return upscaler


def _loaded(path: Path, architecture: Mapping[str, Any], device: torch.device | str) -> Upscaler:
    state = read_state_dict(path)
    facts = architecture if architecture.get("family") == "srvgg" else srvgg_facts(state)
    if facts is None:
        return _by_spandrel(path, state, device)
    network = build_srvgg(facts)
    load_strict(network, state, path)
    network.to(device)
    if torch.device(device).type == "cpu":  # 1.5 times as fast
        network.to(memory_format=torch.channels_last)
    return Upscaler(network, network.factor, halo=max(HALO, network.reach))


def _by_spandrel(path: Path, state: StateDict, device: torch.device | str) -> Upscaler:
    """It is given tensors, never the file: that could be a pickle."""
    try:
        from spandrel import ImageModelDescriptor, ModelLoader
    except ImportError:
        raise WeightsError(f"{path}: no SRVGG (compact) upscaler; {SPANDREL}") from None
    try:
        model = ModelLoader(device=torch.device("cpu")).load_from_state_dict(state)
    except Exception as error:  # it knows forty kinds of files, each of which fails in its own way
        raise WeightsError(f"{path}: no upscaler that the package spandrel knows") from error
    if not isinstance(model, ImageModelDescriptor) or (model.input_channels, model.output_channels) != (3, 3):
        raise WeightsError(f"{path}: no upscaler of colour pictures. Name another file")
    model.to(torch.device(device))
    return Upscaler(model.model, model.scale, call=model)
