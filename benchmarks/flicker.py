"""Do flow, the consistency check and colour coherence calm a painted video? python -m benchmarks.flicker

A small clip is drawn, trees that pass before hills in steady light, and painted by the pocket networks in
several ways, each with three seeds. Flicker of a frame: the mean difference from the frame before it, carried
along the motion of the clip, where both show the same. That motion is known, since the clip is drawn: what
measures motion is not measured by itself. Detail: the mean difference between neighbouring pixels. A picture
that turns to fog flickers less and is no steadier, hence the quotient: 1 is as much as a jump by one pixel.
Nor is one that is hardly painted any better, hence how far the frames are from the clip's own.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

import disco
from disco.animation.flow import warp
from disco.animation.frame_blend import blended
from disco.events import PictureFinished
from disco.media.images import from_uint8, png_bytes, read_pixels
from disco.networks.load import Networks
from disco.rendering.prepare import load_for
from disco.settings.load import Run, run_from_mapping

WIDTH, HEIGHT = 96, 64
LAYERS = (0.5, 1, 3, 6, 6, 6)  # clouds, hills, hills, trees: pixels to the left per frame
FRAMES, SETTLED = 10, 3  # flicker is measured from this frame on: the first ones are still being painted
SETTINGS: dict[str, Any] = {
    "animation_mode": "Video Input",
    "text_prompts": ["a painting of hills and trees"],
    "width_height": [WIDTH, HEIGHT],
    "extract_nth_frame": 1,
    "video_init_steps": 30,
    "video_init_skip_steps": 18,
    "video_init_frames_skip_steps": "85%",
    "video_init_flow_blend": 0.8,
    "clip_models": ["pocket-conv"],
    "cut_overview": 4,
    "cut_innercut": 4,
}
CHECK, COLOURS = {"video_init_check_consistency": True}, {"color_coherence": "LAB"}
BOTH, ALIKE = CHECK | COLOURS, {"video_init_steady": 0}
VARIANTS: dict[str, dict[str, Any]] = {
    "each frame alone (`video_init_flow_warp: false`)": {"video_init_flow_warp": False},
    "flow": {},
    "flow, colours of the first frame (LAB)": COLOURS,
    "flow, consistency check, `video_init_steady: 0`": CHECK | ALIKE,
    "flow, consistency check": CHECK,
    "flow, consistency check, colours of the first frame, `video_init_steady: 0`": BOTH | ALIKE,
    "flow, consistency check, colours of the first frame": BOTH,
}


@dataclass(frozen=True)
class Scene:
    """A frame of the clip. picture: [3, HEIGHT, WIDTH] in [-1, 1]; layer: what each pixel shows of LAYERS."""

    picture: Tensor
    layer: Tensor


def scene(frame: int) -> Scene:
    """Three trees, two rows of hills, clouds; each layer shifts to the left by its own whole pixels."""
    y, x = torch.meshgrid(torch.arange(HEIGHT).float(), torch.arange(WIDTH).float(), indexing="ij")
    picture = _colour(120, 160, 215) + y / HEIGHT * _colour(110, 60, 10) + 50 * _texture(10, shift(0, frame))
    layer = torch.zeros(HEIGHT, WIDTH, dtype=torch.long)
    for n, base, colour in ((1, 34, _colour(110, 110, 130)), (2, 46, _colour(80, 120, 70))):
        along, phase = x + shift(n, frame), LAYERS[n]
        ridge = base - 7 * torch.sin(along / 15 + 2 * phase) - 4 * torch.sin(along / 6 + phase)
        shown = colour * (1 + 0.8 * _texture(4, shift(n, frame)))
        picture, layer = torch.where(y > ridge, shown, picture), layer.masked_fill(y > ridge, n)
    for n, place in ((3, 30), (4, 75), (5, 125)):
        left = x - place + shift(n, frame)
        tree = (left.abs() < 4.5) & (y > 14) | (left**2 + (y - 16) ** 2 < 100)
        shown = _colour(95, 60, 40) * (1 + 0.9 * _texture(3, shift(n, frame)))
        picture, layer = torch.where(tree, shown, picture), layer.masked_fill(tree, n)
    return Scene((picture / 127.5 - 1).clamp(-1, 1), layer)


def shift(layer: int, frame: int) -> int:
    """How far a layer has come to the left, in pixels."""
    return int(LAYERS[layer] * frame)


def motion(frame: int) -> tuple[Tensor, Tensor]:
    """From a frame to the one before: the true flow, and where both show the same thing, 1 or 0."""
    now, before = scene(frame).layer, scene(frame - 1).layer
    steps = torch.tensor([shift(n, frame) - shift(n, frame - 1) for n in range(len(LAYERS))])[now]
    place = torch.arange(WIDTH) + steps  # to the right of it
    there = before.gather(1, place.clamp(max=WIDTH - 1))
    seen = (place < WIDTH) & (there == now)
    return torch.stack([steps, torch.zeros_like(steps)])[None].float(), seen[None, None].float()


def _colour(*levels: int) -> Tensor:
    return torch.tensor(levels, dtype=torch.float32).view(3, 1, 1)


def _texture(grain: int, offset: int) -> Tensor:
    """Soft noise around 0 in grains of so many pixels, seen through a window at `offset`, [HEIGHT, WIDTH]."""
    generator = torch.Generator().manual_seed(grain)
    coarse = torch.rand(1, 1, HEIGHT // grain + 2, 3 * WIDTH // grain, generator=generator)
    fine = functional.interpolate(coarse, scale_factor=grain, mode="bicubic", align_corners=False)
    return fine[0, 0, :HEIGHT, offset : offset + WIDTH] - 0.5


def flicker(frames: Sequence[Tensor], motions: Sequence[tuple[Tensor, Tensor]]) -> float:
    """The mean over the settled frames, in levels of 255. motions: of each frame after the first."""
    found = []
    for k in range(SETTLED, len(frames)):
        flow, seen = motions[k - 1]
        difference = (frames[k] - warp(frames[k - 1], flow)).abs()
        found.append(float((difference * seen).sum() / (3 * seen.sum()) * 127.5))
    return sum(found) / len(found)


def detail(frames: Sequence[Tensor]) -> float:
    """The mean difference between neighbouring pixels of the settled frames, in levels."""
    settled = torch.cat(list(frames[SETTLED:]))
    return float((settled.diff(dim=2).abs().mean() + settled.diff(dim=3).abs().mean()) / 2 * 127.5)


def drift(frames: Sequence[Tensor]) -> float:
    """How far the mean colours of the last frame are from those of the first, in levels."""
    return float((frames[-1] - frames[0]).mean((0, 2, 3)).abs().mean() * 127.5)


def painted(frames: Sequence[Tensor], clip: Sequence[Tensor]) -> float:
    """The mean difference of the settled frames from those of the clip, in levels."""
    pairs = zip(frames[SETTLED:], clip[SETTLED:], strict=True)
    return float(torch.stack([(frame - own).abs().mean() for frame, own in pairs]).mean() * 127.5)


def row(name: str, takes: Iterable[Sequence[Tensor]], clip: Sequence[Tensor]) -> str:
    """A line of the table: the means over several takes."""
    motions = [motion(k) for k in range(1, len(clip))]
    measured = [[flicker(take, motions), detail(take), drift(take), painted(take, clip)] for take in takes]
    level, fine, away, paint = torch.tensor(measured).mean(0).tolist()
    return f"| {name} | {level:.1f} | {fine:.1f} | {level / fine:.2f} | {away:.1f} | {paint:.1f} |"


def rendered(run: Run, out: Path, networks: Networks) -> list[Tensor]:
    """The frames of a run."""
    events = disco.render(run, out=out, networks=networks)
    return [from_uint8(read_pixels(e.path)) for e in events if isinstance(e, PictureFinished)]


def main() -> None:
    """Render every variant and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--frames", type=int, default=FRAMES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9])
    parser.add_argument("--steady", type=float, nargs="+", default=[], help="more rows: video_init_steady")
    options = parser.parse_args()
    shares = {f"all, `video_init_steady: {x:g}`": BOTH | {"video_init_steady": x} for x in options.steady}
    began, load = time.process_time(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        place, video = Path(folder) / "clip", [scene(k).picture[None] for k in range(options.frames)]
        place.mkdir()
        for k, frame in enumerate(video):
            (place / f"{k:02}.png").write_bytes(png_bytes(frame[0]))
        base = SETTINGS | {"video_init_path": str(place), "max_frames": options.frames}
        networks = load_for(run_from_mapping(base))
        print("| | flicker | detail | flicker / detail | drift | from the clip |")
        print("| --- | ---: | ---: | ---: | ---: | ---: |")
        print(row("the clip itself", [video], video), flush=True)
        for name, values in (shares | VARIANTS).items():
            runs = [run_from_mapping(base | values | {"set_seed": seed}) for seed in options.seeds]
            takes = [rendered(run, Path(folder) / str(len(name)), networks) for run in runs]
            print(row(name, takes, video), flush=True)
        finished = [list(blended(take, "flow", 0.5)) for take in takes]
        print(row("the last, as a video with `video_init_blend_mode: optical flow`", finished, video))
    print(f"\n{(time.process_time() - began) / 60:.1f} minutes of CPU, load {load:.1f} at the start.")


if __name__ == "__main__":
    main()
