"""A whole run of the original (golden/h_end_to_end.npz) through `compat: dd57`: seed 42, 25 steps, ddim."""

from __future__ import annotations

from types import SimpleNamespace

import torch

import disco
from disco.guidance import Guidance
from disco.media.images import read_pixels
from disco.networks.load import Networks
from disco.sampling.diffusion import make_steps
from disco.sampling.randomness import StreamRandom
from disco.sampling.samplers import SamplerOptions, ddim, start
from tests.conftest import relative
from tests.golden_nets import golden_nets, golden_targets
from tests.guidance_fakes import options


def test_ddim_with_secondary_and_inner_cuts(golden) -> None:
    nets = golden_nets()
    opts = options(cut_overview=1, cut_innercut=3, cutn_batches=1, range_scale=150, clamp_grad=True)
    random, steps = StreamRandom(42), make_steps(25, 10)
    targets = golden_targets(nets.clips, golden("d_guidance"))
    guided = Guidance(nets.denoiser, nets.secondary, targets, opts, random, compat="dd57")
    x_t = start(None, steps[0], random.start_noise((1, 3, 32, 64)), skip_steps=10)
    how = SamplerOptions(0.8, lambda step: random.step_noise(step, x_t.shape))
    samples = list(ddim(x_t, steps, guided, how))
    arrays = golden("h_end_to_end")
    assert len(samples) == int(arrays["ddim_sec_inner/n"])
    assert relative(samples[0].pred_x0, arrays["ddim_sec_inner/pred_first"]) < 1e-4
    assert relative(samples[-1].pred_x0, arrays["ddim_sec_inner/pred_last"]) < 1e-3
    final = samples[-1].pred_x0[0].add(1).div(2).clamp(0, 1).mul(255).byte().permute(1, 2, 0)
    difference = (final.int() - torch.from_numpy(arrays["ddim_sec_inner/final_png"]).int()).abs()
    assert (difference <= 1).all()


def test_the_same_run_from_settings_to_png(golden, tmp_path) -> None:
    """Through disco.render: prompts read and tokenised with their weights, steps, seed, saved picture."""
    nets = golden_nets()
    clips = [
        SimpleNamespace(**vars(c), encode_image=c.encode_image, encode_text=c.encode_text) for c in nets.clips
    ]
    for clip, name in zip(clips, ("pocket-conv", "pocket-vit"), strict=True):
        clip.name = name
    networks = Networks(nets.denoiser, nets.secondary, clips, hashes={})
    settings = {
        "compat": "dd57",
        "text_prompts": ["a lighthouse:2", "yellow:-1"],
        "batch_name": "golden",
        "n_batches": 1,
        "width_height": [64, 32],
        "steps": 25,
        "skip_steps": 10,
        "set_seed": 42,
        "cutn_batches": 1,
        "cut_overview": 1,
        "cut_innercut": 3,
        "cut_icgray_p": 0,
        "skip_augs": True,
        "clip_guidance_scale": 5000,
        "clamp_max": 0.05,
        "eta": 0.8,
        "sat_scale": 0,
    }
    list(disco.render(settings, out=tmp_path, networks=networks))
    arrays = golden("h_end_to_end")
    saved = read_pixels(tmp_path / "golden" / "golden(0)_0000.png").astype(int)
    assert abs(saved - arrays["ddim_sec_inner/final_png"]).max() <= 1
