"""A run so small that a test can render it dozens of times: fake networks, 32x32 pixels, ten steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import disco
from disco.events import Event, PictureFinished, RunFinished, StepDone
from disco.media.images import read_pixels
from disco.networks.load import Networks
from tests.conftest import EightNumberClip, GaussianDenoiser

SMALL: Mapping[str, Any] = {
    "text_prompts": ["red"],
    "batch_name": "small",
    "n_batches": 3,
    "width_height": [32, 32],
    "steps": 10,
    "skip_steps": 0,
    "set_seed": 5,
    "use_secondary_model": False,
    "clip_models": ["pocket-conv"],
    "cut_overview": 2,
    "cut_innercut": 2,
    "cutn_batches": 1,
    "clip_guidance_scale": 500,
    "sat_scale": 0,
    "eta": 0.8,
    "checkpoint_every": 3,
    "display_rate": 5,
}


class SmallClip(EightNumberClip):
    """EightNumberClip under the name that SMALL's clip_models has."""

    name = "pocket-conv"

    def remember(self, texts: Sequence[str]) -> None: ...

    def free_text_tower(self) -> None: ...


class SmallLpips:
    """A perceptual net that compares pixels."""

    def prepare(self, init: Tensor) -> Any:
        return lambda pictures: ((pictures - init) ** 2).mean((1, 2, 3))


def small_networks(**more: Any) -> Networks:
    return Networks(
        GaussianDenoiser(), clips=[SmallClip()], lpips=SmallLpips(), hashes={"toy": "0" * 64}, **more
    )


def events_of(out: Path, values: Mapping[str, Any] | None = None, **how: Any) -> Iterator[Event]:
    """The events of SMALL with other values."""
    torch.manual_seed(123)  # no run may depend on the global stream it finds
    how.setdefault("networks", small_networks())
    return disco.render({**SMALL, **(values or {})}, out=out, **how)


def rendered(out: Path, values: Mapping[str, Any] | None = None, **how: Any) -> RunFinished | None:
    """Render it all; the last RunFinished, None if nothing was left to do."""
    finished = [event for event in events_of(out, values, **how) if isinstance(event, RunFinished)]
    return finished[-1] if finished else None


def pictures(out: Path, batch_name: str = "small", run: int = 0) -> dict[int, np.ndarray]:
    """Index -> pixels of the finished pictures of a run."""
    found = sorted((out / batch_name).glob(f"{batch_name}({run})_[0-9][0-9][0-9][0-9].png"))
    return {int(path.stem[-4:]): read_pixels(path) for path in found}


def same(a: Mapping[int, np.ndarray], b: Mapping[int, np.ndarray]) -> bool:
    """Bit for bit the same pictures."""
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


class StopAfter:
    """A `stop` that says yes after so many steps, counted over all pictures."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self) -> bool:
        self.left -= 1
        return self.left <= 0


def closed_after(out: Path, steps: int, values: Mapping[str, Any] | None = None, **how: Any) -> None:
    """Listen to so many steps, then close the generator, as an interrupted notebook does."""
    events = events_of(out, values, **how)
    for event in events:
        if isinstance(event, StepDone):
            steps -= 1
            if steps == 0:
                break
    events.close()  # type: ignore[attr-defined]


def finished_paths(events: Iterator[Event]) -> list[Path]:
    return [event.path for event in events if isinstance(event, PictureFinished)]
