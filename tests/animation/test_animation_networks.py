"""Which networks of an animation are loaded, and that the frames see what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import disco.animation.depth
import disco.animation.flow
from disco.animation.load import add_motion_networks
from disco.networks.load import Networks
from disco.networks.required import networks_key, required
from disco.settings.model import Settings
from tests.animation_run import animation, frames_of, write_clip
from tests.small_run import pictures, small_networks


class Asked:
    """In place of load_depth and load_flow: notes what it was asked for."""

    def __init__(self) -> None:
        self.names: list[object] = []

    def __call__(self, name: object, *how: object, **more: object) -> Asked:
        self.names.append(name)
        return self


def load(settings: Settings) -> Networks:
    networks = small_networks()
    add_motion_networks(networks, settings)
    return networks


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    asked = Asked()
    monkeypatch.setattr(disco.animation.depth, "load_depth", asked)
    monkeypatch.setattr(disco.animation.flow, "load_flow", asked)
    return asked


def has(role: str, settings: Settings) -> bool:
    return any(need.role == role for need in required(settings))


def test_depth_is_loaded_by_its_settings(asked: Asked) -> None:
    alone = Settings(animation_mode="3D", midas_depth_model="dpt_hybrid")
    assert load(alone).depth is asked
    load(Settings(animation_mode="3D", second_depth_model="fastdepth", midas_weight=0.7))
    named = [[(share, entry.name) for share, entry in parts] for parts in asked.names]  # type: ignore[attr-defined]
    assert named == [[(1.0, "dpt_hybrid")], [(0.7, "dpt_large"), (1 - 0.7, "fastdepth")]]


def test_flow_is_loaded_where_it_is_used(asked: Asked) -> None:
    video = {"animation_mode": "Video Input", "video_init_path": "a"}
    for name in ("raft_small", "raft_things"):
        load(Settings(**video, flow_model=name))
    assert asked.names == ["raft_small", "raft_things"]
    for idle in ({"video_init_flow_warp": False}, {"video_init_flow_blend": 0}):
        assert not has("flow", Settings(**video, **idle))
        load(Settings(**video, **idle))
    load(Settings(animation_mode="2D"))
    assert len(asked.names) == 2


def test_runs_of_other_networks_do_not_share_them() -> None:
    base = {"animation_mode": "3D"}
    keys = [
        networks_key(Settings(**base, **more))
        for more in ({}, {"midas_depth_model": "plane"}, {"second_depth_model": "plane"})
    ]
    video = {"animation_mode": "Video Input", "video_init_path": "a"}
    keys += [networks_key(Settings(**video, flow_model=name)) for name in ("dis", "raft_small")]
    assert len(set(keys)) == 5
    assert networks_key(Settings()) == networks_key(Settings(flow_model="raft_small"))


def test_lpips_is_needed_where_a_frame_is_pulled_to_its_start() -> None:
    assert not has("perceptual", Settings())
    assert has("perceptual", Settings(animation_mode="2D"))
    assert not has("perceptual", Settings(animation_mode="2D", frames_scale=0))
    assert has("perceptual", Settings(animation_mode="2D", frames_scale={"frames": {0: 0, 5: 10}}))
    assert not has("perceptual", Settings(animation_mode="Video Input", video_init_frames_scale=0))


def test_frames_move_by_the_depth_that_was_loaded(tmp_path: Path) -> None:
    """Half as deep is twice as far: the frame moves more."""

    def depth(value: float) -> object:
        return lambda frame: torch.full_like(frame[:, :1], value)

    values = {"translation_x": 60, "translation_z": 0, "rotation_3d_y": 0, "vr_mode": False, "max_frames": 2}
    found = []
    for value in (1.0, 2.0):
        networks = small_networks(depth=depth(value))
        frames_of(tmp_path / str(value), animation("3D", **values), networks=networks)
        found.append(pictures(tmp_path / str(value))[1])
    assert not np.array_equal(*found)


def test_frames_follow_the_flow_that_was_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "clip")
    seen: list[tuple[Tensor, Tensor]] = []

    def flow(a: Tensor, b: Tensor) -> Tensor:
        seen.append((a, b))
        return torch.zeros_like(a[:, :2])

    frames_of(tmp_path / "out", animation("video", max_frames=2), networks=small_networks(flow=flow))
    (there, back) = seen  # the consistency check looks both ways
    assert torch.equal(there[0], back[1]) and torch.equal(there[1], back[0])
    assert float(there[0][..., 16, 11].mean()) > float(there[1][..., 16, 11].mean())  # frame 1 first
