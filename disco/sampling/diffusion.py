"""The maths of diffusion, pure functions: the noise levels of a run; x_t, pred_x0, eps from one another.

x_t = alpha x0 + sigma eps, with alpha^2 + sigma^2 = 1 (Ho et al. 2020, arXiv:2006.11239).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class Step:
    """One executed step: the noise level before it (alpha, sigma) and after it (alpha_next, sigma_next)."""

    i: int
    """Number of steps executed before this one: 0 is the first, noisiest."""
    t: float
    """What the networks receive, 0..1000 (rescaled timesteps)."""
    respaced_index: int
    """Index in the respaced schedule; it counts down to 0 at the last step. The original's cur_t."""
    alpha: float
    sigma: float
    alpha_next: float
    """Less noise than alpha; 1 after the last step."""
    sigma_next: float
    n: int
    """Executed steps in all."""
    guided_as: Step | None = None
    """Where the guidance takes its own noise level from, if not from here (quirk Q17 of dd57's plms)."""
    number_in_bucket: int = 0
    """Levels of the whole schedule, skipped ones too, that come before this one in its bucket."""

    @property
    def index(self) -> int:
        """Where a schedule of 1000 values is read, by noise: 0 is the noisiest (quirk Q7)."""
        return 999 - int(self.t)

    @property
    def log_snr(self) -> float:
        """log(alpha^2 / sigma^2) before the step: the signal-to-noise ratio; it rises over a run."""
        return log_snr(self.alpha, self.sigma)

    @property
    def log_snr_next(self) -> float:
        """The same after the step; infinite after the last one."""
        return log_snr(self.alpha_next, self.sigma_next)

    @property
    def bucket(self) -> int:
        """Which of 64 ranges of log-SNR the step begins in: runs of other step counts visit the same ones."""
        return bucket(self.log_snr)

    @property
    def cosine_t(self) -> float:
        """The same noise level on the secondary network's cosine schedule, 0 clean .. 1 noise."""
        return math.atan2(self.sigma, self.alpha) * 2 / math.pi

    @property
    def guidance_level(self) -> Step:
        """The step whose t, alpha, sigma and cosine_t the guidance uses. Schedules are read at self.index."""
        return self.guided_as or self


def log_snr(alpha: float, sigma: float) -> float:
    """log(alpha^2 / sigma^2); infinite without noise."""
    return 2 * math.log(alpha / sigma) if sigma > 0 else math.inf


def bucket(log_snr: float) -> int:
    """Which of 64 equal ranges of log-SNR, from -16 to 16: 0 to 63."""
    return min(max(int((log_snr + 16) * 2), 0), 63)


def linear_betas(diffusion_steps: int = 1000) -> np.ndarray:
    """The linear schedule of Ho et al. 2020: beta of each training timestep, [diffusion_steps], float64.

    From 1e-4 to 0.02 for 1000 timesteps; the more timesteps, the smaller.
    """
    scale = 1000 / diffusion_steps
    return np.linspace(scale * 1e-4, scale * 0.02, diffusion_steps, dtype=np.float64)


def alphas_bar(diffusion_steps: int) -> np.ndarray:
    """alpha^2 of each training timestep of the linear schedule, [diffusion_steps], float64."""
    return np.cumprod(1 - linear_betas(diffusion_steps))


def steps_at(timesteps: Sequence[int], diffusion_steps: int, skip_steps: int = 0) -> list[Step]:
    """The steps through chosen training timesteps, noisiest first, without the skip_steps noisiest.

    timesteps: rising, 0 <= t < diffusion_steps.
    Raises ValueError if skip_steps leaves nothing.
    """
    count = len(timesteps)
    if not 0 <= skip_steps < count:
        raise ValueError(f"skip_steps is {skip_steps}: with {count} steps it must be from 0 to {count - 1}")
    bar = [1.0, *alphas_bar(diffusion_steps)[list(timesteps)].tolist()]
    # The networks have always been given this product rounded to float32, and schedules are read at its int.
    rescale = np.float32(1000 / diffusion_steps)
    n = count - skip_steps
    numbers = _numbers_in_buckets([log_snr(math.sqrt(b), math.sqrt(1 - b)) for b in bar[:0:-1]])
    return [
        Step(
            i=n - 1 - respaced_index,
            t=float(np.float32(timesteps[respaced_index]) * rescale),
            respaced_index=respaced_index,
            alpha=math.sqrt(bar[respaced_index + 1]),
            sigma=math.sqrt(1 - bar[respaced_index + 1]),
            alpha_next=math.sqrt(bar[respaced_index]),
            sigma_next=math.sqrt(1 - bar[respaced_index]),
            n=n,
            number_in_bucket=numbers[count - 1 - respaced_index],
        )
        for respaced_index in reversed(range(n))
    ]


def _numbers_in_buckets(levels: Sequence[float]) -> list[int]:
    """For each log-SNR, how many before it lie in the same bucket."""
    seen: Counter[int] = Counter()
    numbers = []
    for level in levels:
        numbers.append(seen[bucket(level)])
        seen[bucket(level)] += 1
    return numbers


def make_steps(steps: int, skip_steps: int = 0) -> list[Step]:
    """`steps` evenly strided levels of about 1000 training ones, less the skip_steps noisiest, noise first.

    Below 1000 the training schedule is the largest multiple of steps up to 1000, as Disco Diffusion sets it,
    so that a whole stride gives exactly `steps`; from 1000 on it has `steps` levels itself.
    Raises ValueError for fewer than 2 steps and for skip_steps outside 0..steps - 1.
    """
    if steps < 2:
        raise ValueError(f"steps is {steps}: at least 2 are needed")
    stride = max(1000 // steps, 1)
    return steps_at(range(0, stride * steps, stride), stride * steps, skip_steps)


def predict_x0(x_t: Tensor, eps: Tensor, step: Step, clip: bool = False) -> Tensor:
    """The clean picture that noise eps would leave of x_t; clip limits it to [-1, 1]. All [B, 3, H, W]."""
    pred_x0 = x_t * (1 / step.alpha) - eps * (step.sigma / step.alpha)
    return pred_x0.clamp(-1, 1) if clip else pred_x0


def predict_eps(x_t: Tensor, pred_x0: Tensor, step: Step) -> Tensor:
    """The noise in x_t if pred_x0 were the clean picture. All [B, 3, H, W]."""
    return (x_t - step.alpha * pred_x0) / step.sigma


def q_sample(x0: Tensor, step: Step, noise: Tensor) -> Tensor:
    """x0 with the noise of `step`'s level. All [B, 3, H, W]."""
    return step.alpha * x0 + step.sigma * noise


def ddim_step(pred_x0: Tensor, eps: Tensor, step: Step, eta: float, noise: Tensor) -> Tensor:
    """x_t of the next level: the clean guess, the direction to x_t, and fresh noise. All [B, 3, H, W].

    eta: share of fresh noise; 0 deterministic (DDIM), 1 ancestral (DDPM). The last step adds none.
    Raises ValueError if eta asks for more fresh noise than the next level holds (never up to 1), or is < 0.
    Source: Song et al. 2020, arXiv:2010.02502, eq. 12 and 16.
    """
    ratio = step.alpha / step.alpha_next
    fresh = eta * step.sigma_next / step.sigma * math.sqrt(1 - ratio**2)
    kept = step.sigma_next**2 - fresh**2
    if eta < 0 or kept < -1e-12:
        raise ValueError(f"eta is {eta:g} at step {step.i}: it must be from 0 to 1")
    return step.alpha_next * pred_x0 + math.sqrt(max(kept, 0.0)) * eps + fresh * noise
