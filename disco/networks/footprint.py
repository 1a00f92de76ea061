"""Bytes of weights and of activations (of one picture or cutout), counted on the meta device."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from disco.media.resize import crop_matrices, dense_cuts
from disco.memory.devices import torch_dtype
from disco.memory.grad_checkpoint import blocks_of, tower_of
from disco.memory.policy import Stage
from disco.networks.clip import ClipConfig, build_clip
from disco.networks.denoiser import build_unet
from disco.networks.perceptual import build_perceptual
from disco.networks.required import Need
from disco.secondary_model import SecondaryModel

# Roles with a count of their own: here, and in animation/memory.
_COUNTED = frozenset({"diffusion", "secondary", "clip", "perceptual", "depth", "flow"})


@dataclass(frozen=True)
class Activations:
    """Bytes that autograd saves for backward: plain, and with gradient checkpointing of the blocks."""

    whole: int
    grad_checkpoint: int

    def __mul__(self, factor: float) -> Activations:
        return Activations(int(self.whole * factor), int(self.grad_checkpoint * factor))


@dataclass(frozen=True)
class ClipFootprint:
    """weights: bytes of the image tower; activations: of one cutout; side: of a cutout, in pixels.

    cut_kept, cut_made: of one cutout as GPUs make it, what is kept until its backward pass, and the most at
    any moment of making it.
    """

    weights: int
    activations: Activations
    side: int
    cut_kept: int = 0
    cut_made: int = 0

    def of_size(self, pixel_ratio: float) -> ClipFootprint:
        """About the same for pictures of `pixel_ratio` times as many pixels: a cut grows with their sides."""
        kept, made = (int(n_bytes * pixel_ratio**0.5) for n_bytes in (self.cut_kept, self.cut_made))
        return replace(self, cut_kept=kept, cut_made=made)


@dataclass(frozen=True)
class Footprints:
    """Bytes. forward: of the UNet's pass without gradient; guess: activations of the network that
    predicts the clean picture for the guidance.

    unet, secondary, perceptual: weights, of the last with the init's features. moving, moved: weights of the
    networks between frames, and what their pass holds. others: weights of other networks, with the stage in
    which they run. All of one picture.
    """

    unet: int
    forward: int
    guess: Activations
    secondary: int | None
    clips: tuple[ClipFootprint, ...]
    perceptual: int = 0
    seen: Activations | None = None
    moving: int = 0
    moved: int = 0
    others: tuple[tuple[Stage, int], ...] = ()

    def of_size(self, pixel_ratio: float) -> Footprints:
        """About the same for pictures with `pixel_ratio` times as many pixels."""
        seen = None if self.seen is None else self.seen * pixel_ratio
        forward, moved = int(self.forward * pixel_ratio), int(self.moved * pixel_ratio)
        clips = tuple(clip.of_size(pixel_ratio) for clip in self.clips)
        guess = self.guess * pixel_ratio
        return replace(self, forward=forward, guess=guess, clips=clips, seen=seen, moved=moved)


def count(needs: Sequence[Need], clips: Mapping[str, ClipConfig], size: tuple[int, int]) -> Footprints:
    """needs: of a run, by required; CLIPs without a configuration are not counted. size: (W, H)."""
    (unet,) = (need for need in needs if need.role == "diffusion")
    secondary = next((need for need in needs if need.role == "secondary"), None)
    perceptual = next((need for need in needs if need.role == "perceptual"), None)
    weights, forward, guess = _unet(unet, size)
    smaller = None
    if secondary is not None:
        smaller, guess = _secondary(secondary, size)
    towers = (
        _clip(need, clips[need.name], size) for need in needs if need.role == "clip" and need.name in clips
    )
    fixed, seen = (0, None) if perceptual is None else _perceptual(perceptual.architecture, size)
    others = tuple((need.stage, _published(need)) for need in needs if need.role not in _COUNTED)
    return Footprints(weights, forward, guess, smaller, tuple(towers), fixed, seen, others=others)


def _published(need: Need) -> int:
    """Bytes of a network's weights by the registry: all that is known of a role that nothing here counts."""
    if need.entry is None:
        return 0
    if need.entry.parameters:
        return need.entry.parameters * torch_dtype(need.dtype).itemsize
    return need.entry.size()[0] or 0


def _unet(need: Need, size: tuple[int, int]) -> tuple[int, int, Activations]:
    """Bytes of its weights, of a pass without gradient; activations of one with gradient, if needed."""
    architecture, dtype = need.architecture, torch_dtype(need.dtype)
    with torch.device("meta"):
        unet = build_unet(architecture)
    patch, width_factor = int(architecture.get("patch", 1)), dtype.itemsize / 4
    x_in = (1, 3 * patch**2, size[1] // patch, size[0] // patch)
    forward, guess = int(_kept_without_grad(unet, x_in) * width_factor), Activations(0, 0)
    if need.sees_gradient:
        guess = _kept_with_grad(unet, x_in, times=True) * width_factor
    return weights_of(unet, dtype), forward, guess


def _secondary(need: Need, size: tuple[int, int]) -> tuple[int, Activations]:
    """Bytes of its weights, and its activations."""
    with torch.device("meta"):
        network = SecondaryModel(int(need.architecture["channels"]))
    activations = _kept_with_grad(network, (1, 3, size[1], size[0]), times=True)
    return weights_of(network, torch_dtype(need.dtype)), activations


def _clip(need: Need, config: ClipConfig, size: tuple[int, int]) -> ClipFootprint:
    dtype = torch_dtype(need.dtype)
    with torch.device("meta"):
        network: Any = build_clip(config)
    visual = network.visual
    side = visual.image_size if isinstance(visual.image_size, int) else visual.image_size[0]
    activations = _kept_with_grad(visual, (1, 3, side, side)) * (dtype.itemsize / 4)
    return ClipFootprint(weights_of(visual, dtype), activations, side, *_dense_cut(size, side))


def _dense_cut(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Bytes of one cutout by dense_cuts: kept until its backward pass, and at most while it is made."""
    shape, nothing = (1, 3, size[1], size[0]), nn.Module()
    boxes = torch.zeros(1, 2, 3, device="meta")  # two, since one alone saves copies

    def cuts(image: Tensor) -> Tensor:
        return dense_cuts(image, *crop_matrices(boxes, shape[2:], side))

    image = torch.zeros(shape, device="meta")
    return _kept(cuts, nothing, shape).whole // 2, most_alive(lambda: cuts(image), nothing) // 2


def _perceptual(architecture: Mapping[str, Any], size: tuple[int, int]) -> tuple[int, Activations]:
    """Bytes of its weights and of the init's features, and its activations; always float32."""
    pictures = (1, 3, size[1], size[0])
    net = build_perceptual(architecture)
    net.network.to("meta")  # lpips always creates its few constants on the CPU
    targets = net.features(torch.zeros(pictures, device="meta"))
    fixed = weights_of(net.network, torch.float32) + sum(target.nbytes for target in targets)

    def distance(seen: Tensor) -> list[Tensor]:
        return net.parts(net.features(seen), targets)

    return fixed, _kept(distance, net.network, pictures)


def weights_of(network: nn.Module, dtype: torch.dtype) -> int:
    """Bytes of a network's weights in that number type."""
    return sum(parameter.numel() for parameter in network.parameters()) * dtype.itemsize


def _kept_with_grad(network: nn.Module, shape: tuple[int, ...], *, times: bool = False) -> Activations:
    """Activations of one float32 pass with gradient to the input; weights are not counted."""
    network.requires_grad_(False).eval()
    timesteps = (torch.zeros(shape[0], device="meta"),) if times else ()
    return _kept(lambda x: network(x, *timesteps), network, shape)


def _kept(run: Callable[[Tensor], object], network: nn.Module, shape: tuple[int, ...]) -> Activations:
    """What autograd saves in run(pictures), which calls `network`, with gradient to the pictures."""
    saved_bytes = 0
    # By storage: a linear layer keeps a view of its weight, and a view keeps all that it is a view of.
    known = {weight.untyped_storage()._cdata for weight in network.parameters()}
    alive: list[Tensor] = []  # so that no address is used for two storages

    def pack(tensor: Tensor) -> Tensor:
        nonlocal saved_bytes
        storage = tensor.untyped_storage()
        if storage._cdata not in known:
            known.add(storage._cdata)
            saved_bytes += storage.nbytes()
        alive.append(tensor)
        return tensor

    x = torch.zeros(shape, device="meta", requires_grad=True)
    with _watching_blocks(network, lambda: saved_bytes) as (inputs, inside), torch.enable_grad():
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            run(x)
    return Activations(
        saved_bytes, min(saved_bytes, saved_bytes - sum(inside) + sum(inputs) + max(inside, default=0))
    )


@contextmanager
def _watching_blocks(
    network: nn.Module, saved_bytes: Callable[[], int]
) -> Iterator[tuple[Sequence[int], Sequence[int]]]:
    """Of every block of the network: bytes of its inputs, and bytes saved inside it."""
    inputs: list[int] = []
    inside: list[int] = []

    def before(module: nn.Module, args: Any) -> None:
        inputs.append(sum(part.nbytes for part in args if isinstance(part, Tensor)))
        inside.append(-saved_bytes())

    def after(module: nn.Module, args: Any, result: Any) -> None:
        inside[-1] += saved_bytes()

    blocks = blocks_of(tower_of(network))
    hooks = [block.register_forward_pre_hook(before) for block in blocks]
    hooks += [block.register_forward_hook(after) for block in blocks]
    try:
        yield inputs, inside
    finally:
        for hook in hooks:
            hook.remove()


def _kept_without_grad(unet: nn.Module, shape: tuple[int, ...]) -> int:
    """Bytes of a UNet's pass without gradient: all skip connections, and three of the largest tensors."""
    sizes: list[int] = []
    with torch.no_grad(), _watching(unet, sizes) as skips:
        unet(torch.zeros(shape, device="meta"), torch.zeros(shape[0], device="meta"))
    return sum(skips) + 3 * max(sizes)


def most_alive(run: Callable[[], object], network: nn.Module) -> int:
    """The most bytes that tensors hold at any moment of run(), without gradient, besides the weights."""
    with torch.no_grad(), _Alive(network) as alive:
        run()
    return alive.most


class _Alive(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows every storage from the operation that creates it until it is freed."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now, self.most = 0, 0
        weights = (*network.parameters(), *network.buffers())
        self.known: dict[int, object] = {tensor.untyped_storage()._cdata: None for tensor in weights}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._note(tensor.untyped_storage())
        return result

    def _note(self, storage: torch.UntypedStorage) -> None:
        address, size = storage._cdata, storage.nbytes()
        if address in self.known:
            return

        def gone(_: object) -> None:
            del self.known[address]
            self.now -= size

        self.known[address] = weakref.ref(storage, gone)
        self.now += size
        self.most = max(self.most, self.now)


@contextmanager
def _watching(unet: Any, sizes: list[int]) -> Iterator[list[int]]:
    """Append bytes of every leaf module's output to `sizes`; yields those of the input blocks (skips)."""
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
