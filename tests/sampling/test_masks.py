"""masks: the blend before each step, soft masks, what is kept, and masks from files."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from disco.errors import InputError
from disco.media.images import from_uint8, load_mask, to_uint8
from disco.sampling.diffusion import make_steps, q_sample
from disco.sampling.masks import grey, keep_original, make_mask_blend, make_steady, resize_mask, soften
from disco.sampling.samplers import SamplerOptions, ddim, in_turn, make_symmetry, plms
from tests.conftest import GaussianDenoiser

STEPS = make_steps(10)


def halves(height: int = 6, width: int = 8) -> torch.Tensor:
    """Left half kept, right half painted."""
    mask = torch.zeros(1, 1, height, width)
    mask[..., width // 2 :] = 1
    return mask


def noise(step, shape=(1, 3, 6, 8)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(step.i))


def test_the_kept_part_is_the_original_at_the_noise_of_the_step() -> None:
    original, x_t = torch.full((1, 3, 6, 8), 0.5), torch.full((1, 3, 6, 8), 7.0)
    step = STEPS[4]
    blended = make_mask_blend(original, halves(), noise)(x_t, step)
    assert torch.equal(blended[..., 4:], x_t[..., 4:])
    assert torch.equal(blended[..., :4], (step.alpha * 0.5 + step.sigma * noise(step))[..., :4])


def test_the_mask_mixes_what_lies_between() -> None:
    original, x_t, step = torch.full((1, 3, 6, 8), 0.5), torch.full((1, 3, 6, 8), 7.0), STEPS[9]
    blended = make_mask_blend(original, torch.full((1, 1, 6, 8), 0.25), noise)(x_t, step)
    torch.testing.assert_close(blended, 0.75 * q_sample(original, step, noise(step)) + 0.25 * x_t)


def test_one_original_serves_a_batch() -> None:
    def two(step):
        return noise(step, (2, 3, 6, 8))

    blended = make_mask_blend(torch.zeros(1, 3, 6, 8), halves(), two)(torch.ones(2, 3, 6, 8), STEPS[0])
    torch.testing.assert_close(blended[..., :4], STEPS[0].sigma * two(STEPS[0])[..., :4])


@pytest.mark.parametrize("skip", [0, 4])
@pytest.mark.parametrize(("to_repaint", "unmasked"), [(0, 0), (1, 1), (3, 3), (6, 6), (99, 6)])
def test_the_last_steps_repaint_everything(skip: int, to_repaint: int, unmasked: int) -> None:
    steps = make_steps(10, skip)
    hook = make_mask_blend(torch.zeros(1, 3, 6, 8), halves(), noise, to_repaint)
    x_t = torch.full((1, 3, 6, 8), 7.0)
    acts = [not torch.equal(hook(x_t, step), x_t) for step in steps]
    unmasked = min(to_repaint, len(steps)) if to_repaint > 6 else unmasked
    assert acts == [True] * (len(steps) - unmasked) + [False] * unmasked


@pytest.mark.parametrize("sampler", ["ddim", "plms"])
def test_a_run_keeps_one_half_and_paints_the_other(sampler: str) -> None:
    """The toy network's pictures have pixels of mean 0.3 and deviation 0.05; the original is -0.8."""
    size, denoiser = (1, 3, 16, 16), GaussianDenoiser(0.3, 0.05)
    original, mask = torch.full(size, -0.8), halves(16, 16)
    hook = make_mask_blend(original, mask, lambda step: noise(step, size))
    start, steps = torch.randn(size, generator=torch.Generator().manual_seed(9)), make_steps(50)

    def guided(x_t, step):
        return denoiser(x_t, step.t), None, {}

    if sampler == "ddim":
        run = ddim(start, steps, guided, SamplerOptions(before_step=hook))
    else:
        run = plms(start, steps, guided, SamplerOptions(before_step=hook))
    last = list(run)[-1].pred_x0
    assert last[..., 8:].mean().item() == pytest.approx(0.3, abs=0.03)
    kept = keep_original(last, original, mask)
    torch.testing.assert_close(kept[..., :8], original[..., :8], atol=1e-5, rtol=0)
    assert torch.equal(kept[..., 8:], last[..., 8:])


def test_what_is_known_waits_at_its_start() -> None:
    start, fixed = torch.full((1, 3, 6, 8), 0.5), noise(STEPS[0])
    known, x_t, step = 1 - halves(), torch.full((1, 3, 6, 8), 7.0), STEPS[4]
    held = make_steady(start, known, fixed, 0.5)(x_t, step)
    assert torch.equal(held[..., :4], q_sample(start, step, fixed)[..., :4])
    assert torch.equal(held[..., 4:], x_t[..., 4:]), "what is new is free"
    mixed = make_steady(start, torch.full((1, 1, 6, 8), 0.25), fixed, 0.5)(x_t, step)
    torch.testing.assert_close(mixed, 0.25 * q_sample(start, step, fixed) + 0.75 * x_t)


@pytest.mark.parametrize(
    ("share", "weights"),
    [
        (0, [1, 0, 0, 0, 0, 0]),
        (0.25, [1, 1, 0.5, 0, 0, 0]),  # 1.5 of 6 steps
        (0.5, [1, 1, 1, 1, 0, 0]),
        (1, [1, 1, 1, 1, 1, 1]),
    ],
)
def test_how_long_it_waits(share: float, weights: list[float]) -> None:
    """Before the first step nothing changes: x_t is the noised start itself."""
    steps, start, x_t = make_steps(10, 4), torch.zeros(1, 3, 6, 8), torch.full((1, 3, 6, 8), 4.0)
    hook = make_steady(start, torch.ones(1, 1, 6, 8), torch.zeros(1, 3, 6, 8), share)
    assert [1 - hook(x_t, step).mean().item() / 4 for step in steps] == pytest.approx(weights)
    noised = q_sample(start + 0.3, steps[0], noise(steps[0]))
    again = make_steady(start + 0.3, torch.full((1, 1, 6, 8), 0.7), noise(steps[0]), share)(noised, steps[0])
    torch.testing.assert_close(again, noised)


@pytest.mark.parametrize("sampler", ["ddim", "plms"])
def test_a_run_repaints_the_known_half_but_lightly(sampler: str) -> None:
    """The toy network pulls every pixel to 0.3; both halves start at -0.8."""
    size, denoiser, steps = (1, 3, 16, 16), GaussianDenoiser(0.3, 0.3), make_steps(50, 25)
    original, fixed = torch.full(size, -0.8), torch.randn(size, generator=torch.Generator().manual_seed(9))

    def guided(x_t, step):
        return denoiser(x_t, step.t), None, {}

    def last(share):
        begin, hook = q_sample(original, steps[0], fixed), make_steady(original, 1 - known, fixed, share)
        if sampler == "ddim":
            run = ddim(begin, steps, guided, SamplerOptions(before_step=hook))
        else:
            run = plms(begin, steps, guided, SamplerOptions(before_step=hook))
        return list(run)[-1].pred_x0

    known = halves(16, 16)
    away = [(last(share)[..., :8].mean() + 0.8).item() for share in (0, 0.5, 0.8, 1)]
    assert away == sorted(away, reverse=True) and away[0] > 0.3 and away[3] < 0.02
    assert torch.equal(last(0.8)[..., 8:], last(0)[..., 8:])


def test_plms_calls_the_hook_once_before_each_step() -> None:
    seen = []

    def hook(x_t, step):
        seen.append(step.i)
        return x_t + 1

    def guided(x_t, step):
        return torch.zeros_like(x_t), None, {}

    samples = list(plms(torch.zeros(1, 3, 4, 4), STEPS, guided, SamplerOptions(before_step=hook)))
    assert seen == list(range(10))
    assert samples[0].pred_x0.unique().item() == pytest.approx(1 / STEPS[0].alpha, rel=1e-4)


def test_hooks_in_turn() -> None:
    """Symmetry first, so that the mask has the last word about what is kept."""
    mirror = make_symmetry(10, True, False, [0])
    hook = in_turn(mirror, lambda x_t, step: x_t + step.i)
    x_t = torch.arange(4.0).view(1, 1, 1, 4).expand(1, 3, 2, 4)
    assert hook(x_t, STEPS[0])[0, 0, 0].tolist() == [0, 1, 1, 0]
    assert hook(x_t, STEPS[2])[0, 0, 0].tolist() == [2, 3, 4, 5]
    assert in_turn()(x_t, STEPS[0]) is x_t


def test_every_8_bit_value_comes_out_as_it_went_in() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    original = from_uint8(pixels)
    kept = keep_original(torch.zeros(1, 3, 16, 16), original, torch.zeros(1, 1, 16, 16))
    assert np.array_equal(to_uint8(kept[0]), pixels)


def test_only_what_the_mask_leaves_out_entirely_is_replaced() -> None:
    mask = torch.tensor([0.0, 1e-6, 0.5, 1.0]).view(1, 1, 1, 4)
    kept = keep_original(torch.ones(1, 3, 1, 4), torch.zeros(1, 3, 1, 4), mask)
    assert kept[0, 0, 0].tolist() == [pytest.approx(0, abs=1e-5), 1, 1, 1]


def test_a_soft_edge_is_the_normal_distribution() -> None:
    soft = soften(halves(9, 80), 4)[0, 0, 4]
    for x in range(80):
        expected = 0.5 * (1 + math.erf((x + 0.5 - 40) / 4 / math.sqrt(2)))
        assert soft[x].item() == pytest.approx(expected, abs=4e-3)
    assert (soft.diff() >= -1e-6).all()
    assert soft[:28].max() == 0 and soft[28] > 0, "12 pixels away nothing is mixed in any more"


@pytest.mark.parametrize("blur", [0, 0.3, 5, 40])
def test_blur_keeps_even_masks_and_the_share_that_is_painted(blur: float) -> None:
    ones = torch.ones(1, 1, 7, 12)
    torch.testing.assert_close(soften(ones, blur), ones)
    torch.testing.assert_close(soften(0 * ones, blur), 0 * ones)
    tall = halves(40, 12).mT.contiguous()
    torch.testing.assert_close(soften(halves(12, 40), blur).mT, soften(halves(12, 40).mT.contiguous(), blur))
    assert soften(tall, blur).mean().item() == pytest.approx(0.5, abs=1e-5)


def test_no_blur_is_no_blur() -> None:
    mask = halves()
    assert soften(mask, 0) is mask


def test_grey_of_a_frame() -> None:
    frame = torch.tensor([[1.0, -1], [1, -1], [1, -1]]).view(1, 3, 1, 2)
    assert grey(frame).flatten().tolist() == pytest.approx([1, 0])
    assert grey(torch.tensor([-1.0, 1, -1]).view(1, 3, 1, 1)).item() == pytest.approx(0.587)


# ---- masks from files ----


def saved(tmp_path: Path, picture: Image.Image) -> str:
    picture.save(tmp_path / "mask.png")
    return str(tmp_path / "mask.png")


WHITE = [255, 255, 255, 255]


def columns(*values: object) -> np.ndarray:
    return np.array([values] * 4, dtype=np.uint8)


@pytest.mark.parametrize(
    "picture",
    [
        Image.fromarray(columns(0, 0, 255, 255)),
        Image.fromarray(columns(0, 0, 255, 255)).convert("1"),
        Image.fromarray(columns(0, 0, 255, 255)).convert("RGB"),
        Image.fromarray(columns(0, 0, 255, 255)).convert("P"),
        Image.fromarray(columns([0, 0, 0, 255], [0, 0, 0, 255], [255, 255, 255, 255], [255, 255, 255, 255])),
        Image.fromarray(
            columns([255, 255, 255, 0], [9, 9, 9, 0], [255, 255, 255, 255], [255, 255, 255, 255])
        ),
        Image.fromarray(columns([255, 0], [255, 0], [255, 255], [255, 255])),
    ],
    ids=["grey", "bits", "RGB", "palette", "opaque RGBA", "strokes on nothing", "grey with alpha"],
)
def test_white_is_painted_and_black_or_transparent_stays(tmp_path: Path, picture: Image.Image) -> None:
    loaded = load_mask(saved(tmp_path, picture), size=(4, 4))
    assert loaded.tensor.shape == (1, 1, 4, 4) and loaded.tensor.dtype == torch.float32
    assert loaded.tensor[0, 0, 0].tolist() == [0, 0, 1, 1]
    assert len(loaded.sha256) == 64


def test_half_transparent_and_grey_are_between(tmp_path: Path) -> None:
    picture = Image.fromarray(columns([255, 255, 255, 128], [128, 128, 128, 255]))
    values = load_mask(saved(tmp_path, picture), size=(2, 4)).tensor[0, 0, 0].tolist()
    assert values == pytest.approx([128 / 255, 128 / 255], abs=0.005)


def test_a_mask_of_another_size_is_resized(tmp_path: Path) -> None:
    picture = Image.fromarray(np.kron(columns(0, 255), np.ones((5, 50), dtype=np.uint8)))
    mask = load_mask(saved(tmp_path, picture), size=(16, 32)).tensor
    assert mask.shape == (1, 1, 32, 16)
    assert mask[..., :7].max() == 0 and mask[..., 9:].min() == 1
    assert load_mask(saved(tmp_path, picture), size=(200, 40)).tensor.shape == (1, 1, 40, 200)


def test_masks_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.png: no such picture"):
        load_mask(str(tmp_path / "no.png"), size=(4, 4))
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(InputError, match="not a picture in a known format"):
        load_mask(str(tmp_path / "text.png"), size=(4, 4))
    with pytest.raises(InputError, match=r"black everywhere, so that nothing would be painted\. White parts"):
        load_mask(saved(tmp_path, Image.new("L", (4, 4))), size=(4, 4))
    with pytest.raises(InputError, match="black everywhere"):
        load_mask(saved(tmp_path, Image.new("RGBA", (4, 4), (255, 255, 255, 0))), size=(4, 4))
    with pytest.raises(InputError, match="web address"):
        load_mask("https://example.org/mask.png", size=(4, 4))


def test_a_mask_for_latents_is_the_mean_of_its_pixels() -> None:
    mask = torch.tensor([[0.0, 1, 1, 1], [0, 0, 1, 1]]).view(1, 1, 2, 4)
    assert torch.equal(resize_mask(mask, (5, 4, 1, 2)), torch.tensor([0.25, 1]).view(1, 1, 1, 2))
    assert resize_mask(mask, (5, 3, 2, 4)) is mask
