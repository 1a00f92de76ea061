"""benchmarks.step: every part of a step is there, with its work and its share."""

from __future__ import annotations

import pytest
import torch

from benchmarks.networks import TINY_CLIPS
from benchmarks.step import Bench, Flops, rows_of


def test_flops_are_two_for_each_multiplication_also_on_the_way_back() -> None:
    a = torch.randn(5, 7, requires_grad=True)
    with Flops() as counted:
        (a @ torch.randn(7, 11)).sum().backward()
    assert counted.total == 2 * (2 * 5 * 7 * 11)


def test_a_tiny_step_by_part() -> None:
    rows = {row["part"]: row for row in rows_of(Bench(torch.device("cpu"), False, (64, 64), "late"), turns=1)}
    names = "UNet secondary_network cutouts augmentations LPIPS other_losses sampler preview".split()
    parts = [name.replace("_", " ") for name in names] + [f"CLIP {name}" for name in TINY_CLIPS]
    assert set(rows) == {*parts, "all parts", "a step as in a run"}
    assert sum(rows[name]["share of the step"] for name in parts) == pytest.approx(1, abs=0.02)
    assert rows["all parts"]["GFLOP"] == pytest.approx(sum(rows[name]["GFLOP"] for name in parts), abs=0.1)
    assert all(rows[name]["GFLOP"] > 0 for name in ("UNet", "secondary network", "LPIPS", "CLIP tiny-48"))
    assert all(rows[name]["ms"] > 0 for name in ("UNet", "augmentations", "preview"))
    assert 0 < rows["a step as in a run"]["reached"] < 1.5
