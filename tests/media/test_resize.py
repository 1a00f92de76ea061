"""disco.media.resize: the two forms of the same cuts, and their gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from disco.media.resize import banded_cuts, crop_matrices, dense_cuts

BOXES = torch.tensor([[(100, 0, 0), (17, 3, 80), (40, 70, 20)], [(97, 12, 3), (40, 30, 59), (33, 0, 1)]])


def picture(channels: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, channels, 100, 110, dtype=torch.float64, generator=generator).requires_grad_()


@pytest.mark.parametrize(("channels", "cut_size"), [(3, 40), (1, 40), (3, 64), (3, 7)])
def test_bands_are_the_whole_matrices(channels, cut_size) -> None:
    image = picture(channels)
    dense = dense_cuts(image, *crop_matrices(BOXES.double(), (100, 110), cut_size))
    banded = banded_cuts(image, BOXES, cut_size)
    assert banded.shape == (2, 3, channels, cut_size, cut_size)
    torch.testing.assert_close(banded, dense)
    weights = torch.randn(dense.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    expected, found = (torch.autograd.grad(cuts, image, weights)[0] for cuts in (dense, banded))
    torch.testing.assert_close(found, expected)
    assert found[1, :, 0].abs().max() == 0 < found[1, :, 1].abs().max()  # no box reaches the first row


def test_a_cut_of_the_same_size_is_the_picture_there() -> None:
    image = picture(3)
    cuts = banded_cuts(image, BOXES[:, 1:2].clone(), 40)
    torch.testing.assert_close(cuts[1, 0], image[1, :, 59:99, 30:70])
    torch.testing.assert_close(banded_cuts(image, BOXES[:, 2:], 40)[0, 0], image[0, :, 20:60, 70:110])
