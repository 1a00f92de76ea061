"""3D animation: the last frame seen by a camera that has moved, given the depth of its pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Padding = Literal["border", "zeros", "reflection"]
Sampling = Literal["bicubic", "bilinear", "nearest"]
PADDINGS: tuple[Padding, ...] = ("border", "zeros", "reflection")
SAMPLINGS: tuple[Sampling, ...] = ("bicubic", "bilinear", "nearest")
UNITS = 200  # translations as users write them are 1/200 of a unit of depth
PLANE_UNITS = 1000  # near and far plane are 1/1000 of one: 200 and 10000 hold what depth networks give
DD57_BRIGHTNESS = 1 / 512 - 0.0001  # added to [0, 1] pictures before they are cut to 8 bits (quirk Q15)
_CLOSEST = 1e-3  # depth that is left to a point which the camera has passed


@dataclass(frozen=True)
class Lens:
    """What stays the same of a camera while it moves.

    fov: degrees; a wider one makes motion weaker. near, far: depth is held between them, in 1/1000 of a unit;
    None for no such end, as in the original, where they had no effect. padding: what comes in from outside:
    the edge pixels, black, or the mirrored picture. sampling: how pixels are looked up. brightness_offset:
    added to the picture in [0, 1]; DD57_BRIGHTNESS in dd57. Raises ValueError for what is not allowed.
    """

    fov: float = 40
    near: float | None = 200
    far: float | None = 10000
    padding: Padding = "border"
    sampling: Sampling = "bicubic"
    brightness_offset: float = 0.0

    def __post_init__(self) -> None:
        near, far = self.near, self.far
        if not 0 < self.fov < 180:
            raise ValueError(f"fov is {self.fov:g}; allowed are angles between 0 and 180 degrees")
        if (near is not None and near <= 0) or (far is not None and far <= (near or 0)):
            raise ValueError(
                f"near_plane is {near} and far_plane {far}; allowed is 0 < near_plane < far_plane"
            )
        if self.padding not in PADDINGS:
            raise ValueError(f"padding_mode is {self.padding!r}; allowed are {', '.join(PADDINGS)}")
        if self.sampling not in SAMPLINGS:
            raise ValueError(f"sampling_mode is {self.sampling!r}; allowed are {', '.join(SAMPLINGS)}")

    def held(self, depth: Tensor) -> Tensor:
        """depth between the planes."""
        if self.near is None and self.far is None:
            return depth
        low, high = (None if end is None else end / PLANE_UNITS for end in (self.near, self.far))
        return depth.clamp(low, high)


def warp3d(
    frame: Tensor, depth: Tensor, lens: Lens, *, translation: Sequence[float], rotation: Sequence[float]
) -> Tensor:
    """The frame as a camera sees it after it has moved by `translation` and turned by `rotation`.

    frame: [B, 3, H, W] float32 in [-1, 1]. depth: [1 or B, 1, H, W], larger = farther, above 0. translation:
    (x, y, z) in 1/200 of a unit of depth; x takes the picture left, y down, z forward (the original's signs).
    rotation: degrees about x, y, z; x takes the picture down, y left, z turns it counter-clockwise.
    Returns [B, 3, H, W] in [-1, 1].
    """
    grid = sampling_grid(
        lens.held(fitting(depth, frame)), rotation_matrix(rotation), shift(translation), lens.fov
    )
    seen = F.grid_sample(
        (frame + 1) / 2 + lens.brightness_offset,
        grid,
        mode=lens.sampling,
        padding_mode=lens.padding,
        align_corners=False,
    )
    return seen.clamp(0, 1) * 2 - 1  # bicubic overshoots


def fitting(depth: Tensor, frame: Tensor) -> Tensor:
    """depth on the frame's device, one for each picture. Raises ValueError if the shapes do not agree."""
    if depth.shape[1:] != (1, *frame.shape[-2:]) or depth.shape[0] not in (1, frame.shape[0]):
        raise ValueError(f"depth {list(depth.shape)} for a frame {list(frame.shape)}")
    return depth.to(frame).expand(frame.shape[0], -1, -1, -1)


def shift(translation: Sequence[float]) -> Tensor:
    """The user's (x, y, z) -> what is added to the points of the scene, in units of depth, [3]."""
    x, y, z = translation
    return torch.tensor([-x / UNITS, y / UNITS, -z / UNITS])


def rotation_matrix(degrees: Sequence[float]) -> Tensor:
    """Angles about x, y, z -> Rx @ Ry @ Rz, [3, 3] float32."""
    x, y, z = (math.radians(angle) for angle in degrees)
    about_x = [[1, 0, 0], [0, math.cos(x), -math.sin(x)], [0, math.sin(x), math.cos(x)]]
    about_y = [[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]]
    about_z = [[math.cos(z), -math.sin(z), 0], [math.sin(z), math.cos(z), 0], [0, 0, 1]]
    turns = [torch.tensor(turn, dtype=torch.float64) for turn in (about_x, about_y, about_z)]
    return (turns[0] @ turns[1] @ turns[2]).float()


def sampling_grid(depth: Tensor, turn: Tensor, move: Tensor, fov: float) -> Tensor:
    """Where the pixels that the moved camera sees lie in the frame, as grid_sample takes it, [B, H, W, 2].

    depth: [B, 1, H, W]. turn [3, 3] and move [3] act on row vectors: p @ turn + move. As in the original, the
    point behind a pixel is (x, y, depth) with x and y from -1 to 1, and a pixel is looked up where it is,
    less the way that its point goes from the one perspective projection to the other. Zero motion gives
    every pixel its own place.
    """
    batch, _, height, width = depth.shape
    y, x = torch.meshgrid(
        torch.linspace(-1, 1, height, device=depth.device),
        torch.linspace(-1, 1, width, device=depth.device),
        indexing="ij",
    )
    points = torch.stack([x.expand(batch, -1, -1), y.expand(batch, -1, -1), depth[:, 0]], dim=-1)
    moved = points @ turn.to(depth) + move.to(depth)  # [B, H, W, 3]
    focal = 1 / math.tan(math.radians(fov) / 2)
    before = focal * points[..., :2] / points[..., 2:]
    after = focal * moved[..., :2] / moved[..., 2:].clamp(min=_CLOSEST)
    still = torch.eye(2, 3, device=depth.device).expand(batch, -1, -1)
    return F.affine_grid(still, [batch, 1, height, width], align_corners=False) - (after - before)
