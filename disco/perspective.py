"""Perspectives of cutouts: where each pixel of a picture seen askew is looked up."""

from __future__ import annotations

import torch
from torch import Tensor

N_UNIFORM = 9  # numbers that one picture draws: whether it is seen askew, and its four corners


def look_up(uniform: Tensor, side: int, distortion: float, chance: float) -> Tensor:
    """[N, 9] in [0, 1) -> [N, 3, 3]: output (x, y, 1), in pixels about the centre, to where it is looked up.

    Each corner of the picture moves inwards, along both sides, by up to distortion / 2 of the side. With
    probability 1 - chance a picture stays as it is.
    Source: torchvision's RandomPerspective, which rounds the corners to whole pixels.
    """
    half = side / 2
    corners = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])  # [4, 2]
    inwards = uniform[:, 1:].reshape(-1, 4, 2) * distortion  # of half the side
    seen = corners * (1 - inwards) * half  # [N, 4, 2]: where the picture's corners are seen
    askew = _through(seen, (corners * half).expand_as(seen))
    is_askew = (uniform[:, 0] < chance)[:, None, None]
    return torch.where(is_askew, askew, torch.eye(3))


def _through(points: Tensor, goals: Tensor) -> Tensor:
    """The projective maps that take four points to four goals; points, goals: [N, 4, 2]."""
    x, y = points[..., 0], points[..., 1]  # [N, 4]
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    rows = []
    for axis, place in ((0, (x, y, one, zero, zero, zero)), (1, (zero, zero, zero, x, y, one))):
        goal = goals[..., axis]
        rows.append(torch.stack([*place, -x * goal, -y * goal], dim=-1))  # [N, 4, 8]
    values = torch.cat([goals[..., 0], goals[..., 1]], dim=1)  # [N, 8]
    solved = torch.linalg.solve(torch.cat(rows, dim=1).double(), values.double())
    return torch.cat([solved, solved.new_ones(len(solved), 1)], dim=1).reshape(-1, 3, 3).float()
