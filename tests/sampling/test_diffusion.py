"""The maths of diffusion: golden numbers of the original, identities, edges and the text of the errors."""

import json
import math
import re
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from disco.sampling.diffusion import ddim_step, make_steps, predict_eps, predict_x0, q_sample, steps_at
from tests.conftest import relative
from tests.places import GOLDEN

SPACED = [(25, 1000), (50, 1000), (150, 900), (250, 1000)]


def assert_as_golden(steps, key, arrays):
    rising = steps[::-1]
    assert np.array_equal([s.t for s in rising], arrays[f"{key}/model_t"])
    assert relative([s.alpha**2 for s in rising], arrays[f"f64_{key}/alphas_cumprod"]) < 1e-12
    assert relative([s.alpha for s in rising], arrays[f"f64_{key}/sqrt_alphas_cumprod"]) < 1e-12
    assert relative([s.sigma for s in rising], arrays[f"f64_{key}/sqrt_one_minus_alphas_cumprod"]) < 1e-12
    assert relative([s.cosine_t for s in rising], arrays[f"{key}/cosine_t"]) < 1e-6


@pytest.mark.parametrize("steps, training", SPACED)
def test_steps_are_the_originals(golden, steps, training):
    assert_as_golden(make_steps(steps), f"ddim{steps}|{training}", golden("a_timesteps"))


@pytest.mark.parametrize("key", ["25|1000", "10,15,20|1000"])
def test_any_choice_of_timesteps_has_the_originals_levels(golden, key):
    arrays = golden("a_timesteps")
    assert_as_golden(steps_at(arrays[f"{key}/timestep_map"].tolist(), 1000), key, arrays)


@pytest.mark.parametrize("key", ["ddim25|1000", "ddim50|1000", "ddim250|1000", "ddim1000|1000", "none|1000"])
def test_the_stride_picks_the_originals_timesteps(golden, key):
    timesteps = golden("a_timesteps")[f"{key}/timestep_map"]
    assert [s.t for s in make_steps(len(timesteps))[::-1]] == timesteps.tolist()


def test_the_timesteps_of_a_schedule_shorter_than_1000_are_rescaled(golden):
    timesteps = golden("a_timesteps")["ddim150|900/timestep_map"]
    assert [round(s.t * 0.9) for s in make_steps(150)[::-1]] == timesteps.tolist()


TEXTS = json.loads((GOLDEN / "g_text_and_schedules.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "gold", TEXTS["schedule_index_by_step_ddim25"], ids=lambda gold: f"{gold['respacing']}-{gold['skip']}"
)
def test_the_entries_of_schedules_are_the_originals(gold):
    steps = make_steps(int(gold["respacing"].removeprefix("ddim")), gold["skip"])
    assert [step.index for step in steps] == gold["index"]


@pytest.mark.parametrize("steps", [steps for steps, end in TEXTS["respacing_errors"].items() if end == "ok"])
def test_odd_numbers_of_steps_work_as_in_the_original(steps):
    assert len(make_steps(int(steps))) == int(steps)


# settings.md, 1.1.3: first indices and the last one
@pytest.mark.parametrize(
    "steps, skip, first, early",
    [
        (250, 0, [3, 7, 11], 100),
        (250, 10, [43, 47, 51], 90),
        (250, 125, [503], 0),
        (100, 0, [9, 19], 40),
        (150, 0, [6, 13], 60),
        (1000, 0, [0, 1, 2], 400),
    ],
)
def test_schedules_are_read_where_the_original_reads_them(steps, skip, first, early):
    indices = [s.index for s in make_steps(steps, skip)]
    assert indices[: len(first)] == first
    assert indices[-1] == 999
    assert sum(i < 400 for i in indices) == early


@given(st.integers(2, 1500), st.data())
def test_a_run_goes_from_noise_to_the_picture(steps, data):
    skip = data.draw(st.integers(0, steps - 1))
    run = make_steps(steps, skip)
    assert len(run) == steps - skip
    assert [s.i for s in run] == list(range(len(run)))
    assert [s.respaced_index for s in run] == list(range(len(run)))[::-1]
    assert all(0 <= s.t < 1000 and 0 <= s.index <= 999 and s.n == len(run) for s in run)
    assert all(a.t > b.t and (a.alpha_next, a.sigma_next) == (b.alpha, b.sigma) for a, b in pairwise(run))
    assert all(math.isclose(s.alpha**2 + s.sigma**2, 1) and s.alpha_next > s.alpha for s in run)
    assert (run[-1].alpha_next, run[-1].sigma_next) == (1, 0)


def test_the_signal_to_noise_ratio_rises():
    steps = make_steps(25)
    ratios = [step.log_snr for step in steps]
    assert ratios == sorted(ratios)
    assert math.exp(ratios[3]) == pytest.approx(steps[3].alpha ** 2 / steps[3].sigma ** 2)


def test_skipping_leaves_out_the_noisiest():
    whole, rest = make_steps(50), make_steps(50, 20)
    assert [s.t for s in rest] == [s.t for s in whole[20:]]
    assert rest[0].i == 0


@pytest.mark.parametrize("steps", [1, 0, -3])
def test_too_few_steps(steps):
    with pytest.raises(ValueError, match=f"^steps is {steps}: at least 2 are needed$"):
        make_steps(steps)


@pytest.mark.parametrize("skip", [25, 30, -1])
def test_skipping_everything(skip):
    with pytest.raises(ValueError, match=f"^skip_steps is {skip}: with 25 steps it must be from 0 to 24$"):
        make_steps(25, skip)


def test_noise_and_picture_give_each_other_back():
    x0, noise = torch.rand(2, 3, 4, 5) * 2 - 1, torch.randn(2, 3, 4, 5)
    for step in make_steps(25)[5:]:
        x_t = q_sample(x0, step, noise)
        assert torch.allclose(predict_x0(x_t, noise, step), x0, atol=1e-4)
        assert torch.allclose(predict_eps(x_t, x0, step), noise, atol=1e-4)


def test_clip_limits_the_guess_only():
    step = make_steps(25)[20]
    x_t, eps = 3 * torch.randn(1, 3, 4, 4), torch.randn(1, 3, 4, 4)
    assert torch.equal(predict_x0(x_t, eps, step, clip=True), predict_x0(x_t, eps, step).clamp(-1, 1))


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_a_step_keeps_the_noise_level(eta):
    """With the true x0 and independent noises the variance around alpha_next x0 is sigma_next squared."""
    generator = torch.Generator().manual_seed(1)
    x0 = torch.full((1, 3, 200, 200), 0.4)
    for step in make_steps(10):
        eps, noise = (torch.randn(x0.shape, generator=generator) for _ in range(2))
        left = ddim_step(x0, eps, step, eta, noise) - step.alpha_next * x0
        assert math.isclose(left.std().item(), step.sigma_next, rel_tol=0.02)


def test_the_last_step_is_the_guess():
    x0, other = torch.rand(1, 3, 2, 2), torch.randn(1, 3, 2, 2)
    assert torch.equal(ddim_step(x0, other, make_steps(25)[-1], 1.0, other), x0)


@pytest.mark.parametrize("eta", [-0.1, 3.0])
def test_eta_out_of_range(eta):
    x = torch.zeros(1, 3, 2, 2)
    with pytest.raises(ValueError, match=re.escape(f"eta is {eta:g} at step 4: it must be from 0 to 1")):
        ddim_step(x, x, make_steps(25)[4], eta, x)
