"""How much memory a run will need, before anything is loaded: networks on the meta device, counted.

Weights are exact. Of the work, what lives longest is counted: the UNet's skip connections, and the tensors
that autograd keeps of the secondary network and of the hungriest CLIP or the perceptual network. Kernels'
scratch space comes on top.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from disco.clip_loss import CPU_PIXELS
from disco.clip_model import ClipConfig, build_clip
from disco.devices import clip_dtype, unet_dtype
from disco.perceptual import build_perceptual
from disco.secondary_model import SecondaryModel
from disco.unet import build_unet

if TYPE_CHECKING:
    from collections.abc import Mapping

SCRATCH = 1.25  # the share of kernels, fragmentation and small tensors, on top of what is counted


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes. work: the larger of the UNet's pass and the guidance's, of one step."""

    weights: int
    work: int

    @property
    def total(self) -> int:
        return int((self.weights + self.work) * SCRATCH)


@dataclass(frozen=True)
class Work:
    """What decides about memory besides the networks.

    size: (W, H). cutouts: of one CLIP in a step. clip_batch: how many of them it sees at once, None for all.
    """

    size: tuple[int, int]
    batch_size: int
    cutouts: int
    precision: str
    device: torch.device
    clip_batch: int | None = None
    use_checkpoint: bool = True
    compat: str = "fixed"


def estimate(
    architecture: Mapping[str, Any],
    secondary_channels: int | None,
    clips: Mapping[str, ClipConfig],
    work: Work,
    perceptual: Mapping[str, Any] | None = None,
) -> MemoryEstimate:
    """architecture: the UNet's; secondary_channels: None without one; clips: name -> configuration.

    perceptual: the architecture of the network of init_scale, if it acts.
    """
    dtype = unet_dtype(work.precision, work.device, half=bool(architecture.get("use_fp16", True)))
    width, height = work.size
    with torch.device("meta"):
        unet = build_unet(architecture)
    patch = int(architecture.get("patch", 1))
    x_in = (work.batch_size, 3 * patch**2, height // patch, width // patch)
    weights = _bytes_of(unet, dtype)
    if secondary_channels is None:
        shape_work = _kept_with_grad(unet, x_in, times=True) * dtype.itemsize // 4
        forward = shape_work // 4 if work.use_checkpoint else shape_work
    else:
        forward = _kept_without_grad(unet, x_in) * dtype.itemsize // 4
    guidance = 0
    if secondary_channels is not None:
        with torch.device("meta"):
            secondary = SecondaryModel(secondary_channels)
        weights += _bytes_of(secondary, torch.float32)
        guidance += _kept_with_grad(secondary, (work.batch_size, 3, height, width), times=True)
    seen = 0
    for name, config in clips.items():
        half = clip_dtype(work.precision, work.device, openai="openai" in name, compat=work.compat)
        tower_bytes, kept, side = _clip(config)
        weights += tower_bytes * half.itemsize // 4
        at_once = min(work.clip_batch or at_once_by_itself(side, work.device), work.cutouts)
        seen = max(seen, at_once * kept * half.itemsize // 4 + work.cutouts * 6 * 3 * side**2 * 4)
    if perceptual is not None:
        fixed, kept = _perceptual(perceptual, work)
        weights += fixed
        seen = max(seen, kept)
    together = guidance + seen if secondary_channels is not None else forward + seen
    return MemoryEstimate(weights, max(forward, together))


def at_once_by_itself(side: int, device: torch.device) -> int:
    """`clip_batch: auto` before any memory ran out: all on a GPU, what fits the caches on a CPU."""
    return max(CPU_PIXELS // side**2, 1) if device.type == "cpu" else 1_000_000


def _clip(config: ClipConfig) -> tuple[int, int, int]:
    """Bytes of the image tower in float32, bytes that one cutout keeps for the backward, side of a cutout."""
    with torch.device("meta"):
        network: Any = build_clip(config)
    visual = network.visual
    side = visual.image_size if isinstance(visual.image_size, int) else visual.image_size[0]
    return _bytes_of(visual, torch.float32), _kept_with_grad(visual, (1, 3, side, side)), side


def _perceptual(architecture: Mapping[str, Any], work: Work) -> tuple[int, int]:
    """Bytes of its weights and of the init's features, and those kept for the backward; always float32."""
    net = build_perceptual(architecture)
    net.network.to("meta")  # lpips makes its few constants on the CPU whatever it is told
    width, height = work.size
    targets = net.features(torch.zeros(1, 3, height, width, device="meta"))
    fixed = _bytes_of(net.network, torch.float32) + sum(target.nbytes for target in targets)

    def distance(pictures: Tensor) -> list[Tensor]:
        return net.parts(net.features(pictures), targets)

    return fixed, _kept(distance, net.network.parameters(), (work.batch_size, 3, height, width))


def _bytes_of(network: nn.Module, dtype: torch.dtype) -> int:
    return sum(parameter.numel() for parameter in network.parameters()) * dtype.itemsize


def _kept_with_grad(network: nn.Module, shape: tuple[int, ...], *, times: bool = False) -> int:
    """Bytes that autograd keeps of one float32 pass with gradient to the input; weights do not count."""
    network.requires_grad_(False).eval()
    given = (torch.zeros(shape[0], device="meta"),) if times else ()
    return _kept(lambda x: network(x, *given), network.parameters(), shape)


def _kept(run: Callable[[Tensor], object], weights: Iterable[Tensor], shape: tuple[int, ...]) -> int:
    """Bytes that autograd keeps of run(pictures) with gradient to the pictures."""
    kept = 0
    # By storage: a linear layer keeps a view of its weight, and a view keeps all that it is a view of.
    known = {weight.untyped_storage()._cdata for weight in weights}
    alive: list[Tensor] = []  # so that no storage's address is used twice

    def pack(tensor: Tensor) -> Tensor:
        nonlocal kept
        storage = tensor.untyped_storage()
        if storage._cdata not in known:
            known.add(storage._cdata)
            kept += storage.nbytes()
        alive.append(tensor)
        return tensor

    x = torch.zeros(shape, device="meta", requires_grad=True)
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run(x)
    return kept


def _kept_without_grad(unet: nn.Module, shape: tuple[int, ...]) -> int:
    """Bytes of a UNet's pass without gradient: all skip connections, and three of the largest tensors."""
    sizes: list[int] = []
    with torch.no_grad(), _watching(unet, sizes) as skips:
        unet(torch.zeros(shape, device="meta"), torch.zeros(shape[0], device="meta"))
    return sum(skips) + 3 * max(sizes)


@contextmanager
def _watching(unet: Any, sizes: list[int]) -> Iterator[list[int]]:
    """Notes the bytes of every leaf's output in `sizes`, those of the input blocks in what it yields."""
    skips: list[int] = []

    def note(into: list[int]) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, args: Any, result: Any) -> None:
            if isinstance(result, Tensor):
                into.append(result.numel() * result.element_size())

        return hook

    leaves = [module for module in unet.modules() if not list(module.children())]
    hooks = [module.register_forward_hook(note(sizes)) for module in leaves]
    hooks += [block.register_forward_hook(note(skips)) for block in unet.input_blocks]
    try:
        yield skips
    finally:
        for hook in hooks:
            hook.remove()
