"""Do flow, the consistency check and colour coherence calm a painted video? python -m benchmarks.flicker

Flicker of a frame: the mean difference from the frame before it, carried along the motion of the video that
was painted, where both show the same; in levels of 255. The motion is measured in the video itself, so that
it is the same for all. Drift: the difference of the mean colours of the last frame and the first, in levels.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from torch import Tensor

import disco
from disco.animation.consistency import visible
from disco.animation.flow import load_flow, warp
from disco.animation.video import VideoFrames, open_video
from disco.events import PictureFinished, RunFinished
from disco.images import from_uint8, read_pixels
from disco.settings_load import load_runs

ROOT = Path(__file__).parent.parent
RECIPE = ROOT / "settings" / "animation_video.yaml"
CHAINED = {"video_init_flow_blend": 0.8, "video_init_check_consistency": False}
VARIANTS: dict[str, dict[str, Any]] = {
    "each frame alone (video_init_flow_warp: false)": {"video_init_flow_warp": False},
    "the same, one seed": {"video_init_flow_warp": False, "video_init_seed_continuity": True},
    "flow": CHAINED,
    "flow, colours of the first frame (LAB)": CHAINED | {"color_coherence": "LAB"},
    "flow, consistency check": CHAINED | {"video_init_check_consistency": True},
    "flow, consistency check, colours of the first frame (LAB)": CHAINED
    | {"video_init_check_consistency": True, "color_coherence": "LAB"},
}


def flicker(frames: list[Tensor], video: VideoFrames) -> float:
    """The mean over all frames after the first."""
    flow, found = load_flow("dis"), []
    for k in range(1, len(frames)):
        there, back = flow(video[k], video[k - 1]), flow(video[k - 1], video[k])
        seen = visible(there, back)
        moved = warp(frames[k - 1], there)
        found.append(float(((frames[k] - moved).abs() * seen).sum() / (3 * seen.sum()) * 127.5))
    return sum(found) / len(found)


def drift(frames: list[Tensor]) -> float:
    """How far the mean colours are from those of the first frame at the end."""
    return float((frames[-1] - frames[0]).mean((0, 2, 3)).abs().mean() * 127.5)


def rendered(values: dict[str, Any], out: Path) -> list[Tensor]:
    """The frames of the recipe with other values."""
    overrides = [f"{key}={value}" for key, value in values.items()]
    (run,) = load_runs([RECIPE], overrides=[*overrides, "make_video=false"])
    events = list(disco.render(run, out=out))
    assert isinstance(events[-1], RunFinished)
    return [from_uint8(read_pixels(e.path)) for e in events if isinstance(e, PictureFinished)]


def main() -> None:
    """Render every variant and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--frames", type=int, default=24)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (run,) = load_runs([RECIPE])
        path, size = run.settings.video_init_path, run.settings.width_height
        assert path is not None
        video = open_video(path, size=size, cache_dir=Path(folder))
        print("| | flicker | drift |\n| --- | ---: | ---: |", flush=True)
        own = [video[k] for k in range(options.frames)]
        print(f"| the video itself | {flicker(own, video):.1f} | {drift(own):.1f} |", flush=True)
        for n, (name, values) in enumerate(VARIANTS.items()):
            frames = rendered({**values, "max_frames": options.frames}, Path(folder) / str(n))
            print(f"| {name} | {flicker(frames, video):.1f} | {drift(frames):.1f} |", flush=True)


if __name__ == "__main__":
    main()
