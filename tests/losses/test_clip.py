"""disco.losses.clip: the fast path against a plain one; batches, memory, the stream of dd57."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch import Tensor

from disco.cutouts import draw_boxes, grey_of, overview_cut
from disco.guidance import Guidance, PromptTarget
from disco.losses.augment import STILLS, augment, draw_uniform, make_params
from disco.losses.augment_dd57 import augment_dd57
from disco.losses.pixel import range_loss, spherical_dist, tv_loss
from disco.memory.oom import OutOfMemory, at_stage
from disco.memory.policy import Failure, MemoryPolicy, Stage
from disco.memory.stages import hook_networks
from disco.sampling.diffusion import Step
from disco.sampling.randomness import FixedRandom, StreamRandom
from disco.settings.schedules import Schedule
from tests.conftest import relative
from tests.guidance_fakes import (
    BUSY,
    STEP,
    TinyClip,
    TinyDenoiser,
    TinySecondary,
    guide,
    options,
    pictures,
)
from tests.short_memory import Shortage, short_networks


def plain_cuts(
    image: Tensor, target: PromptTarget, opts: Any, step: Step, draws: tuple[FixedRandom, int, int, int]
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
    recipe = STILLS.within(hue=opts.hue_jitter_max.at(index))
    return [
        augment(
            piece, make_params(one[None], side, recipe), lambda layer, row=row: noise[layer][row : row + 1]
        )
        for row, piece, one in zip(rows, cuts, uniform, strict=True)
    ]


def plain_gradient(
    x_t: Tensor, k: int, targets: Sequence[PromptTarget], opts: Any, random: FixedRandom
) -> Tensor:
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
    hue=st.sampled_from([0.5, 0.03, 0]),
    clip_batch=st.sampled_from(["auto", 1, 3, 7]),
    seed=st.integers(0, 50),
)
def test_the_fast_path_is_the_plain_one(
    size, batch, cuts, n_batches, skip_augs, hue, clip_batch, seed
) -> None:
    x_t = pictures(batch, *size, seed=seed)
    values = {
        "cut_overview": f"[{cuts[0]}]*{STEP.index + 1}+[1]*{999 - STEP.index}",
        "cut_innercut": cuts[1],
        "cut_icgray_p": 0.4,
        "cut_ic_pow": 0.7,
        "cutn_batches": n_batches,
        "skip_augs": skip_augs,
        "hue_jitter_max": f"[{hue}]*{STEP.index + 1}+[0.5]*{999 - STEP.index}",
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


def test_hues_turn_no_further_than_they_may() -> None:
    assert STILLS.within(hue=0.5) is STILLS
    drawn = torch.rand(200, 13, generator=torch.Generator().manual_seed(0))
    params = make_params(drawn, 8, STILLS.within(hue=0.03))
    turns = torch.cat([params.blend[which, place, 0] for place, which in enumerate(params.hue_at)])
    assert 0.028 < turns.abs().max() <= 0.03


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


@pytest.mark.parametrize("most", [1, 3, 8])
def test_fewer_cutouts_at_once_change_nothing(most: int) -> None:
    whole, _ = guide(pictures(2), TinyClip().target(), **BUSY)
    clip = TinyClip()
    halved, _ = guide(pictures(2), clip.target(), saving=MemoryPolicy(clip_batch=most), **BUSY)
    assert max(clip.seen) == most and sum(clip.seen) == 32
    assert relative(halved, whole.numpy()) < 1e-5


def test_a_cpu_takes_no_more_at_once_than_the_original() -> None:
    clip = TinyClip(image_size=224)
    guide(pictures(1), clip.target(), cut_overview=0, cut_innercut=9, cutn_batches=2)
    assert clip.seen == [16, 2]


def test_memory_too_short_says_where_and_for_how_many() -> None:
    shortage = Shortage("CLIP forward", most=9)
    networks = short_networks(shortage)
    (clip,) = networks.clips
    hooks = hook_networks(networks)
    with pytest.raises(OutOfMemory, match=r"out of memory \(CLIP\): ") as caught, at_stage(Stage.SAMPLER):
        guide(pictures(2), clip.target(), **BUSY, clip_batch=10)  # type: ignore[attr-defined]
    for hook in hooks:
        hook.remove()
    assert caught.value.failure == Failure(Stage.CLIP, cutouts=10)


def test_networks_add_up_with_their_weights() -> None:
    x_t, a, b = pictures(1), TinyClip("a", 8), TinyClip("b", 12, 5)
    only_a, _ = guide(x_t, a.target())
    only_b, _ = guide(x_t, b.target())
    both, losses = guide(x_t, a.target(), b.target(Schedule.parse(0.25)))
    assert relative(both, (only_a + 0.25 * only_b).numpy()) < 1e-5
    assert set(losses) == {"a", "b", "nan"}


def test_one_overview_resize_serves_networks_and_batches(monkeypatch) -> None:
    import disco.losses.clip as room

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
    import disco.losses.clip as room

    order: list[str] = []
    monkeypatch.setattr(room, "draw_boxes", lambda *args: order.append("boxes") or draw_boxes(*args))
    monkeypatch.setattr(room, "augment_dd57", lambda cuts, mode: order.append(f"augment {len(cuts)}") or cuts)
    targets = [TinyClip("a").target(), TinyClip("b").target()]
    Guidance(TinyDenoiser(), TinySecondary(), targets, options(**BUSY), StreamRandom(1), compat="dd57")(
        pictures(1), STEP
    )
    assert order == ["boxes", "augment 8"] * 4
