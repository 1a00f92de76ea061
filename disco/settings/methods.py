"""What settings know of samplers, losses and upscaling, without torch: one row a method.

The functions stand in sampling/samplers.py and losses/pixel.py, in tables with the same names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class SamplerFacts:
    """What a value of diffusion_sampling_mode goes with."""

    uses_eta: bool
    """Does it add the noise that eta asks for?"""
    symmetry: bool
    """May use_vertical_symmetry and use_horizontal_symmetry mirror x_t between its steps?"""


SAMPLERS: Mapping[str, SamplerFacts] = {
    "ddim": SamplerFacts(uses_eta=True, symmetry=True),
    "plms": SamplerFacts(uses_eta=False, symmetry=False),
}


@dataclass(frozen=True)
class LossFacts:
    """The scale of a loss: a setting of the section Guidance, a schedule of numbers from 0 up."""

    default: float
    """0: the loss does nothing."""
    description: str
    in_dd57: bool = True
    """Does it act in compat: dd57?"""


UPSCALES: Mapping[str, int] = {"x2": 2, "x4": 4}  # values of upscale -> how many times a side grows
MOST_UPSCALED = 89_000_000  # pixels of an enlarged picture: PIL reads no more without a warning


def upscaled_suffix(upscale: str) -> str:
    """What the name of an enlarged picture has after that of the original: NAME_x4.png."""
    return f"_{upscale}"


def original_name(name: str) -> str:
    """The name of the picture that NAME_x4.png is an enlarged copy of; any other name stays as it is."""
    for upscale in UPSCALES:
        ending = f"{upscaled_suffix(upscale)}.png"
        if name.endswith(ending) and name != ending:
            return f"{name.removesuffix(ending)}.png"
    return name


def too_large(size: tuple[int, int], upscale: str) -> str:
    """Why a picture of this size (W, H) is not enlarged, or ""."""
    width, height = (side * UPSCALES[upscale] for side in size)
    if width * height <= MOST_UPSCALED:
        return ""
    most = f"at most {MOST_UPSCALED // 1_000_000} million pixels are written"
    return f"{upscale} of {size[0]}x{size[1]} is {width}x{height}; {most}"


LOSSES: Mapping[str, LossFacts] = {
    "tv_scale": LossFacts(0, "smoothness: weight of the total variation loss"),
    "range_scale": LossFacts(
        150, "weight against colours out of range (no effect in compat: dd57)", in_dd57=False
    ),
    "sat_scale": LossFacts(0, "weight against over-saturated colours"),
}
