"""disco.animation.transition: what a frame loses on its way to the next one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from disco.animation.transition import FrameTransition
from disco.settings.model import Settings

STILL = {"angle": 0, "zoom": 1} | {f"translation_{axis}": 0 for axis in "xyz"}
STILL |= {f"rotation_3d_{axis}": 0 for axis in "xyz"}


def transition(mode: str, compat: str) -> FrameTransition:
    settings = Settings(animation_mode=mode, compat=compat, **STILL)
    return FrameTransition(
        settings, torch.device("cpu"), depth=lambda frame: torch.ones(1, 1, *frame.shape[-2:])
    )


def flat(level: float) -> Tensor:
    """A picture of one colour. level: 0..255."""
    return torch.full((1, 3, 8, 8), level / 255 * 2 - 1)


@pytest.mark.parametrize(
    ("mode", "level", "moved"),
    # 2D rounds. 3D adds 255 / 512 - 0.0255 = 0.47 levels and cuts off.
    [("2D", 100.4, 100), ("2D", 100.6, 101), ("3D", 100.4, 100), ("3D", 100.6, 101), ("3D", 100, 100)],
)
def test_moved_frames_have_8_bits_in_dd57_only(mode: str, level: float, moved: float) -> None:
    for compat, expected in (("dd57", moved), ("fixed", level)):
        picture, steady = transition(mode, compat).moved(1, flat(level))
        torch.testing.assert_close(picture, flat(expected), rtol=0, atol=1e-5)
        assert steady is None


@pytest.mark.parametrize("mode", ["2D", "3D"])
def test_kept_frames_have_8_bits_in_dd57_only(mode: str) -> None:
    for compat, expected in (("dd57", 100), ("fixed", 100.6)):
        torch.testing.assert_close(
            transition(mode, compat).kept(flat(100.6)), flat(expected), rtol=0, atol=1e-5
        )
