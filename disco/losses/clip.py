"""The distance of a picture's cutouts from the prompts, in the eyes of every CLIP, and its gradient.

Each network sees all its cutouts in one batch, or in parts when memory is short, and is walked back through
at once, down to the cutouts; the overview is resized once for all networks of one input side. Where memory
runs out, OomRetry tries again with fewer cutouts at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from disco.cutouts import CutPlan, cut, cut_once, draw_boxes, make_plan, overview_cut
from disco.losses.augment import RECIPES, augment, draw_uniform, make_params
from disco.losses.augment_dd57 import augment_dd57
from disco.losses.pixel import spherical_dist
from disco.losses.targets import PromptTarget
from disco.memory.devices import at_once_by_itself, move
from disco.memory.policy import MemoryPolicy, Stage
from disco.memory.stages import note
from disco.sampling.diffusion import Step

if TYPE_CHECKING:
    from disco.sampling.randomness import Randomness
    from disco.settings.model import Settings


@dataclass
class ClipLoss:
    """See Guidance for the fields."""

    targets: Sequence[PromptTarget]
    settings: Settings
    random: Randomness
    compat: str = "fixed"
    saving: MemoryPolicy = field(default_factory=MemoryPolicy)

    def __post_init__(self) -> None:
        self._recipe = RECIPES[self.settings.animation_mode]

    def sees(self, index: int) -> bool:
        """Does any network look at any cutout at this schedule index?"""
        cuts = self.settings.cut_overview.at(index) + self.settings.cut_innercut.at(index)
        return cuts > 0 and any(target.clip_weight.at(index) for target in self.targets)

    def gradient(self, x_in: Tensor, step: Step, scale: float, losses: dict[str, Tensor]) -> Tensor:
        """scale * the gradient at x_in, [B, 3, H, W], summed over the networks (quirk Q8).

        Notes each network's mean distance, [B], under its name.
        """
        image = ((x_in + 1) / 2).requires_grad_()  # [0, 1]
        total = torch.zeros_like(image)
        views: dict[int, _SharedOverview] = {}
        for position, target in enumerate(self.targets):
            weight, side = target.clip_weight.at(step.index), target.clip.image_size
            if not weight:
                self._consume_rng_of(x_in, step, position)
                continue
            note(Stage.CUTOUTS)
            with torch.enable_grad():
                if side not in views:
                    views[side] = _SharedOverview(image, side)
                cutouts, shares = self._cutouts(image, views[side].seen, step, position)
            # Half precision should meet the original's numbers: those of one batch of cuts, averaged after.
            n_batches = int(self.settings.cutn_batches.at(step.index))
            gradient, distances = self._look(target, cutouts, shares * (scale * n_batches), step.index)
            losses[target.clip.name] = distances @ shares
            note(Stage.CUTOUTS)
            ends = torch.autograd.grad(
                cutouts, [image, views[side].seen], gradient * (weight / n_batches), allow_unused=True
            )
            total += 0.0 if ends[0] is None else ends[0]
            views[side].gradient += 0.0 if ends[1] is None else ends[1]
        for view in views.values():
            total += view.at_image(image)
        return total / 2

    def consume_rng(self, image: Tensor, step: Step) -> None:
        """dd57's one stream moves on by what the cutouts of this step draw, needed or not."""
        for position in range(len(self.targets)):
            self._consume_rng_of(image, step, position)

    @torch.no_grad()
    def _consume_rng_of(self, image: Tensor, step: Step, position: int) -> None:
        if self.compat == "dd57" and self._plan(step.index).n:
            view = overview_cut(image, self.targets[position].clip.image_size)
            self._cutouts(image, view, step, position)

    def _cutouts(self, image: Tensor, view: Tensor, step: Step, position: int) -> tuple[Tensor, Tensor]:
        """What a network sees: [B, M, 3, S, S], and each cutout's share of the mean, [M]."""
        plan, skip = self._plan(step.index), bool(self.settings.skip_augs.at(step.index))
        n_batches = int(self.settings.cutn_batches.at(step.index))
        if self.compat == "dd57" and not skip:
            # One batch at a time: its boxes, then its augmentations (quirk Q3), all drawn from one stream.
            batches = [
                augment_dd57(
                    cut(image, view, self._boxes(image, view, plan, step, position, [b]), plan)[0, 0],
                    self.settings.animation_mode,
                )
                for b in range(n_batches)
            ]
            cutouts = torch.cat(batches)[None]
        else:
            boxes = self._boxes(image, view, plan, step, position, range(n_batches))
            if skip:
                cutouts, counts = cut_once(image, view, boxes, plan)
                return cutouts, move((counts / counts.sum()).to(image.dtype), image.device)
            cutouts = cut(image, view, boxes, plan)
            cutouts = self._augmented(cutouts, step, position)
        n = cutouts.shape[1]
        return cutouts, torch.full((n,), 1 / n, device=image.device, dtype=image.dtype)

    def _plan(self, index: int) -> CutPlan:
        settings = self.settings
        return make_plan(
            int(settings.cut_overview.at(index)),
            int(settings.cut_innercut.at(index)),
            settings.cut_ic_pow.at(index),
            settings.cut_icgray_p.at(index),
            self.compat,
        )

    def _boxes(
        self, image: Tensor, view: Tensor, plan: CutPlan, step: Step, position: int, batches: Sequence[int]
    ) -> Tensor:
        """The inner cuts of these batches, drawn on the host: [B, len(batches), inner, 3]."""
        n_pictures, size = len(image), (image.shape[2], image.shape[3])
        drawn = [
            [draw_boxes(g, plan.inner, size, view.shape[-1], plan.power) for g in generators]
            for generators in (self.random.crops(step, position, b) for b in batches)
        ]
        assert all(len(pictures) == n_pictures for pictures in drawn), (n_pictures, len(drawn[0]))
        table = torch.tensor(drawn, dtype=torch.long).reshape(len(batches), n_pictures, plan.inner, 3)
        return move(table.transpose(0, 1).contiguous(), image.device)

    def _augmented(self, cutouts: Tensor, step: Step, position: int) -> Tensor:
        """[B, batches, n, 3, S, S] -> [B, batches * n, 3, S, S], each by its own parameters."""
        n_pictures, n_batches, n, _, side, _ = cutouts.shape
        recipe = self._recipe.within(hue=self.settings.hue_jitter_max.at(step.index))
        uniform = torch.stack(
            [
                torch.stack([draw_uniform(g, n, recipe) for g in self.random.augments(step, position, b)])
                for b in range(n_batches)
            ],
            dim=1,
        )  # [B, batches, n, 13 or more]
        shape, size = (n_batches * n, 3, side, side), at_once_by_itself(side, cutouts.device)

        def noise(layer: int) -> Tensor:
            draw = self.random.pixel_noise
            device = cutouts.device
            return torch.cat([draw(step, position, 0, shape, device, k, layer) for k in range(n_pictures)])

        noises = [noise(layer) for layer in range(3)]
        parts = [torch.split(t, size) for t in (cutouts.flatten(0, 2), uniform.flatten(0, 2), *noises)]
        changed = []
        for part, drawn, *its_noises in zip(*parts, strict=True):
            params = make_params(drawn, side, recipe).to(part.device)
            changed.append(augment(part, params, its_noises.__getitem__, recipe))
        return torch.cat(changed).reshape(n_pictures, *shape)

    def _look(
        self, target: PromptTarget, cutouts: Tensor, factors: Tensor, index: int
    ) -> tuple[Tensor, Tensor]:
        """The gradient at cutouts [B, M, 3, S, S] of the sum of factors [M] * distances; these, [B, M]."""
        flat, factors = cutouts.detach().flatten(0, 1), factors.repeat(len(cutouts))
        by_itself = at_once_by_itself(cutouts.shape[-1], cutouts.device)
        limits = (self.settings.clip_batch, self.saving.clip_batch, by_itself, len(flat))
        size = min(limit for limit in limits if isinstance(limit, int))
        parts = [
            _look_at(target, part.detach(), factor, index)
            for part, factor in zip(torch.split(flat, size), torch.split(factors, size), strict=True)
        ]
        gradient = torch.cat([part[0] for part in parts]).view_as(cutouts)
        return gradient, torch.cat([part[1] for part in parts]).view(cutouts.shape[:2])


def _look_at(target: PromptTarget, cutouts: Tensor, factors: Tensor, index: int) -> tuple[Tensor, Tensor]:
    """cutouts: [N, 3, S, S]; factors: [N]. The gradient at the cutouts and the distances, [N]."""
    with torch.enable_grad():
        cutouts = cutouts.requires_grad_()
        image_embeds = target.clip.encode_image(cutouts)  # [N, D]
        distances = spherical_dist(image_embeds[:, None], target.text_embeds[None]) @ target.weights(index)
        (gradient,) = torch.autograd.grad((distances * factors).sum(), cutouts)
    return gradient, distances.detach()


class _SharedOverview:
    """The overview at one input side, shared by networks; their gradients at it are collected here."""

    def __init__(self, image: Tensor, side: int) -> None:
        with torch.enable_grad():
            self.resized = overview_cut(image, side)
        self.seen = self.resized.detach().requires_grad_()
        self.gradient = torch.zeros_like(self.resized)

    def at_image(self, image: Tensor) -> Tensor:
        """The collected gradient, at the picture it was made of."""
        return torch.autograd.grad(self.resized, image, self.gradient)[0]
