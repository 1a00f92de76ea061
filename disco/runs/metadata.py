"""What every PNG carries: all that it takes to render that picture again, pixel for pixel."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from disco.memory.policy import MemoryPolicy
from disco.runs.record import FORMAT

PACKAGES = (
    "torch",
    "torchvision",
    "open_clip_torch",
    "guided-diffusion-sdk",
    "lpips",
    "timm",
    "numpy",
    "pillow",
)
OF_MODE = {
    "3D": ("transformers", "onnxruntime"),  # depth
    "Video Input": ("opencv-python-headless", "imageio-ffmpeg"),  # motion, and the video's frames
}


@lru_cache
def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def versions(animation_mode: str = "None") -> dict[str, str]:
    """Name -> version of Python and of the packages that shape the pixels; those not here are left out.

    animation_mode: some shape those of one mode alone.
    """
    import disco

    packages = {"disco": disco.__version__, "python": platform.python_version()}
    names = (*PACKAGES, *OF_MODE.get(animation_mode, ()))
    return packages | {name: here for name in names if (here := _version(name)) is not None}


def picture_metadata(
    settings: Mapping[str, Any],
    *,
    seed: int,
    picture: int,
    batch: Sequence[int],
    machine: Mapping[str, Any],
    weights: Mapping[str, str],
    inputs: Mapping[str, str],
    stream: str | None = None,
) -> dict[str, Any]:
    """The mapping for the text chunk.

    settings: flat keys that load again; picture: its index k; batch: the pictures rendered together with it
    (bits depend on it); machine: device, threads, precision; weights, inputs: name -> SHA-256; stream: the
    random states at the picture's start (compat dd57).
    """
    metadata: dict[str, Any] = {
        "format": FORMAT,
        "settings": dict(settings),
        "seed": seed,
        "picture": picture,
        "batch": list(batch),
        "machine": dict(machine),
        "versions": versions(settings.get("animation_mode", "None")),
        "weights": dict(weights),
        "inputs": dict(inputs),
    }
    if stream is not None:
        metadata["stream"] = stream
    return metadata


def other_weights(metadata: Mapping[str, Any], weights: Mapping[str, str]) -> list[str]:
    """Networks that are not those that the picture was made with: it will be another one. A sentence each."""
    return [
        f"the picture will differ: the weights {name} have SHA-256 {weights.get(name, 'none')[:12]}, "
        f"it was made with {was[:12]}"
        for name, was in metadata.get("weights", {}).items()
        if weights.get(name) != was
    ]


def differences(metadata: Mapping[str, Any], machine: Mapping[str, Any]) -> list[str]:
    """What is not as it was when the picture was made and may change its bits, one sentence each."""
    changes = []
    here = versions(metadata.get("settings", {}).get("animation_mode", "None"))
    for name, was in metadata.get("versions", {}).items():
        now = here.get(name)
        if name != "python" and now != was:
            changes.append(f"{name} was {was}, now {now or 'not installed'}")
    for name, was in metadata.get("machine", {}).items():
        if machine.get(name) != was:
            changes.append(_other_fact(name, was, machine.get(name)))
    return changes


def _other_fact(name: str, was: Any, now: Any) -> str:
    """A sentence about a fact of `machine`; memory: the savings that were on, as run.json has them."""
    if name == "memory":
        name, was, now = "memory saving", MemoryPolicy.of(was).words(), MemoryPolicy.of(now or {}).words()
    return f"{name} was {was}, now {now or 'none'}"
