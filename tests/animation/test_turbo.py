"""disco.animation.turbo: which frames are rendered, and how much of which picture each shows."""

from __future__ import annotations

import pytest
import torch

from disco.animation.turbo import Turbo, blend, turbo_of
from disco.settings.model import Settings

OLD, MOVED, RENDERED = torch.zeros(1), torch.ones(1), torch.full((1,), 2.0)


def test_which_frames_are_rendered() -> None:
    turbo = Turbo(steps=3, preroll=4)
    assert [frame for frame in range(12) if turbo.is_rendered(frame)] == [0, 1, 2, 3, 4, 6, 9]


@pytest.mark.parametrize(
    ("compat", "shares"),
    [
        ("fixed", [1, 1, 1, 1 / 3, 2 / 3, 1, 1 / 3, 2 / 3]),
        # The original's rule (golden/g_text_and_schedules.json, turbo_blend), in the preroll too.
        ("dd57", [1, 1 / 3, 1 / 3, 1 / 3, 2 / 3, 1, 1 / 3, 2 / 3]),
    ],
)
def test_shares(compat: str, shares: list[float]) -> None:
    turbo = Turbo(steps=3, preroll=2, compat=compat)
    assert [turbo.weight(frame) for frame in range(8)] == pytest.approx(shares)


def test_a_rendered_frame_is_whole_before_the_next_begins() -> None:
    """The last frame that turbo leaves out shows the rendered picture alone: nothing jumps."""
    for steps in (2, 3, 5):
        turbo = Turbo(steps=steps, preroll=1)
        assert turbo.weight(4 * steps - 1) == 1


@pytest.mark.parametrize("compat", ["fixed", "dd57"])
def test_what_fades_out(compat: str) -> None:
    turbo = Turbo(steps=3, preroll=2, compat=compat)
    assert turbo.next_old(1, RENDERED, MOVED, None) is None
    first = turbo.next_old(2, RENDERED, MOVED, None)
    assert first is (MOVED if compat == "dd57" else RENDERED)
    assert turbo.next_old(3, RENDERED, MOVED, OLD) is MOVED
    assert turbo.next_old(4, None, MOVED, OLD) is OLD
    assert turbo.next_old(4, None, MOVED, None) is MOVED  # the state was read back from a picture


def test_blend() -> None:
    assert float(blend(MOVED, OLD, 0.25)) == 0.25
    assert blend(MOVED, OLD, 1) is MOVED and blend(MOVED, None, 0.5) is MOVED


def test_turbo_of_settings() -> None:
    assert turbo_of(Settings(turbo_mode=True)) is None
    settings = Settings(animation_mode="3D", turbo_mode=True, turbo_steps="4", compat="dd57")
    assert turbo_of(settings) == Turbo(4, 10, "dd57")
