"""A network that denoises at half the size, with a decoder: all that users see has full size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from disco.events import StepDone
from disco.media.images import png_bytes, read_pixels
from disco.networks.load import Networks
from tests.animation_run import ANIMATIONS, BASE, animation, write_clip
from tests.conftest import GaussianDenoiser
from tests.fake_pool import FakePool
from tests.small_run import StopAfter, closed_after, events_of, pictures, rendered, same, small_networks

INIT: dict[str, Any] = {"init_image": "init.png", "skip_steps": 3, "init_scale": 200}
MASK: dict[str, Any] = {"init_image": "init.png", "mask_path": "mask.png", "mask_blur": 0, "init_scale": 0}
STILLS: dict[str, dict[str, Any]] = {
    "plain": {"n_batches": 2, "batch_size": 2, "range_scale": 100, "tv_scale": 50, "sat_scale": 50},
    "plms": {"n_batches": 1, "diffusion_sampling_mode": "plms"},
    "perlin": {"n_batches": 1, "perlin_init": True, "skip_steps": 3},
    "init": {"n_batches": 1, **INIT},
    "mask": {"n_batches": 1, **MASK},
}


class HalfSpace:
    """Latents are the means of 2x2 pixels; decoded, each is four equal pixels."""

    def shape(self, n: int, size: Sequence[int]) -> tuple[int, int, int, int]:
        return n, 3, size[1] // 2, size[0] // 2

    def encode(self, pictures: Tensor) -> Tensor:
        return functional.avg_pool2d(pictures, 2)

    def decode(self, x0: Tensor) -> Tensor:
        return functional.interpolate(x0, scale_factor=2, mode="nearest")


class HalfDenoiser(GaussianDenoiser):
    """Takes latents of 32x32 pixels alone."""

    def __call__(self, x_t: Tensor, t: float | Tensor) -> Tensor:
        assert x_t.shape[1:] == (3, 16, 16)
        return super().__call__(x_t, t)


def networks(*_: Any, **__: Any) -> Networks:
    made = small_networks(space=HalfSpace())
    made.denoiser = HalfDenoiser()  # type: ignore[assignment]
    return made


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """init.png, which is returned, has no two pixels alike; mask.png keeps its left half."""
    monkeypatch.chdir(tmp_path)
    init = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    mask = np.zeros((32, 32, 3), dtype=np.uint8)
    mask[:, 16:] = 255
    Path("init.png").write_bytes(png_bytes(init))
    Path("mask.png").write_bytes(png_bytes(mask))
    return init


def is_decoded(pixels: np.ndarray) -> bool:
    """Are all 2x2 pixels equal?"""
    first = pixels[::2, ::2]
    return all(np.array_equal(first, pixels[y::2, x::2]) for y in (0, 1) for x in (0, 1))


def means(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(float).mean((0, 1))


@pytest.mark.parametrize("kind", STILLS)
def test_a_still_has_full_size_and_resumes(kind: str, tmp_path: Path, files: np.ndarray) -> None:
    values = STILLS[kind]
    rendered(tmp_path / "whole", values, networks=networks())
    whole = pictures(tmp_path / "whole")
    assert len(whole) == values["n_batches"]
    for pixels in whole.values():
        assert pixels.shape == (32, 32, 3) and not is_decoded(files)
        if kind == "mask":
            assert np.array_equal(pixels[:, :16], files[:, :16]), "the kept half is never decoded"
        assert is_decoded(pixels[:, 16:] if kind == "mask" else pixels)
    rendered(tmp_path / "cut", values, networks=networks(), stop=StopAfter(4))
    assert pictures(tmp_path / "cut").keys() < whole.keys()
    rendered(tmp_path / "cut", values, networks=networks(), resume="latest")
    assert same(pictures(tmp_path / "cut"), whole)


def test_guidance_looks_at_decoded_pictures(tmp_path: Path) -> None:
    """The losses see full size, and their gradient reaches the latents."""
    for scale in (0, 3000):
        values = {"n_batches": 1, "clip_guidance_scale": scale, "text_prompts": ["red"]}
        rendered(tmp_path / str(scale), values, networks=networks())
    free, guided = (means(pictures(tmp_path / str(scale))[0]) for scale in (0, 3000))
    assert (guided - guided.mean())[0] > (free - free.mean())[0] + 5


def test_previews_partials_and_progress_have_full_size(tmp_path: Path) -> None:
    values = {"n_batches": 1, "intermediate_saves": 3, "display_rate": 1}
    shown = [
        event.preview()
        for event in events_of(tmp_path, values, networks=networks())
        if isinstance(event, StepDone)
    ]
    saved = [*(tmp_path / "small").rglob("*%.png"), tmp_path / "small" / "small(0)_progress.png"]
    pixels = [picture for pictures in shown for picture in pictures] + [read_pixels(path) for path in saved]
    assert len(shown) == 10 and len(saved) >= 4
    assert all(picture.shape == (32, 32, 3) and is_decoded(picture) for picture in pixels)


@pytest.mark.parametrize("values", [ANIMATIONS["2D"], {**ANIMATIONS["2D"], **MASK}], ids=["plain", "mask"])
def test_an_animation_has_full_size_and_resumes(values: dict[str, Any], tmp_path: Path) -> None:
    """The next frame starts from the decoded picture of the one before."""
    values = {**BASE, **values}
    rendered(tmp_path / "whole", values, networks=networks())
    whole = pictures(tmp_path / "whole")
    assert len(whole) == 4 and all(pixels.shape == (32, 32, 3) for pixels in whole.values())
    closed_after(tmp_path / "cut", 10, values, networks=networks())
    rendered(tmp_path / "cut", values, networks=networks(), resume="latest")
    assert same(pictures(tmp_path / "cut"), whole)


def test_a_video_is_held_by_what_is_known(tmp_path: Path) -> None:
    """video_init_steady's mask comes in pixels and acts on latents."""
    values = animation("video", video_init_steady=0.5)
    write_clip(tmp_path / "clip")
    made = networks()
    made.flow = lambda at, other: torch.zeros_like(at[:, :2])  # type: ignore[assignment]
    rendered(tmp_path, values, networks=made)
    assert [pixels.shape for pixels in pictures(tmp_path).values()] == [(32, 32, 3)] * 4


def test_workers_render_the_same(tmp_path: Path) -> None:
    rendered(tmp_path / "alone", STILLS["plain"], networks=networks())
    rendered(tmp_path / "spread", STILLS["plain"], networks=FakePool(load=networks))
    assert same(pictures(tmp_path / "spread"), pictures(tmp_path / "alone"))
