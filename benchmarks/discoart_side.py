"""DiscoArt as one side of a comparison; runs in its own virtual environment and imports nothing of Disco.

Its own functions load the networks from files and render. Three things are put in place of its own: LPIPS,
which would download VGG and takes no part without an init picture; the secondary network's width, where
another is asked for; and the thread that takes a finished step, which also notes the time.
"""

from __future__ import annotations

import inspect
import json
import multiprocessing
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from benchmarks.side import TEXT, Clock, few, probe, serve

# What guided-diffusion's create_model_and_diffusion takes of an architecture.
_KNOWN = (
    "image_size", "num_channels", "num_res_blocks", "num_heads", "num_head_channels", "num_heads_upsample",
    "attention_resolutions", "channel_mult", "use_scale_shift_norm", "resblock_updown", "learn_sigma",
)  # fmt: skip


class _NoLpips(torch.nn.Module):
    def __init__(self, **_: object) -> None:
        super().__init__()


def _narrow(channels: int) -> None:
    """Give its secondary network another width, in its own words."""
    from discoart.nn import sec_diff

    kind = sec_diff.SecondaryDiffusionImageNet2
    source = inspect.getsource(kind)
    assert source.count("c = 64 ") == 1, "this DiscoArt writes its secondary network otherwise"
    exec(source.replace("c = 64 ", f"c = {channels} "), vars(sec_diff))


def main() -> None:
    """Arguments: a JSON of networks (their path), device and settings."""
    order: Mapping[str, Any] = json.loads(sys.argv[1])
    facts = json.loads(Path(order["networks"]).read_text())
    os.environ["DISCOART_CACHE_DIR"] = str(Path(facts["secondary"]).parent)
    import discoart.runner
    from discoart import config, helper

    _narrow(facts["channels"])
    discoart.runner.lpips = SimpleNamespace(LPIPS=_NoLpips)
    names = [clip["path"] for clip in facts["clips"]]
    architecture = {key: value for key, value in facts["architecture"].items() if key in _KNOWN}
    given = {
        **order["settings"],
        "text_prompts": [TEXT],
        "diffusion_model": facts["unet"],
        "diffusion_model_config": architecture,
        "clip_models": names,
        "n_batches": 1,
        "save_rate": -1,
        "display_rate": -1,
        "gif_fps": 0,
    }
    seed = given.pop("set_seed")
    device = helper.get_device()
    assert device.type == torch.device(order["device"]).type, device
    arguments = SimpleNamespace(**config.load_config({**given, "seed": seed}))
    model, diffusion = helper.load_diffusion_model(arguments, device=device)
    clips = helper.load_clip_models(device, enabled=arguments.clip_models, clip_models={})
    secondary = helper.load_secondary_model(arguments, device=device)

    @torch.no_grad()
    def check() -> dict[str, Any]:
        from clip import tokenize
        from torchvision.transforms import functional

        x, t = probe(64).to(device) * 2 - 1, torch.tensor([0.5], device=device)
        mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
        picture = functional.normalize(probe(224), mean, std).to(device)
        found = {
            "unet": few(model(x, torch.tensor([500.0], device=device))[:, :3]),
            "secondary": few(secondary(x, t).pred),
        }
        for fact in facts["clips"]:
            network, name = clips[fact["path"]], fact["name"]
            found[f"picture {name}"] = few(network.encode_image(picture))
            found[f"text {name}"] = few(network.encode_text(tokenize([TEXT]).to(device)))
        return found

    def render() -> list[list[float]]:
        clock = Clock()
        take = discoart.runner._sample_thread

        def noted(*args: Any) -> Any:
            clock.mark()
            return take(*args)

        discoart.runner._sample_thread = noted
        try:
            events = multiprocessing.Event(), multiprocessing.Event()
            discoart.runner.do_run(arguments, (model, diffusion, clips, secondary), device, events)
        finally:
            discoart.runner._sample_thread = take
        return clock.steps()

    serve(check, render)


if __name__ == "__main__":
    main()
