"""Prompts -> targets: what each CLIP is to see, as embeddings with weights over the noise levels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from disco.cutouts import classic_cutouts
from disco.errors import InputError, SettingsError
from disco.losses.augment_dd57 import augment_image_prompt
from disco.memory.devices import move
from disco.settings.prompts import Prompt
from disco.settings.schedules import LENGTH, Schedule
from disco.weights.registry import registry

if TYPE_CHECKING:
    from disco.sampling.randomness import Randomness
    from disco.settings.model import Settings

FUZZY_COPIES = 25
IMAGE_CUTS = 16


class ClipNetwork(Protocol):
    """What guides: a network that sees square pictures."""

    @property
    def name(self) -> str: ...

    @property
    def image_size(self) -> int: ...

    def encode_image(self, cutouts: Tensor) -> Tensor:
        """[N, 3, S, S] in [0, 1], S = image_size -> [N, D] float32, of any length."""
        ...


class TextNetwork(ClipNetwork, Protocol):
    """One that can read as well."""

    def encode_text(self, texts: Sequence[str], /) -> Tensor:
        """[P, D] float32, of any length."""
        ...


@dataclass(frozen=True)
class PromptTarget:
    """What one network looks for."""

    clip: ClipNetwork
    text_embeds: Tensor
    """[P, D], of texts and of pictures."""
    weights: Callable[[int], Tensor]
    """weights(index): [P] at a schedule index, on the embeddings' device; |sum| is 1."""
    clip_weight: Schedule


@dataclass(frozen=True)
class PicturePrompt:
    """A picture to resemble. picture: [1, 3, H, W] in [-1, 1], its shorter side at most the output's."""

    picture: Tensor
    weight: Schedule
    clip_models: tuple[str, ...] = ()


class WeightTable:
    """Weights at each schedule index, divided there by the absolute value of their sum (quirk Q8)."""

    def __init__(self, rows: Sequence[tuple[Schedule, float]], name: str, device: torch.device) -> None:
        """rows: a schedule and a factor for each embedding. name: the network's, for the error.

        Raises SettingsError if the weights sum to 0 somewhere.
        """
        values = torch.tensor([schedule.values for schedule, _ in rows], dtype=torch.float64)  # [P, 1000]
        values = values * torch.tensor([factor for _, factor in rows], dtype=torch.float64)[:, None]
        total = values.sum(0).abs()
        if total.min() < 1e-3:
            index = int(total.argmin())
            at_index = "" if all(schedule.constant for schedule, _ in rows) else f" at schedule index {index}"
            raise SettingsError(
                [f"text_prompts: the weights for {name} sum to 0{at_index}; change one so that they do not"]
            )
        self._table = move((values / total).T.float().contiguous(), device)  # [1000, P]
        assert len(self._table) == LENGTH

    def __call__(self, index: int) -> Tensor:
        return self._table[index]


def encode_targets(
    clips: Sequence[TextNetwork],
    text_prompts: Sequence[Prompt],
    image_prompts: Sequence[PicturePrompt],
    settings: Settings,
    random: Randomness,
    compat: str = "fixed",
) -> list[PromptTarget]:
    """One Target for each network that has prompts, in the order of `clips`, which is that of random draws.

    "dd57": the tokenizer gets a prompt with its ":weight" (quirk Q2), noisy copies are clamped to 0..1 (Q18)
    and image prompts are shown on the scale -1..1, as the original has all three.
    Raises SettingsError if a network's weights sum to 0; InputError if no network has a prompt.
    """
    weights = {_same(choice.name): choice.weight for choice in settings.clip_models}
    targets = []
    for k, clip in enumerate(clips):
        encoder = _Encoder(clip, k, settings, random, compat)
        for prompt in text_prompts:
            if _is_for(prompt.clip_models, clip.name):
                encoder.add_text(prompt)
        for image in image_prompts:
            if _is_for(image.clip_models, clip.name):
                encoder.add_image(image)
        if encoder.embeds:
            targets.append(encoder.target(weights.get(_same(clip.name), Schedule.parse(1))))
    if (text_prompts or image_prompts) and clips and not targets:
        names = ", ".join(clip.name for clip in clips)
        raise InputError(
            f"no prompt is for any of the CLIPs in use ({names}): see clip_models of the prompts"
        )
    return targets


def _same(name: str) -> str:
    """The registry's name for a CLIP; any other name stays."""
    try:
        return registry().find_clip(name)[0].name
    except InputError:
        return name


def _is_for(clip_models: Sequence[str], name: str) -> bool:
    return not clip_models or _same(name) in map(_same, clip_models)


class _Encoder:
    """Collects the embeddings of one network, with their weights."""

    def __init__(
        self, clip: TextNetwork, position: int, settings: Settings, random: Randomness, compat: str
    ) -> None:
        self.clip, self.position, self.settings, self.random = clip, position, settings, random
        self.dd57 = compat == "dd57"
        self.embeds: list[Tensor] = []
        self.rows: list[tuple[Schedule, float]] = []
        self.entries = 0

    def target(self, clip_weight: Schedule) -> PromptTarget:
        embeds = torch.cat(self.embeds)
        return PromptTarget(
            self.clip, embeds, WeightTable(self.rows, self.clip.name, embeds.device), clip_weight
        )

    def add_text(self, prompt: Prompt) -> None:
        self._add(self.clip.encode_text([prompt.raw if self.dd57 else prompt.text]), prompt.weight)

    @torch.no_grad()
    def add_image(self, image: PicturePrompt) -> None:
        generator = self.random.image_prompt(self.position, self.entries)
        device = self.embeds[0].device if self.embeds else self.clip.encode_text([""]).device
        # On the CPU all machines draw the same noise; the original drew it on its device.
        picture = image.picture.to(device) if self.dd57 else (image.picture.cpu() + 1) / 2
        augment = self._identity if self.settings.skip_augs.at(0) else self._augmenter(generator)
        cuts = classic_cutouts(picture, self.clip.image_size, IMAGE_CUTS, generator, augment)
        self._add(self.clip.encode_image(cuts.to(device)), image.weight)

    def _add(self, embeds: Tensor, weight: Schedule) -> None:
        """embeds: [n, D], which share `weight`."""
        n = len(embeds)
        if self.settings.fuzzy_prompt:
            generator = self.random.fuzzy(self.position, self.entries)
            noise = torch.stack([torch.randn(embeds.shape, generator=generator) for _ in range(FUZZY_COPIES)])
            copies = embeds + noise.to(embeds) * self.settings.rand_mag  # [25, n, D]
            embeds = (copies.clamp(0, 1) if self.dd57 else F.normalize(copies, dim=-1)).flatten(0, 1)
        self.embeds.append(embeds)
        self.rows += [(weight, 1 / n)] * len(embeds)
        self.entries += 1

    def _augmenter(self, generator: torch.Generator) -> Callable[[Tensor], Tensor]:
        """torchvision's chain draws from the global stream; outside dd57 that is seeded and put back."""
        if self.dd57:
            return augment_image_prompt

        def augment(piece: Tensor) -> Tensor:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
                return augment_image_prompt(piece)

        return augment

    @staticmethod
    def _identity(piece: Tensor) -> Tensor:
        return piece
