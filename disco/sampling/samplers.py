"""The sampling loops, guided: DDIM and PLMS. They know steps and tensors; no CLIP, no settings file, no PNG.

A loop is given all steps of the run and where to begin among them, so that a multi-step method can look back.
To resume, call the same loop with the saved x_t and history, and `begin`: the number of steps executed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from disco.sampling.diffusion import Step, ddim_step, predict_eps, predict_x0, q_sample

Guided = Callable[[Tensor, Step], tuple[Tensor, Tensor | None, dict[str, Tensor]]]
"""guided(x_t, step) -> eps and the gradient of log p(prompt | x_t), or None, both [B, 3, H, W] without graph;
and the losses by name, each [B], on the device. The loops run under no_grad: whoever needs a gradient turns
it on."""

BeforeStep = Callable[[Tensor, Step], Tensor]

History = tuple[Tensor | float, ...]
"""What a multi-step method remembers between steps: tensors and plain numbers. A checkpoint holds both."""


@dataclass(frozen=True)
class Sample:
    """What a step leaves. With the random states it is all that a checkpoint needs."""

    step: Step
    x_t: Tensor
    """After the step, [B, 3, H, W]."""
    pred_x0: Tensor
    """The model's guess before this step's guidance, [B, 3, H, W]: what is shown and saved (quirk Q5)."""
    losses: dict[str, Tensor]
    history: History = ()
    """What the next step builds on; plms: the guided eps of this step."""


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


def no_noise(step: Step) -> Tensor:
    """Zero, to be broadcast."""
    return torch.zeros(())


@dataclass(frozen=True)
class SamplerOptions:
    """What the loops take besides the steps; each uses what its method has."""

    eta: float | Callable[[Step], float] = 0.0
    """Share of fresh noise, 0 to 1: a number, or one for each step."""
    noise: Callable[[Step], Tensor] = no_noise
    """The fresh noise of a step, [B, 3, H, W], standard normal. Each call moves dd57's random stream on."""
    before_step: BeforeStep = identity
    """Changes x_t before each step."""
    clip_denoised: bool = False
    """Limit the model's guess to [-1, 1] before the guidance acts."""
    compat: str = "fixed"
    """"fixed" or "dd57"."""

    def eta_at(self, step: Step) -> float:
        return self.eta(step) if callable(self.eta) else self.eta


class Sampler(Protocol):
    """A sampling loop."""

    def __call__(
        self,
        x_t: Tensor,
        steps: Sequence[Step],
        guided: Guided,
        options: SamplerOptions,
        *,
        begin: int = 0,
        history: History = (),
    ) -> Iterator[Sample]:
        """Yields the steps from steps[begin] on, noisiest first.

        x_t: [B, 3, H, W] before that step. steps: all of the run. history: Sample.history of the step before,
        () at begin 0.
        """
        ...


@torch.no_grad()
def ddim(
    x_t: Tensor,
    steps: Sequence[Step],
    guided: Guided,
    options: SamplerOptions,
    *,
    begin: int = 0,
    history: History = (),
) -> Iterator[Sample]:
    """DDIM (Song et al. 2020, arXiv:2010.02502, eq. 12), guided; see Sampler. It has no history.

    options.noise is called once at each step, after `guided`, at eta 0 and at the last step too.
    """
    for step in steps[begin:]:
        x_t = options.before_step(x_t, step)
        pred_x0, eps, losses = guess(x_t, step, guided, options)
        x0, eta = predict_x0(x_t, eps, step), options.eta_at(step)
        x_t = ddim_step(x0, eps, step, eta, options.noise(step).to(x_t))
        yield Sample(step, x_t, pred_x0, losses)


@torch.no_grad()
def plms(
    x_t: Tensor,
    steps: Sequence[Step],
    guided: Guided,
    options: SamplerOptions,
    *,
    begin: int = 0,
    history: History = (),
) -> Iterator[Sample]:
    """PLMS of order 2 (Liu et al. 2022, arXiv:2202.09778), guided; see Sampler.

    The first step of a picture, without history, calls `guided` twice. compat "dd57": the guidance of that
    second call keeps the first's noise level (quirk Q17); "fixed": each call at its own step.
    """
    for k, step in enumerate(steps[begin:], begin):
        x_t = options.before_step(x_t, step)
        pred_x0, eps, losses = guess(x_t, step, guided, options)
        if step.sigma_next == 0:
            eps_prime = eps  # The last step is the clean guess itself.
        elif history:
            eps_prime = (3 * eps - history[-1]) / 2  # Adams and Bashforth, order 2
        else:
            ahead = ddim_step(predict_x0(x_t, eps, step), eps, step, 0.0, torch.zeros_like(x_t))
            then = replace(steps[k + 1], guided_as=step) if options.compat == "dd57" else steps[k + 1]
            eps_prime = (eps + guess(ahead, then, guided, options)[1]) / 2  # improved Euler
        x_t = ddim_step(predict_x0(x_t, eps_prime, step), eps_prime, step, 0.0, torch.zeros_like(x_t))
        history = (eps,)
        yield Sample(step, x_t, pred_x0, losses, history)


SAMPLERS: Mapping[str, Sampler] = {"ddim": ddim, "plms": plms}
"""The loops by their names in settings, with what settings/methods.py says of each."""


def guess(
    x_t: Tensor, step: Step, guided: Guided, options: SamplerOptions
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """One call of `guided`: the model's own pred_x0, the guided eps, both [B, 3, H, W]; the losses."""
    eps, grad, losses = guided(x_t, step)
    pred_x0 = predict_x0(x_t, eps, step, clip=options.clip_denoised)
    if options.clip_denoised:
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
    moments = {min(int(n * (1 - fraction)), last) for fraction in percents}

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
