"""disco.animation.memory: depth and motion count in the memory of a run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from disco.animation.memory import moving_needs
from disco.memory.policy import MemoryPolicy, Stage
from disco.networks.estimate import Workload, peak_memory
from disco.networks.footprint import Activations, Footprints, most_alive, weights_of
from disco.networks.required import required
from disco.rendering.memory import memory_lines
from disco.settings.load import Run, run_from_mapping
from tests.places import SETTINGS

CLIP = SETTINGS / "clips" / "sunrise.gif"
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
VIDEO: dict[str, Any] = {"animation_mode": "Video Input", "video_init_path": str(CLIP)}
RAFT, LARGE = VIDEO | {"flow_model": "raft_large"}, 5257536  # parameters


def run_of(**values: Any) -> Run:
    return run_from_mapping({"text_prompts": ["a lake"], "width_height": [128, 128], **values})


def of(run: Run, device: torch.device) -> tuple[int, int]:
    return moving_needs(required(run.settings), run.settings.width_height, device)


@pytest.mark.parametrize(
    ("written", "device", "weights"),
    [
        ({}, CPU, 0),
        ({"animation_mode": "2D"}, CPU, 0),
        ({"animation_mode": "3D"}, CPU, 0),  # a plane
        (VIDEO, CPU, 0),  # DIS
        ({**RAFT, "video_init_flow_warp": False}, CPU, 0),
        ({"animation_mode": "3D", "midas_depth_model": "dpt_large"}, CUDA, 4 * 341850305),
        ({"animation_mode": "3D", "midas_depth_model": "fastdepth"}, CPU, 5775869),
        ({"animation_mode": "3D", "midas_depth_model": "fastdepth"}, CUDA, 0),  # it computes on the CPU
        (
            {"animation_mode": "3D", "midas_depth_model": "dpt_large", "second_depth_model": "dpt_hybrid"},
            CPU,
            4 * (341850305 + 121197825),
        ),
        (RAFT, CPU, 4 * LARGE),
        ({**RAFT, "flow_model": "raft_things"}, CPU, 4 * LARGE),
    ],
)
def test_weights(written: dict[str, Any], device: torch.device, weights: int) -> None:
    found, work = of(run_of(**written), device)
    assert found == weights
    assert (work > 0) == (weights > 10**7)


def test_raft_compares_all_pixels_with_all() -> None:
    """Its largest tensors: a number for every pair of 8x8 pixels, and these once more while they are made."""
    sizes = ([512, 512], [1024, 1024])
    small, large = (of(run_of(**RAFT, width_height=size), CPU)[1] for size in sizes)
    assert large >= 2 * 4 * (1024 // 8) ** 4
    assert large > 8 * small


def test_the_plan_counts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = Footprints(0, 0, Activations(0, 0), None, ())
    monkeypatch.setattr("disco.rendering.memory.count", lambda *networks: nothing)
    run = run_of(animation_mode="3D", midas_depth_model="dpt_large", device="cpu")
    (line, *_) = memory_lines(run, {})
    assert line.startswith(
        "about 1.7 GiB on cpu: weights 1.3, activations of a step 0.1, the rest for kernels"
    )


def test_they_can_be_offloaded() -> None:
    counts = Footprints(100, 10, Activations(0, 0), None, (), moving=50, moved=70)
    work = Workload((64, 64), 1, 8, CUDA)
    assert peak_memory(counts, work).weights == 150 and peak_memory(counts, work).work == 70
    offloaded = peak_memory(counts, work, MemoryPolicy(offload=True))
    assert (offloaded.weights, offloaded.work) == (50, 70) and offloaded.stage is Stage.MOVING
    assert counts.of_size(0.5).moved == 35


def test_most_alive() -> None:
    network = nn.Linear(500, 500, bias=False, device="meta")

    def work() -> None:
        a = torch.zeros(10, 500, device="meta")
        b = network(a)  # the weights, and views of them, are not counted
        c = b.T + 1
        del a, b
        c.add_(1)

    assert most_alive(work, network) == 3 * 10 * 500 * 4
    assert weights_of(network, torch.float16) == 500 * 500 * 2
