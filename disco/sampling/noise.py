"""What noise is beside its random numbers: its mean colour, and its layout at larger sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class NoiseOptions:
    """How the noise of pictures is made. The defaults leave the random numbers as they are."""

    by: str = "step"
    """"step": by the number of the step; "level": by its noise level, so that drafts resemble."""
    cast: float = 1.0
    """How much of the noise's mean chroma, its colour cast, stays: 0 to 1."""
    size: tuple[int, int] | None = None
    """Width and height from which larger pictures take their layout; None: from none."""


UNCHANGED = NoiseOptions()


def refinement(shape: Sequence[int], size: tuple[int, int] | None) -> int:
    """k: noise of `shape` [B, C, H, W] is refined from noise whose sides are k times smaller.

    The largest k for which both sides divide by k and stay at least `size` (width, height); 1 without size.
    """
    if size is None:
        return 1
    height, width = shape[-2:]
    largest = min(width // size[0], height // size[1])
    fitting = (k for k in range(largest, 1, -1) if width % k == 0 and height % k == 0)
    return next(fitting, 1)


def refine(fine: Tensor, coarse: Tensor) -> Tensor:
    """fine [B, C, kh, kw] with the layout of coarse [B, C, h, w]: white if both are white and independent.

    The mean of each k x k block has deviation 1 / k: it is replaced by coarse / k.
    """
    k = fine.shape[-1] // coarse.shape[-1]
    change = coarse / k - functional.avg_pool2d(fine, k)
    return fine + change.repeat_interleave(k, -1).repeat_interleave(k, -2)


def scale_cast(noise: Tensor, cast: float) -> Tensor:
    """Noise [B, C, H, W] whose mean over H and W keeps its grey part and `cast` of its chroma.

    A network that sees patches takes the mean of the noise for the picture's colour: the seed tints it.
    """
    if cast == 1:
        return noise
    mean = noise.mean((-2, -1), keepdim=True)
    return noise - (1 - cast) * (mean - mean.mean(1, keepdim=True))
