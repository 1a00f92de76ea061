"""The sampling loops: the original's trajectories, exact data, signs, resuming at every step, symmetry."""

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from disco.sampling.diffusion import make_steps, steps_at
from disco.sampling.samplers import SAMPLERS, SamplerOptions, ddim, identity, make_symmetry, plms, start
from disco.settings import methods
from tests.conftest import GaussianDenoiser, guided_through_the_guess, relative, toy_eps, toy_guided
from tests.places import GOLDEN

SHAPE = (1, 3, 8, 12)
SKIP = 10
TEXTS = json.loads((GOLDEN / "g_text_and_schedules.json").read_text(encoding="utf-8"))


def unguided(x, step):
    return toy_eps(x, step.t), None, {}


def run_ddim(steps, noise, *, eta=0.8, guided=toy_guided, x0=None, skip=0, **options):
    """noise: [1 + steps, B, 3, H, W], the start's and each step's."""
    x_t = start(x0, steps[0], noise[0], skip)
    draw = lambda step: noise[1 + step.i]  # noqa: E731
    return list(ddim(x_t, steps, guided, SamplerOptions(lambda step: eta, draw, **options)))


def run_plms(steps, noise, *, guided=toy_guided, skip=0, **options):
    return list(plms(start(None, steps[0], noise[0], skip), steps, guided, SamplerOptions(**options)))


def assert_as_golden(samples, case, arrays):
    count, *kept = arrays[f"{case}/steps"].tolist()
    assert len(samples) == count
    assert relative(torch.stack([samples[k].x_t for k in kept]), arrays[f"{case}/sample"]) < 1e-5
    assert relative(torch.stack([samples[k].pred_x0 for k in kept]), arrays[f"{case}/pred_xstart"]) < 1e-5


@pytest.fixture(scope="module")
def arrays(golden):
    return golden("e_trajectories")


@pytest.fixture(scope="module")
def noise(arrays):
    return torch.from_numpy(arrays["noise_seed5"])


@pytest.fixture(scope="module")
def init(golden_recipe):
    return torch.from_numpy(golden_recipe.tensor("e/init", SHAPE))


@pytest.mark.parametrize(
    "case, options",
    [
        ("ddim25_eta0", {"eta": 0.0}),
        ("ddim25_eta0.8", {}),
        ("ddim25_eta1", {"eta": 1.0}),
        ("ddim25_eta0.8_skip10", {"skip": SKIP}),
        ("ddim25_eta0.8_clip_denoised", {"clip_denoised": True}),
        ("ddim25_eta0.8_nocond", {"guided": unguided}),
        ("ddim25_eta0.8_condgrad", {"guided": guided_through_the_guess}),
        ("ddim25_eta0.8_symH", {"before_step": make_symmetry(25, True, False, [0.09], "dd57")}),
        ("ddim25_eta0.8_symV", {"before_step": make_symmetry(25, False, True, [0.09, 0.5], "dd57")}),
    ],
)
def test_ddim_goes_as_the_original(arrays, noise, case, options):
    assert_as_golden(run_ddim(make_steps(25, options.get("skip", 0)), noise, **options), case, arrays)


@pytest.mark.parametrize(
    "case, skip, eta", [("ddim25_eta0.8_skip10_init", SKIP, 0.8), ("ddim25_eta0_skip0_init", 0, 0.0)]
)
def test_ddim_from_a_picture_goes_as_the_original(arrays, noise, init, case, skip, eta):
    assert_as_golden(run_ddim(make_steps(25, skip), noise, x0=init, skip=skip, eta=eta), case, arrays)


def test_plain_respacing_goes_as_the_original(arrays, noise, golden):
    steps = steps_at(golden("a_timesteps")["25|1000/timestep_map"].tolist(), 1000)
    assert_as_golden(run_ddim(steps, noise, eta=0.0), "25_eta0", arrays)
    assert_as_golden(run_plms(steps, noise, guided=unguided), "plms_25_nocond", arrays)


def test_two_pictures_at_once_go_as_the_original(arrays):
    generator = torch.Generator().manual_seed(5)
    both = torch.stack([torch.randn(2, *SHAPE[1:], generator=generator) for _ in range(26)])
    assert_as_golden(run_ddim(make_steps(25), both), "ddim25_eta0.8_batch2", arrays)


@pytest.mark.parametrize("compat", ["dd57", "fixed"])
@pytest.mark.parametrize(
    "case, options",
    [
        ("plms25_order2", {}),
        ("plms25_skip10", {"skip": SKIP}),
        ("plms25_condgrad", {"guided": guided_through_the_guess}),
    ],
)
def test_plms_goes_as_the_original(arrays, noise, case, options, compat):
    steps = make_steps(25, options.get("skip", 0))
    assert_as_golden(run_plms(steps, noise, compat=compat, **options), case, arrays)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_real_unet_goes_as_the_original(arrays, golden_recipe):
    from guided_diffusion.script_util import create_model, model_and_diffusion_defaults

    defaults = model_and_diffusion_defaults()
    options = dict(image_size=64, num_channels=32, num_res_blocks=1, num_head_channels=16)
    options |= dict(attention_resolutions="32,16,8", resblock_updown=True, use_scale_shift_norm=True)
    names = create_model.__code__.co_varnames[: create_model.__code__.co_argcount]
    unet = create_model(**{k: (defaults | options | {"learn_sigma": True})[k] for k in names})
    golden_recipe.fill(unet, tag="unet/", gain=0.5).requires_grad_(False)

    def network(x, t):
        return unet(x, torch.full((len(x),), t))

    x = torch.from_numpy(golden_recipe.gauss("e/ux", (1, 3, 32, 64)))
    assert relative(network(x, 480.0), arrays["unet_forward"]) < 1e-5
    noise = torch.randn(1, 3, 32, 64, generator=torch.Generator().manual_seed(5)).expand(26, -1, -1, -1, -1)
    samples = run_ddim(make_steps(25), noise, eta=0.0, guided=lambda x, s: (network(x, s.t)[:, :3], None, {}))
    assert_as_golden(samples, "unet_ddim25_eta0_nocond", arrays)


# Exact data: no golden number needed.


def exact(pull=0.0, **data):
    """Guided by an exact denoiser; and, times pull, towards white."""
    denoiser = GaussianDenoiser(**data)

    def guided(x, step):
        return denoiser(x, step.t), torch.full_like(x, pull) if pull else None, {}

    return guided


def normals(count, shape, seed=1):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_ddim_carries_noise_to_the_data(eta):
    steps = make_steps(250)
    noise = normals(251, (1, 3, 32, 32))
    x_t = run_ddim(steps, noise, eta=eta, guided=exact(mean=0.3, std=0.5))[-1].x_t
    assert abs(x_t.mean() - 0.3) < 0.03
    assert abs(x_t.std() - 0.5) < 0.03


def test_plms_is_nearer_to_the_exact_path_than_ddim():
    """At eta 0 each pixel's path is known: it keeps its place in the distribution."""
    noise = normals(51, (1, 3, 16, 16))
    steps, guided = make_steps(50), exact(mean=0.3, std=0.5)
    truth = 0.3 + 0.5 * (noise[0] - steps[0].alpha * 0.3) / math.hypot(steps[0].alpha * 0.5, steps[0].sigma)
    ours, plain = run_plms(steps, noise, guided=guided), run_ddim(steps, noise, eta=0.0, guided=guided)
    errors = [(samples[-1].x_t - truth).abs().max().item() for samples in (ours, plain)]
    assert errors[0] < 0.2 * errors[1] < 0.2


@pytest.mark.parametrize("run", [run_ddim, run_plms])
def test_guidance_moves_along_its_gradient(run):
    steps, noise = make_steps(10), normals(11, (1, 3, 8, 8))
    plain, bright = run(steps, noise, guided=exact()), run(steps, noise, guided=exact(pull=0.5))
    assert torch.equal(plain[0].pred_x0, bright[0].pred_x0), "the saved guess is the one before guidance"
    assert all((b.x_t > p.x_t).all() for p, b in zip(plain, bright, strict=True))


def test_losses_are_passed_on():
    sample = run_ddim(make_steps(25), normals(26, SHAPE), guided=guided_through_the_guess)[0]
    assert sample.losses["toward"].shape == (1,)


def test_noise_is_drawn_after_the_guidance_at_every_step():
    calls = []

    def guided(x, step):
        calls.append(("guided", step.i))
        return torch.zeros_like(x), None, {}

    def draw(step):
        calls.append(("noise", step.i))
        return torch.zeros(SHAPE)

    list(ddim(torch.zeros(SHAPE), make_steps(3), guided, SamplerOptions(0.0, draw)))
    assert calls == [(kind, i) for i in range(3) for kind in ("guided", "noise")]


def test_eta_may_differ_from_step_to_step():
    steps, noise = make_steps(25), normals(26, SHAPE)
    options = SamplerOptions(lambda s: 0.0 if s.i < 12 else 1.0, lambda s: noise[1 + s.i])
    mixed = ddim(noise[0], steps, toy_guided, options)
    still = run_ddim(steps, noise, eta=0.0)
    same = [torch.equal(a.x_t, b.x_t) for a, b in zip(mixed, still, strict=True)]
    assert same == [True] * 12 + [False] * 13


def test_gradients_stay_as_the_caller_has_them():
    x = torch.zeros(SHAPE)
    for sample in ddim(x, make_steps(3), toy_guided, SamplerOptions()):
        assert torch.is_grad_enabled()
        assert not sample.x_t.requires_grad


# Resuming


@given(st.integers(2, 12), st.data())
def test_ddim_goes_on_exactly_after_any_step(count, data):
    steps = make_steps(count, data.draw(st.integers(0, count - 2)))
    noise, mirror = normals(count + 1, SHAPE), make_symmetry(len(steps), True, False, [0.5])
    whole = run_ddim(steps, noise, before_step=mirror)
    k = data.draw(st.integers(0, len(steps) - 1))
    draw = lambda step: noise[1 + step.i]  # noqa: E731
    options = SamplerOptions(0.8, draw, mirror)
    rest = ddim(whole[k].x_t, steps, toy_guided, options, begin=k + 1)
    pairs = list(zip(whole[k + 1 :], rest, strict=True))
    assert all(torch.equal(a.x_t, b.x_t) and torch.equal(a.pred_x0, b.pred_x0) for a, b in pairs)


@pytest.mark.parametrize("compat", ["dd57", "fixed"])
def test_plms_goes_on_exactly_after_any_step(compat):
    steps, noise = make_steps(8, 1), normals(1, SHAPE)
    whole = run_plms(steps, noise, compat=compat)
    for k, sample in enumerate(whole):
        options, history = SamplerOptions(compat=compat), sample.history
        rest = plms(sample.x_t, steps, toy_guided, options, begin=k + 1, history=history)
        assert all(torch.equal(a.x_t, b.x_t) for a, b in zip(whole[k + 1 :], rest, strict=True))


# plms: what its two calls of the first step are told (quirk Q17)


@pytest.mark.parametrize("compat, level", [("dd57", 0), ("fixed", 1)])
def test_plms_first_step(compat, level):
    seen = []

    def guided(x, step):
        seen.append(step)
        return toy_guided(x, step)

    steps = make_steps(25)
    run_plms(steps, normals(1, SHAPE), guided=guided, compat=compat)
    assert [step.t for step in seen] == [steps[0].t, *(s.t for s in steps[1:2]), *(s.t for s in steps[1:])]
    assert seen[1].index == steps[1].index and seen[1].sigma == steps[1].sigma
    assert seen[1].guidance_level.sigma == steps[level].sigma
    assert all(step.guidance_level is step for step in [seen[0], *seen[2:]])


def test_plms_of_a_single_step_is_the_guess():
    (step,) = make_steps(25, 24)
    (sample,) = run_plms([step], normals(1, SHAPE), guided=unguided)
    assert torch.equal(sample.x_t, sample.pred_x0)


def test_settings_know_every_sampler():
    assert list(SAMPLERS) == list(methods.SAMPLERS)


# Start and symmetry


def test_starts():
    noise, x0 = normals(1, SHAPE)[0][None], torch.full(SHAPE, 0.5)
    first, later = make_steps(25)[0], make_steps(25, 10)[0]
    assert start(None, first, noise) is noise
    assert torch.equal(start(None, later, noise, 10), later.sigma * noise)
    assert torch.equal(start(x0, first, noise), first.alpha * x0 + first.sigma * noise)


# settings.md, 1.2 Symmetry: number of steps executed before it fires, None for never
@pytest.mark.parametrize(
    "steps, skip, percent, dd57, fixed",
    [(250, 0, 0.09, 22, 22), (250, 10, 0.09, 21, 21), (250, 0, 1.0, 249, 249), (250, 10, 0.0, None, 0)],
)
def test_symmetry_fires_once(steps, skip, percent, dd57, fixed):
    run, x = make_steps(steps, skip), torch.randn(SHAPE)
    for compat, moment in (("dd57", dd57), ("fixed", fixed)):
        mirror = make_symmetry(len(run), True, False, [percent], compat)
        fired = [step.i for step in run if mirror(x, step) is not x]
        assert fired == ([] if moment is None else [moment])


@pytest.mark.parametrize("gold", TEXTS["transformation_steps"], ids=lambda gold: str(gold["percent"]))
def test_symmetry_fires_where_the_originals_did(gold):
    """steps_i: the respaced index of each share; the first, 0 %, is one that no step has."""
    x, run = torch.randn(SHAPE), make_steps(gold["n_indices"])
    mirror = make_symmetry(len(run), True, False, gold["percent"], "dd57")
    fired = [step.respaced_index for step in run if mirror(x, step) is not x]
    assert fired == [i for i in gold["steps_i"] if i < len(run)]


@pytest.mark.parametrize("width", [4, 5])
def test_symmetry_copies_left_to_right_then_top_to_bottom(width):
    x = torch.arange(6.0 * width).reshape(1, 1, 6, width)
    step = make_steps(2)[0]
    across = make_symmetry(2, True, False, [0.0])(x, step)
    left = (width + 1) // 2  # a middle column stays
    assert torch.equal(across, across.flip(-1)) and torch.equal(across[..., :left], x[..., :left])
    down = make_symmetry(2, False, True, [0.0])(x, step)
    assert torch.equal(down, down.flip(-2)) and torch.equal(down[..., :3, :], x[..., :3, :])
    both = make_symmetry(2, True, True, [0.0])(x, step)
    assert torch.equal(both, both.flip(-1)) and torch.equal(both, both.flip(-2)) and both.shape == x.shape


def test_without_symmetry_nothing_happens():
    x, step = torch.randn(SHAPE), make_steps(2)[0]
    assert torch.equal(make_symmetry(2, False, False, [0.0])(x, step), x)
    assert identity(x, step) is x


def test_eta_may_be_a_number_or_one_for_each_step() -> None:
    x_t, steps = torch.randn(1, 3, 8, 12), make_steps(10)
    noises = {step.i: torch.randn(1, 3, 8, 12) for step in steps}

    def last(**how: object) -> torch.Tensor:
        options = SamplerOptions(noise=lambda step: noises[step.i], **how)  # type: ignore[arg-type]
        *_, sample = ddim(x_t, steps, toy_guided, options)
        return sample.x_t

    assert torch.equal(last(eta=0.5), last(eta=lambda step: 0.5))
    assert torch.equal(last(), last(eta=0.0)) and not torch.equal(last(), last(eta=0.5))
