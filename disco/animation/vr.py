"""VR: what the left and the right eye see of a frame, through a fish-eye lens."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from disco.animation.camera3d import Lens, fitting, rotation_matrix, sampling_grid, shift

_BULGE = 0.4  # how far the edge of the picture is drawn in


def eyes(frame: Tensor, depth: Tensor, lens: Lens, *, eye_angle: float, ipd: float) -> tuple[Tensor, Tensor]:
    """(left, right), each [B, 3, H, W] in [-1, 1]: two cameras `ipd` apart, each turned in by `eye_angle`.

    frame, depth: as for warp3d. eye_angle: degrees. ipd: in 1/200 of a unit of depth.
    """
    half = math.cos(math.radians(eye_angle)) * ipd / 2
    turn = rotation_matrix((0, eye_angle, 0))
    left = fisheye(frame, depth, lens, turn=turn, move=shift((-half, 0, 0)))
    right = fisheye(frame, depth, lens, turn=turn.T, move=shift((half, 0, 0)))
    return left, right


def fisheye(frame: Tensor, depth: Tensor, lens: Lens, *, turn: Tensor, move: Tensor) -> Tensor:
    """The frame seen by a camera moved by `turn` and `move` of sampling_grid, then drawn inwards.

    Both lookups put the picture's corners at the centres of its corner pixels, as the original does; what the
    fish-eye shows from outside is black. Returns [B, 3, H, W] in [-1, 1].
    """
    grid = sampling_grid(lens.held(fitting(depth, frame)), turn, move, lens.fov)
    seen = F.grid_sample(
        (frame + 1) / 2 + lens.brightness_offset,
        grid,
        mode=lens.sampling,
        padding_mode=lens.padding,
        align_corners=True,
    )
    height, width = frame.shape[-2:]
    bulge = fisheye_grid(height, width, frame.device).expand(frame.shape[0], -1, -1, -1)
    return F.grid_sample(seen, bulge, align_corners=True).clamp(0, 1) * 2 - 1


def fisheye_grid(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """Each place p in [-1, 1] squared looks up p * (1 + 0.4 * |p|), [1, H, W, 2]."""
    y, x = torch.meshgrid(
        torch.linspace(-1, 1, height, device=device),
        torch.linspace(-1, 1, width, device=device),
        indexing="ij",
    )
    grid = torch.stack([x, y], dim=-1)
    return (grid * (1 + _BULGE * grid.norm(dim=-1, keepdim=True)))[None]
