"""Cutouts: pictures in [0, 1] -> square crops of CLIP's input side, many at once.

Overview cuts show the whole picture, padded with black to a square; inner cuts are random squares of it.
A resize is a product with two matrices, rows and columns, so that all cuts of a network are two products.
Source: the cutouts that Dango233 wrote for Disco Diffusion; the kernel is Keys' cubic (1981), widened when
the picture shrinks, with black outside the picture, as in ResizeRight (Shocher 2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

Box = tuple[int, int, int]
"""(size, x, y) of a square cut: its side and its left upper corner, in pixels."""

GREY = (0.2989, 0.587, 0.114)  # the luma weights (ITU-R 601) as torchvision rounds them


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
    weights = _grey_weights(image.device, image.dtype)
    return (weights @ image.flatten(-2)).reshape(*image.shape[:-3], 1, *image.shape[-2:])


@lru_cache(maxsize=8)
def _grey_weights(device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.tensor([GREY], device=device, dtype=dtype)  # [1, 3]


def overview_cut(image: Tensor, cut_size: int) -> Tensor:
    """The whole picture, centred in a black square, resized. [B, 3, H, W] -> [B, 3, S, S]."""
    height, width = image.shape[-2:]
    shorter = min(height, width)
    rows = _resize_weights(height, (width - shorter) // 2, cut_size, image.device)  # [S, H]
    columns = _resize_weights(width, (height - shorter) // 2, cut_size, image.device)  # [S, W]
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
    parts = []
    if grey:
        cuts = _inner_cuts(grey_of(image), boxes[:, :, :grey], cut_size)
        parts.append(cuts.expand(-1, -1, -1, 3, -1, -1))
    if boxes.shape[2] > grey:
        parts.append(_inner_cuts(image, boxes[:, :, grey:], cut_size))
    return torch.cat(parts, dim=2)


def _inner_cuts(image: Tensor, boxes: Tensor, cut_size: int) -> Tensor:
    """[B, C, H, W], [B, batches, n, 3] -> [B, batches, n, C, S, S]."""
    side, x, y = boxes.flatten(1, 2).to(image.dtype).unbind(-1)  # [B, cuts] each
    columns = _crop_weights(side, x, image.shape[-1], cut_size)  # [B, cuts, S, W]
    rows = _crop_weights(side, y, image.shape[-2], cut_size)  # [B, cuts, S, H]
    narrow = torch.einsum("bchw,bnsw->bnchs", image, columns)
    cuts = torch.einsum("bnrh,bnchs->bncrs", rows, narrow)
    return cuts.reshape(*boxes.shape[:3], *cuts.shape[2:])


def _cubic(x: Tensor) -> Tensor:
    """Keys' cubic kernel with a = -1/2; 0 from |x| = 2 on."""
    x = x.abs().clamp(max=2)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x <= 1, near, far)


def _crop_weights(side: Tensor, start: Tensor, length: int, cut_size: int) -> Tensor:
    """The matrices that crop [start, start + side) of a line of pixels and resize it to cut_size.

    side, start: [...]. Returns [..., cut_size, length]. Pixels outside the crop count as black.
    """
    side, start = side[..., None, None], start[..., None, None]
    places = torch.arange(cut_size, device=side.device, dtype=side.dtype)[:, None]  # [S, 1]
    centres = (places + 0.5) * (side / cut_size) - 0.5  # [..., S, 1], inside the crop
    stretch = (cut_size / side).clamp(max=1)  # < 1: shrinking, so the kernel is wider
    # The weights sum to 1 before what lies outside is taken away, hence the sum over its whole support.
    reach = 2 * math.ceil(max(length / cut_size, 1)) + 1
    support = centres.round() + torch.arange(-reach, reach + 1, device=side.device, dtype=side.dtype)
    total = _cubic((centres - support) * stretch).sum(-1, keepdim=True)  # [..., S, 1]
    pixels = torch.arange(length, device=side.device, dtype=side.dtype) - start  # [..., 1, length]
    weights = _cubic((centres - pixels) * stretch) / total
    return weights * ((pixels >= 0) & (pixels < side))


@lru_cache(maxsize=64)
def _resize_weights(length: int, pad: int, cut_size: int, device: torch.device) -> Tensor:
    """The matrix that pads a line with black on both sides and resizes it, [cut_size, length], float32."""
    side = torch.tensor(float(length + 2 * pad), dtype=torch.float64)
    weights = _crop_weights(side, torch.zeros((), dtype=torch.float64), length + 2 * pad, cut_size)
    return weights[:, pad : pad + length].float().to(device)


# ---- the older cutouts, which image prompts use ------------------------------------------------------------


def lanczos_resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """[B, C, H, W] -> [B, C, *size]: Lanczos (2 lobes) along each side that shrinks, then bicubic."""
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
    share = torch.zeros(1).normal_(mean=0.8, std=0.3, generator=generator).clip(cut_size / largest, 1.0)
    side = int(largest * share)
    x = int(torch.randint(0, width - side + 1, (), generator=generator))
    y = int(torch.randint(0, height - side + 1, (), generator=generator))
    return side, x, y
