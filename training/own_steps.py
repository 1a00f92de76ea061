"""Noisy pictures as sampling leaves them: a network learns to mend its own errors, not to heap them up.

In training x_t is a real picture under noise; in sampling it holds what the network painted a step before. A
weak network's texture, seen again, looks like part of the picture and grows. Here x_t is one DDIM step of the
network itself from a noisier level; the picture to guess stays the real one. This is input perturbation
(Ning et al. 2023, arXiv:2301.11706) with the true errors in the place of random ones.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from training.common import ddim_step, linear_alpha_sigma

SHORTEST, LONGEST = 20, 120  # of the step, in t: those of 8 to 50 steps
ETA = 0.8  # share of fresh noise, that of the sampler

Guess = Callable[[Tensor, Tensor], Tensor]
"""(x_t [B, 3, H, W], integer t [B]) -> pred_x0"""


@torch.no_grad()
def own_step(guess: Guess, x_0: Tensor, t: Tensor) -> Tensor:
    """x_t [B, 3, H, W] at integer t [B] in 0..999, reached from a noisier level by the network."""
    longer = torch.randint(SHORTEST, LONGEST, t.shape).to(t.device)
    before = (t + longer).clamp(max=999)
    alpha, sigma = linear_alpha_sigma(before)
    x_before = alpha * x_0 + sigma * torch.randn_like(x_0)
    return ddim_step(x_before, guess(x_before, before), before, t, ETA, torch.randn_like(x_0))
