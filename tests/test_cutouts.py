"""disco.cutouts: the original's cutouts, boxes and resamplings; batches; edges."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as TF
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from disco.cutouts import (
    CutPlan,
    classic_cutouts,
    cut,
    draw_boxes,
    grey_of,
    lanczos_resize,
    make_plan,
    overview_cut,
)
from disco.media.resize import resize_weights
from tests.conftest import relative
from tests.places import GOLDEN
from tests.test_secondary_model import load_recipe

RECIPE = load_recipe()


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "d0_cutouts.npz") as arrays:
        return dict(arrays)


@pytest.fixture
def image() -> Tensor:
    return torch.from_numpy(RECIPE.tensor("d/img", (1, 3, 40, 64), 0, 1))


def tall(cuts: Tensor) -> Tensor:
    """[1, 1, n, 3, S, S] -> [n, 3, S, S]."""
    return cuts[0, 0]


def cut_one(image: Tensor, cut_size: int, plan: CutPlan, boxes: list | None = None) -> Tensor:
    table = torch.tensor(boxes or []).reshape(1, 1, -1, 3)
    return tall(cut(image, overview_cut(image, cut_size), table, plan))


@pytest.mark.parametrize(("n", "cut_size"), [(1, 16), (2, 8), (3, 8), (4, 16), (6, 8)])
def test_overview_is_the_originals(n, cut_size, image, golden) -> None:
    cuts = cut_one(image, cut_size, make_plan(n, 0, 1, 0, "dd57"))
    assert relative(cuts, golden[f"overview{n}"]) < 1e-4


@pytest.mark.parametrize(("power", "grey"), [(1, 0.2), (0.5, 0.0)])
def test_inner_cuts_are_the_originals(power, grey, image, golden) -> None:
    torch.manual_seed(7)
    boxes = draw_boxes(torch.default_generator, 5, (40, 64), 12, power)
    assert boxes == [tuple(box) for box in golden[f"boxes_pow{power}_grey{grey}"].tolist()]
    cuts = cut_one(image, 12, make_plan(0, 5, power, grey, "dd57"), boxes)
    assert relative(cuts, golden[f"inner_pow{power}_grey{grey}"]) < 1e-4


@pytest.mark.parametrize("size", [(40, 64), (12, 12)])
def test_resize_is_resize_rights(size, golden) -> None:
    height, width = size
    image = torch.from_numpy(RECIPE.tensor("d/r", (1, 3, height, width), 0, 1))
    rows = resize_weights(height, 0, 16, image.device)
    columns = resize_weights(width, 0, 16, image.device)
    assert relative(rows @ image @ columns.T, golden[f"resize_{height}x{width}"]) < 1e-4


def test_lanczos_is_the_originals(image, golden) -> None:
    assert relative(lanczos_resize(image, (16, 16)), golden["resample_40x64"]) < 1e-4


def test_grey_is_torchvisions(image) -> None:
    torch.testing.assert_close(grey_of(image), TF.rgb_to_grayscale(image))


@pytest.mark.parametrize(
    ("compat", "overview", "inner", "share", "variants", "grey"),
    [
        ("fixed", 6, 4, 0.2, (0, 1, 2, 3, 0, 1), 1),
        ("fixed", 3, 5, 0.5, (0, 1, 2), 3),
        ("fixed", 0, 12, 0.0, (), 0),
        ("fixed", 1, 3, 1.0, (0,), 3),
        ("dd57", 6, 4, 0.2, (0,) * 6, 1),
        ("dd57", 4, 12, 0.2, (0, 1, 2, 3), 3),
        ("dd57", 2, 3, 0.0, (0, 1), 1),
        ("dd57", 2, 3, 1.0, (0, 1), 3),
        ("dd57", 2, 0, 0.5, (0, 1), 0),
    ],
)
def test_plans(compat, overview, inner, share, variants, grey) -> None:
    plan = make_plan(overview, inner, 1, share, compat)
    assert (plan.overview_variants, plan.grey, plan.n) == (variants, grey, overview + inner)


def test_variants_are_plain_grey_mirrored_and_both(image) -> None:
    plain, grey, mirrored, both, again = cut_one(image, 8, make_plan(5, 0, 1, 0))
    torch.testing.assert_close(grey, grey_of(plain).expand(3, 8, 8))
    torch.testing.assert_close(mirrored, plain.flip(-1))
    torch.testing.assert_close(both, grey.flip(-1))
    torch.testing.assert_close(again, plain)


@pytest.mark.parametrize("power", [0, 100])
def test_extreme_powers_give_whole_and_smallest_squares(power) -> None:
    boxes = draw_boxes(torch.Generator().manual_seed(1), 50, (40, 64), 12, power)
    assert all(x + side <= 64 and y + side <= 40 for side, x, y in boxes)
    sides = sorted(side for side, _, _ in boxes)
    assert sides[0] == 40 if power == 0 else sides[40] == 12


def test_a_picture_below_cut_size_is_cut_whole() -> None:
    boxes = draw_boxes(torch.Generator().manual_seed(1), 5, (8, 10), 16, 1)
    assert {side for side, _, _ in boxes} == {8}
    cuts = cut_one(torch.rand(1, 3, 8, 10), 16, make_plan(2, 5, 1, 0.2), boxes)
    assert cuts.shape == (7, 3, 16, 16) and cuts.isfinite().all()


@pytest.mark.parametrize(("overview", "inner"), [(1, 0), (0, 1), (2, 3)])
def test_one_cutout_or_none_of_a_kind(overview, inner, image) -> None:
    boxes = draw_boxes(torch.Generator().manual_seed(1), inner, (40, 64), 8, 1)
    assert len(cut_one(image, 8, make_plan(overview, inner, 1, 0), boxes)) == overview + inner


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(5, 40),
    width=st.integers(5, 40),
    cut_size=st.integers(3, 24),
    seed=st.integers(0, 99),
)
def test_a_batch_is_cut_as_its_boxes_one_by_one(height, width, cut_size, seed) -> None:
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(2, 3, height, width, generator=generator)
    plan = make_plan(3, 4, 1, 0.5)
    boxes = [[draw_boxes(generator, 4, (height, width), cut_size, 1) for _ in range(2)] for _ in range(2)]
    cuts = cut(image, overview_cut(image, cut_size), torch.tensor(boxes), plan)
    assert cuts.shape == (2, 2, 7, 3, cut_size, cut_size)
    for k in range(2):
        for b in range(2):
            for i, (side, x, y) in enumerate(boxes[k][b]):
                piece = image[k : k + 1, :, y : y + side, x : x + side]
                alone = overview_cut(grey_of(piece).expand_as(piece) if i < plan.grey else piece, cut_size)
                torch.testing.assert_close(cuts[k, b, 3 + i], alone[0], atol=2e-5, rtol=0)


def test_inside_a_flat_picture_a_cut_is_flat() -> None:
    """The weights of each output pixel sum to 1, the border's (half in the black) to less."""
    cuts = cut_one(torch.full((1, 3, 50, 50), 0.7), 10, make_plan(1, 0, 1, 0))
    torch.testing.assert_close(cuts[..., 2:-2, 2:-2], torch.full((1, 3, 6, 6), 0.7))


def test_padding_is_black_and_centred() -> None:
    cuts = cut_one(torch.ones(1, 3, 16, 64), 16, make_plan(1, 0, 1, 0))
    assert cuts[..., :4, :].abs().max() < 1e-6 and cuts[..., 12:, :].abs().max() < 1e-6
    assert cuts[..., 7:9, 7:9].min() > 0.99


def test_classic_cutouts_follow_the_generator_and_end_with_whole_pictures() -> None:
    image, seen = torch.rand(1, 3, 32, 48), []

    def look(piece: Tensor) -> Tensor:
        seen.append(piece.shape[-2:])
        return piece

    cuts = classic_cutouts(image, 8, 16, torch.Generator().manual_seed(3), look)
    assert cuts.shape == (16, 3, 8, 8)
    assert seen[13:] == [(48, 64)] * 3 and all(h == w for h, w in seen[:13])
    again = classic_cutouts(image, 8, 16, torch.Generator().manual_seed(3), lambda piece: piece)
    torch.testing.assert_close(again, cuts)


def test_classic_cutouts_of_a_tiny_picture() -> None:
    cuts = classic_cutouts(torch.rand(1, 3, 4, 4), 16, 4, torch.Generator(), lambda piece: piece)
    assert cuts.shape == (4, 3, 16, 16) and cuts.isfinite().all()
