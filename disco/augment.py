"""Augmentations of cutouts: small random changes, so that a picture pleases CLIP from more than one side.

`augment` (compat fixed) gives every cutout its own parameters and works on the whole batch at once.
`augment_dd57` is torchvision's own chain, applied once to a batch of cuts, which so share their parameters
(quirk Q3); it draws from torch's global generator in the original's order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
import torchvision.transforms as T
from torch import Tensor

from disco.cutouts import grey_of

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)


@dataclass(frozen=True)
class Recipe:
    """How much of everything; the defaults are those of stills."""

    hflip: float = 0.5
    """Probability of a mirror image."""
    noise: float = 0.01
    """Standard deviation of the noise added before the affine map, the grey and the colours."""
    degrees: float = 10.0
    """Rotations lie between minus and plus this."""
    translate: float = 0.05
    """Shifts lie between minus and plus this share of the side."""
    grey: float = 0.1
    """Probability of a grey cutout."""
    jitter: float = 0.1
    """Brightness, contrast and saturation are multiplied by 1 - jitter .. 1 + jitter."""
    hue: float = 0.1
    """Hues turn by minus to plus this share of a full turn."""


STILLS = Recipe()


@dataclass(frozen=True)
class AugmentParams:
    """What happens to each of N cutouts. Made on the CPU; to() moves it."""

    affine: Tensor
    """[N, 2, 3]: where an output pixel is looked up, in pixels about the centre."""
    grey: Tensor
    """[N] bool."""
    factors: Tensor
    """[N, 4]: brightness, contrast, saturation (1 changes nothing) and hue (turns; 0 changes nothing)."""
    order: Tensor
    """[N, 4]: which of these four comes first, second, ..."""
    hue_at: tuple[Tensor, ...]
    """The cutouts whose hue is turned first, second, ...: four index tensors."""

    def to(self, device: torch.device) -> AugmentParams:
        """The same on a device."""
        return AugmentParams(
            move(self.affine, device),
            move(self.grey, device),
            move(self.factors, device),
            move(self.order, device),
            tuple(move(index, device) for index in self.hue_at),
        )


def move(tensor: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor to a device, without waiting for the device as a copy from pageable memory would."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def draw_uniform(generator: torch.Generator, n: int) -> Tensor:
    """What n cutouts of one picture draw for make_params, [n, 13] in [0, 1)."""
    return torch.rand(n, 13, generator=generator)


def make_params(uniform: Tensor, cut_size: int, recipe: Recipe = STILLS) -> AugmentParams:
    """uniform: [N, 13], of draw_uniform. Shifts are whole pixels, as torchvision's are."""
    signed = uniform * 2 - 1
    jitter = torch.tensor([recipe.jitter] * 3 + [recipe.hue])
    return params_of(
        flip=uniform[:, 0] < recipe.hflip,
        angle=signed[:, 1] * recipe.degrees,
        shift=(signed[:, 2:4] * (recipe.translate * cut_size)).round(),
        grey=uniform[:, 4] < recipe.grey,
        factors=signed[:, 5:9] * jitter + torch.tensor([1.0, 1.0, 1.0, 0.0]),
        order=uniform[:, 9:].argsort(dim=1),
    )


def params_of(
    flip: Tensor, angle: Tensor, shift: Tensor, grey: Tensor, factors: Tensor, order: Tensor
) -> AugmentParams:
    """flip, grey: [N] bool. angle: [N], degrees. shift: [N, 2], pixels right, down. Else: AugmentParams."""
    cos, sin = torch.deg2rad(angle).cos(), torch.deg2rad(angle).sin()
    turn = torch.stack([torch.stack([cos, sin], 1), torch.stack([-sin, cos], 1)], 1)  # [N, 2, 2], the inverse
    affine = torch.cat([turn, -turn @ shift[:, :, None]], dim=2)  # [N, 2, 3]
    affine[:, 0] *= torch.where(flip, -1.0, 1.0)[:, None]  # mirrored first, so looked up mirrored last
    hue_at = tuple((order[:, place] == HUE).nonzero()[:, 0] for place in range(4))
    return AugmentParams(affine, grey, factors, order, hue_at)


def augment(
    cutouts: Tensor, params: AugmentParams, noise: Callable[[int], Tensor], recipe: Recipe = STILLS
) -> Tensor:
    """Every cutout by its own parameters. cutouts: [N, 3, S, S] in [0, 1]. Returns the same shape.

    noise(layer): [N, 3, S, S], standard normal, for layer 0 (before the affine map), 1 and 2. params: on the
    device of the cutouts.
    """
    cutouts = cutouts + recipe.noise * noise(0)
    cutouts = warp(cutouts, params.affine)
    cutouts = cutouts + recipe.noise * noise(1)
    cutouts = torch.where(params.grey[:, None, None, None], grey_of(cutouts), cutouts)
    cutouts = cutouts + recipe.noise * noise(2)
    return jitter(cutouts, params)


def warp(image: Tensor, affine: Tensor) -> Tensor:
    """Each picture through its affine map, bilinear, black outside. image: [N, C, S, S]; affine: [N, 2, 3].

    Half outside, a pixel fades twice, as torchvision's does: once towards the black around the picture, once
    towards the fill colour.
    """
    side = image.shape[-1]
    line = torch.arange(side, device=image.device, dtype=image.dtype) + (0.5 - side / 2)
    grid = torch.stack([line.expand(side, side), line[:, None].expand(side, side)], -1).reshape(1, -1, 2)
    places = grid @ affine[:, :, :2].mT + affine[:, None, :, 2]  # [N, S*S, 2], (x, y) about the centre
    places = places.reshape(-1, side, side, 2)
    edge = ((side + 1) / 2 - places.abs()).clamp(0, 1)  # 1 inside, 0 from a pixel outside on
    return _look_up(image, places) * edge.prod(-1)[:, None]


def _look_up(image: Tensor, places: Tensor) -> Tensor:
    """image: [N, C, S, S]; places: [N, S, S, 2], in pixels about the centre. Bilinear, black outside."""
    side = image.shape[-1]
    if image.is_cuda and torch.are_deterministic_algorithms_enabled():
        return _gather_four(image, places + (side - 1) / 2)  # grid_sample's gradient has no fixed order there
    return F.grid_sample(
        image, places / (side / 2), mode="bilinear", padding_mode="zeros", align_corners=False
    )


def _gather_four(image: Tensor, places: Tensor) -> Tensor:
    """The bilinear look-up by torch.gather, whose gradient has a deterministic form. places: from pixel 0."""
    n, channels, side, _ = image.shape
    low = places.floor()
    share = places - low  # [N, S, S, 2]
    flat, total = image.flatten(2), torch.zeros_like(image)
    for right in (0, 1):
        for down in (0, 1):
            x, y = (low[..., 0] + right), (low[..., 1] + down)
            inside = (x >= 0) & (x < side) & (y >= 0) & (y < side)
            weight = (share[..., 0] if right else 1 - share[..., 0]) * (
                share[..., 1] if down else 1 - share[..., 1]
            )
            index = (y.clamp(0, side - 1) * side + x.clamp(0, side - 1)).long()
            pixels = flat.gather(2, index.reshape(n, 1, -1).expand(-1, channels, -1)).view_as(image)
            total = total + pixels * (weight * inside)[:, None]
    return total


def jitter(image: Tensor, params: AugmentParams) -> Tensor:
    """Brightness, contrast, saturation and hue of each picture, in its own order. [N, 3, S, S], in [0, 1]."""
    for place in range(4):
        kind = params.order[:, place]
        factor = params.factors.gather(1, kind[:, None])[:, :, None, None]  # [N, 1, 1, 1]
        luma = grey_of(image)
        level = luma.mean([1, 2, 3], keepdim=True)
        is_contrast = (kind == CONTRAST)[:, None, None, None]
        is_saturation = (kind == SATURATION)[:, None, None, None]
        base = luma * is_saturation + level * is_contrast  # and 0, black, for brightness
        blended = (factor * image + (1 - factor) * base).clamp(0, 1)
        which = params.hue_at[place]
        if len(which):
            turned = turn_hue(image.index_select(0, which), factor.index_select(0, which)[:, 0])
            blended = blended.index_copy(0, which, turned)
        image = blended
    return image


def turn_hue(image: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue in HSV space. image: [N, 3, H, W]; turns: [N, 1, 1], in full turns. Value, chroma stay."""
    r, g, b = image.unbind(1)
    value = image.amax(1)
    chroma = value - image.amin(1)
    divisor = torch.where(chroma > 0, chroma, 1)
    is_r = value == r
    sixths = torch.where(
        is_r, (g - b) / divisor, torch.where(value == g, 2 + (b - r) / divisor, 4 + (r - g) / divisor)
    )
    sixths = sixths + 6 * turns
    channels = []
    for n in (5, 3, 1):
        k = torch.remainder(sixths + n, 6)
        share = torch.minimum(k, 4 - k).clamp(0, 1)
        channels.append(torch.where(share > 0, (value - chroma * share).clamp(0, 1), value))
    return torch.stack(channels, 1)


def augment_dd57(cutouts: Tensor) -> Tensor:
    """The same parameters for all cutouts, [N, 3, S, S]; draws from torch's global generators."""
    return _stills_chain()(cutouts)


def augment_image_prompt(cutouts: Tensor) -> Tensor:
    """The older recipe, for image prompts: more of everything, a perspective, no colours. Draws likewise."""
    return _image_prompt_chain()(cutouts)


def _add_noise(image: Tensor) -> Tensor:
    return image + torch.randn_like(image) * 0.01


@lru_cache(maxsize=1)
def _stills_chain() -> Callable[[Tensor], Tensor]:
    noise, bilinear = T.Lambda(_add_noise), T.InterpolationMode.BILINEAR
    return T.Compose(
        [
            T.RandomHorizontalFlip(p=0.5),
            noise,
            T.RandomAffine(degrees=10, translate=(0.05, 0.05), interpolation=bilinear),
            noise,
            T.RandomGrayscale(p=0.1),
            noise,
            T.ColorJitter(brightness=0.1, contrast=0.1, saturation=0.1, hue=0.1),
        ]
    )


@lru_cache(maxsize=1)
def _image_prompt_chain() -> Callable[[Tensor], Tensor]:
    noise = T.Lambda(_add_noise)
    return T.Compose(
        [
            T.RandomHorizontalFlip(p=0.5),
            noise,
            T.RandomAffine(degrees=15, translate=(0.1, 0.1)),
            noise,
            T.RandomPerspective(distortion_scale=0.4, p=0.7),
            noise,
            T.RandomGrayscale(p=0.15),
            noise,
        ]
    )
