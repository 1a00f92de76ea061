"""Stills through disco.render with random weights of the published architectures, for a GPU day.

`python -m benchmarks.gpu_still --device D` renders one twice with `deterministic: true`, once with the pocket
networks and once with random ones, and prints a JSON line for each picture. It is a program of its own
because torch reads CUBLAS_WORKSPACE_CONFIG once in a process: whether Disco sets it before that shows only in
a fresh one.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch

from benchmarks import networks
from benchmarks.peer_networks import CLIPS, awake, clip_config
from disco.events import Notice, PictureFinished, RunFinished, StepDone
from disco.media.images import read_pixels
from disco.memory.devices import pick_device, torch_dtype
from disco.memory.number_types import unet_dtype
from disco.networks.clip import ClipModel, build_clip
from disco.networks.load import Networks
from disco.rendering import api

SETTINGS: Mapping[str, Any] = {
    "text_prompts": ["a lonely lighthouse in a storm"],
    "batch_name": "gpu_day",
    "n_batches": 1,
    "set_seed": 1,
    "skip_steps": 0,
}
RANDOM: Mapping[str, Any] = {
    "diffusion_model": networks.REAL_UNET,
    "clip_models": [f"{name}/openai" for name in CLIPS],
}
FEW_CUTS: Mapping[str, Any] = {"cut_overview": 1, "cut_innercut": 1, "cutn_batches": 1}


def random_networks(tiny: bool, device: torch.device) -> Networks:
    """Those that RANDOM names, or tiny ones under their names; CLIPs with their text towers."""
    torch.manual_seed(0)
    denoiser = networks.denoiser(not tiny, device)
    awake(denoiser.network)
    channels = networks.TINY_SECONDARY if tiny else networks.FULL_SECONDARY
    found = Networks(
        denoiser, networks.secondary(channels, device), hashes={"random": "0" * 64}, device=device
    )
    dtype = torch_dtype(unet_dtype("auto", device.type))
    for name in CLIPS:
        config = clip_config(name, not tiny)
        with device:
            network = build_clip(config, dtype)
        found.clips.append(ClipModel(f"{name}/openai", network, config, device=device, dtype=dtype))
    return found


@dataclass
class Still:
    """A rendered picture. steps: seconds of each step but the first, which `first` has with the loading."""

    sha256: str = ""
    contrast: float = 0.0  # standard deviation of its pixels, in levels of 255
    first: float = 0.0
    steps: list[float] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    report: Mapping[str, Any] = field(default_factory=dict)


def still(settings: Mapping[str, Any], device: torch.device, loaded: Networks | None = None) -> Still:
    """loaded: handed to disco.render in place of those that the settings name."""
    found, marks = Still(), [time.perf_counter()]
    with tempfile.TemporaryDirectory() as out:
        for event in api.render({**SETTINGS, **settings}, out=out, networks=loaded):
            if isinstance(event, StepDone):
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                marks.append(time.perf_counter())
            elif isinstance(event, PictureFinished):
                pixels = read_pixels(event.path)
                found.sha256 = hashlib.sha256(pixels.tobytes()).hexdigest()
                found.contrast = round(float(pixels.std()), 1)
            elif isinstance(event, Notice):
                found.notices.append(event.text)
            elif isinstance(event, RunFinished):
                found.report = event.report
    seconds = [b - a for a, b in itertools.pairwise(marks)]
    found.first, found.steps = seconds[0], seconds[1:]
    return found


def twice(tiny: bool, device: torch.device, name: str) -> Iterator[dict[str, Any]]:
    """The same still two times, with networks that are loaded (pocket) or made as they would be loaded."""
    size, steps = (64, 2) if tiny else (512, 10)
    settings: dict[str, Any] = {"deterministic": True, "device": name, **(FEW_CUTS if tiny else {})}
    settings |= {"width_height": [size, size], "steps": steps}
    for n in (1, 2):
        yield _row("pocket", n, still(settings, device))
    made = random_networks(tiny, device)
    with mock.patch.object(api, "load_for", lambda run, **_: made):
        for n in (1, 2):
            yield _row("random", n, still({**settings, **RANDOM}, device))


def _row(kind: str, n: int, found: Still) -> dict[str, Any]:
    return {"networks": kind, "n": n, "sha256": found.sha256, "contrast": found.contrast}


def main() -> None:
    """Print them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    device = pick_device(options.device)
    for row in twice(options.tiny, device, options.device):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
