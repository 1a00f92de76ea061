"""Small pictures over all modes, held to what they were: no change of the code may change them unawares.

`python -m tests.guard_pictures renew` renders them anew into tests/guarded_pictures/: run it only in a commit
that means to change pictures, and say so in its trailer. `python -m tests.guard_pictures render FOLDER`
renders them elsewhere. STILL and what is built on it hold to the noise of before there were settings for it,
TODAY's to the noise of now. The networks are the pocket ones; depth and motion are closed forms.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import disco
from disco.events import PictureFinished
from disco.media.images import png_bytes, read_pixels
from disco.networks.load import Networks, load_networks
from disco.settings.model import Settings
from tests.animation_run import blob
from tests.places import TESTS

STORED = TESTS / "guarded_pictures"
FACTS = "facts.json"

STILL: Mapping[str, Any] = {
    "text_prompts": ["a mountain lake at sunrise", "a red rose:0.5"],
    "n_batches": 1,
    "width_height": [64, 64],
    "steps": 8,
    "set_seed": 11,
    "cut_overview": 3,
    "cut_innercut": 3,
    "cut_icgray_p": 0.4,
    "cutn_batches": 2,
    "clip_guidance_scale": 3000,
    "clamp_max": 0.005,  # with more, other CPU kernels' rounding grows to another picture within 8 steps
    "init_image": None,
    "noise_by": "step",
    "noise_cast": 1,
    "noise_size": None,
}
TODAY: Mapping[str, Any] = {"noise_by": "level", "noise_cast": 0.4, "noise_size": [32, 32]}
FRAMES: Mapping[str, Any] = {
    "max_frames": 3,
    "frames_skip_steps": "50%",
    "frames_scale": 500,
    "steps": 6,
    "cutn_batches": 1,
}
FLIGHT: Mapping[str, Any] = {
    "animation_mode": "3D",
    "midas_depth_model": "plane",
    "translation_z": 20,
    "rotation_3d_y": {"0": 0, "2": 2},
}
CASES: Mapping[str, Mapping[str, Any]] = {
    "batch_of_2": {"n_batches": 2, "batch_size": 2, "tv_scale": 200, "range_scale": 150, "sat_scale": 300},
    "plms": {"diffusion_sampling_mode": "plms"},
    "without_secondary": {"use_secondary_model": False, "range_scale": 150},
    "dd57": {"compat": "dd57", "clip_models": ["pocket-conv"], "skip_steps": 1},
    "dd57_plms": {"compat": "dd57", "diffusion_sampling_mode": "plms", "fuzzy_prompt": True},
    "dd57_perlin": {"compat": "dd57", "perlin_init": True, "skip_steps": 3, "init_scale": 500, "steps": 10},
    "perlin": {"perlin_init": True, "perlin_mode": "color", "skip_steps": 3, "steps": 10},
    "symmetry": {
        "use_horizontal_symmetry": True,
        "use_vertical_symmetry": True,
        "transformation_percent": [0.2, 0.5],
    },
    "init": {"init_image": "init.png", "skip_steps": 4, "init_scale": 800, "steps": 10},
    "mask": {
        "init_image": "init.png",
        "mask_path": "mask.png",
        "mask_blur": 2,
        "steps_to_repaint": 1,
        "skip_steps": 2,
        "init_scale": 0,
    },
    "2d": {
        **FRAMES,
        "animation_mode": "2D",
        "angle": "0: (5), 2: (-5)",
        "zoom": 1.1,
        "color_coherence": "LAB",
    },
    "dd57_2d": {**FRAMES, "animation_mode": "2D", "compat": "dd57", "zoom": 1.05, "translation_x": 3},
    "3d": {**FRAMES, **FLIGHT, "vr_mode": True},
    "turbo": {**FRAMES, **FLIGHT, "max_frames": 5, "turbo_mode": True, "turbo_steps": 2, "turbo_preroll": 1},
    "today": {**TODAY, "n_batches": 2, "batch_size": 2},
    "today_mask": {
        **TODAY,
        "init_image": "init.png",
        "mask_path": "mask.png",
        "mask_blur": 2,
        "steps_to_repaint": 1,
        "skip_steps": 2,
    },
    "today_2d": {**TODAY, **FRAMES, "animation_mode": "2D", "angle": "0: (5), 2: (-5)", "zoom": 1.1},
    "video": {
        **FRAMES,
        "animation_mode": "Video Input",
        "video_init_path": "clip",
        "extract_nth_frame": 1,
        "video_init_steps": 8,
        "video_init_skip_steps": 2,
        "video_init_frames_skip_steps": "50%",
        "video_init_check_consistency": True,
        "video_init_cutn_batches": 1,
    },
}


def depth(frame: Tensor) -> Tensor:
    """A floor: near at the lower edge. [1, 3, H, W] -> [1, 1, H, W]."""
    rows = torch.linspace(2.0, 1.0, frame.shape[-2])
    return rows[None, None, :, None].expand(1, 1, *frame.shape[-2:]).contiguous()


def flow(at: Tensor, other: Tensor) -> Tensor:
    """Where the pixels of `at` lie in `other`: all move as the centre of brightness does. [1, 2, H, W]."""
    right = _centre(other) - _centre(at)
    return torch.stack([torch.full_like(at[:, 0], right), torch.zeros_like(at[:, 0])], 1)


def _centre(frame: Tensor) -> float:
    """The column of the clip's blob."""
    bright = (frame[0, 0] + 0.8).clamp(min=0).double().sum(0)
    return float((bright * torch.arange(len(bright))).sum() / bright.sum())


def write_inputs() -> None:
    """init.png, mask.png and clip/ in the current directory."""
    Path("init.png").write_bytes(png_bytes(blob(40, 64)))
    mask = np.zeros((64, 64, 3), dtype=np.uint8)
    mask[:, 24:] = 255
    Path("mask.png").write_bytes(png_bytes(mask))
    Path("clip").mkdir(exist_ok=True)
    for k in range(3):
        (Path("clip") / f"{k}.png").write_bytes(png_bytes(blob(20 + 3 * k, 64)))


def networks(settings: Settings) -> Networks:
    """The pocket networks of these settings; depth and flow are ours."""
    loaded = load_networks(settings, device="cpu")
    loaded.depth, loaded.flow = depth, flow  # type: ignore[assignment]
    return loaded


def finished(name: str, out: Path) -> Iterator[Path]:
    """Render a case; the paths of its pictures, in order."""
    values = {**STILL, **CASES[name], "batch_name": name}
    run = disco.run_from_mapping(values)
    for event in disco.render(run, out=out, networks=networks(run.settings)):
        if isinstance(event, PictureFinished):
            yield event.path


def sha256(pixels: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def facts() -> dict[str, str]:
    """What decides about the last bits: where all of it is the same, hashes must hold."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.is_file() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    return {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "kernels": torch.backends.cpu.get_cpu_capability(),
        "processor": model or platform.processor(),
    }


def render_all(folder: Path) -> None:
    """<name>.png (the last picture of each case) and facts.json: the facts above and all pictures' hashes."""
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(123)  # no run may depend on the global stream it finds
    write_inputs()
    hashes: dict[str, list[str]] = {}
    for name in CASES:
        pictures = [read_pixels(path) for path in finished(name, Path("out"))]
        hashes[name] = [sha256(pixels) for pixels in pictures]
        (folder / f"{name}.png").write_bytes(png_bytes(pictures[-1]))
    text = json.dumps({"facts": facts(), "sha256": hashes}, indent=1)
    (folder / FACTS).write_text(text + "\n", encoding="utf-8")


def main(words: list[str]) -> int:
    if words == ["renew"]:
        folder = STORED
    elif len(words) == 2 and words[0] == "render":
        folder = Path(words[1])
    else:
        print(__doc__)
        return 2
    import tempfile

    folder = folder.absolute()
    with tempfile.TemporaryDirectory() as here:
        os.chdir(here)
        render_all(folder)
        os.chdir("/")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
