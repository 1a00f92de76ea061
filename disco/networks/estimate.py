"""Estimate the memory of a step from a run's settings, and the memory savings with which it fits.

Weights are exact. Of the activations, those that live longest are counted: the UNet's skip connections, and
the tensors that autograd keeps of the secondary network and of the CLIP or perceptual network that needs
most; on a GPU the matrices of the cutouts too, and the UNet on its second stream beside all else. Kernels'
scratch space comes on top.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from disco.memory.devices import at_once_by_itself
from disco.memory.policy import Failure, MemoryPolicy, PossibleSavings, Stage, has_second_stream, next_saving
from disco.networks.footprint import Footprints, count

if TYPE_CHECKING:
    from disco.networks.clip import ClipConfig
    from disco.networks.required import Need

SCRATCH = 1.25  # the share of kernels, fragmentation and small tensors, on top of what is counted
# Bytes a pixel on top, by the kind of device. On a CPU the allocator keeps much of what each stage has freed:
# measured as the peak of resident memory of whole runs (docs/results.md). There a miss is no error that a
# step could be retried after: the system ends the process.
PIXEL_MARGIN = {"cpu": 2048}
_OF_A_CUTOUT = 6  # tensors of its size that autograd saves for the augmentations of a cutout


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes. work: activations of the stage that needs most, beside the weights on the device then.

    stage: that one; cutouts: how many a CLIP would see at once there. margin: of this kind of device.
    """

    weights: int
    work: int
    stage: Stage = Stage.UNET
    cutouts: int = 1
    margin: int = 0

    @property
    def total(self) -> int:
        return int((self.weights + self.work) * SCRATCH) + self.margin


@dataclass(frozen=True)
class Workload:
    """What a step works on.

    size: (W, H). cutouts: of one CLIP in a step, of all pictures that are rendered together. clip_batch: how
    many of them it sees at once, None for all.
    """

    size: tuple[int, int]
    batch_size: int
    cutouts: int
    device: torch.device
    clip_batch: int | None = None
    use_checkpoint: bool = True


@dataclass(frozen=True)
class MemoryPlan:
    """A run's footprints, its workload, and the memory savings that are possible."""

    counts: Footprints
    work: Workload
    possible: PossibleSavings

    def fitting(self, free: int) -> tuple[MemoryPolicy, MemoryEstimate]:
        """What what_fits() gives for this run."""
        return what_fits(self.counts, self.work, free, self.possible)

    def would_fit(self, free: int) -> str:
        """What fits into `free` bytes, if this does not: a sentence for the user."""
        least = self.fitting(0)[1].total
        said = f"a step needs about {gib(least)} GiB with every memory saving, {gib(free)} GiB are free"
        width, height = self.work.size
        for twentieths in range(19, 1, -1):
            sides = tuple(max(side * twentieths // 20 // 64 * 64, 64) for side in (width, height))
            counts = self.counts.of_size(sides[0] * sides[1] / (width * height))
            smaller = replace(self, counts=counts, work=replace(self.work, size=(sides[0], sides[1])))
            if sides != (width, height) and smaller.fitting(free)[1].total <= free:
                return f"{said}; width_height: [{sides[0]}, {sides[1]}] would fit"
        return said


def gib(n_bytes: int) -> str:
    """GiB with one decimal, as text."""
    return f"{n_bytes / 2**30:.1f}"


def estimate(needs: Sequence[Need], clips: Mapping[str, ClipConfig], work: Workload) -> MemoryEstimate:
    """needs: of a run, by required; clips: name -> configuration."""
    return peak_memory(count(needs, clips, work.size), work)


def peak_memory(counts: Footprints, work: Workload, saving: MemoryPolicy | None = None) -> MemoryEstimate:
    """The peak of a step with these memory savings, or with none."""
    saving = saving or MemoryPolicy()
    stages = [*_stages(counts, work, saving)]
    if not saving.offload:
        everything = sum(weights for _, weights in _weights(counts))
        stages = [MemoryEstimate(everything, peak.work, peak.stage, peak.cutouts) for peak in stages]
    most = max(stages, key=lambda peak: peak.weights + peak.work)
    return replace(most, margin=_margin(work, saving))


def _margin(work: Workload, saving: MemoryPolicy) -> int:
    together = min(saving.together or work.batch_size, work.batch_size)
    return together * work.size[0] * work.size[1] * PIXEL_MARGIN.get(work.device.type, 0)


def what_fits(
    counts: Footprints, work: Workload, free: int, possible: PossibleSavings
) -> tuple[MemoryPolicy, MemoryEstimate]:
    """The memory savings with which a step needs no more than `free` bytes, and what it needs then.

    Where it does not fit with any, all savings that help.
    """
    saving = MemoryPolicy()
    while True:
        peak = peak_memory(counts, work, saving)
        failure = Failure(peak.stage, peak.cutouts, work.batch_size)
        following = None if peak.total <= free else next_saving(saving, failure, possible)
        if following is None:
            return saving, peak
        saving = following


def _weights(counts: Footprints) -> Iterator[tuple[Stage, int]]:
    yield Stage.UNET, counts.unet
    yield Stage.SECONDARY, counts.secondary or 0
    yield Stage.PERCEPTUAL, counts.perceptual
    yield Stage.MOVING, counts.moving
    yield from counts.others
    for clip in counts.clips:
        yield Stage.CLIP, clip.weights


def _stages(counts: Footprints, work: Workload, saving: MemoryPolicy) -> Iterator[MemoryEstimate]:
    """Every stage with the weights of the networks that run in it, as if all others were offloaded."""
    together = min(saving.together or work.batch_size, work.batch_size)
    through_unet = counts.secondary is None
    in_blocks = through_unet and (work.use_checkpoint or saving.grad_checkpoint_guess)
    guess = together * (counts.guess.grad_checkpoint if in_blocks else counts.guess.whole)
    beside = 0  # the UNet on the second stream
    if has_second_stream(work.device.type, through_unet) and not saving.plain():
        beside = together * counts.forward
    kept = beside + (0 if saving.grad_checkpoint_guess else guess)
    yield MemoryEstimate(counts.unet, together * counts.forward, Stage.UNET)
    if through_unet:
        yield MemoryEstimate(counts.unet, guess, Stage.BACK)
    else:
        yield MemoryEstimate(counts.secondary or 0, beside + guess, Stage.BACK)
    cutouts = -(-work.cutouts * together // work.batch_size)
    for clip in counts.clips:
        limits = (work.clip_batch, saving.clip_batch, at_once_by_itself(clip.side, work.device), cutouts)
        at_once = min(limit for limit in limits if limit is not None)
        seen = at_once * (
            clip.activations.grad_checkpoint if saving.grad_checkpoint else clip.activations.whole
        )
        augmented = cutouts * _OF_A_CUTOUT * 3 * clip.side**2 * 4
        matrices, made = (
            0 if work.device.type == "cpu" else cutouts * n for n in (clip.cut_kept, clip.cut_made)
        )
        yield MemoryEstimate(0, kept + made + augmented, Stage.CUTOUTS)
        yield MemoryEstimate(clip.weights, kept + seen + augmented + matrices, Stage.CLIP, at_once)
    if counts.seen is not None:
        seen = together * (counts.seen.grad_checkpoint if saving.grad_checkpoint else counts.seen.whole)
        yield MemoryEstimate(counts.perceptual, kept + seen, Stage.PERCEPTUAL)
    if counts.moving:
        yield MemoryEstimate(counts.moving, counts.moved, Stage.MOVING)
