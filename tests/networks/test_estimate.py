"""The memory estimate: weights to the byte, work that grows with what makes it grow."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch

from disco.cutouts import cut, make_plan, overview_cut
from disco.memory.number_types import Dtype
from disco.memory.policy import MemoryPolicy, PossibleSavings, Stage
from disco.networks.architectures import read_architecture
from disco.networks.clip import ClipConfig, builtin_config, directory_config
from disco.networks.denoiser import build_unet
from disco.networks.estimate import SCRATCH, MemoryEstimate, MemoryPlan, Workload, estimate, gib, peak_memory
from disco.networks.footprint import count
from disco.networks.perceptual import build_perceptual
from disco.networks.required import Need, required
from disco.secondary_model import SecondaryModel
from disco.settings.load import run_from_mapping
from disco.weights.fetch import locate
from disco.weights.registry import registry

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
POCKET = registry().get("diffusion", "pocket")
WORK = Workload((64, 64), 1, 8, CPU)


def pocket_clip() -> ClipConfig:
    path = locate(registry().get("clip", "pocket-conv").files[0])
    assert path is not None
    return directory_config(path.parent)


def wanted(
    secondary: int | None, perceptual: Mapping[str, Any] | None = None, dtype: Dtype = "fp32"
) -> list[Need]:
    """Those of a run with pocket's UNet and pocket-conv. secondary: channels."""
    unet = read_architecture(POCKET)
    found = [Need("diffusion", "pocket", POCKET, dtype, Stage.UNET, secondary is None, unet)]
    if secondary is not None:
        facts = {"channels": secondary}
        found.append(Need("secondary", "s", None, "fp32", Stage.SECONDARY, True, facts))
    found.append(Need("clip", "pocket-conv", None, dtype, Stage.CLIP, True))
    if perceptual is not None:
        found.append(Need("perceptual", "p", None, "fp32", Stage.PERCEPTUAL, True, perceptual))
    return found


@functools.cache
def of(
    work: Workload = WORK, *, secondary: int | None = 8, clips: bool = True, dtype: Dtype = "fp32"
) -> MemoryEstimate:
    configs = {"pocket-conv": pocket_clip()} if clips else {}
    return estimate(wanted(secondary, dtype=dtype), configs, work)


def test_weights_are_exact() -> None:
    unet = build_unet(read_architecture(POCKET))
    weights = 4 * sum(parameter.numel() for parameter in unet.parameters())
    assert of(secondary=None, clips=False).weights == weights
    secondary = 4 * sum(parameter.numel() for parameter in SecondaryModel(8).parameters())
    assert of(clips=False).weights == weights + secondary


def test_the_total_leaves_room_for_kernels() -> None:
    assert MemoryEstimate(100, 60).total == int(160 * SCRATCH)
    assert MemoryEstimate(100, 60, margin=7).total == int(160 * SCRATCH) + 7


@pytest.mark.parametrize("device, a_pixel", [("cpu", 2048), ("cuda", 0), ("mps", 0)])
def test_each_kind_of_device_has_its_margin(device: str, a_pixel: int) -> None:
    """Of the pictures that are guided together."""
    counted = needs(size=(128, 64))
    work = replace(counted.work, batch_size=4, device=torch.device(device))
    for together, n in ((None, 4), (2, 2), (9, 4)):
        found = peak_memory(counted.counts, work, MemoryPolicy(together=together))
        assert found.margin == n * 128 * 64 * a_pixel


@pytest.mark.parametrize(
    "more",
    [{"size": (128, 64)}, {"batch_size": 2}, {"cutouts": 64}],
    ids=lambda more: next(iter(more)),
)
@pytest.mark.parametrize("secondary", [8, None])
def test_more_work_needs_more(more: dict[str, object], secondary: int | None) -> None:
    work = replace(WORK, cutouts=32)
    large = of(replace(work, **more), secondary=secondary)  # type: ignore[arg-type]
    small = of(work, secondary=secondary)
    assert large.work > small.work and large.weights == small.weights


def test_the_gradient_through_the_unet_needs_more_than_through_the_secondary() -> None:
    one = replace(WORK, cutouts=1)
    unsaved = of(replace(one, use_checkpoint=False), secondary=None).work
    assert unsaved > of(one).work and unsaved > of(one, secondary=None).work


@pytest.mark.parametrize("name", ["pocket", "vgg"])
def test_the_perceptual_network_counts_with_an_init_picture(name: str) -> None:
    facts = registry().get("lpips", name).architecture
    net = build_perceptual(facts)
    net.network.to("meta")
    work = replace(WORK, size=(256, 256), cutouts=1)
    without = estimate(wanted(None), {}, work)
    beside = estimate(wanted(None, facts), {}, work)
    pixels = [256**2 // 4**k for k in range(5)]
    channels = [layer.shape[1] for layer in net.features(torch.zeros(1, 3, 64, 64, device="meta"))]
    parameters = sum(parameter.numel() for parameter in net.network.parameters())
    init = sum(pixel * channel for pixel, channel in zip(pixels, channels, strict=True))
    assert beside.weights - without.weights == 4 * (parameters + init)
    assert beside.work > without.work + 2 * 4 * init
    doubled = estimate(wanted(None, facts), {}, replace(work, batch_size=2))
    assert doubled.work > beside.work and doubled.weights == beside.weights


def test_half_precision_halves_the_unet() -> None:
    half = of(secondary=None, clips=False, dtype="bf16")
    assert half.weights * 2 == of(secondary=None, clips=False).weights


def test_the_originals_default_run() -> None:
    """1280x768 with the 512 network on a GPU: known to fit into 16 GB, and not into 6."""
    models = [f"{name}-quickgelu" for name in ("ViT-B-32", "ViT-B-16", "RN50")]
    clips = {f"{model}/openai": builtin_config(model, "openai") for model in models}
    network = "512x512_diffusion_uncond_finetune_008100"
    values = {"diffusion_model": network, "clip_models": list(clips), "compat": "dd57"}
    settings = run_from_mapping({"text_prompts": "a", **values}).settings
    found = estimate(required(settings, device="cuda"), clips, Workload((1280, 768), 1, 16, CUDA))
    assert (
        1.0e9 < found.weights < 1.8e9
    )  # 558 M and 14 M parameters, three image towers, most in half precision
    assert 6e9 < found.total < 16e9


# ---- what fits ----


@functools.cache
def needs(secondary: int | None = 8, **work: object) -> MemoryPlan:
    possible = PossibleSavings(through_unet=secondary is None, offload=True)
    given = replace(WORK, batch_size=4, cutouts=64, device=CUDA, **work)  # type: ignore[arg-type]
    configs = {"pocket-conv": pocket_clip()}
    counts = count(wanted(secondary), configs, given.size)
    return MemoryPlan(counts, given, possible)


@pytest.mark.parametrize("device", [CUDA, torch.device("cpu")])
@pytest.mark.parametrize("secondary", [8, None])
def test_the_second_stream_counts_where_there_is_one(device: torch.device, secondary: int | None) -> None:
    """On a GPU, where the guidance does not look through the UNet, and while no saving is on."""
    counted = needs(secondary)
    work = replace(counted.work, device=device)
    two, one = (
        peak_memory(counted.counts, work, saving).work
        for saving in (MemoryPolicy(), MemoryPolicy(one_stream=True))
    )
    is_beside = device == CUDA and secondary is not None
    assert two - one == (work.batch_size * counted.counts.forward if is_beside else 0)


def test_the_first_saving_is_no_second_stream() -> None:
    counted = needs()
    counted = replace(counted, possible=replace(counted.possible, second_stream=True))
    whole = peak_memory(counted.counts, counted.work).total
    assert counted.fitting(whole)[0] == MemoryPolicy()
    assert counted.fitting(whole - 1)[0] == MemoryPolicy(one_stream=True)


def test_the_matrices_of_dense_cutouts_count_on_a_gpu() -> None:
    """What autograd keeps of the cutouts as the guidance makes them."""
    size, n = (512, 256), 8
    counted = needs(size=size)
    (clip,) = counted.counts.clips
    image = torch.zeros(1, 3, size[1], size[0], device="meta", requires_grad=True)
    boxes = torch.zeros(1, 2, n // 2, 3, device="meta", dtype=torch.long)
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
        return tensor

    overview = overview_cut(image, clip.side)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        cuts = cut(image, overview, boxes, make_plan(0, n // 2, 1, 0))
    assert cuts.shape[1:3] == (2, n // 2)
    assert n * clip.cut_kept == pytest.approx(sum(kept.values()), rel=0.05)
    assert clip.cut_made > 3 * clip.cut_kept
    few = MemoryPolicy(clip_batch=1, grad_checkpoint=True)
    there, here = (
        peak_memory(counted.counts, replace(counted.work, cutouts=400, device=device), few)
        for device in (CUDA, torch.device("cpu"))
    )
    assert there.stage is Stage.CUTOUTS and there.work > here.work


@pytest.mark.parametrize("secondary", [8, None])
def test_each_thing_given_up_lowers_the_need(secondary: int | None) -> None:
    """With less and less room more and more savings are used, in their order, and it fits."""
    counted = needs(secondary)
    whole = peak_memory(counted.counts, counted.work).total
    saved_by, before = [], MemoryPolicy()
    for share in range(100, 0, -2):
        room = whole * share // 100
        saving, found = counted.fitting(room)
        if found.total > room:
            break
        assert len(saving.plain()) >= len(before.plain())
        if saving != before:
            saved_by.append(saving)
        before = saving
    assert saved_by[0] == MemoryPolicy(clip_batch=32)
    assert {name for saving in saved_by for name in saving.plain()} >= {"clip_batch", "together"}
    assert counted.fitting(whole) == (MemoryPolicy(), peak_memory(counted.counts, counted.work))
    least = counted.fitting(0)[0]
    assert least.offload and least.together == 1 and least.clip_batch == 1


def test_gradient_checkpointing_needs_less() -> None:
    counted = needs(None, use_checkpoint=False)
    (clip,) = counted.counts.clips
    assert (
        clip.activations.grad_checkpoint < clip.activations.whole / 2
        and counted.counts.guess.grad_checkpoint < counted.counts.guess.whole
    )
    of_one = replace(counted.work, batch_size=1, cutouts=8)
    plain, frugal = (
        peak_memory(counted.counts, of_one, MemoryPolicy(grad_checkpoint_guess=on)).work
        for on in (False, True)
    )
    assert frugal < plain


def test_offloaded_networks_do_not_count() -> None:
    counted = needs()
    offloaded = peak_memory(counted.counts, counted.work, MemoryPolicy(offload=True))
    assert offloaded.weights < peak_memory(counted.counts, counted.work).weights


def test_what_would_fit_is_said() -> None:
    counted = needs(size=(512, 256))
    least = counted.fitting(0)[1].total
    said = counted.would_fit(int(least * 0.9))
    assert said.startswith(f"a step needs about {gib(least)} GiB with every memory saving")
    assert "width_height: [" in said and said.endswith("] would fit")
    width, height = (int(side) for side in said.partition("[")[2].partition("]")[0].split(", "))
    assert width < 512 and height <= 256 and width % 64 == height % 64 == 0
    assert "would fit" not in counted.would_fit(1000)


def test_what_is_said_to_fit_is_counted_so() -> None:
    """The counts of a smaller size, scaled, are near those counted there."""
    large, small = needs(size=(512, 256)), needs(size=(256, 128))
    scaled = large.counts.of_size(0.25)
    assert scaled.guess.whole == pytest.approx(small.counts.guess.whole, rel=0.02)
    assert scaled.forward == pytest.approx(small.counts.forward, rel=0.02)
