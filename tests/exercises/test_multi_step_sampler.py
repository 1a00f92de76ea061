"""A newcomer adds a multi-step sampler in two files; a stopped run goes on bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from disco.errors import SettingsError
from tests.exercises.changed_copy import copy_with, files_of, run_in
from tests.small_run import pictures, rendered, same

DIFF = Path(__file__).with_name("dpmpp_2m.diff")
ONE = {"n_batches": 1, "steps": 6, "diffusion_sampling_mode": "dpmpp_2m", "transformation_percent": [0.5]}
ONE |= {"use_horizontal_symmetry": True}
RUN = f"""
from pathlib import Path
from tests.small_run import StopAfter, rendered

ONE = {ONE!r}
rendered(Path("whole"), ONE)
rendered(Path("ddim"), ONE | {{"diffusion_sampling_mode": "ddim", "eta": 0}})
for steps in (1, 3, 5):
    assert rendered(Path(f"stopped_{{steps}}"), ONE, stop=StopAfter(steps)).interrupted
    rendered(Path(f"stopped_{{steps}}"), ONE, resume="latest")
"""
NEARER = """
import torch
from disco.sampling.diffusion import make_steps
from disco.sampling.samplers import SAMPLERS, SamplerOptions
from tests.conftest import GaussianDenoiser

mean, std, steps = 0.3, 0.5, make_steps(25)
start = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
first, denoiser = steps[0], GaussianDenoiser(mean, std)
z = (start - first.alpha * mean) / (first.alpha**2 * std**2 + first.sigma**2) ** 0.5

def error(name):
    guided = lambda x_t, step: (denoiser(x_t, step.t), None, {})
    *_, sample = SAMPLERS[name](start, steps, guided, SamplerOptions())
    return (sample.x_t - mean - std * z).abs().mean().item()

print(error("dpmpp_2m"), error("ddim"))
"""


def test_the_diff_touches_two_files() -> None:
    assert files_of(DIFF) == ["disco/sampling/samplers.py", "disco/settings/methods.py"]


def test_a_stopped_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    with pytest.raises(SettingsError):  # unknown without the diff
        rendered(tmp_path / "before", ONE)
    copy_with(DIFF, tmp_path)
    second_order, first_order = map(float, run_in(tmp_path, NEARER).split())
    assert second_order < first_order / 3, "on the exact path of Gaussian data"
    run_in(tmp_path, RUN)
    whole = pictures(tmp_path / "whole")
    assert len(whole) == 1
    for steps in (1, 3, 5):
        assert same(pictures(tmp_path / f"stopped_{steps}"), whole)
    assert not same(pictures(tmp_path / "ddim"), whole)
