"""SRVGG, "compact": a plain network that enlarges pictures, of which each pixel sees few others.

Source: the architecture published with Real-ESRGAN (Wang et al. 2021, arXiv:2107.10833; SRVGGNetCompact),
whose parameter names are kept, so that its files load as they are.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


class Srvgg(nn.Module):
    """3x3 convolutions with PReLU, then a pixel shuffle; the input, enlarged by repeating pixels, is added.

    width: channels. depth: convolutions between the first and the last. factor: of each side. A pixel of the
    result depends on the pixels of the picture that are at most `reach` away.
    """

    def __init__(self, width: int, depth: int, factor: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs in (3, *[width] * depth):
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.PReLU(width)]
        self.body = nn.Sequential(*layers, nn.Conv2d(width, 3 * factor**2, 3, padding=1))
        self.factor, self.reach = factor, depth + 2

    def forward(self, pictures: Tensor) -> Tensor:
        """[B, 3, H, W] in [0, 1] -> [B, 3, H * factor, W * factor], about in [0, 1]."""
        near = nn.functional.interpolate(pictures, scale_factor=self.factor, mode="nearest")
        return nn.functional.pixel_shuffle(self.body(pictures), self.factor) + near


def srvgg_facts(state: Mapping[str, Tensor]) -> dict[str, int] | None:
    """Srvgg's arguments, read off a state dict; None if it is no such network."""
    last = max((int(name.split(".")[1]) for name in state if _is_layer(name)), default=0)
    first, final = state.get("body.0.weight"), state.get(f"body.{last}.weight")
    if first is None or final is None or last < 2 or last % 2 or not first.ndim == final.ndim == 4:
        return None
    factor = round((final.shape[0] / 3) ** 0.5)
    if first.shape[1:] != (3, 3, 3) or 3 * factor**2 != final.shape[0]:
        return None
    return {"width": first.shape[0], "depth": last // 2 - 1, "factor": factor}


def _is_layer(name: str) -> bool:
    parts = name.split(".")
    return len(parts) == 3 and parts[0] == "body" and parts[1].isdecimal() and len(parts[1]) < 5
