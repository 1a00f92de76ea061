"""RAFT (Teed and Deng 2020, arXiv:2003.12039) by torchvision, with its weights or those of the original."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from disco.animation.grid import check_sizes, padded
from disco.networks.state_dicts import load_strict, read_state_dict
from disco.weights.fetch import fetch_paths
from disco.weights.registry import Entry, registry

UPDATES = 20  # refinements of the flow, as the original
_LEAST, _MULTIPLE = 128, 8  # what torchvision's RAFT takes, pixels
# Names of the RAFT authors' files -> torchvision's, one after the other; what becomes "" is left out.
_NAMES = (
    (r".*\.norm3\..*", ""),  # the same tensors as downsample.1
    (r"fnet\.", "feature_encoder."),
    (r"cnet\.", "context_encoder."),
    (r"(\w+_encoder)\.conv1\.", r"\1.convnormrelu.0."),
    (r"(\w+_encoder)\.norm1\.", r"\1.convnormrelu.1."),
    (r"(\w+_encoder)\.conv2\.", r"\1.conv."),
    (r"(\w+_encoder\.layer\d\.\d)\.conv(\d)\.", r"\1.convnormrelu\2.0."),
    (r"(\w+_encoder\.layer\d\.\d)\.norm(\d)\.", r"\1.convnormrelu\2.1."),
    (r"update_block\.encoder\.convc(\d)\.", r"update_block.motion_encoder.convcorr\1.0."),
    (r"update_block\.encoder\.convf(\d)\.", r"update_block.motion_encoder.convflow\1.0."),
    (r"update_block\.encoder\.conv\.", "update_block.motion_encoder.conv.0."),
    (r"update_block\.gru\.conv([zrq])(\d)\.", r"update_block.recurrent_block.convgru\2.conv\1."),
    (r"update_block\.mask\.0\.", "mask_predictor.convrelu.0."),
    (r"update_block\.mask\.2\.", "mask_predictor.conv."),
)


class RaftFlow:
    """A RAFT network as a depth_and_flow.Flow."""

    def __init__(self, name: str, network: nn.Module, *, updates: int = UPDATES) -> None:
        """network: one of torchvision's, with its weights; frozen here. updates: refinements, at least 1."""
        self.name, self.updates = name, updates
        self.network = network.requires_grad_(False).eval()
        self.device = next(network.parameters()).device

    @torch.no_grad()
    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        check_sizes(a, b)
        frames = (a.detach().float().to(self.device), b.detach().float().to(self.device))
        (a_padded, b_padded), crop = padded(frames, least=_LEAST, multiple=_MULTIPLE)
        flow = self.network(a_padded, b_padded, num_flow_updates=self.updates)[-1]
        return flow[crop].contiguous().to(a.device)


def build_raft(net: str) -> nn.Module:
    """torchvision's `raft_large` or `raft_small` on the meta device: nothing drawn, nothing downloaded."""
    from torchvision.models import optical_flow

    with torch.device("meta"):
        network: nn.Module = getattr(optical_flow, net)(weights=None)
    return network


def from_original(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A large RAFT under the names of its authors' files (raft-things.pth) -> under torchvision's.

    A name that the table does not know is kept, so that loading complains of it.
    """
    renamed = {_torchvision_name(name): tensor for name, tensor in state.items()}
    return {name: tensor for name, tensor in renamed.items() if name}


def _torchvision_name(name: str) -> str:
    for pattern, new in _NAMES:
        name = re.sub(rf"^{pattern}", new, name)
    return name


def load_raft(
    name: str,
    device: torch.device | str = "cpu",
    fetched: Callable[[Entry], Sequence[Path]] = fetch_paths,
    *,
    updates: int = UPDATES,
) -> RaftFlow:
    """A network of the registry's kind `flow`, fetched if need be. Raises InputError and WeightsError."""
    entry = registry().get("flow", name)
    (path,) = fetched(entry)
    network = read_raft(path, entry.architecture["net"]).to(device)
    return RaftFlow(entry.name, network, updates=updates)


def read_raft(path: Path, net: str) -> nn.Module:
    """The network `net` from torchvision's file or, if large, from its authors'. Raises WeightsError."""
    network = build_raft(net)
    state: Mapping[str, Tensor] = read_state_dict(path)
    if any(name.startswith("fnet.") for name in state):
        state = from_original(state)
    load_strict(network, state, path, describe=_describe_state_dict)
    return network


def _describe_state_dict(state: Mapping[str, Tensor]) -> str:
    first = state.get("feature_encoder.convnormrelu.0.weight")
    if first is None:
        return "It holds no RAFT"
    return f"It looks like raft_{'large' if len(first) == 64 else 'small'}"
