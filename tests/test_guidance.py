"""disco.guidance: the original's gradients; signs, seams, costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from disco.guidance import Guidance, PromptTarget
from disco.losses.pixel import LOSSES
from disco.media.images import load_picture
from disco.sampling.diffusion import make_steps
from disco.sampling.randomness import FixedRandom, StreamRandom
from disco.settings.schedules import Schedule
from tests.conftest import EightNumberClip, relative
from tests.golden_nets import golden_lpips, golden_nets, golden_targets, step_at
from tests.guidance_fakes import (
    BUSY,
    ONE,
    STEP,
    TinyClip,
    TinyDenoiser,
    TinySecondary,
    guide,
    options,
    pictures,
)
from tests.places import GOLDEN

CASES: dict[str, dict[str, Any]] = {
    "sec_t14": {},
    "sec_t0": {},
    "sec_t14_clamp": {"clamp_grad": True},
    "sec_t14_tv_sat": {"tv_scale": 5000, "sat_scale": 3000, "range_scale": 1e6},
    "sec_t14_lpips": {"init_scale": 1000},
    "nosec_t14": {},
    "sec_t14_inner_seed42": {"cut_overview": 2, "cut_innercut": 3, "cut_icgray_p": 0.4},
}


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_the_originals(case, golden, golden_recipe) -> None:
    arrays, nets = golden("d_guidance"), golden_nets()
    x_t = torch.from_numpy(1.5 * golden_recipe.gauss("d/x", (1, 3, 32, 64)))
    extra: dict[str, Any] = {}
    if case.endswith("lpips"):
        init = load_picture(str(GOLDEN / "init_48x80.png"), size=(64, 32)).tensor
        assert relative(init, arrays["init"]) < 1e-5
        extra = {"init": init, "lpips": golden_lpips()}
    guided = Guidance(
        nets.denoiser,
        None if case.startswith("nosec") else nets.secondary,
        golden_targets(nets.clips, arrays),
        options(**CASES[case]),
        StreamRandom(42),
        compat="dd57",
        **extra,
    )
    step = step_at(0 if "_t0" in case else 14)
    eps, grad, losses = guided(x_t, step)
    assert grad is not None
    assert relative(grad, arrays[f"grad/{case}"]) < 1e-4
    with torch.no_grad():
        torch.testing.assert_close(eps, nets.denoiser(x_t, step.t))
    ours = torch.cat([losses["A"], losses["B"]])
    assert relative(ours, arrays[f"losses/{case}"].reshape(2, 2).mean(1)) < 1e-4


@pytest.mark.parametrize("name", ["clip_guidance", "tv", "sat", "range"])
def test_a_guided_step_lowers_the_loss(name) -> None:
    opts = options(**({"clip_guidance_scale": 0} | {f"{name}_scale": 100}))
    guided = Guidance(
        TinyDenoiser(), None, [TinyClip("clip_guidance").target()], opts, FixedRandom(1, [0, 1])
    )
    x_t = pictures(2)
    _, grad, before = guided(x_t, STEP)
    after = guided(x_t + 0.02 * grad / grad.square().mean().sqrt(), STEP)[2]
    assert set(before) == {name, "nan"} and (after[name] < before[name]).all()


def test_a_red_prompt_makes_the_picture_redder() -> None:
    clip, x_t = EightNumberClip(), torch.zeros(1, 3, 32, 32)
    target = PromptTarget(clip, clip.encode_text(["red"]), lambda index: torch.ones(1), ONE)
    grad, losses = guide(x_t, target, **{**BUSY, "tv_scale": 0})
    red, green, blue = grad.mean((0, 2, 3))
    assert red > 0 > max(green, blue) and losses["eight"] > 0


def test_range_loss_acts_in_fixed_only() -> None:
    def guided(compat: str) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        opts = options(clip_guidance_scale=0, range_scale=100)
        return Guidance(TinyDenoiser(), None, [], opts, FixedRandom(1, [0]), compat=compat)(pictures(1), STEP)

    assert guided("fixed")[1].abs().max() > 0
    assert guided("dd57")[1] is None


def test_the_gradient_is_minus_the_slope_of_the_losses() -> None:
    torch.manual_seed(0)
    x_t = pictures(1, 9, 11).double()
    clip = TinyClip(dtype=torch.float64)
    scales = {"clip_guidance_scale": 7, "tv_scale": 3, "sat_scale": 2, "range_scale": 5}
    opts = options(**scales, cut_innercut=2)

    def total(x_t: Tensor) -> tuple[float, Tensor]:
        random = FixedRandom(1, [0])
        _, grad, losses = Guidance(TinyDenoiser(), None, [clip.target()], opts, random)(x_t, STEP)
        return sum(
            scale * losses["tiny" if key.startswith("clip") else key.removesuffix("_scale")].item()
            for key, scale in scales.items()
        ), grad

    _, grad = total(x_t)
    direction = torch.randn_like(x_t)
    h = 1e-6
    slope = (total(x_t + h * direction)[0] - total(x_t - h * direction)[0]) / (2 * h)
    assert slope == pytest.approx(-(grad * direction).sum().item(), rel=1e-4)


def test_nothing_to_guide_by_costs_nothing() -> None:
    clip, denoiser = TinyClip(), TinyDenoiser()
    guided = Guidance(denoiser, None, [clip.target()], options(clip_guidance_scale=0), FixedRandom(1, [0]))
    eps, grad, losses = guided(pictures(1), STEP)
    assert (grad, losses, clip.seen, denoiser.calls) == (None, {}, [], [False])
    torch.testing.assert_close(eps, TinyDenoiser()(pictures(1), STEP.t))


class CountingLpips:
    """Distance = mean squared difference; counts how often each half is called."""

    def __init__(self) -> None:
        self.prepared = self.asked = 0

    def prepare(self, init: Tensor) -> Callable[[Tensor], Tensor]:
        self.prepared += 1

        def distance(pictures: Tensor) -> Tensor:
            self.asked += 1
            return (pictures - init).square().mean([1, 2, 3])

        return distance


def test_a_loss_of_scale_0_is_never_evaluated(monkeypatch) -> None:
    def refuse(image: Tensor) -> Tensor:
        raise AssertionError("evaluated")

    refused = tuple(replace(loss, function=refuse) for loss in LOSSES)
    monkeypatch.setattr("disco.guidance.LOSSES", refused)
    lpips, silent = CountingLpips(), TinyClip("silent")
    targets = [TinyClip().target(), silent.target(Schedule.parse(0))]
    random, x_t = FixedRandom(1, [0]), pictures(1)
    guided = Guidance(
        TinyDenoiser(), TinySecondary(), targets, options(init_scale=0), random, init=x_t, lpips=lpips
    )
    losses = guided(x_t, STEP)[2]
    assert set(losses) == {"tiny", "nan"}
    assert (lpips.prepared, lpips.asked, silent.seen) == (0, 0, [])


def test_the_init_is_looked_at_once_and_pulls() -> None:
    lpips, init = CountingLpips(), torch.zeros(1, 3, 20, 28)
    opts = options(clip_guidance_scale=0, init_scale="[0]*500+[1000]*500")
    guided = Guidance(
        TinyDenoiser(), TinySecondary(), [], opts, FixedRandom(1, [0, 1]), init=init, lpips=lpips
    )
    late = [step for step in make_steps(25) if step.index >= 500]
    assert guided(pictures(2), make_steps(25)[0])[1] is None
    x_t = pictures(2)
    for step in late[:3]:
        grad, losses = guided(x_t, step)[1:]
        after = guided(x_t + 0.05 * grad / grad.square().mean().sqrt(), step)[2]
        assert (after["init"] < losses["init"]).all()
    assert (lpips.prepared, lpips.asked) == (1, 6)


@pytest.mark.parametrize("secondary", [None, TinySecondary()])
def test_the_unet_runs_once_with_a_gradient_only_if_needed(secondary) -> None:
    denoiser = TinyDenoiser()
    guided = Guidance(denoiser, secondary, [TinyClip().target()], options(), FixedRandom(1, [0]))
    eps, _, _ = guided(pictures(1), STEP)
    assert denoiser.calls == [secondary is None] and not eps.requires_grad


def test_it_works_under_no_grad_as_the_loops_call_it() -> None:
    expected, _ = guide(pictures(1), TinyClip().target(), **BUSY)
    with torch.no_grad():
        grad, _ = guide(pictures(1), TinyClip().target(), **BUSY)
    torch.testing.assert_close(grad, expected)


def test_the_guidance_may_take_its_level_from_another_step() -> None:
    first, second = make_steps(25)[3:5]
    x_t, target = pictures(1), TinyClip().target()
    mixed, _ = guide(
        x_t, target, step=replace(second, guided_as=first), clip_guidance_scale="[1]*170+[2]*830"
    )
    of_first, _ = guide(x_t, target, step=first, clip_guidance_scale=2)
    assert first.index < 170 <= second.index
    torch.testing.assert_close(mixed, of_first)
    denoiser = TinyDenoiser()
    guided = Guidance(denoiser, None, [target], options(), FixedRandom(1, [0]))
    guided(x_t, replace(second, guided_as=first))
    assert denoiser.calls == [False, True]


class BlindTo(TinyClip):
    """Gives NaN for cutouts of very bright pictures."""

    def encode_image(self, cutouts: Tensor) -> Tensor:
        bright = cutouts.amax((1, 2, 3), keepdim=True) > 1
        return super().encode_image(torch.where(bright, torch.nan, 1.0) * cutouts)


def test_a_picture_with_nan_is_not_guided_and_counted() -> None:
    x_t = pictures(3)
    expected, _ = guide(x_t, TinyClip().target(), clamp_grad=True)
    x_t[1] += 100
    grad, losses = guide(x_t, BlindTo().target(), clamp_grad=True)
    assert losses["nan"].tolist() == [0, 1, 0]
    assert (grad[1] == 0).all()
    torch.testing.assert_close(grad[[0, 2]], expected[[0, 2]])


def test_the_clamp_is_that_of_the_schedule() -> None:
    grad, _ = guide(pictures(2), TinyClip().target(), clamp_grad=True, clamp_max="[9]*100+[0.02]*900")
    rms = grad.square().mean([1, 2, 3]).sqrt()
    torch.testing.assert_close(rms, torch.full((2,), 0.02))


def test_no_cutouts_are_no_guidance() -> None:
    guided = Guidance(
        TinyDenoiser(), None, [TinyClip().target()], options(cut_overview=0), FixedRandom(1, [0])
    )
    assert guided(pictures(1), STEP)[1] is None
