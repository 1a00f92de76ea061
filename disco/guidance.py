"""Guidance: losses seen through cutouts and CLIP -> one gradient of log p(prompt | x_t).

x_t -> a clean guess (secondary network, or the UNet itself) -> x_in, the guess mixed with x_t -> cutouts ->
CLIP -> distance from the prompts. The sum of all gradients at x_in goes back to x_t in one pass.
Source: the cond_fn of Disco Diffusion 5.7, after Crowson's CLIP-guided diffusion notebook, 2021.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from disco.losses.clip import ClipLoss
from disco.losses.pixel import LOSSES, PictureLoss, clamp_grad
from disco.losses.targets import ClipNetwork, PromptTarget
from disco.memory.grad_checkpoint import grad_checkpoint
from disco.memory.policy import MemoryPolicy, Stage
from disco.memory.stages import note
from disco.memory.streams import Executor, Inline, Result
from disco.sampling.diffusion import Step, predict_x0
from disco.sampling.space import PictureSpace, PixelSpace
from disco.settings import methods

if TYPE_CHECKING:
    from collections.abc import Callable

    from disco.sampling.randomness import Randomness
    from disco.sampling.samplers import Guided
    from disco.secondary_model import SecondaryModel
    from disco.settings.model import Settings

__all__ = ["ClipNetwork", "Guidance", "PromptTarget"]


class Denoiser(Protocol):
    """The diffusion network."""

    def __call__(self, x_t: Tensor, t: float, /) -> Tensor:
        """[B, 3, H, W], 0..1000 -> eps [B, 3, H, W] float32."""
        ...


class Perceptual(Protocol):
    """A perceptual distance from a fixed picture."""

    def prepare(self, init: Tensor) -> Callable[[Tensor], Tensor]:
        """init: [1 or B, 3, H, W]. Returns distance([B, 3, H, W]) -> [B]."""
        ...


@dataclass
class Guidance:
    """guided(x_t, step) -> eps, the gradient of log p or None, losses. It joins denoiser and guidance.

    denoiser: gives eps for the sampler and, without `secondary`, the guess that the guidance looks at.
    init, lpips: the picture of the init loss, [1 or B, 3, H, W] in [-1, 1], and its distance; or None.
    compat: "fixed" or "dd57", where range_scale has no effect (quirk Q1) and cutouts are the original's.
    saving: the memory savings in use. side: where the UNet runs while the guidance works, if the guidance
    does not look through it. space: what x_t is in; the losses look at decoded pictures.

    losses, each [B] on the device, before any scale: the mean distance of each CLIP's cutouts, by its name;
    those of LOSSES and init where their scale is not 0; and nan: 1 for a picture whose gradient was not
    finite, which is not guided at this step.
    """

    denoiser: Denoiser
    secondary: SecondaryModel | None
    targets: Sequence[PromptTarget]
    settings: Settings
    random: Randomness
    init: Tensor | None = None
    lpips: Perceptual | None = None
    compat: str = "fixed"
    saving: MemoryPolicy = field(default_factory=MemoryPolicy)
    side: Executor = field(default_factory=Inline)
    space: PictureSpace = field(default_factory=PixelSpace)
    _losses: tuple[PictureLoss, ...] = field(init=False, repr=False)
    _clip_loss: ClipLoss = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._clip_loss = ClipLoss(self.targets, self.settings, self.random, self.compat, self.saving)
        is_dd57 = self.compat == "dd57"
        acting = [loss for loss in LOSSES if methods.LOSSES[loss.setting].in_dd57 or not is_dd57]
        self._losses = (*acting, *self._init_loss())

    def _init_loss(self) -> tuple[PictureLoss, ...]:
        """The distance from the init picture, if there is one and init_scale is ever above 0."""
        if self.init is None or self.lpips is None or max(self.settings.init_scale.values) <= 0:
            return ()
        return (PictureLoss("init", "init_scale", self.lpips.prepare(self.init), "x_in"),)

    def __call__(self, x_t: Tensor, step: Step) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        scales = self._scales(step.index)
        if not scales["clip"]:
            self._clip_loss.consume_rng(x_t, step)
        if not any(scales.values()):
            with torch.no_grad():
                unguided = self.denoiser(x_t, step.t)
            note(Stage.SAMPLER)
            return unguided, None, {}
        with torch.enable_grad():
            x_t = x_t.detach().requires_grad_()
            eps, pred_x0 = self._guess(x_t, step)
            sigma = step.guidance_level.sigma
            x_in = self.space.decode(pred_x0 * sigma + x_t * (1 - sigma))
        losses: dict[str, Tensor] = {}
        outputs, gradients = [x_in], [self._at_x_in(x_in.detach(), step, scales, losses)]
        if any(scales[loss.name] for loss in self._losses if loss.looks_at == "pred_x0"):
            note(Stage.LOSSES)
            with torch.enable_grad():
                guess = self.space.decode(pred_x0)
            outputs.append(guess)
            gradients.append(reduce(torch.add, self._gradients("pred_x0", guess, scales, losses)))
        note(Stage.BACK, self.denoiser if self.secondary is None else self.secondary)
        (grad,) = torch.autograd.grad(outputs, x_t, gradients)
        note(Stage.SAMPLER)
        return eps().detach(), self._finish(-grad, step.index, losses), losses

    def _scales(self, index: int) -> dict[str, float]:
        """The factor of each loss at this step; 0 where it has nothing to look at."""
        clip = self.settings.clip_guidance_scale.at(index) if self._clip_loss.sees(index) else 0.0
        return {"clip": clip} | {
            loss.name: getattr(self.settings, loss.setting).at(index) for loss in self._losses
        }

    def _guess(self, x_t: Tensor, step: Step) -> tuple[Result, Tensor]:
        """eps for the sampler and, with a graph to x_t, the clean picture that the guidance looks at."""
        level = step.guidance_level
        if self.secondary is None and level is step:
            seen: Tensor = self._with_graph(self.denoiser, x_t, step.t)
            return (lambda: seen), predict_x0(x_t, seen, step)
        side = Inline() if self.secondary is None else self.side
        with torch.no_grad():
            eps = side.start(lambda: self.denoiser(x_t, step.t), x_t)
        if self.secondary is None:
            return eps, predict_x0(x_t, self._with_graph(self.denoiser, x_t, level.t), level)
        t = torch.full((len(x_t),), level.cosine_t, device=x_t.device)
        return eps, self._with_graph(self.secondary, x_t, t).pred_x0

    def _with_graph(self, network: Callable[..., Any], *args: Any) -> Any:
        """network(*args) with a graph, checkpointed if that memory saving is on."""
        return grad_checkpoint(network, *args) if self.saving.grad_checkpoint_guess else network(*args)

    def _at_x_in(
        self, x_in: Tensor, step: Step, scales: dict[str, float], losses: dict[str, Tensor]
    ) -> Tensor:
        """The sum of the gradients of all losses of x_in, [B, 3, H, W]; stores their values in `losses`."""
        total = torch.zeros_like(x_in)
        if scales["clip"]:
            total += self._clip_loss.gradient(x_in, step, scales["clip"], losses)
        for gradient in self._gradients("x_in", x_in, scales, losses):
            total += gradient
        return total

    def _gradients(
        self, looks_at: str, at: Tensor, scales: dict[str, float], losses: dict[str, Tensor]
    ) -> Iterator[Tensor]:
        """The gradients at `at` of the losses with this looks_at whose scale is not 0, one by one."""
        for loss in self._losses:
            if loss.looks_at == looks_at and scales[loss.name]:
                note(Stage.LOSSES)
                yield _gradient(loss.function, at, scales[loss.name], losses, loss.name)

    def _finish(self, grad: Tensor, index: int, losses: dict[str, Tensor]) -> Tensor:
        """No guidance for a picture with NaN, then the clamp (quirk Q16). Nothing waits for the device."""
        finite = grad.isfinite().flatten(1).all(1)  # [B]
        losses["nan"] = (~finite).float()
        grad = torch.where(finite[:, None, None, None], grad, 0.0)
        return clamp_grad(grad, self.settings.clamp_max.at(index)) if self.settings.clamp_grad else grad


def in_parts(parts: Sequence[tuple[slice, Guided]]) -> Guided:
    """Guide the pictures of a batch in parts. parts: which pictures, and what guides them."""

    def guided(x_t: Tensor, step: Step) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        answers = [guide(x_t[some], step) for some, guide in parts]
        eps = torch.cat([answer[0] for answer in answers])
        grads = [answer[1] for answer in answers if answer[1] is not None]
        losses = {name: torch.cat([answer[2][name] for answer in answers]) for name in answers[0][2]}
        return eps, torch.cat(grads) if grads else None, losses

    return guided


def _gradient(
    loss: Callable[[Tensor], Tensor], at: Tensor, scale: float, losses: dict[str, Tensor], name: str
) -> Tensor:
    """scale * d loss / d at; stores the loss of each picture in losses[name], [B]."""
    with torch.enable_grad():
        at = at.detach().requires_grad_()
        values = loss(at)  # [B]
        (gradient,) = torch.autograd.grad(values.sum() * scale, at)
    losses[name] = values.detach()
    return gradient
