"""Disco as one side of a comparison: disco.render with networks from files."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import disco
from benchmarks import peer_networks
from benchmarks.side import TEXT, Clock, few, probe, serve
from disco.events import StepDone
from disco.memory.devices import pick_device, torch_dtype
from disco.memory.number_types import unet_dtype


def main() -> None:
    """Arguments: a JSON of networks (their path), device and settings."""
    order: Mapping[str, Any] = json.loads(sys.argv[1])
    facts = json.loads(Path(order["networks"]).read_text())
    device = pick_device(order["device"])
    dtype = torch_dtype(unet_dtype("auto", device.type))
    networks = peer_networks.load(facts, device, (dtype, dtype))
    names = [clip["name"] for clip in facts["clips"]]
    settings = {
        **order["settings"],
        "text_prompts": [TEXT],
        "diffusion_model": peer_networks.REAL_UNET,
        "clip_models": names,
        "device": order["device"],
        "n_batches": 1,
        "batch_name": "peer",
    }

    @torch.no_grad()
    def check() -> dict[str, Any]:
        x = probe(64).to(device) * 2 - 1
        t = torch.tensor([0.5], device=device)
        assert networks.secondary is not None
        return {
            "unet": few(networks.denoiser(x, 500.0)),
            "secondary": few(networks.secondary(x, t).pred_x0),
            **{
                f"picture {clip.name}": few(clip.encode_image(probe(224).to(device)))
                for clip in networks.clips
            },
            **{f"text {clip.name}": few(clip.encode_text([TEXT])) for clip in networks.clips},
        }

    def render() -> list[list[float]]:
        clock = Clock()
        with tempfile.TemporaryDirectory() as folder:
            for event in disco.render(settings, out=folder, networks=networks):
                if isinstance(event, StepDone):
                    clock.mark()
        return clock.steps()

    serve(check, render)


if __name__ == "__main__":
    main()
