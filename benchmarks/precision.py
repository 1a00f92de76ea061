"""What does each number type and memory layout cost in exactness? python -m benchmarks.precision

Every choice for the UNet and for the secondary network against the plain network in float32, with random
weights: the largest difference of eps (or of the guess, and of the gradient through it) as a share of the
largest number, over three noise levels, and the seconds of a pass. What a device cannot do is left out.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import machine
from benchmarks.peer_networks import awake
from disco.memory.devices import pick_device
from disco.networks.compile import prepare
from disco.networks.denoiser import Denoiser, SdpaAttention, build_unet, convert
from disco.networks.load import Networks
from disco.secondary_model import SecondaryModel
from disco.weights.registry import registry

# A guided-diffusion network of moderate size; --architectures real: the published one of 512x512.
_MODERATE: dict[str, Any] = {
    "image_size": 256, "num_channels": 64, "num_res_blocks": 1, "channel_mult": "1,1,2,2,4",
    "num_head_channels": 64, "attention_resolutions": "32,16", "use_scale_shift_norm": True,
    "resblock_updown": True, "learn_sigma": True,
}  # fmt: skip
_REAL = "512x512_diffusion_uncond_finetune_008100"
TIMES = (50.0, 500.0, 950.0)


class PlainAttention(nn.Module):
    """What SdpaAttention computes, in its parts, the softmax in float32 as in the package."""

    def __init__(self, sdpa: SdpaAttention) -> None:
        super().__init__()
        self.heads, self.heads_first = sdpa.n_heads, sdpa.heads_first

    def forward(self, qkv: Tensor) -> Tensor:
        batch, width, length = qkv.shape
        head = width // (3 * self.heads)
        shape = (
            (batch, self.heads, 3, head, length) if self.heads_first else (batch, 3, self.heads, head, length)
        )
        q, k, v = qkv.reshape(shape).unbind(2 if self.heads_first else 1)  # [N, heads, C, T]
        weights = torch.softmax((q.transpose(-1, -2) @ k).float() / head**0.5, dim=-1).to(v.dtype)
        return (v @ weights.transpose(-1, -2)).reshape(batch, -1, length)


@dataclass(frozen=True)
class Choice:
    """How a network is run. needs_cuda: what only a GPU has."""

    name: str
    change: Callable[[nn.Module], None] = lambda network: None
    dtype: torch.dtype = torch.float32
    tf32: bool = False
    compile: bool = False
    needs_cuda: bool = False


def channels_last(network: nn.Module) -> None:
    network.to(memory_format=torch.channels_last)


def parts_of_attention(network: nn.Module) -> None:
    """Back from SDPA."""
    for module in network.modules():
        attention = getattr(module, "attention", None)
        if isinstance(attention, SdpaAttention):
            module.attention = PlainAttention(attention)


UNET = (
    Choice("attention in its parts", parts_of_attention),
    Choice("channels_last", channels_last),
    Choice("bf16", dtype=torch.bfloat16),
    Choice("fp16", dtype=torch.float16, needs_cuda=True),
    Choice("fp16, channels_last", channels_last, torch.float16, needs_cuda=True),
    Choice("TF32", tf32=True, needs_cuda=True),
    Choice("compiled", compile=True),
    Choice("bf16, compiled", dtype=torch.bfloat16, compile=True),
    Choice("fp16, compiled", dtype=torch.float16, compile=True, needs_cuda=True),
)
SECONDARY = (
    Choice("channels_last", channels_last),
    Choice("bf16", dtype=torch.bfloat16),
    Choice("TF32", tf32=True, needs_cuda=True),
    Choice("compiled", compile=True),
)


@contextmanager
def tf32(on: bool) -> Iterator[None]:
    """Products and convolutions of float32 on a GPU with 10 bits of mantissa, or with all 23."""
    was = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = on
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = was


def unet_rows(device: torch.device, side: int, choices: list[Choice], real: bool) -> Iterator[dict[str, Any]]:
    """The UNet's eps, without gradient, as beside a secondary network."""
    architecture = registry().get("diffusion", _REAL).architecture if real else _MODERATE
    torch.manual_seed(0)
    with device:
        plain = awake(build_unet(architecture))
    x_t = torch.randn(1, 3, side, side).to(device)

    def make(choice: Choice) -> Callable[[], list[Tensor]]:
        network = copy.deepcopy(plain)
        choice.change(network)
        denoiser = Denoiser(convert(network, choice.dtype), architecture)
        _compile(choice, Networks(denoiser, device=device))

        def run() -> list[Tensor]:
            with torch.no_grad():
                return [denoiser(x_t, t) for t in TIMES]

        return run

    yield from _rows("UNet", make, choices, device)


def secondary_rows(
    device: torch.device, side: int, choices: list[Choice], real: bool
) -> Iterator[dict[str, Any]]:
    """The secondary network's guess, and the gradient through it."""
    torch.manual_seed(0)
    plain = SecondaryModel(64 if real else 32).requires_grad_(False).to(device)
    x_t = torch.randn(1, 3, side, side).to(device)

    def make(choice: Choice) -> Callable[[], list[Tensor]]:
        network = copy.deepcopy(plain)
        choice.change(network)
        network.to(choice.dtype)
        _compile(choice, Networks(lambda x, t: x, network, device=device))  # type: ignore[arg-type]

        def run() -> list[Tensor]:
            found = []
            for t in TIMES:
                x = x_t.to(choice.dtype).requires_grad_()
                guess = network(x, torch.tensor([t / 1000], device=device, dtype=choice.dtype)).pred_x0
                (grad,) = torch.autograd.grad(guess.float().square().sum(), x)
                found += [guess.detach().float(), grad.float()]
            return found

        return run

    yield from _rows("secondary", make, choices, device)


def _compile(choice: Choice, networks: Networks) -> None:
    if choice.compile:
        prepare(networks, True, lambda text: print(f"  {text}", flush=True))


def _rows(
    name: str,
    make: Callable[[Choice], Callable[[], list[Tensor]]],
    choices: list[Choice],
    device: torch.device,
) -> Iterator[dict[str, Any]]:
    with tf32(False):
        run = make(Choice("fp32"))
        expected, took = run(), _seconds(run, device)
    yield {"network": name, "choice": "fp32", "largest error": "0", "seconds": took, "faster": 1.0}
    for choice in choices:
        if choice.needs_cuda and device.type != "cuda":
            continue
        with tf32(choice.tf32):
            run = make(choice)
            found, now = run(), _seconds(run, device)
        error = f"{relative_error(found, expected):.1e}"
        yield {
            "network": name,
            "choice": choice.name,
            "largest error": error,
            "seconds": now,
            "faster": took / now,
        }


def relative_error(found: list[Tensor], expected: list[Tensor]) -> float:
    """The largest difference as a share of the largest number of the same answer."""
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, expected, strict=True))


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    """Of one pass, the median of three; on a CPU of its own time, whatever runs beside."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    took = []
    for _ in range(3):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        began = clock()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        took.append((clock() - began) / len(TIMES))
    return statistics.median(took)


def main() -> None:
    """Print the table, and keep it as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--architectures", choices=("moderate", "real"), help="real on a GPU, else moderate")
    parser.add_argument("--side", type=int, help="of the square picture; a multiple of 64")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--out", type=Path, default=machine.RESULTS)
    options = parser.parse_args()
    device = pick_device(options.device)
    real = options.architectures == "real" if options.architectures else device.type == "cuda"
    side = options.side or (512 if real else 128)
    kept = [[c for c in some if not (options.no_compile and c.compile)] for some in (UNET, SECONDARY)]
    rows = [*unet_rows(device, side, kept[0], real), *secondary_rows(device, side, kept[1], real)]
    about = machine.about(device) | {"side": side, "real": real}
    print(machine.table(rows))
    print(machine.save(f"precision_{device.type}", rows, about, options.out))


if __name__ == "__main__":
    main()
