"""Cutouts: pictures in [0, 1] -> square crops of CLIP's input side, many at once.

Overview cuts show the whole picture, padded with black to a square; inner cuts are random squares of it.
Source: the cutouts that Dango233 wrote for Disco Diffusion.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from disco.media.resize import banded_cuts, crop_matrices, dense_cuts, resize_weights

Box = tuple[int, int, int]
"""(size, x, y) of a square cut: its side and its left upper corner, in pixels."""

GREY = (0.2989, 0.587, 0.114)  # sampling.masks.LUMA, as torchvision rounds it in rgb_to_grayscale


@dataclass(frozen=True)
class CutPlan:
    """What to cut at one noise level, per picture and batch of cuts.

    grey: how many of the inner cuts are grey, the first ones. power: the higher, the smaller the inner cuts.
    """

    overview: int
    inner: int
    grey: int
    power: float
    overview_variants: tuple[int, ...]
    """Which of plain, grey, mirrored, grey and mirrored (0..3) each overview cut is."""

    @property
    def n(self) -> int:
        """Cuts in all."""
        return self.overview + self.inner


def make_plan(overview: int, inner: int, power: float, grey_share: float, compat: str = "fixed") -> CutPlan:
    """overview, inner: numbers of cuts. grey_share: 0..1, of the inner cuts (quirk Q4).

    "fixed": the overview goes round the four variants; round(share * inner) inner cuts are grey.
    "dd57": more than four overview cuts are all plain; int(share * inner) + 1 inner cuts are grey.
    """
    if compat == "dd57":
        variants = tuple(range(overview)) if overview <= 4 else (0,) * overview
        grey = min(int(grey_share * inner) + 1, inner)
    else:
        variants = tuple(k % 4 for k in range(overview))
        grey = min(math.floor(grey_share * inner + 0.5), inner)
    return CutPlan(overview, inner, grey, power, variants)


def draw_boxes(
    generator: torch.Generator, n: int, size: tuple[int, int], cut_size: int, power: float
) -> list[Box]:
    """The n inner cuts of one picture, drawn on the host: side, then x, then y of each.

    size: (H, W). Sides lie between cut_size and the shorter side; all are that side if it is below cut_size.
    """
    height, width = size
    largest = min(height, width)
    smallest = min(largest, cut_size)
    boxes = []
    for _ in range(n):
        side = int(torch.rand([], generator=generator) ** power * (largest - smallest) + smallest)
        x = int(torch.randint(0, width - side + 1, (), generator=generator))
        y = int(torch.randint(0, height - side + 1, (), generator=generator))
        boxes.append((side, x, y))
    return boxes


def grey_of(image: Tensor) -> Tensor:
    """[..., 3, H, W] -> [..., 1, H, W], the luma."""
    weights = luma_weights(image.device, image.dtype)
    return (weights @ image.flatten(-2)).reshape(*image.shape[:-3], 1, *image.shape[-2:])


@lru_cache(maxsize=8)
def luma_weights(device: torch.device, dtype: torch.dtype) -> Tensor:
    """GREY as a row."""
    return torch.tensor([GREY], device=device, dtype=dtype)  # [1, 3]


def overview_cut(image: Tensor, cut_size: int) -> Tensor:
    """The whole picture, centred in a black square, resized. [B, 3, H, W] -> [B, 3, S, S]."""
    height, width = image.shape[-2:]
    shorter = min(height, width)
    rows = resize_weights(height, (width - shorter) // 2, cut_size, image.device)  # [S, H]
    columns = resize_weights(width, (height - shorter) // 2, cut_size, image.device)  # [S, W]
    return rows.to(image.dtype) @ image @ columns.to(image.dtype).T


def cut(image: Tensor, overview: Tensor, boxes: Tensor, plan: CutPlan) -> Tensor:
    """All cutouts of one network, in the order overview, grey inner, other inner.

    image: [B, 3, H, W] in [0, 1]. overview: its overview_cut, [B, 3, S, S]. boxes: [B, batches, inner, 3] as
    draw_boxes gives them. Returns [B, batches, n, 3, S, S] on the same scale.
    """
    parts = []
    if plan.overview:
        whole = _variants(overview, plan.overview_variants)  # [B, overview, 3, S, S]
        parts.append(whole[:, None].expand(-1, boxes.shape[1], -1, -1, -1, -1))
    if plan.inner:
        parts.append(_inner(image, boxes, plan.grey, overview.shape[-1]))
    return torch.cat(parts, dim=2)


def cut_once(image: Tensor, overview: Tensor, boxes: Tensor, plan: CutPlan) -> tuple[Tensor, Tensor]:
    """The same without repetitions, for cutouts that no augmentation will make different.

    Returns them, [B, M, 3, S, S], and how often each stands in cut(), [M] on the CPU.
    """
    n_batches = boxes.shape[1]
    parts, counts = [], []
    if plan.overview:
        distinct = sorted(set(plan.overview_variants))
        parts.append(_variants(overview, distinct))
        counts += [n_batches * plan.overview_variants.count(k) for k in distinct]
    if plan.inner:
        parts.append(_inner(image, boxes, plan.grey, overview.shape[-1]).flatten(1, 2))
        counts += [1] * (n_batches * plan.inner)
    return torch.cat(parts, dim=1), torch.tensor(counts, dtype=torch.float32)


def _variants(overview: Tensor, which: Sequence[int]) -> Tensor:
    """[B, 3, S, S] -> [B, len(which), 3, S, S]."""
    made = {0: overview}
    if 1 in which or 3 in which:
        made[1] = grey_of(overview).expand_as(overview)
    if 2 in which:
        made[2] = overview.flip(-1)
    if 3 in which:
        made[3] = made[1].flip(-1)
    return torch.stack([made[k] for k in which], dim=1)


def _inner(image: Tensor, boxes: Tensor, grey: int, cut_size: int) -> Tensor:
    """The inner cuts, the first `grey` of each batch resized on one channel. [B, batches, inner, 3, S, S]."""
    each, square, n_grey = boxes.shape[:2], (cut_size, cut_size), boxes.shape[1] * grey
    sorted_boxes = torch.cat([boxes[:, :, :grey].flatten(1, 2), boxes[:, :, grey:].flatten(1, 2)], 1)
    crop, parts = _cropper(sorted_boxes, image, cut_size), []
    if grey:
        cuts = crop(grey_of(image), slice(0, n_grey))
        parts.append(cuts.reshape(*each, grey, 1, *square).expand(-1, -1, -1, 3, -1, -1))
    if boxes.shape[2] > grey:
        parts.append(crop(image, slice(n_grey, None)).reshape(*each, -1, 3, *square))
    return torch.cat(parts, dim=2)


def _cropper(boxes: Tensor, image: Tensor, cut_size: int) -> Callable[[Tensor, slice], Tensor]:
    """crop(picture, some): some of the boxes [B, cuts, 3], cut out of pictures of the size of `image`."""
    if image.device.type == "cpu":
        return lambda picture, some: banded_cuts(picture, boxes[:, some], cut_size)
    size = (image.shape[2], image.shape[3])
    rows, columns = crop_matrices(boxes.to(image.dtype), size, cut_size)
    return lambda picture, some: dense_cuts(picture, rows[:, some], columns[:, some])


# ---- the older cutouts, which image prompts use ------------------------------------------------------------


def lanczos_resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """[B, C, H, W] -> [B, C, *size]: Lanczos (2 lobes) along each side that shrinks, then bicubic.

    Source: Crowson's `resample` in her CLIP-guided diffusion notebook, 2021 (see NOTICE).
    """
    batch, channels, height, width = image.shape
    rows = image.reshape(batch * channels, 1, height, width)
    if size[0] < height:
        kernel = _lanczos_kernel(size[0] / height).to(rows)
        pad = len(kernel) // 2
        rows = F.conv2d(F.pad(rows, (0, 0, pad, pad), "reflect"), kernel[None, None, :, None])
    if size[1] < width:
        kernel = _lanczos_kernel(size[1] / width).to(rows)
        pad = len(kernel) // 2
        rows = F.conv2d(F.pad(rows, (pad, pad, 0, 0), "reflect"), kernel[None, None, None, :])
    rows = rows.reshape(batch, channels, height, width)
    return F.interpolate(rows, size, mode="bicubic", align_corners=True)


def _lanczos_kernel(ratio: float, lobes: int = 2) -> Tensor:
    """Samples of the Lanczos window at multiples of ratio, sum 1."""
    reach = math.ceil(lobes / ratio) - 1
    x = torch.arange(-reach, reach + 1, dtype=torch.float64) * ratio
    window = torch.where(x.abs() < lobes, torch.sinc(x) * torch.sinc(x / lobes), 0.0)
    return window / window.sum()


def classic_cutouts(
    image: Tensor, cut_size: int, n: int, generator: torch.Generator, augment: Callable[[Tensor], Tensor]
) -> Tensor:
    """Cuts of one padded picture, [1, 3, H, W] -> [n, 3, S, S]: random squares, the last quarter whole.

    Around the picture comes a border of zeros, a quarter of its height. Each cut is given to `augment` before
    it is resized; a square's side, x and y are drawn just before that. The whole picture is not made square.
    """
    image = F.pad(image, (image.shape[2] // 4,) * 4)
    cuts = []
    for k in range(n):
        piece = image
        if k <= n - n // 4:
            side, x, y = _classic_box(generator, (image.shape[2], image.shape[3]), cut_size)
            piece = image[:, :, y : y + side, x : x + side]
        cuts.append(lanczos_resize(augment(piece), (cut_size, cut_size)))
    return torch.cat(cuts)


def _classic_box(generator: torch.Generator, size: tuple[int, int], cut_size: int) -> Box:
    """A square whose side is normally distributed about 0.8 of the shorter side. size: (H, W)."""
    height, width = size
    largest = min(height, width)
    fraction = torch.zeros(1).normal_(mean=0.8, std=0.3, generator=generator).clip(cut_size / largest, 1.0)
    side = int(largest * fraction)
    x = int(torch.randint(0, width - side + 1, (), generator=generator))
    y = int(torch.randint(0, height - side + 1, (), generator=generator))
    return side, x, y
