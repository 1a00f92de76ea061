"""What settings know of samplers and of losses, without torch: one row a method.

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


LOSSES: Mapping[str, LossFacts] = {
    "tv_scale": LossFacts(0, "smoothness: weight of the total variation loss"),
    "range_scale": LossFacts(
        150, "weight against colours out of range (no effect in compat: dd57)", in_dd57=False
    ),
    "sat_scale": LossFacts(0, "weight against over-saturated colours"),
}
