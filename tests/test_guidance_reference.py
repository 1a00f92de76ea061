"""disco.guidance against benchmarks/reference.py: cut by cut, batch by batch, the same gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch import Tensor

import disco.cutouts
import disco.losses.clip
from benchmarks import guidance, networks
from benchmarks.reference import Reference
from disco.guidance import Guidance
from disco.media.resize import crop_matrices, dense_cuts
from disco.sampling.diffusion import make_steps
from disco.sampling.randomness import FixedRandom, StreamRandom
from disco.settings.schedules import Schedule
from tests.conftest import relative
from tests.guidance_fakes import TinyClip, TinyDenoiser, TinySecondary, options, pictures

STEPS = make_steps(25)
TARGETS = [TinyClip("a").target(), TinyClip("b", 12, 3).target(Schedule.parse(0.5)), TinyClip("c").target()]


def as_on_a_gpu(image: Tensor, boxes: Tensor, cut_size: int) -> Tensor:
    """All cuts as two products, in place of one by one."""
    size = (image.shape[2], image.shape[3])
    return dense_cuts(image, *crop_matrices(boxes.to(image.dtype), size, cut_size))


def two_phases(early: int, late: int) -> str:
    """A schedule like the original's: one value, then another from index 400 on."""
    return f"[{early}]*400+[{late}]*600"


def check(size: tuple[int, int], batch: int, at: int, compat: str, values: dict[str, Any], seed: int) -> None:
    """Every picture of a batch; `at`: which of 25 steps."""
    opts = options(**{"tv_scale": 300, "sat_scale": 200, "range_scale": 150, **values})
    secondary = TinySecondary() if at % 2 else None

    def parts() -> tuple[Any, ...]:
        random = FixedRandom(seed, range(batch)) if compat == "fixed" else StreamRandom(seed)
        return TinyDenoiser(), secondary, TARGETS, opts, random

    x_t = pictures(batch, *size, seed=seed)
    _, grad, _ = Guidance(*parts(), compat=compat)(x_t, STEPS[at])
    assert grad is not None
    for k in range(batch):
        plain = Reference(*parts(), compat=compat, picture=k)(x_t[k : k + 1], STEPS[at])
        assert relative(grad[k], plain[0].numpy()) < 1e-4


VALUES = st.fixed_dictionaries(
    {
        "cut_overview": st.builds(two_phases, st.integers(1, 5), st.integers(0, 3)),
        "cut_innercut": st.builds(two_phases, st.integers(0, 3), st.integers(1, 5)),
        "cut_icgray_p": st.sampled_from([0, 0.4, 1]),
        "cut_ic_pow": st.just(0.7),
        "cutn_batches": st.integers(1, 3),
        "skip_augs": st.booleans(),
        "hue_jitter_max": st.sampled_from([0, 0.05, 0.5]),
        "animation_mode": st.sampled_from(["None", "2D", "Video Input"]),
        "clip_batch": st.sampled_from(["auto", 1, 3, 7]),
        "clamp_grad": st.booleans(),
    }
)


@examples(derandomize=True, max_examples=30, deadline=None)
@given(
    size=st.tuples(st.integers(6, 40), st.integers(6, 40)),
    batch=st.integers(1, 3),
    at=st.integers(0, 24),
    values=VALUES,
    at_once=st.sampled_from([1, 3, 100]),
    on_gpu=st.booleans(),
    seed=st.integers(0, 50),
)
def test_the_gradient_is_the_plain_one(size, batch, at, values, at_once, on_gpu, seed) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disco.memory.devices, "CPU_PIXELS", at_once * 64)
        if on_gpu:
            patch.setattr(disco.cutouts, "banded_cuts", as_on_a_gpu)
        check(size, batch, at, "fixed", values, seed)


@pytest.mark.parametrize(
    ("cuts", "skip_augs"), [((3, 2), False), ((6, 3), False), ((4, 0), False), ((0, 4), True)]
)
def test_so_it_is_from_the_originals_one_stream(cuts, skip_augs) -> None:
    values = {"cut_overview": cuts[0], "cut_innercut": cuts[1], "skip_augs": skip_augs}
    check((33, 21), 1, 9, "dd57", values | {"cut_icgray_p": 0.5, "cutn_batches": 2}, 4)


def test_the_benchmark_compares_the_same_gradients() -> None:
    """With open_clip's networks; a few pixels beside a kink of the colours weigh little in the norm."""
    clips = networks.clips("tiny", torch.device("cpu"))[:1]
    cell = guidance.Cell("tiny", networks.TINY_SECONDARY, (64, 64), "late")
    rows = guidance.measure(cell, clips, torch.device("cpu"), turns=1)
    assert [row["compared"] for row in rows] == ["fixed", "dd57", "default"]
    assert all(float(row["difference"]) < 1e-3 for row in rows[:2]), rows
    assert all(row["plain, s"] > 0 and row["ours, s"] > 0 for row in rows)
