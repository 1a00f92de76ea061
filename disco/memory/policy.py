"""Memory savings, and the order in which they are tried until a step fits. No picture changes by them.

A step is cut into stages. When one of them needs more than there is, next_saving names the cheapest
saving that helps there; the cutouts of a CLIP and the pictures of a batch are halved, again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import Any

FEW_CUTOUTS = 4  # fewer at once are slow: before that, all else that helps a CLIP is tried


class Stage(Enum):
    """The stages of a step, then the work outside of steps. The values are shown to the user."""

    LOADING = "loading the networks"
    START = "the start noise and picture"
    UNET = "the diffusion network"
    SECONDARY = "the secondary network"
    CUTOUTS = "cutouts"
    CLIP = "CLIP"
    LOSSES = "the picture losses"
    PERCEPTUAL = "the network of init_scale"
    BACK = "the backward pass to the noisy picture"
    SAMPLER = "the sampler"
    PICTURE = "encoding the picture"
    PROMPTS = "encoding the prompts"
    MOVING = "preparing the next frame"


GUIDING = frozenset({Stage.CUTOUTS, Stage.CLIP, Stage.LOSSES, Stage.PERCEPTUAL})
ONE_STEP = GUIDING | {Stage.UNET, Stage.SECONDARY, Stage.BACK}


@dataclass(frozen=True)
class Failure:
    """Where memory ran out. cutouts: seen by a CLIP in that pass; pictures: guided together."""

    stage: Stage
    cutouts: int = 1
    pictures: int = 1


@dataclass(frozen=True)
class PossibleSavings:
    """The savings that a run can use.

    second_stream: the UNet may run beside the guidance; through_unet: without a secondary network the
    gradient goes through the UNet; grad_checkpoint: there are networks with known blocks, which can be
    checkpointed; offload: the device has memory of its own.
    """

    second_stream: bool = False
    through_unet: bool = False
    grad_checkpoint: bool = True
    offload: bool = False


def has_second_stream(device_type: str, through_unet: bool) -> bool:
    """May the UNet run beside the guidance, where memory is free and no saving is on?"""
    return device_type == "cuda" and not through_unet


# Field -> key in run.json, reports and PNGs: the names of the first version, so that old runs resume.
ON_DISK = {
    "one_stream": "one_stream",
    "clip_batch": "clip_batch",
    "together": "together",
    "grad_checkpoint": "twice",
    "grad_checkpoint_guess": "guess_twice",
    "offload": "park",
}


@dataclass(frozen=True)
class MemoryPolicy:
    """The memory savings in use. clip_batch: cutouts per CLIP pass; together: pictures guided at once.

    one_stream: the UNet never runs beside the guidance, which any other saving means too;
    grad_checkpoint: gradient checkpointing in the CLIPs and in the network of init_scale;
    grad_checkpoint_guess: in the network that predicts the clean picture; offload: networks are moved to CPU
    RAM while they are not used.
    """

    one_stream: bool = False
    clip_batch: int | None = None
    together: int | None = None
    grad_checkpoint: bool = False
    grad_checkpoint_guess: bool = False
    offload: bool = False

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> MemoryPolicy:
        """From plain(); unknown keys are ignored."""
        known = {key: field for field, key in ON_DISK.items()}
        return cls(**{known[key]: value for key, value in plain.items() if key in known})

    def plain(self) -> dict[str, Any]:
        """The savings in use, by their keys on disk; {} without any."""
        return {ON_DISK[field]: value for field, value in asdict(self).items() if value}

    def since(self, before: MemoryPolicy) -> MemoryPolicy:
        """Only the savings that `before` did not have."""
        was = before.plain()
        return MemoryPolicy.of(
            {name: value for name, value in self.plain().items() if was.get(name) != value}
        )

    def joined(self, other: MemoryPolicy) -> MemoryPolicy:
        """The savings of both; of two numbers the smaller."""
        mine, theirs = self.plain(), other.plain()
        return MemoryPolicy.of(
            {name: min(plain[name] for plain in (mine, theirs) if name in plain) for name in mine | theirs}
        )

    def words(self) -> str:
        """The savings as a phrase for the user; "" without any."""
        return ", ".join(self._words())

    def _words(self) -> Iterator[str]:
        if self.one_stream:
            yield "the diffusion network and the guidance one after the other"
        if self.together is not None:
            yield f"{self.together} picture{'s' if self.together > 1 else ''} guided at once"
        if self.clip_batch is not None:
            yield f"{self.clip_batch} cutout{'s' if self.clip_batch > 1 else ''} seen by a CLIP at once"
        if self.grad_checkpoint:
            yield "gradient checkpointing in the CLIPs"
        if self.grad_checkpoint_guess:
            yield "gradient checkpointing in the network that predicts the clean picture"
        if self.offload:
            yield "idle networks offloaded to CPU RAM"


def next_saving(now: MemoryPolicy, failure: Failure, possible: PossibleSavings) -> MemoryPolicy | None:
    """The policy with the next saving that helps at that stage; None if none is left."""
    for saving in _SAVINGS:
        following = saving(now, failure, possible)
        if following is not None:
            return following
    return None


def _one_stream(now: MemoryPolicy, failure: Failure, possible: PossibleSavings) -> MemoryPolicy | None:
    helps = possible.second_stream and failure.stage in ONE_STEP
    return replace(now, one_stream=True) if helps and not now.plain() else None


def _fewer_cutouts(
    now: MemoryPolicy, failure: Failure, possible: PossibleSavings, least: int = FEW_CUTOUTS
) -> MemoryPolicy | None:
    seen = min(now.clip_batch or failure.cutouts, failure.cutouts)
    if failure.stage is not Stage.CLIP or seen <= least:
        return None
    return replace(now, clip_batch=(seen + 1) // 2)


def _fewer_pictures(now: MemoryPolicy, failure: Failure, possible: PossibleSavings) -> MemoryPolicy | None:
    guided = min(now.together or failure.pictures, failure.pictures)
    if failure.stage not in ONE_STEP or guided <= 1:
        return None
    return replace(now, together=(guided + 1) // 2)


def _checkpoint_guess(now: MemoryPolicy, failure: Failure, possible: PossibleSavings) -> MemoryPolicy | None:
    """Frees the guess's activations while CLIP works; through the UNet its blocks are checkpointed too."""
    helped = GUIDING | {Stage.UNET, Stage.BACK} if possible.through_unet else GUIDING
    return (
        None
        if now.grad_checkpoint_guess or failure.stage not in helped
        else replace(now, grad_checkpoint_guess=True)
    )


def _cheap_checkpoint_guess(
    now: MemoryPolicy, failure: Failure, possible: PossibleSavings
) -> MemoryPolicy | None:
    return None if possible.through_unet else _checkpoint_guess(now, failure, possible)


def _checkpoint_clips(now: MemoryPolicy, failure: Failure, possible: PossibleSavings) -> MemoryPolicy | None:
    helps = possible.grad_checkpoint and failure.stage in (Stage.CLIP, Stage.PERCEPTUAL)
    return replace(now, grad_checkpoint=True) if helps and not now.grad_checkpoint else None


def _one_cutout(now: MemoryPolicy, failure: Failure, possible: PossibleSavings) -> MemoryPolicy | None:
    return _fewer_cutouts(now, failure, possible, least=1)


def _offload_idle(now: MemoryPolicy, failure: Failure, possible: PossibleSavings) -> MemoryPolicy | None:
    return replace(now, offload=True) if possible.offload and not now.offload else None


_SAVINGS: tuple[Callable[[MemoryPolicy, Failure, PossibleSavings], MemoryPolicy | None], ...] = (
    _one_stream,
    _fewer_cutouts,
    _fewer_pictures,
    _cheap_checkpoint_guess,
    _checkpoint_clips,
    _checkpoint_guess,
    _one_cutout,
    _offload_idle,
)
