"""The memory of the networks between frames: depth in 3D, optical flow in Video Input."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from disco.networks.footprint import most_alive, weights_of
from disco.networks.required import Need
from disco.weights.registry import Entry

_DPT_WORK = 90 * 2**20  # most_alive of DPT-Large and DPT-Hybrid, which see any picture at 384x384


def moving_needs(needs: Sequence[Need], size: tuple[int, int], device: torch.device) -> tuple[int, int]:
    """Bytes on the device: weights, and the peak of the activations of one pass. (0, 0) without networks.

    needs: of a run, by required. size: (W, H).
    """
    entries = [(need.role, need.entry) for need in needs if need.entry is not None]
    parts = [_depth(entry, device) for role, entry in entries if role == "depth"]
    parts += [_raft(entry, size) for role, entry in entries if role == "flow"]
    return sum(weights for weights, _ in parts), max((work for _, work in parts), default=0)


def _depth(entry: Entry, device: torch.device) -> tuple[int, int]:
    if entry.architecture["family"] == "dpt":
        return 4 * (entry.parameters or 0), _DPT_WORK
    if entry.architecture["family"] == "onnx" and device.type == "cpu":  # the only place where it computes
        return entry.size()[0] or 0, 0
    return 0, 0


def _raft(entry: Entry, size: tuple[int, int]) -> tuple[int, int]:
    """RAFT compares every 8x8 pixels with all others: its memory grows with the square of the pixels."""
    from disco.animation.flow_raft import RaftFlow, build_raft  # torchvision takes a second to import

    width, height = size
    network = build_raft(entry.architecture["net"])
    flow = RaftFlow(entry.name, network, updates=1)
    frame = torch.zeros(1, 3, height, width, device="meta")
    return weights_of(network, torch.float32), most_alive(lambda: flow(frame, frame), network)
