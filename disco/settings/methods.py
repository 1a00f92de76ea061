"""What settings know of samplers, without torch: one row a method.

The functions stand in sampling/samplers.py, under the same names.
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
