"""The sampling loops: DDIM and PLMS, guided. They know steps and tensors; no CLIP, no settings file, no PNG.

To resume, call the same loop with the saved x_t (and history) and the steps that are left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from disco.sampling.diffusion import Step, ddim_step, predict_eps, predict_x0, q_sample

Guided = Callable[[Tensor, Step], tuple[Tensor, Tensor | None, dict[str, Tensor]]]
"""guided(x_t, step) -> eps and the gradient of log p(prompt | x_t), or None, both [B, 3, H, W] without graph;
and the losses by name, each [B], on the device. The loops run under no_grad: whoever needs a gradient turns
it on."""

BeforeStep = Callable[[Tensor, Step], Tensor]


@dataclass(frozen=True)
class Sample:
    """What a step leaves. With the random states it is all that a checkpoint needs."""

    step: Step
    x_t: Tensor
    """After the step, [B, 3, H, W]."""
    pred_x0: Tensor
    """The model's guess before this step's guidance, [B, 3, H, W]: what is shown and saved (quirk Q5)."""
    losses: dict[str, Tensor]
    history: tuple[Tensor, ...] = ()
    """plms only: the guided eps of the step before, what the next step builds on."""


def identity(x_t: Tensor, step: Step) -> Tensor:
    """Leaves x_t as it is."""
    return x_t


def in_turn(*hooks: BeforeStep) -> BeforeStep:
    """All of them, one after the other."""

    def before_step(x_t: Tensor, step: Step) -> Tensor:
        for hook in hooks:
            x_t = hook(x_t, step)
        return x_t

    return before_step


def start(x0: Tensor | None, step: Step, noise: Tensor, skip_steps: int = 0) -> Tensor:
    """x_t before the first step. x0, noise: [B, 3, H, W]; step: the first one to be executed.

    Without a picture and with skipped steps it is mid-grey under that level's noise, as in the
    original (quirk Q6); without either it is the noise itself.
    """
    if x0 is None and skip_steps == 0:
        return noise
    return q_sample(torch.zeros_like(noise) if x0 is None else x0, step, noise)


@torch.no_grad()
def ddim(
    x_t: Tensor,
    steps: Sequence[Step],
    guided: Guided,
    *,
    eta: float | Callable[[Step], float] = 0.0,
    noise: Callable[[Step], Tensor],
    before_step: BeforeStep = identity,
    clip_denoised: bool = False,
) -> Iterator[Sample]:
    """DDIM (Song et al. 2020, arXiv:2010.02502, eq. 12), guided; yields every step, noisiest first.

    eta: share of fresh noise, a number or one for each step. noise(step): [B, 3, H, W]; called once at each
    step, after `guided`, at eta 0 and at the last step too.
    clip_denoised: the model's guess is limited to [-1, 1] before the guidance acts.
    """
    for step in steps:
        x_t = before_step(x_t, step)
        pred_x0, eps, losses = _guess(x_t, step, guided, clip_denoised)
        share = eta(step) if callable(eta) else eta
        x_t = ddim_step(predict_x0(x_t, eps, step), eps, step, share, noise(step).to(x_t))
        yield Sample(step, x_t, pred_x0, losses)


@torch.no_grad()
def plms(
    x_t: Tensor,
    steps: Sequence[Step],
    guided: Guided,
    *,
    history: tuple[Tensor, ...] = (),
    compat: str = "fixed",
    before_step: BeforeStep = identity,
    clip_denoised: bool = False,
) -> Iterator[Sample]:
    """PLMS of order 2 (Liu et al. 2022, arXiv:2202.09778), guided; yields every step, noisiest first.

    history: Sample.history of the step before, when resuming. The first step of a picture, without history,
    asks `guided` twice. compat "dd57": the guidance of that second call keeps the first's noise level
    (quirk Q17); "fixed": each call at its own step.
    """
    for k, step in enumerate(steps):
        x_t = before_step(x_t, step)
        pred_x0, eps, losses = _guess(x_t, step, guided, clip_denoised)
        if step.sigma_next == 0:
            eps_prime = eps  # The last step is the clean guess itself.
        elif history:
            eps_prime = (3 * eps - history[-1]) / 2  # Adams and Bashforth, order 2
        else:
            ahead = ddim_step(predict_x0(x_t, eps, step), eps, step, 0.0, torch.zeros_like(x_t))
            then = replace(steps[k + 1], guided_as=step) if compat == "dd57" else steps[k + 1]
            eps_prime = (eps + _guess(ahead, then, guided, clip_denoised)[1]) / 2  # improved Euler
        x_t = ddim_step(predict_x0(x_t, eps_prime, step), eps_prime, step, 0.0, torch.zeros_like(x_t))
        history = (eps,)
        yield Sample(step, x_t, pred_x0, losses, history)


def _guess(x_t: Tensor, step: Step, guided: Guided, clip: bool) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """One pass: the model's own pred_x0, the guided eps, the losses."""
    eps, grad, losses = guided(x_t, step)
    pred_x0 = predict_x0(x_t, eps, step, clip=clip)
    if clip:
        eps = predict_eps(x_t, pred_x0, step)
    if grad is not None:
        eps = eps - step.sigma * grad  # Dhariwal & Nichol 2021, arXiv:2105.05233, alg. 2
    return pred_x0, eps, losses


def make_symmetry(
    n: int, horizontal: bool, vertical: bool, percents: Sequence[float], compat: str = "fixed"
) -> BeforeStep:
    """Makes the before_step that mirrors x_t when a share of the run is done.

    n: steps of the whole run (Step.n), also when it is resumed. horizontal: mirrors the left half onto the
    right; vertical: the top half onto the bottom, after it. percents: shares of the run, 0..1; 0 is before
    the first step, but never in compat "dd57" (quirk Q13).
    """
    last = n if compat == "dd57" else n - 1
    moments = {min(int(n * (1 - share)), last) for share in percents}

    def before_step(x_t: Tensor, step: Step) -> Tensor:
        if step.respaced_index not in moments:
            return x_t
        if horizontal:
            x_t = _mirror(x_t, -1)
        return _mirror(x_t, -2) if vertical else x_t

    return before_step


def _mirror(x_t: Tensor, dim: int) -> Tensor:
    """The first half along dim, then its mirror image; a middle line stays."""
    size = x_t.shape[dim]
    first = x_t.narrow(dim, 0, (size + 1) // 2)
    return torch.cat([first, x_t.narrow(dim, 0, size // 2).flip(dim)], dim=dim)
