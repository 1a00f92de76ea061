"""coherence: known colours, known curves, casts taken away, no steps."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from disco.animation.coherence import MODES, lab_of, match_channel, match_colours, rgb_of


def scene(height: int = 48, width: int = 64, seed: int = 0) -> Tensor:
    """A smooth random picture, well inside the colour range."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 5, 6, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)
    return fine.clamp(0, 1) * 1.4 - 0.7


@pytest.mark.parametrize("mode", MODES)
def test_a_frame_matched_to_itself_is_itself(mode: str) -> None:
    frame = scene()
    torch.testing.assert_close(match_colours(frame, frame, mode), frame, atol=1e-4, rtol=0)
    hard = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1)).round() * 2 - 1
    torch.testing.assert_close(match_colours(hard, hard, mode), hard, atol=1e-4, rtol=0)


def test_a_colour_cast_is_removed() -> None:
    frame = scene()
    gain = torch.tensor([0.7, 1.1, 0.9]).view(1, 3, 1, 1)
    cast = (frame * gain + torch.tensor([0.2, -0.15, 0.05]).view(1, 3, 1, 1)).clamp(-1, 1)
    torch.testing.assert_close(match_colours(cast, frame, "RGB"), frame, atol=1e-4, rtol=0)
    nearer = (match_colours(cast, frame, "LAB") - frame).abs().mean()
    assert nearer < 0.6 * (cast - frame).abs().mean()


def test_a_cast_of_lab_is_removed_by_lab() -> None:
    frame = scene() * 0.5
    lab = lab_of(((frame + 1) / 2).double()[0].flatten(1))
    warm = torch.stack([lab[0] * 0.9 - 3, lab[1] + 12, lab[2] * 1.2 + 9])
    cast = (rgb_of(warm) * 2 - 1).view_as(frame).float()
    assert cast.abs().max() < 1 and (cast - frame).abs().mean() > 0.1
    torch.testing.assert_close(match_colours(cast, frame, "LAB"), frame, atol=1e-4, rtol=0)


@pytest.mark.parametrize("mode", MODES)
def test_a_moved_picture_gets_the_mean_colours_back(mode: str) -> None:
    """Content elsewhere, colours as before: what coherence is for."""
    frame = scene() * 0.5
    matched = match_colours(frame.roll(7, -1).flip(-2) * 0.6 + 0.25, frame, mode)
    ours, theirs = (((picture + 1) / 2).double()[0].flatten(1) for picture in (matched, frame))
    if mode == "LAB":
        ours, theirs = lab_of(ours), lab_of(theirs)
    spread = theirs.std(1)
    assert ((ours.mean(1) - theirs.mean(1)).abs() < 0.02 * spread).all()
    assert ((ours.std(1) - spread).abs() < 0.05 * spread).all()


def test_lab_takes_lightness_and_colour_in_turn() -> None:
    """A grey frame stays grey whatever the lightness of a grey reference."""
    grey = scene()[:, :1].expand(1, 3, 48, 64)
    bright = (grey.flip(-1) * 0.5 + 0.4).clamp(-1, 1)
    matched = match_colours(grey, bright, "LAB")
    torch.testing.assert_close(matched[:, 0], matched[:, 1], atol=1e-3, rtol=0)
    torch.testing.assert_close(matched[:, 1], matched[:, 2], atol=1e-3, rtol=0)
    assert matched.mean().item() == pytest.approx(bright.mean().item(), abs=1e-3)


def test_known_quantiles() -> None:
    def matched(values: list[float], reference: list[float]) -> list[float]:
        return match_channel(torch.tensor(values).double(), torch.tensor(reference).double()).tolist()

    assert matched([5, 1, 1, 9], [1, 2, 3, 4]) == pytest.approx([3, 1.5, 1.5, 4], abs=0.05)
    assert matched([0, 5, 10, 15], [0, 10]) == pytest.approx([0, 10 / 3, 20 / 3, 10])
    assert matched([0, 0, 0], [1, 2, 9]) == pytest.approx([3.5] * 3, abs=0.1), "the mean of its quantiles"
    assert matched([0, 1, 2, 3], [5, 5]) == pytest.approx([5, 5, 5, 5])


def test_the_noise_of_a_flat_channel_is_not_spread_out() -> None:
    noise = torch.randn(5000, generator=torch.Generator().manual_seed(4)).double()
    loud = 20 * noise.flip(0) + 3
    assert match_channel(noise, loud).std() < 4.01 * noise.std(), "at most fourfold"
    assert match_channel(noise, loud).mean().item() == pytest.approx(loud.mean().item(), abs=0.3)
    torch.testing.assert_close(match_channel(10 * noise, loud), 20 * noise + 3, atol=1e-9, rtol=0)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_the_curve_never_falls_and_stays_within_the_reference(a: list[float], b: list[float]) -> None:
    values, goals = torch.tensor(a).double(), torch.tensor(b).double()
    matched = match_channel(values, goals)
    order = values.argsort()
    assert (matched[order].diff() >= 0).all()
    assert goals.min() - 1e-9 <= matched.min() and matched.max() <= goals.max() + 1e-9


@pytest.mark.parametrize("mode", MODES)
def test_a_smooth_ramp_stays_smooth(mode: str) -> None:
    """Matched to a reference of few levels, a ramp of thousands of values keeps them apart, without noise."""
    ramp = torch.linspace(-0.8, 0.8, 4096).view(1, 1, 64, 64).expand(1, 3, 64, 64)
    levels = (scene(40, 50) * 20).round() / 20
    matched = match_colours(ramp, levels, mode)[0, 1].flatten()
    assert matched.diff().min() >= -1e-6
    assert matched.diff().max() <= 0.02
    assert matched.unique().numel() > 1500, "between the ends, which the reference holds long"


@pytest.mark.parametrize("mode", MODES)
def test_sizes_types_and_ranges(mode: str) -> None:
    frame, reference = scene(9, 13) * 2, scene(20, 6, seed=3) * 2
    kept = frame.clone()
    matched = match_colours(frame, reference, mode)
    assert matched.shape == frame.shape and matched.dtype == torch.float32
    assert matched.min() >= -1 and matched.max() <= 1
    assert torch.equal(frame, kept), "a pure map"
    flat = torch.full((1, 3, 4, 4), 0.2)
    flattened = match_colours(frame, flat, mode)
    torch.testing.assert_close(flattened, torch.full_like(frame, 0.2))


# CIE Lab of D65, as tables of colour give them.
KNOWN = [
    ((1, 1, 1), (100, 0, 0)),
    ((0, 0, 0), (0, 0, 0)),
    ((1, 0, 0), (53.24, 80.09, 67.20)),
    ((0, 1, 0), (87.73, -86.18, 83.18)),
    ((0, 0, 1), (32.30, 79.19, -107.86)),
    ((0.5, 0.5, 0.5), (53.39, 0, 0)),
]


@pytest.mark.parametrize(("rgb", "lab"), KNOWN)
def test_known_colours(rgb: tuple[float, ...], lab: tuple[float, ...]) -> None:
    converted = lab_of(torch.tensor(rgb).double().view(3, 1))
    assert converted.flatten().tolist() == pytest.approx(lab, abs=0.05)
    assert rgb_of(converted).flatten().tolist() == pytest.approx(rgb, abs=1e-9)


def test_lab_and_back_everywhere() -> None:
    colours = torch.rand(3, 5000, generator=torch.Generator().manual_seed(2)).double() ** 3
    torch.testing.assert_close(rgb_of(lab_of(colours)), colours, atol=1e-9, rtol=0)


def test_unknown_mode() -> None:
    with pytest.raises(ValueError, match="no colour mode 'HSV'; allowed are LAB, RGB"):
        match_colours(scene(), scene(), "HSV")
