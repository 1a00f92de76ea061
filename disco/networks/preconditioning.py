"""Preconditioning in the frequencies (DCT) of a patch, each scaled by its own standard deviation.

Pictures have little energy in high frequencies, so at most noise levels the best guess of a coefficient is
nearly a linear one: the noisy coefficient, shrunk (Wiener filter). That part is computed here; the network
adds the rest, in units of the filter's remaining standard deviation. This is the preconditioning of Karras
et al. 2022 (arXiv:2206.00364, table 1) with a sigma_data for each frequency: its input and its wanted output
have size 1 everywhere, and near the end of sampling its output hardly matters.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def cosine_basis(patch: int) -> Tensor:
    """Orthonormal [3 p^2, 3 p^2]: rows colour axis, vertical and horizontal frequency; columns pixels."""
    k, x = torch.arange(patch, dtype=torch.float64)[:, None], torch.arange(patch, dtype=torch.float64)
    waves = torch.cos(math.pi / patch * (x + 0.5) * k) * math.sqrt(2 / patch)
    waves[0] /= math.sqrt(2)
    third, half, sixth = math.sqrt(1 / 3), math.sqrt(1 / 2), math.sqrt(1 / 6)
    colour = torch.tensor(
        [[third, third, third], [half, 0, -half], [sixth, -2 * sixth, sixth]], dtype=torch.float64
    )
    return torch.kron(colour, torch.kron(waves, waves)).float()


class Frequencies:
    """Converts pixel_unshuffle's tokens [B, 3 p^2, h, w] to the network's input, and its output back.

    sizes: root mean square of each coefficient of clean pictures, [3 p^2], in the order of `cosine_basis`.
    alpha, sigma: [B, 1, 1, 1] or [1, 1, 1, 1] of the tokens' noise.
    """

    def __init__(self, sizes: Tensor) -> None:
        self.basis = cosine_basis(math.isqrt(len(sizes) // 3)).to(sizes.device)
        self.sizes = sizes.float()[:, None, None]

    def split(self, tokens: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """The network's input, of size 1, and the linear guess of x0's coefficients, [B, 3 p^2, h, w]."""
        self.basis, self.sizes = self.basis.to(tokens.device), self.sizes.to(tokens.device)
        coefficients = torch.einsum("kc,bchw->bkhw", self.basis, tokens)
        total = (alpha * self.sizes).square() + sigma.square()
        return coefficients / total.sqrt(), alpha * self.sizes.square() / total * coefficients

    def join(self, linear: Tensor, answer: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """x0 as tokens, from the linear guess and the network's output (in remaining standard deviations)."""
        total = (alpha * self.sizes).square() + sigma.square()
        return torch.einsum("kc,bkhw->bchw", self.basis, linear + self.sizes * sigma / total.sqrt() * answer)
