"""Colour coherence: a frame with the colours of an earlier one, against the drift of a long animation."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

MODES = ("LAB", "RGB")
QUANTILES = 64
STEEPEST = 4.0  # no contrast grows more than so much
# Linear sRGB -> CIE XYZ (IEC 61966-2-1), and the white that all of 1 gives there, D65.
_TO_XYZ = torch.tensor(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]], dtype=torch.float64
)
_FROM_XYZ = torch.linalg.inv(_TO_XYZ)
_WHITE = _TO_XYZ.sum(1, keepdim=True)
_KNEE = 6 / 29  # of CIE Lab's cube root, which is a straight line below


def match_colours(frame: Tensor, reference: Tensor, mode: str = "LAB") -> Tensor:
    """The frame with the histogram of the reference in each channel of `mode`, "LAB" or "RGB".

    frame, reference: [1, 3, H, W] in [-1, 1], of any two sizes; what lies outside is cut off first. Returns
    frame's shape, type and device, within [-1, 1]. Lightness and colour in turn ("LAB") keep greys more
    neutral than red, green and blue by themselves do.
    In each channel the map is one rising curve through interpolated quantiles: equal values stay equal, near
    ones near, and a frame matched to itself is itself.
    Computed on the CPU in float64, so that devices agree. Raises ValueError for another mode.
    """
    if mode not in MODES:
        raise ValueError(f"no colour mode {mode!r}; allowed are {', '.join(MODES)}")
    ours, theirs = (_unit(picture) for picture in (frame, reference))
    if mode == "LAB":
        ours, theirs = lab_of(ours), lab_of(theirs)
    matched = torch.stack([match_channel(a, b) for a, b in zip(ours, theirs, strict=True)])
    if mode == "LAB":
        matched = rgb_of(matched)
    return (matched.clamp(0, 1) * 2 - 1).view(frame.shape).to(frame)


def _unit(picture: Tensor) -> Tensor:
    """[1, 3, H, W] in [-1, 1] -> [3, H*W] in [0, 1], float64 on the CPU."""
    return ((picture.detach().cpu().double()[0] + 1) / 2).clamp(0, 1).flatten(1)


def match_channel(values: Tensor, reference: Tensor) -> Tensor:
    """Each of the values [N] replaced by what stands at its rank among the reference [M]; float64.

    The curve is drawn straight between QUANTILES shares of both; where one value holds several of them, it
    goes to their middle. Where it would be steeper than STEEPEST it is not, and the mean is still the
    reference's: the noise of a flat channel must not be spread over the whole of another's.
    """
    shares = np.linspace(0, 1, QUANTILES + 1)
    levels, groups, counts = np.unique(
        np.quantile(values.numpy(), shares), return_inverse=True, return_counts=True
    )
    goals = np.bincount(groups, weights=np.quantile(reference.numpy(), shares)) / counts
    rises = np.minimum(np.diff(goals), STEEPEST * np.diff(levels))
    curve = np.concatenate([[0.0], np.cumsum(rises)])
    curve += np.average(goals - curve, weights=counts)
    return torch.from_numpy(np.interp(values.numpy(), levels, curve))


def lab_of(rgb: Tensor) -> Tensor:
    """sRGB [3, N] in [0, 1] -> CIE Lab of D65: L 0..100, a and b about -100..100."""
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = _TO_XYZ @ linear / _WHITE
    root = torch.where(xyz > _KNEE**3, xyz.clamp(min=0) ** (1 / 3), xyz / (3 * _KNEE**2) + 4 / 29)
    return torch.stack([116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])])


def rgb_of(lab: Tensor) -> Tensor:
    """CIE Lab [3, N] -> sRGB; colours that a screen cannot show come out below 0 or above 1."""
    middle = (lab[0] + 16) / 116
    root = torch.stack([middle + lab[1] / 500, middle, middle - lab[2] / 200])
    xyz = torch.where(root > _KNEE, root**3, 3 * _KNEE**2 * (root - 4 / 29)) * _WHITE
    linear = _FROM_XYZ @ xyz
    power = 1.055 * linear.clamp(min=0) ** (1 / 2.4) - 0.055
    return torch.where(linear <= 0.0031308, 12.92 * linear, power)
