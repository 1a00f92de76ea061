"""The measure of benchmarks.flicker: on the clip that it draws, whose motion is known."""

from __future__ import annotations

import pytest
import torch

from benchmarks.flicker import (
    FRAMES,
    HEIGHT,
    LAYERS,
    SETTLED,
    WIDTH,
    detail,
    drift,
    flicker,
    motion,
    painted,
    row,
    scene,
)

CLIP = [scene(k).picture[None] for k in range(FRAMES)]
MOTIONS = [motion(k) for k in range(1, FRAMES)]


def test_the_clip_itself_does_not_flicker() -> None:
    assert CLIP[0].shape == (1, 3, HEIGHT, WIDTH)
    assert flicker(CLIP, MOTIONS) == pytest.approx(0, abs=1e-3)
    for flow, seen in MOTIONS:
        assert 0.8 < seen.mean() < 0.95  # not what comes from behind a tree, or from outside
        assert flow[0, 0].unique().tolist()[-2:] == [LAYERS[2], LAYERS[3]] and not flow[0, 1].any()


def test_levels() -> None:
    """Every second frame is ten levels brighter."""
    flickering = [frame + (k % 2) * 10 / 127.5 for k, frame in enumerate(CLIP)]
    assert flicker(flickering, MOTIONS) == pytest.approx(10, abs=1e-2)
    assert detail(flickering) == pytest.approx(detail(CLIP), rel=1e-4)
    assert drift([CLIP[0], CLIP[0] + 10 / 127.5]) == pytest.approx(10, abs=1e-3)


def test_a_row() -> None:
    assert painted([frame - 0.2 for frame in CLIP], CLIP) == pytest.approx(25.5, rel=1e-4)
    assert (
        row("all", [CLIP, [frame - 0.2 for frame in CLIP]], CLIP) == "| all | 0.0 | 7.2 | 0.00 | 1.4 | 12.8 |"
    )


def test_only_settled_frames_count() -> None:
    begun = [torch.rand_like(frame) for frame in CLIP[: SETTLED - 1]]
    assert painted([*begun, *CLIP[SETTLED - 1 :]], CLIP) == 0
    assert flicker([*begun, *CLIP[SETTLED - 1 :]], MOTIONS) == pytest.approx(0, abs=1e-3)
    stripes = torch.zeros_like(CLIP[0])
    stripes[..., ::2] = 20 / 127.5  # each pixel 20 levels from its neighbours to the side, none up and down
    assert detail([*begun, CLIP[0], *[stripes] * (FRAMES - SETTLED)]) == pytest.approx(10, abs=1e-3)
