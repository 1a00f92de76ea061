"""What is given up, one thing after another, so that a step fits into memory. No picture changes by it.

A step is cut into stages. When one of them needs more than there is, next_economy names the cheapest thing
that would help there; the cutouts of a CLIP and the pictures of a batch are halved, again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import Enum
from typing import Any

FEW_CUTOUTS = 4  # fewer at once are slow: before that, all else that helps a CLIP is tried


class Stage(Enum):
    """What a step consists of, in words for the user; and what happens around it."""

    LOADING = "loading the networks"
    UNET = "the diffusion network"
    SECONDARY = "the secondary network"
    CUTOUTS = "cutouts"
    CLIP = "CLIP"
    LOSSES = "tv_scale and sat_scale"
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
    """Where memory ran out. cutouts: how many a CLIP was looking at; pictures: guided together."""

    stage: Stage
    cutouts: int = 1
    pictures: int = 1


@dataclass(frozen=True)
class Levers:
    """What can be given up in a run at all.

    through_unet: without a secondary network the gradient goes through the UNet; twice: there are networks
    whose parts are known, so that these can be computed twice; park: the device has a memory of its own.
    """

    through_unet: bool = False
    twice: bool = True
    park: bool = False


@dataclass(frozen=True)
class Economy:
    """What is given up. clip_batch: cutouts that a CLIP sees at once; together: pictures guided at once.

    twice: CLIPs and the network of init_scale compute their parts again on the way back, instead of keeping
    what they saw; guess_twice: so does the network through which the guidance sees the clean picture; park:
    networks that are not at work wait in the computer's memory.
    """

    clip_batch: int | None = None
    together: int | None = None
    twice: bool = False
    guess_twice: bool = False
    park: bool = False

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Economy:
        """From plain(); what is unknown is passed over."""
        return cls(**{f.name: plain[f.name] for f in fields(cls) if f.name in plain})

    def plain(self) -> dict[str, Any]:
        """What is given up, as JSON has it: nothing is {}."""
        return {name: value for name, value in asdict(self).items() if value}

    def since(self, before: Economy) -> Economy:
        """Only what is given up here and was not before."""
        was = before.plain()
        return Economy.of({name: value for name, value in self.plain().items() if was.get(name) != value})

    def joined(self, other: Economy) -> Economy:
        """What is given up here or there, and of numbers the smaller."""
        mine, theirs = self.plain(), other.plain()
        return Economy.of(
            {name: min(plain[name] for plain in (mine, theirs) if name in plain) for name in mine | theirs}
        )

    def words(self) -> str:
        """For the user."""
        return ", ".join(self._words())

    def _words(self) -> Iterator[str]:
        if self.together is not None:
            yield f"{self.together} picture{'s' if self.together > 1 else ''} guided at once"
        if self.clip_batch is not None:
            yield f"{self.clip_batch} cutout{'s' if self.clip_batch > 1 else ''} seen by a CLIP at once"
        if self.twice:
            yield "gradient checkpointing in the CLIPs"
        if self.guess_twice:
            yield "gradient checkpointing in the network that predicts the clean picture"
        if self.park:
            yield "idle networks offloaded to CPU RAM"


def next_economy(now: Economy, failure: Failure, levers: Levers) -> Economy | None:
    """The next thing to give up that helps there; None if nothing is left."""
    for rung in _RUNGS:
        following = rung(now, failure, levers)
        if following is not None:
            return following
    return None


def _fewer_cutouts(
    now: Economy, failure: Failure, levers: Levers, least: int = FEW_CUTOUTS
) -> Economy | None:
    seen = min(now.clip_batch or failure.cutouts, failure.cutouts)
    if failure.stage is not Stage.CLIP or seen <= least:
        return None
    return replace(now, clip_batch=(seen + 1) // 2)


def _fewer_pictures(now: Economy, failure: Failure, levers: Levers) -> Economy | None:
    guided = min(now.together or failure.pictures, failure.pictures)
    if failure.stage not in ONE_STEP or guided <= 1:
        return None
    return replace(now, together=(guided + 1) // 2)


def _guess_twice(now: Economy, failure: Failure, levers: Levers) -> Economy | None:
    """Nothing of the guess is kept while CLIP looks. Through the UNet its blocks compute twice as well."""
    helped = GUIDING | {Stage.UNET, Stage.BACK} if levers.through_unet else GUIDING
    return None if now.guess_twice or failure.stage not in helped else replace(now, guess_twice=True)


def _cheap_guess_twice(now: Economy, failure: Failure, levers: Levers) -> Economy | None:
    return None if levers.through_unet else _guess_twice(now, failure, levers)


def _twice(now: Economy, failure: Failure, levers: Levers) -> Economy | None:
    helps = levers.twice and failure.stage in (Stage.CLIP, Stage.PERCEPTUAL)
    return replace(now, twice=True) if helps and not now.twice else None


def _one_cutout(now: Economy, failure: Failure, levers: Levers) -> Economy | None:
    return _fewer_cutouts(now, failure, levers, least=1)


def _park(now: Economy, failure: Failure, levers: Levers) -> Economy | None:
    return replace(now, park=True) if levers.park and not now.park else None


_RUNGS: tuple[Callable[[Economy, Failure, Levers], Economy | None], ...] = (
    _fewer_cutouts,
    _fewer_pictures,
    _cheap_guess_twice,
    _twice,
    _guess_twice,
    _one_cutout,
    _park,
)
