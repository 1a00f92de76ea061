"""disco.guidance and disco.clip_loss: the original's gradients; the fast path against a plain reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch import Tensor, nn

from disco.augment import augment, augment_dd57, draw_uniform, make_params
from disco.cutouts import draw_boxes, grey_of, overview_cut
from disco.diffusion import Step, make_steps
from disco.guidance import Guidance, Target, make_guidance
from disco.images import load_picture
from disco.losses import range_loss, spherical_dist, tv_loss
from disco.lpips_model import PerceptualNet
from disco.randomness import FixedRandom, StreamRandom
from disco.schedules import Schedule
from disco.secondary_model import SecondaryModel, SecondaryOutput
from disco.unet import Denoiser, build_unet
from tests.conftest import GOLDEN, EightNumberClip, relative


def options(**values: Any) -> Any:
    """The settings that guidance reads; every value may be written as in YAML."""
    base: dict[str, Any] = {
        "clip_guidance_scale": 5000,
        "tv_scale": 0,
        "range_scale": 0,
        "sat_scale": 0,
        "init_scale": 0,
        "clamp_grad": False,
        "clamp_max": 0.05,
        "cutn_batches": 2,
        "cut_overview": 4,
        "cut_innercut": 0,
        "cut_ic_pow": 1,
        "cut_icgray_p": 0,
        "skip_augs": True,
        "clip_batch": "auto",
    }
    kinds = {"skip_augs": bool, "cutn_batches": int, "cut_overview": int, "cut_innercut": int}
    return SimpleNamespace(
        **{
            key: value
            if key in ("clamp_grad", "clip_batch")
            else Schedule.parse(value, kinds.get(key, float))
            for key, value in (base | values).items()
        }
    )


ONE = Schedule.parse(1)


@dataclass
class TinyClip:
    """Convolution, tanh, mean: a CLIP with a gradient everywhere. Counts the cutouts it saw."""

    name: str = "tiny"
    image_size: int = 8
    seed: int = 0
    seen: list[int] = field(default_factory=list)
    most: int = 10**9
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        g = torch.Generator().manual_seed(self.seed)
        self.weight = torch.randn(6, 3, 4, 4, generator=g).to(self.dtype)
        self.mix = torch.randn(6, 5, generator=g).to(self.dtype)

    def encode_image(self, cutouts: Tensor) -> Tensor:
        if len(cutouts) > self.most:
            raise torch.cuda.OutOfMemoryError("no room")
        self.seen.append(len(cutouts))
        assert cutouts.shape[1:] == (3, self.image_size, self.image_size)
        return torch.tanh(F.conv2d(cutouts - 0.5, self.weight, stride=2)).mean((2, 3)) @ self.mix

    def target(self, weight: Schedule = ONE) -> Target:
        g = torch.Generator().manual_seed(self.seed + 1)
        embeds = torch.randn(3, 5, generator=g).to(self.dtype)
        return Target(self, embeds, lambda index: torch.tensor([1.5, -1.0, 0.5]).to(self.dtype), weight)


class TinySecondary(nn.Module):
    """A guess that depends on x_t and t, each picture by itself."""

    def forward(self, x_t: Tensor, t: Tensor) -> SecondaryOutput:
        mixed = torch.tanh(x_t + 0.3 * x_t.roll(1, -1)) * (1 - t[:, None, None, None])
        return SecondaryOutput(x_t, mixed, x_t)


@dataclass
class TinyDenoiser:
    calls: list[bool] = field(default_factory=list)

    def __call__(self, x_t: Tensor, t: float) -> Tensor:
        self.calls.append(torch.is_grad_enabled())
        return torch.sin(x_t) + 0.1 * x_t.roll(1, -2)


STEP = make_steps(25)[10]


def pictures(n: int, height: int = 20, width: int = 28, seed: int = 0) -> Tensor:
    return torch.stack(
        [torch.randn(3, height, width, generator=torch.Generator().manual_seed(seed + k)) for k in range(n)]
    )


def guide(
    x_t: Tensor, *targets: Target, step: Step = STEP, **values: Any
) -> tuple[Tensor, dict[str, Tensor]]:
    """Gradient and losses with the tiny secondary network."""
    random = FixedRandom(1, range(len(x_t)))
    guided = Guidance(TinyDenoiser(), TinySecondary(), targets, options(**values), random)
    _, grad, losses = guided(x_t, step)
    assert grad is not None and not grad.requires_grad
    return grad, losses


# ---- the original's numbers -----------------------------------------------------------------------------


class OpenAiClip:
    """The image tower of openai's clip.model.CLIP (ViT), built from open_clip, filled by the old names."""

    def __init__(self, recipe: ModuleType, tag: str, embed_dim: int, image_size: int, name: str) -> None:
        import open_clip

        self.name, self.image_size = name, image_size
        self.network = open_clip.model.CLIP(
            embed_dim=embed_dim,
            vision_cfg={
                "image_size": image_size,
                "layers": 2,
                "width": 64,
                "head_width": 64,
                "patch_size": 8,
            },
            text_cfg={"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2},
            quick_gelu=True,
        )
        with torch.no_grad():
            for key, value in self.network.named_parameters():
                value.copy_(torch.from_numpy(recipe.fill_value(key, tuple(value.shape), tag)))
        self.network.requires_grad_(False).eval()

    def encode_image(self, cutouts: Tensor) -> Tensor:
        mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
        std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
        return self.network.encode_image((cutouts - mean) / std)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        import open_clip

        return self.network.encode_text(open_clip.tokenize(list(texts)))


@dataclass
class GoldenNets:
    """The networks of d_guidance and h_end_to_end."""

    clips: list[OpenAiClip]
    secondary: SecondaryModel
    denoiser: Denoiser


@pytest.fixture(scope="module")
def nets(golden_recipe: ModuleType) -> GoldenNets:
    clips = [
        OpenAiClip(golden_recipe, "clipA/", 32, 16, "A"),
        OpenAiClip(golden_recipe, "clipB/", 48, 24, "B"),
    ]
    architecture = {
        "image_size": 64,
        "num_channels": 32,
        "num_res_blocks": 1,
        "num_head_channels": 16,
        "attention_resolutions": "32,16,8",
        "resblock_updown": True,
        "use_scale_shift_norm": True,
        "learn_sigma": True,
    }
    unet = golden_recipe.fill(build_unet(architecture), tag="unet/", gain=0.5)
    secondary = golden_recipe.fill(SecondaryModel(c=8), tag="sec/")
    return GoldenNets(clips, secondary.requires_grad_(False), Denoiser(unet, architecture))


def golden_targets(clips: list[OpenAiClip], arrays: dict[str, np.ndarray]) -> list[Target]:
    targets = []
    for k, clip in enumerate(clips):
        weights = torch.from_numpy(arrays[f"weights{k}"])
        weights = weights / weights.sum().abs()
        embeds = torch.from_numpy(arrays[f"target{k}"])
        targets.append(Target(clip, embeds, lambda index, w=weights: w, ONE))
    return targets


def step_at(spaced: int) -> Step:
    (step,) = [s for s in make_steps(25) if s.spaced == spaced]
    return step


CASES: dict[str, dict[str, Any]] = {
    "sec_t14": {},
    "sec_t0": {},
    "sec_t14_clamp": {"clamp_grad": True},
    "sec_t14_tv_sat": {"tv_scale": 5000, "sat_scale": 3000, "range_scale": 1e6},
    "sec_t14_lpips": {"init_scale": 1000},
    "nosec_t14": {},
    "sec_t14_inner_seed42": {"cut_overview": 2, "cut_innercut": 3, "cut_icgray_p": 0.4},
}


def golden_lpips(recipe: ModuleType) -> PerceptualNet:
    import lpips

    network = lpips.LPIPS(net="vgg", pretrained=True, pnet_rand=True, verbose=False)
    return PerceptualNet(recipe.fill(network, tag="lpips/"))


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_the_originals(case, nets, golden, golden_recipe) -> None:
    arrays = golden("d_guidance")
    x_t = torch.from_numpy(1.5 * golden_recipe.gauss("d/x", (1, 3, 32, 64)))
    extra: dict[str, Any] = {}
    if case.endswith("lpips"):
        init = load_picture(str(GOLDEN / "init_48x80.png"), size=(64, 32)).tensor
        assert relative(init, arrays["init"]) < 1e-5
        extra = {"init": init, "lpips": golden_lpips(golden_recipe)}
    guided = make_guidance(
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


# ---- the fast path against a plain one ------------------------------------------------------------------


def plain_cuts(
    image: Tensor, target: Target, opts: Any, step: Step, draws: tuple[FixedRandom, int, int, int]
) -> list[Tensor]:
    """A batch of cuts of one picture [1, 3, H, W], one by one. draws: random, network, batch, picture."""
    random, place, b, k = draws
    side, index = target.clip.image_size, step.index
    n_overview, n_inner = int(opts.cut_overview.at(index)), int(opts.cut_innercut.at(index))
    n_grey = round(opts.cut_icgray_p.at(index) * n_inner)
    whole = overview_cut(image, side)
    grey = grey_of(whole).expand_as(whole)
    variants = [whole, grey, whole.flip(-1), grey.flip(-1)]
    cuts = [variants[i % 4] for i in range(n_overview)]
    generator = random.crops(step, place, b)[k]
    size = (image.shape[2], image.shape[3])
    for i, (edge, x, y) in enumerate(draw_boxes(generator, n_inner, size, side, opts.cut_ic_pow.at(index))):
        piece = image[:, :, y : y + edge, x : x + edge]
        cuts.append(overview_cut(grey_of(piece).expand_as(piece) if i < n_grey else piece, side))
    if opts.skip_augs.at(index):
        return cuts
    uniform = draw_uniform(random.augments(step, place, b)[k], len(cuts))
    shape = (int(opts.cutn_batches.at(index)) * len(cuts), 3, side, side)
    noise = [random.pixel_noise(step, place, 0, shape, "cpu", k, layer) for layer in range(3)]
    rows = range(b * len(cuts), (b + 1) * len(cuts))
    return [
        augment(piece, make_params(one[None], side), lambda layer, row=row: noise[layer][row : row + 1])
        for row, piece, one in zip(rows, cuts, uniform, strict=True)
    ]


def plain_gradient(x_t: Tensor, k: int, targets: Sequence[Target], opts: Any, random: FixedRandom) -> Tensor:
    """The gradient of picture k: no batching anywhere, one backward for each batch of cuts."""
    index = STEP.index
    x = x_t[k : k + 1].clone().requires_grad_()
    pred_x0 = TinySecondary()(x, torch.tensor([STEP.cosine_t])).pred_x0
    x_in = pred_x0 * STEP.sigma + x * (1 - STEP.sigma)
    total = torch.zeros_like(x_in)
    n_batches = int(opts.cutn_batches.at(index))
    for place, target in enumerate(targets):
        for b in range(n_batches):
            cuts = plain_cuts((x_in + 1) / 2, target, opts, STEP, (random, place, b, k))
            loss = torch.zeros(())
            for piece in cuts:
                embed = target.clip.encode_image(piece)
                for prompt, weight in zip(target.text_embeds, target.weights(index), strict=True):
                    loss = loss + weight * spherical_dist(embed, prompt[None])[0] / len(cuts)
            scale = opts.clip_guidance_scale.at(index) * target.clip_weight.at(index) / n_batches
            total += torch.autograd.grad(loss * scale, x_in, retain_graph=True)[0]
    others = tv_loss(x_in) * opts.tv_scale.at(index) + (x_in - x_in.clamp(-1, 1)).abs().mean() * (
        opts.sat_scale.at(index)
    )
    total += torch.autograd.grad(others.sum(), x_in, retain_graph=True)[0]
    out_of_range = range_loss(pred_x0).sum() * opts.range_scale.at(index)
    grad = torch.autograd.grad(x_in, x, total, retain_graph=True)[0]
    return -(grad + torch.autograd.grad(out_of_range, x)[0])[0]


@examples(max_examples=20, deadline=None)
@given(
    size=st.tuples(st.integers(6, 24), st.integers(6, 24)),
    batch=st.integers(1, 3),
    cuts=st.tuples(st.integers(0, 5), st.integers(0, 3)).filter(any),
    n_batches=st.integers(1, 2),
    skip_augs=st.booleans(),
    clip_batch=st.sampled_from(["auto", 1, 3, 7]),
    seed=st.integers(0, 50),
)
def test_the_fast_path_is_the_plain_one(size, batch, cuts, n_batches, skip_augs, clip_batch, seed) -> None:
    x_t = pictures(batch, *size, seed=seed)
    values = {
        "cut_overview": f"[{cuts[0]}]*{STEP.index + 1}+[1]*{999 - STEP.index}",
        "cut_innercut": cuts[1],
        "cut_icgray_p": 0.4,
        "cut_ic_pow": 0.7,
        "cutn_batches": n_batches,
        "skip_augs": skip_augs,
        "clip_batch": clip_batch,
        "tv_scale": 300,
        "sat_scale": 200,
        "range_scale": 150,
    }
    opts = options(**values)
    targets = [
        TinyClip("a", 8).target(),
        TinyClip("b", 12, 3).target(Schedule.parse(0.5)),
        TinyClip("c").target(),
    ]
    random = FixedRandom(seed, range(batch))
    _, grad, _ = Guidance(TinyDenoiser(), TinySecondary(), targets, opts, random)(x_t, STEP)
    for k in range(batch):
        plain = plain_gradient(x_t, k, targets, opts, random)
        assert relative(grad[k], plain.numpy()) < 1e-4


BUSY = {"cut_overview": 3, "cut_innercut": 5, "cut_icgray_p": 0.4, "skip_augs": False, "tv_scale": 100}


def test_a_picture_is_guided_as_if_alone() -> None:
    x_t, opts, target = pictures(3), options(**BUSY), TinyClip().target()
    _, together, losses = Guidance(
        TinyDenoiser(), TinySecondary(), [target], opts, FixedRandom(1, [5, 2, 9])
    )(x_t, STEP)
    for k, picture in enumerate([5, 2, 9]):
        guided = Guidance(TinyDenoiser(), TinySecondary(), [target], opts, FixedRandom(1, [picture]))
        _, alone, its_losses = guided(x_t[k : k + 1], STEP)
        assert relative(alone[0], together[k].numpy()) < 1e-5
        torch.testing.assert_close(its_losses["tiny"][0], losses["tiny"][k])


@pytest.mark.parametrize("clip_batch", [1, 7, 1000])
def test_clip_batch_does_not_matter(clip_batch) -> None:
    clip = TinyClip()
    whole, _ = guide(pictures(2), clip.target(), **BUSY)
    assert clip.seen == [2 * 2 * 8]
    split, _ = guide(pictures(2), clip.target(), **BUSY, clip_batch=clip_batch)
    assert max(clip.seen[1:]) <= clip_batch and sum(clip.seen[1:]) == 32
    assert relative(split, whole.numpy()) < 1e-5


def test_short_memory_halves_the_batch_and_changes_nothing() -> None:
    whole, _ = guide(pictures(2), TinyClip().target(), **BUSY)
    clip = TinyClip(most=9)
    halved, _ = guide(pictures(2), clip.target(), **BUSY)
    assert clip.seen == [8] * 4
    assert relative(halved, whole.numpy()) < 1e-5


def test_a_cpu_takes_no_more_at_once_than_the_original() -> None:
    clip = TinyClip(image_size=224)
    guide(pictures(1), clip.target(), cut_overview=0, cut_innercut=9, cutn_batches=2)
    assert clip.seen == [16, 2]


def test_memory_too_short_for_the_given_batch_is_an_error() -> None:
    with pytest.raises(torch.cuda.OutOfMemoryError, match="no room"):
        guide(pictures(2), TinyClip(most=9).target(), **BUSY, clip_batch=10)
    with pytest.raises(torch.cuda.OutOfMemoryError, match="no room"):
        guide(pictures(1), TinyClip(most=0).target(), **BUSY)


# ---- signs, seams, costs --------------------------------------------------------------------------------


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
    target = Target(clip, clip.encode_text(["red"]), lambda index: torch.ones(1), ONE)
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
    import disco.guidance as room

    def refuse(image: Tensor) -> Tensor:
        raise AssertionError("evaluated")

    for name in ("tv_loss", "sat_loss", "range_loss"):
        monkeypatch.setattr(room, name, refuse)
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


def test_networks_add_up_with_their_weights() -> None:
    x_t, a, b = pictures(1), TinyClip("a", 8), TinyClip("b", 12, 5)
    only_a, _ = guide(x_t, a.target())
    only_b, _ = guide(x_t, b.target())
    both, losses = guide(x_t, a.target(), b.target(Schedule.parse(0.25)))
    assert relative(both, (only_a + 0.25 * only_b).numpy()) < 1e-5
    assert set(losses) == {"a", "b", "nan"}


def test_one_overview_resize_serves_networks_and_batches(monkeypatch) -> None:
    import disco.clip_loss as room

    sides = []
    monkeypatch.setattr(
        room, "overview_cut", lambda image, side: sides.append(side) or overview_cut(image, side)
    )
    targets = [TinyClip("a").target(), TinyClip("b").target(), TinyClip("c", 12).target()]
    guide(pictures(2), *targets, **BUSY, cutn_batches=4)
    assert sides == [8, 12]


def test_cutouts_that_are_all_the_same_are_seen_once() -> None:
    clip = TinyClip()
    guide(pictures(1), clip.target(), cut_overview=12, cutn_batches=4, cut_innercut=1)
    assert clip.seen == [4 + 4]


@pytest.mark.parametrize("cuts", [(1, 0), (0, 1)])
def test_one_cutout_is_enough(cuts) -> None:
    grad, _ = guide(
        pictures(1), TinyClip().target(), cut_overview=cuts[0], cut_innercut=cuts[1], cutn_batches=1
    )
    assert grad.abs().max() > 0


def test_no_cutouts_are_no_guidance() -> None:
    guided = Guidance(
        TinyDenoiser(), None, [TinyClip().target()], options(cut_overview=0), FixedRandom(1, [0])
    )
    assert guided(pictures(1), STEP)[1] is None


@pytest.mark.parametrize("values", [{"clip_guidance_scale": 0}, {"clip_guidance_scale": 0, "tv_scale": 1}])
def test_dd57s_stream_moves_on_when_clip_is_off(values) -> None:
    def state_after(**values: Any) -> Tensor:
        random = StreamRandom(3)
        opts = options(**{**BUSY, **values})
        Guidance(TinyDenoiser(), TinySecondary(), targets, opts, random, compat="dd57")(pictures(1), STEP)
        return torch.get_rng_state()

    targets = [TinyClip("a").target(), TinyClip("b", 12).target()]
    assert torch.equal(state_after(**values), state_after())


def test_dd57_is_a_plain_loop_over_one_stream() -> None:
    """Boxes drawn one by one, each batch of cuts augmented as a whole, one backward for each."""
    targets, opts = [TinyClip("a").target(), TinyClip("b", 12).target()], options(**{**BUSY, "tv_scale": 0})
    x_t = pictures(1)
    guided = Guidance(TinyDenoiser(), TinySecondary(), targets, opts, StreamRandom(8), compat="dd57")
    _, grad, _ = guided(x_t, STEP)

    torch.manual_seed(8)
    x = x_t.clone().requires_grad_()
    pred_x0 = TinySecondary()(x, torch.tensor([STEP.cosine_t])).pred_x0
    x_in = pred_x0 * STEP.sigma + x * (1 - STEP.sigma)
    total = torch.zeros_like(x_in)
    for target in targets:
        for _ in range(2):
            image, side = (x_in + 1) / 2, target.clip.image_size
            whole = overview_cut(image, side)
            cuts = [whole, grey_of(whole).expand_as(whole), whole.flip(-1)]
            for i in range(5):
                edge = int(torch.rand([]) * (20 - side) + side)
                x0, y0 = int(torch.randint(0, 28 - edge + 1, ())), int(torch.randint(0, 20 - edge + 1, ()))
                piece = image[:, :, y0 : y0 + edge, x0 : x0 + edge]
                piece = grey_of(piece).expand_as(piece) if i <= int(0.4 * 5) else piece
                cuts.append(overview_cut(piece, side))
            embeds = target.clip.encode_image(augment_dd57(torch.cat(cuts)))
            distances = spherical_dist(embeds[:, None], target.text_embeds[None]) * target.weights(0)
            loss = distances.sum(1).mean() * 5000 / 2
            total += torch.autograd.grad(loss, x_in, retain_graph=True)[0]
    plain = -torch.autograd.grad(x_in, x, total)[0]
    assert relative(grad, plain.numpy()) < 1e-4


def test_dd57_draws_boxes_then_augmentations_batch_by_batch(monkeypatch) -> None:
    import disco.clip_loss as room

    order: list[str] = []
    monkeypatch.setattr(room, "draw_boxes", lambda *args: order.append("boxes") or draw_boxes(*args))
    monkeypatch.setattr(room, "augment_dd57", lambda cuts: order.append(f"augment {len(cuts)}") or cuts)
    targets = [TinyClip("a").target(), TinyClip("b").target()]
    Guidance(TinyDenoiser(), TinySecondary(), targets, options(**BUSY), StreamRandom(1), compat="dd57")(
        pictures(1), STEP
    )
    assert order == ["boxes", "augment 8"] * 4
