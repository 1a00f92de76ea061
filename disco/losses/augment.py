"""Augmentations of cutouts: small random changes, so that a picture pleases CLIP from more than one side.

`augment` (compat fixed) gives every cutout its own parameters and works on the whole batch at once. What the
original does in its place stands in augment_dd57.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from disco.cutouts import grey_of
from disco.losses.colour_jitter import jitter
from disco.memory.devices import move

N_UNIFORM = 9  # numbers that one picture draws: whether it is warped, and its four corners


def sampling_grid(uniform: Tensor, side: int, distortion: float, chance: float) -> Tensor:
    """[N, 9] in [0, 1) -> [N, 3, 3]: output (x, y, 1), in pixels about the centre, to where it is looked up.

    Each corner of the picture moves inwards, along both sides, by up to distortion / 2 of the side. With
    probability 1 - chance a picture stays as it is.
    Source: torchvision's RandomPerspective, which rounds the corners to whole pixels.
    """
    half = side / 2
    corners = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])  # [4, 2]
    inwards = uniform[:, 1:].reshape(-1, 4, 2) * distortion  # of half the side
    seen = corners * (1 - inwards) * half  # [N, 4, 2]: where the picture's corners are seen
    perspective = _through(seen, (corners * half).expand_as(seen))
    is_warped = (uniform[:, 0] < chance)[:, None, None]
    return torch.where(is_warped, perspective, torch.eye(3))


def _through(points: Tensor, goals: Tensor) -> Tensor:
    """The projective maps that take four points to four goals; points, goals: [N, 4, 2]."""
    x, y = points[..., 0], points[..., 1]  # [N, 4]
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    rows = []
    for axis, row in ((0, (x, y, one, zero, zero, zero)), (1, (zero, zero, zero, x, y, one))):
        goal = goals[..., axis]
        rows.append(torch.stack([*row, -x * goal, -y * goal], dim=-1))  # [N, 4, 8]
    values = torch.cat([goals[..., 0], goals[..., 1]], dim=1)  # [N, 8]
    solved = torch.linalg.solve(torch.cat(rows, dim=1).double(), values.double())
    return torch.cat([solved, solved.new_ones(len(solved), 1)], dim=1).reshape(-1, 3, 3).float()


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
    perspective: float = 0.0
    """Probability of a perspective."""
    distortion: float = 0.4
    """How far its corners move inwards at most, twice the share of the side."""

    def within(self, hue: float) -> Recipe:
        """The same with hues that turn by `hue` at most."""
        return self if self.hue <= hue else replace(self, hue=hue)

    @property
    def n_uniform(self) -> int:
        """How many numbers a cutout draws."""
        return 13 + (N_UNIFORM if self.perspective else 0)


STILLS = Recipe()
_MOVING = Recipe(hflip=0.4, hue=0.3)
_VIDEO = Recipe(degrees=15, translate=0.1, grey=0.15, jitter=0, hue=0, perspective=0.7)
RECIPES = {"None": STILLS, "2D": _MOVING, "3D": _MOVING, "Video Input": _VIDEO}  # by animation_mode


@dataclass(frozen=True)
class AugmentParams:
    """What happens to each of N cutouts. Made on the CPU; to() moves it."""

    affine: Tensor
    """[N, 2, 3]: where an output pixel is looked up, in pixels about the centre."""
    grey: Tensor
    """[N]: 1 for a cutout that turns grey, else 0."""
    blend: Tensor
    """[N, 4, 3]: the first, second, ... change of colours: shares of the picture, its luma, its mean luma; or
    the turn of the hue."""
    hue_at: tuple[Tensor, ...]
    """The cutouts whose hue is turned first, second, ...: four index tensors."""
    back: Tensor
    """[N]: where each cutout is found when these four groups are put one after the other."""
    perspective: Tensor | None = None
    """[N, 3, 3]: perspectives, through which an output pixel goes before the affine map."""

    def to(self, device: torch.device) -> AugmentParams:
        """The same on a device."""
        return AugmentParams(
            move(self.affine, device),
            move(self.grey, device),
            move(self.blend, device),
            tuple(move(index, device) for index in self.hue_at),
            move(self.back, device),
            None if self.perspective is None else move(self.perspective, device),
        )


def draw_uniform(generator: torch.Generator, n: int, recipe: Recipe = STILLS) -> Tensor:
    """What n cutouts of one picture draw for make_params, [n, recipe.n_uniform] in [0, 1)."""
    return torch.rand(n, recipe.n_uniform, generator=generator)


def make_params(uniform: Tensor, cut_size: int, recipe: Recipe = STILLS) -> AugmentParams:
    """uniform: [N, recipe.n_uniform], of draw_uniform. Shifts are whole pixels, as torchvision's are."""
    signed = uniform * 2 - 1
    jitter = torch.tensor([recipe.jitter] * 3 + [recipe.hue])
    params = params_of(
        flip=uniform[:, 0] < recipe.hflip,
        angle=signed[:, 1] * recipe.degrees,
        shift=(signed[:, 2:4] * (recipe.translate * cut_size)).round(),
        grey=uniform[:, 4] < recipe.grey,
        factors=signed[:, 5:9] * jitter + torch.tensor([1.0, 1.0, 1.0, 0.0]),
        order=uniform[:, 9:13].argsort(dim=1),
    )
    if not recipe.perspective:
        return params
    perspective = sampling_grid(uniform[:, 13:], cut_size, recipe.distortion, recipe.perspective)
    return replace(params, perspective=perspective)


def params_of(
    flip: Tensor, angle: Tensor, shift: Tensor, grey: Tensor, factors: Tensor, order: Tensor
) -> AugmentParams:
    """flip, grey: [N] bool. angle: [N], degrees. shift: [N, 2], pixels right, down.

    factors: [N, 4], of brightness, contrast, saturation (1 changes nothing) and turns of the hue.
    order: [N, 4], which of these four comes first, second, ...
    """
    cos, sin = torch.deg2rad(angle).cos(), torch.deg2rad(angle).sin()
    turn = torch.stack([torch.stack([cos, sin], 1), torch.stack([-sin, cos], 1)], 1)  # [N, 2, 2], the inverse
    affine = torch.cat([turn, -turn @ shift[:, :, None]], dim=2)  # [N, 2, 3]
    affine[:, 0] *= torch.where(flip, -1.0, 1.0)[:, None]  # mirrored first, so looked up mirrored last
    hue_at = tuple((order[:, position] == HUE).nonzero()[:, 0] for position in range(4))
    blend = torch.zeros(len(order), 4, 3)  # [N, kind, 3]
    blend[:, :, 0] = factors
    blend[:, SATURATION, 1] = 1 - factors[:, SATURATION]
    blend[:, CONTRAST, 2] = 1 - factors[:, CONTRAST]
    blend = blend.gather(1, order[:, :, None].expand(-1, -1, 3))
    return AugmentParams(affine, grey.float(), blend, hue_at, torch.cat(hue_at).argsort())


def augment(
    cutouts: Tensor, params: AugmentParams, noise: Callable[[int], Tensor], recipe: Recipe = STILLS
) -> Tensor:
    """Every cutout by its own parameters. cutouts: [N, 3, S, S] in [0, 1]. Returns the same shape.

    noise(layer): [N, 3, S, S], standard normal, for layer 0 (before the affine map), 1 and 2. params: on the
    device of the cutouts.
    """
    cutouts = cutouts.add(noise(0), alpha=recipe.noise)
    cutouts = warp(cutouts, params.affine, params.perspective).add(noise(1), alpha=recipe.noise)
    grey = params.grey[:, None, None, None]
    cutouts = torch.addcmul((1 - grey) * cutouts, grey, grey_of(cutouts))
    cutouts = cutouts.add(noise(2), alpha=recipe.noise)
    if not recipe.jitter and not recipe.hue:
        return cutouts
    return jitter(cutouts, params.blend, params.hue_at, params.back)


def warp(image: Tensor, affine: Tensor, perspective: Tensor | None = None) -> Tensor:
    """Each picture through its maps, bilinear, black outside. image: [N, C, S, S]; maps: see
    AugmentParams.

    Half outside, a pixel fades twice, as torchvision's does: once towards the black around the picture, once
    towards the fill colour.
    """
    side = image.shape[-1]
    line = torch.arange(side, device=image.device, dtype=image.dtype) + (0.5 - side / 2)
    grid = torch.stack([line.expand(side, side), line[:, None].expand(side, side)], -1).reshape(1, -1, 2)
    if perspective is not None:
        seen = grid @ perspective[:, :, :2].mT + perspective[:, None, :, 2]  # [N, S*S, 3]
        grid = seen[..., :2] / seen[..., 2:]
    places = grid @ affine[:, :, :2].mT + affine[:, None, :, 2]  # [N, S*S, 2], (x, y) about the centre
    places = places.reshape(-1, side, side, 2)
    edge = ((side + 1) / 2 - places.abs()).clamp(0, 1)  # 1 inside, 0 from a pixel outside on
    return _sample_bilinear(image, places) * edge.prod(-1)[:, None]


def _sample_bilinear(image: Tensor, places: Tensor) -> Tensor:
    """image: [N, C, S, S]; places: [N, S, S, 2], in pixels about the centre. Bilinear, black outside."""
    side = image.shape[-1]
    if image.is_cuda and torch.are_deterministic_algorithms_enabled():
        return _gather_four(image, places + (side - 1) / 2)  # grid_sample's gradient has no fixed order there
    return F.grid_sample(
        image, places / (side / 2), mode="bilinear", padding_mode="zeros", align_corners=False
    )


def _gather_four(image: Tensor, places: Tensor) -> Tensor:
    """Bilinear sampling by torch.gather, whose gradient has a deterministic form. places: from pixel 0."""
    n, channels, side, _ = image.shape
    low = places.floor()
    fraction = places - low  # [N, S, S, 2]
    flat, total = image.flatten(2), torch.zeros_like(image)
    for right in (0, 1):
        for down in (0, 1):
            x, y = (low[..., 0] + right), (low[..., 1] + down)
            inside = (x >= 0) & (x < side) & (y >= 0) & (y < side)
            weight = (fraction[..., 0] if right else 1 - fraction[..., 0]) * (
                fraction[..., 1] if down else 1 - fraction[..., 1]
            )
            index = (y.clamp(0, side - 1) * side + x.clamp(0, side - 1)).long()
            pixels = flat.gather(2, index.reshape(n, 1, -1).expand(-1, channels, -1)).view_as(image)
            total = total + pixels * (weight * inside)[:, None]
    return total
