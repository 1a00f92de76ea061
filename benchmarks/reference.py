"""The original's guidance done plainly, to measure against and to test by: nothing is batched or cached.

For every CLIP and every batch of cuts: each cut is cropped and resized by itself, the batch augmented, looked
at and walked back through to the picture. A resize gathers the neighbours of each output pixel and sums them
with weights computed anew, first along the columns, then along the rows, as ResizeRight does (Shocher 2021).
Given the same random numbers the gradient is that of disco.guidance but for rounding.
Source: the cond_fn and the cutouts of Disco Diffusion 5.7; written here from their description.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from disco.guidance import PromptTarget
from disco.losses.augment import RECIPES, augment, draw_uniform, make_params
from disco.losses.augment_dd57 import augment_dd57
from disco.sampling.diffusion import Step, predict_x0
from disco.sampling.randomness import Randomness

LUMA = (0.2989, 0.587, 0.114)


@dataclass
class Reference:
    """reference(x_t, step) -> the gradient of log p, [1, 3, H, W], of one picture.

    The fields are those of disco.guidance.Guidance; picture: which one of the batch that `random` is for.
    """

    denoiser: Any
    secondary: Any
    targets: Sequence[PromptTarget]
    settings: Any
    random: Randomness
    compat: str = "fixed"
    picture: int = 0

    def __call__(self, x_t: Tensor, step: Step) -> Tensor:
        settings, index = self.settings, step.index
        with torch.enable_grad():
            x_t = x_t.detach().requires_grad_()
            pred_x0 = self._guess(x_t, step)
            x_in = pred_x0 * step.sigma + x_t * (1 - step.sigma)
            total = torch.zeros_like(x_in)
            n_batches = int(settings.cutn_batches.at(index))
            for place, target in enumerate(self.targets):
                scale = settings.clip_guidance_scale.at(index) * target.clip_weight.at(index)
                for batch in range(n_batches):
                    loss = self._loss(target, self.cutouts((x_in + 1) / 2, step, place, batch), index)
                    loss.item()  # the original keeps a list of its losses
                    total += torch.autograd.grad(loss * scale, x_in)[0] / n_batches
            total += torch.autograd.grad(self._others(x_in, index), x_in, retain_graph=True)[0]
            outputs, gradients = [x_in], [total]
            if self.compat == "fixed":
                beyond = (pred_x0 - pred_x0.clamp(-1, 1)).square().mean() * settings.range_scale.at(index)
                outputs, gradients = [*outputs, beyond], [*gradients, torch.ones_like(beyond)]
            (grad,) = torch.autograd.grad(outputs, x_t, gradients)
        if not settings.clamp_grad:
            return -grad
        rms = grad.square().mean().sqrt()
        return -grad * rms.clamp(max=settings.clamp_max.at(index)) / rms

    def _guess(self, x_t: Tensor, step: Step) -> Tensor:
        if self.secondary is None:
            return predict_x0(x_t, self.denoiser(x_t, step.t), step)
        return self.secondary(x_t, torch.full((1,), step.cosine_t, device=x_t.device)).pred_x0

    def _others(self, x_in: Tensor, index: int) -> Tensor:
        """Total variation and saturation."""
        padded = F.pad(x_in, (0, 1, 0, 1), "replicate")
        across = padded[..., :-1, 1:] - padded[..., :-1, :-1]
        down = padded[..., 1:, :-1] - padded[..., :-1, :-1]
        tv = (across**2 + down**2).mean()
        sat = (x_in - x_in.clamp(-1, 1)).abs().mean()
        return tv * self.settings.tv_scale.at(index) + sat * self.settings.sat_scale.at(index)

    def _loss(self, target: PromptTarget, cutouts: Tensor, index: int) -> Tensor:
        """The mean over a batch of cuts of half the squared angles to the prompts, weighted."""
        embeds = F.normalize(target.clip.encode_image(cutouts), dim=-1)[:, None]  # [n, 1, D]
        texts = F.normalize(target.text_embeds, dim=-1)[None]  # [1, P, D]
        distances = (embeds - texts).norm(dim=-1).div(2).arcsin().square() * 2  # [n, P]
        return (distances * target.weights(index)).sum(1).mean()

    def cutouts(self, image: Tensor, step: Step, place: int, batch: int) -> Tensor:
        """One batch of cuts of image [1, 3, H, W] in [0, 1] for a network, augmented, [n, 3, S, S]."""
        side = self.targets[place].clip.image_size
        cuts = torch.cat([*self._overview(image, side, step), *self._inner(image, side, step, place, batch)])
        if self.settings.skip_augs.at(step.index):
            return cuts
        if self.compat == "dd57":
            return augment_dd57(cuts, self.settings.animation_mode)
        return self._augmented(cuts, step, place, batch)

    def _overview(self, image: Tensor, side: int, step: Step) -> list[Tensor]:
        """The whole picture, padded to a square: plain, grey, mirrored, both."""
        n = int(self.settings.cut_overview.at(step.index))
        height, width = image.shape[2:]
        shorter = min(height, width)
        aside, above = (height - shorter) // 2, (width - shorter) // 2
        whole = resize(F.pad(image, (aside, aside, above, above)), side)
        if self.compat == "dd57" and n > 4:
            return [whole] * n
        made = [
            lambda: whole,
            lambda: grey(whole),
            lambda: whole.flip(-1),
            lambda: grey(whole.flip(-1)),
        ]
        return [made[k % 4]() for k in range(n)]

    def _inner(self, image: Tensor, side: int, step: Step, place: int, batch: int) -> list[Tensor]:
        """Squares of random size and place; the first ones grey."""
        settings, index = self.settings, step.index
        n, share = int(settings.cut_innercut.at(index)), settings.cut_icgray_p.at(index)
        n_grey = int(share * n) + 1 if self.compat == "dd57" else math.floor(share * n + 0.5)
        generator = self.random.crops(step, place, batch)[self.picture]
        height, width = image.shape[2:]
        largest, smallest = min(height, width), min(height, width, side)
        cuts = []
        for k in range(n):
            drawn = torch.rand([], generator=generator) ** settings.cut_ic_pow.at(index)
            edge = int(drawn * (largest - smallest) + smallest)
            x = int(torch.randint(0, width - edge + 1, (), generator=generator))
            y = int(torch.randint(0, height - edge + 1, (), generator=generator))
            piece = image[:, :, y : y + edge, x : x + edge]
            cuts.append(resize(grey(piece) if k < n_grey else piece, side))
        return cuts

    def _augmented(self, cuts: Tensor, step: Step, place: int, batch: int) -> Tensor:
        """Every cut by its own parameters; the noise is drawn for all batches of a network together."""
        n, side, k = len(cuts), cuts.shape[-1], self.picture
        hue = self.settings.hue_jitter_max.at(step.index)
        recipe = RECIPES[self.settings.animation_mode].within(hue=hue)
        uniform = draw_uniform(self.random.augments(step, place, batch)[k], n, recipe)
        params = make_params(uniform, side, recipe).to(cuts.device)
        shape = (int(self.settings.cutn_batches.at(step.index)) * n, 3, side, side)

        def noise(layer: int) -> Tensor:
            drawn = self._noise.get((step.i, place, layer))
            if drawn is None:
                drawn = self.random.pixel_noise(step, place, 0, shape, cuts.device, k, layer)
                self._noise = {**self._kept(step, place), (step.i, place, layer): drawn}
            return drawn[batch * n : (batch + 1) * n]

        return augment(cuts, params, noise, recipe)

    def _kept(self, step: Step, place: int) -> dict[tuple[int, int, int], Tensor]:
        return {key: drawn for key, drawn in self._noise.items() if key[:2] == (step.i, place)}

    def __post_init__(self) -> None:
        self._noise: dict[tuple[int, int, int], Tensor] = {}

    def of(self, picture: int) -> Reference:
        """The same for another picture of the batch."""
        return replace(self, picture=picture)


def grey(image: Tensor) -> Tensor:
    """[B, 3, H, W] -> the same shape, luma in all channels."""
    red, green, blue = image.unbind(1)
    luma = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
    return luma[:, None].expand_as(image)


def resize(image: Tensor, side: int) -> Tensor:
    """[B, C, E, E] -> [B, C, side, side]: Keys' cubic, widened where it shrinks, black outside."""
    return _resize_lines(_resize_lines(image, 2, side), 3, side)


def _resize_lines(image: Tensor, dim: int, side: int) -> Tensor:
    length = image.shape[dim]
    scale = side / length
    stretch = min(scale, 1.0)
    reach = 4 / stretch
    centres = (torch.arange(side, device=image.device, dtype=torch.float64) + 0.5) / scale - 0.5
    first = (centres - reach / 2 - 1e-6).ceil()
    taps = first[:, None] + torch.arange(math.ceil(reach), device=image.device)  # [side, taps]
    weights = _cubic((centres[:, None] - taps) * stretch)
    weights = (weights / weights.sum(1, keepdim=True)).to(image.dtype)
    places = taps.long()
    before, after = max(-int(places.min()), 0), max(int(places.max()) - length + 1, 0)
    lines = F.pad(image.movedim(dim, -1), (before, after)).movedim(-1, 0)
    near = lines[places + before]  # [side, taps, ...]
    return (near * weights.reshape(*weights.shape, *[1] * (near.ndim - 2))).sum(1).movedim(0, dim)


def _cubic(x: Tensor) -> Tensor:
    """Keys 1981, a = -1/2."""
    x = x.abs()
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return near * (x <= 1) + far * ((x > 1) & (x <= 2))
