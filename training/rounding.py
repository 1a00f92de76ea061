"""How the shipped files stay small: large matrices in 8-bit floats, the rest in 16-bit ones.

`load_state_dict` copies both into float32 modules, so that no loader needs to know. Networks are trained to
live with it: in the last phase the forward pass sees rounded weights, the optimiser the exact ones
(straight-through).
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

SMALL = 4_096  # elements; below this 16 bits cost little
FAINT = 0.01  # standard deviation; below this too much of a tensor falls between the steps of float8_e4m3fn


def storage_type(tensor: Tensor) -> torch.dtype:
    if not tensor.is_floating_point():
        return tensor.dtype
    depthwise = tensor.ndim == 4 and tensor.shape[1] == 1  # nine numbers a channel: each one counts
    if (
        tensor.ndim >= 2
        and tensor.numel() >= SMALL
        and not depthwise
        and float(tensor.detach().std()) >= FAINT
    ):
        return torch.float8_e4m3fn
    return torch.float16


def stored(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict as it is written to disk."""
    return {
        name: tensor.detach().cpu().contiguous().to(storage_type(tensor)) for name, tensor in state.items()
    }


def export(state: dict[str, Tensor], path: Path) -> int:
    """Write `state` as safetensors through a temporary name; returns the bytes written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".safetensors.part")
    save_file(stored(state), partial)
    partial.chmod(0o644)
    partial.rename(path)
    return path.stat().st_size


class StraightThrough:
    """Rounded weights during forward and backward, exact ones for the optimiser."""

    def __init__(self, network: nn.Module) -> None:
        chosen = (p for p in network.parameters() if storage_type(p) == torch.float8_e4m3fn)
        self.pairs = [(p, p.detach().clone()) for p in chosen]

    @torch.no_grad()
    def round(self) -> None:
        for weight, exact in self.pairs:
            exact.copy_(weight)
            weight.copy_(weight.to(torch.float8_e4m3fn))

    @torch.no_grad()
    def restore(self) -> None:
        for weight, exact in self.pairs:
            weight.copy_(exact)
