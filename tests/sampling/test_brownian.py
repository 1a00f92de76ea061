"""Noise by its level: whatever levels a run visits, it follows the same Brownian motion."""

import random

import pytest
import torch

from disco.sampling import brownian
from disco.sampling.brownian import BrownianMotion
from disco.sampling.diffusion import ddim_step, make_steps, predict_eps, steps_at
from disco.sampling.noise import NoiseOptions
from disco.sampling.randomness import FixedRandom

BY_LEVEL = NoiseOptions(by="level")
SHAPE = (2, 3, 8, 8)


def ancestral(timesteps, x0, eps, source):
    """x_t by log-SNR of a run at eta 1 whose pred_x0 is always x0."""
    steps = steps_at(timesteps, 1000)
    x_t, seen = steps[0].alpha * x0 + steps[0].sigma * eps, {}
    for step in steps:
        seen[step.log_snr] = x_t
        noise = source.step_noise(step, SHAPE)
        x_t = ddim_step(x0, predict_eps(x_t, x0, step), step, 1.0, noise)
    return seen


@pytest.mark.parametrize("seed", range(6))
def test_any_two_lists_of_steps_meet_at_shared_levels(seed):
    draw = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    x0, eps = torch.rand(SHAPE, generator=generator), torch.randn(SHAPE, generator=generator)
    lists = [[*sorted(draw.sample(range(999), draw.randint(2, 120))), 999] for _ in range(2)]
    lists[1] = sorted({*lists[1], *draw.sample(lists[0], 2)})
    one, other = (ancestral(ts, x0, eps, FixedRandom(7, [0, 3], BY_LEVEL)) for ts in lists)
    shared = one.keys() & other.keys()
    assert len(shared) >= 3
    assert all((one[level] - other[level]).abs().max() < 1e-5 for level in shared)


@pytest.mark.parametrize("count", [10, 50, 1000, 4000])
def test_it_is_white_and_independent_from_step_to_step(count):
    source = FixedRandom(1, [0], BY_LEVEL)
    steps = make_steps(count)[:-1][:: max(count // 100, 1)]
    noise = torch.stack([source.step_noise(step, (1, 3, 48, 48)).flatten() for step in steps])
    assert (noise.var(1) - 1).abs().max() < 0.09 and noise.mean(1).abs().max() < 0.06
    assert (noise[1:] * noise[:-1]).mean(1).abs().max() < 0.06


def test_a_resumed_run_and_one_alone_in_its_batch_draw_the_same():
    steps, whole = make_steps(20), FixedRandom(1, [4, 9], BY_LEVEL)
    drawn = [whole.step_noise(step, SHAPE) for step in steps]
    again = FixedRandom(1, [9], BY_LEVEL)
    for k in (12, 13, 13, 3):  # a retry, and a step back
        assert torch.equal(again.step_noise(steps[k], (1, *SHAPE[1:])), drawn[k][1:])


def test_it_keeps_no_more_than_it_may(monkeypatch):
    steps, kept = make_steps(20), FixedRandom(1, [0, 1], BY_LEVEL)
    expected = [kept.step_noise(step, SHAPE) for step in steps]
    monkeypatch.setattr(brownian, "_MAX_KEPT_BYTES", 0)
    bare = FixedRandom(1, [0, 1], BY_LEVEL)
    assert all(torch.equal(bare.step_noise(s, SHAPE), e) for s, e in zip(steps, expected, strict=True))


def test_the_last_step_adds_none_and_levels_must_rise():
    assert not FixedRandom(1, [0, 1], BY_LEVEL).step_noise(make_steps(10)[-1], SHAPE).any()
    motion = BrownianMotion(lambda kind, number: torch.zeros(1))
    message = r"^noise from log-SNR 2 to 1: both must rise within -16 to 16$"
    with pytest.raises(ValueError, match=message):
        motion.noise(2.0, 1.0)


def test_cutouts_and_masks_go_by_the_level_too():
    """Runs of 10 and 20 steps of one schedule: a shared level that is the first of its bucket in both."""
    few, many = steps_at(range(99, 1000, 100), 1000), steps_at(range(49, 1000, 50), 1000)
    source, compared = FixedRandom(1, [0], BY_LEVEL), 0
    for step in few:
        twin = next(other for other in many if other.t == step.t)
        shape = (1, *SHAPE[1:])
        assert torch.equal(source.mask_noise(step, shape), source.mask_noise(twin, shape))
        if step.number_in_bucket == twin.number_in_bucket:
            a, b = (source.crops(s, 0, 0)[0].initial_seed() for s in (step, twin))
            assert a == b
            compared += step.i != twin.i
    assert compared >= 3


@pytest.mark.parametrize("count", [2, 50, 250, 999, 1000, 1500, 2000, 3000, 4000])
def test_no_two_levels_share_a_cell(count):
    """Two of one cell would be drawn without regard to each other."""
    width = (brownian.HIGHEST - brownian.LOWEST) / 2**brownian.DEPTH
    cells = [int((step.log_snr - brownian.LOWEST) // width) for step in make_steps(count)]
    assert len(set(cells)) == count and 0 <= min(cells) and max(cells) < 2**brownian.DEPTH
