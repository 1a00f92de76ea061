"""The memory that the networks between frames need: depth in 3D, motion in Video Input."""

from __future__ import annotations

import torch

from disco.animation.depth import depth_entries
from disco.memory_count import most_alive, weights_of
from disco.registry import Entry, registry
from disco.settings import Settings
from disco.studio import needs_flow

_DPT_WORK = 90 * 2**20  # most_alive of DPT-Large and DPT-Hybrid, which see any picture at 384x384


def moving_needs(settings: Settings, device: torch.device) -> tuple[int, int]:
    """Bytes on the device: weights, and the most that one pass holds beside them. (0, 0) without networks."""
    if settings.animation_mode == "3D":
        second = None if settings.second_depth_model == "none" else settings.second_depth_model
        wanted = depth_entries(settings.midas_depth_model, settings.midas_weight, second)
        parts = [_depth(entry, device) for _, entry in wanted]
        return sum(weights for weights, _ in parts), max(work for _, work in parts)
    if needs_flow(settings) and settings.flow_model != "dis":
        return _raft(registry().get("flow", settings.flow_model), settings.width_height)
    return 0, 0


def _depth(entry: Entry, device: torch.device) -> tuple[int, int]:
    if entry.architecture["family"] == "dpt":
        return 4 * (entry.parameters or 0), _DPT_WORK
    if entry.architecture["family"] == "onnx" and device.type == "cpu":  # the only place where it computes
        return entry.size()[0] or 0, 0
    return 0, 0


def _raft(entry: Entry, size: tuple[int, int]) -> tuple[int, int]:
    """RAFT compares every 8x8 pixels with all others: its work grows with the square of the pixels."""
    from disco.animation.flow_raft import RaftFlow, build_raft  # torchvision takes a second to import

    width, height = size
    network = build_raft(entry.architecture["net"])
    flow = RaftFlow(entry.name, network, hashes={}, updates=1)
    frame = torch.zeros(1, 3, height, width, device="meta")
    return weights_of(network, torch.float32), most_alive(lambda: flow(frame, frame), network)
