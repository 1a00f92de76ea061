"""What a run needs before its first step: networks, encoded prompts, the init picture, on one device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from disco.devices import pick_device
from disco.images import LoadedPicture, load_mask, load_picture
from disco.inpainting import soften
from disco.models import Networks, load_networks
from disco.perlin import perlin_init
from disco.prompts import prompts_at
from disco.randomness import FixedRandom, Randomness, StreamRandom
from disco.settings import Settings
from disco.targets import PicturePrompt, Target, encode_targets
from disco.weights import Progress, fetch_url

if TYPE_CHECKING:
    from disco.settings_load import Run


@dataclass(frozen=True)
class Studio:
    """Everything that the pictures of one run share. init: [1, 3, H, W] on the device, or None.

    mask: which part of init stays (0) and which is painted (1), softened, [1, 1, H, W] on the CPU, or None.
    stream: the random stream of compat dd57, as it stands after the prompts were encoded; None in fixed.
    inputs: path or address as written -> SHA-256 of the picture's bytes.
    """

    settings: Settings
    networks: Networks
    targets: tuple[Target, ...]
    init: Tensor | None
    device: torch.device
    seed: int
    stream: StreamRandom | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    mask: Tensor | None = None

    def randomness(self, pictures: Sequence[int]) -> Randomness:
        """The random numbers of pictures rendered together."""
        return self.stream if self.stream is not None else FixedRandom(self.seed, pictures)

    @property
    def machine(self) -> dict[str, Any]:
        """What, besides the settings and the weights, decides about the last bits of a picture."""
        kind = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        return {"device": kind, "threads": torch.get_num_threads()}


@dataclass(frozen=True)
class Pictures:
    """The init picture, its mask and the picture prompts of a run, loaded before any network is."""

    init: Tensor | None
    prompts: tuple[PicturePrompt, ...]
    inputs: Mapping[str, str]
    mask: Tensor | None = None


def needs_lpips(settings: Settings) -> bool:
    """Whether the init loss acts: in fixed on an init_image, in dd57 on the perlin init too (quirk Q9)."""
    has_init = settings.init_image is not None or (settings.compat == "dd57" and settings.perlin_init)
    return has_init and settings.init_scale.max() > 0


def networks_key(settings: Settings) -> tuple[object, ...]:
    """Two runs with the same key can share their loaded networks."""
    return (
        settings.diffusion_model,
        settings.custom_path,
        repr(settings.custom_config),
        settings.use_secondary_model,
        tuple(choice.name for choice in settings.clip_models),
        settings.precision,
        settings.device,
        settings.compat,
        settings.use_checkpoint,
        needs_lpips(settings),
    )


def load_pictures(settings: Settings, base_dirs: Sequence[Path]) -> Pictures:
    """Raises InputError for a picture that is missing, damaged or none, before anything else is loaded."""
    inputs: dict[str, str] = {}

    def load(source: str, **how: Any) -> Tensor:
        loaded: LoadedPicture = load_picture(
            source,
            base_dirs=(Path(), *base_dirs),
            as_stored=settings.compat == "dd57",
            download=fetch_url,
            **how,
        )
        inputs[source] = loaded.sha256
        return loaded.tensor

    short = min(settings.width_height)
    init = load(settings.init_image, size=settings.width_height) if settings.init_image else None
    prompts = tuple(
        PicturePrompt(load(prompt.source, max_short_side=short), prompt.weight, prompt.clip_models)
        for prompt in prompts_at(settings.image_prompts, 0)
    )
    mask = None
    if settings.mask_path:
        loaded = load_mask(
            settings.mask_path, size=settings.width_height, base_dirs=(Path(), *base_dirs), download=fetch_url
        )
        inputs[settings.mask_path] = loaded.sha256
        mask = soften(loaded.tensor, settings.mask_blur)
    return Pictures(init, prompts, inputs, mask)


def load_for(
    run: Run, *, progress: Progress | None = None, notice: Callable[[str], None] | None = None
) -> Networks:
    """The networks that a run names, on its device. Raises WeightsError and SettingsError."""
    settings = run.settings
    return load_networks(
        settings,
        device=pick_device(settings.device),
        progress=progress,
        notice=notice,
        need_lpips=needs_lpips(settings),
        compat=settings.compat,
        base_dirs=run.base_dirs,
    )


def share_texts(networks: Networks, runs: Sequence[Run]) -> None:
    """Encode the prompts of all these runs, then give the memory of the text towers back."""
    for clip in networks.clips:
        for run in runs:
            dd57 = run.settings.compat == "dd57"
            prompts = prompts_at(run.settings.text_prompts, 0)
            clip.remember(["", *(prompt.raw if dd57 else prompt.text for prompt in prompts)])
        clip.free_text_tower()


def open_studio(settings: Settings, seed: int, networks: Networks, pictures: Pictures) -> Studio:
    """Encode the prompts. In dd57 this starts the run's random stream, as the original's order demands."""
    dd57 = settings.compat == "dd57"
    stream = StreamRandom(seed) if dd57 else None
    device = pick_device(settings.device)
    targets = encode_targets(
        networks.clips,
        prompts_at(settings.text_prompts, 0),
        pictures.prompts,
        settings,
        stream or FixedRandom(seed, ()),
        compat=settings.compat,
    )
    if stream is not None and settings.perlin_init:
        perlin_start(settings, stream)  # drawn and thrown away before the first picture, as the original does
    init = None if pictures.init is None else pictures.init.to(device)
    return Studio(
        settings, networks, tuple(targets), init, device, seed, stream, pictures.inputs, pictures.mask
    )


def perlin_start(settings: Settings, random: Randomness) -> Tensor:
    """The perlin init of each picture, [B, 3, H, W] on the CPU."""
    width, height = settings.width_height
    drawn = [perlin_init(generator, width, height, settings.perlin_mode) for generator in random.perlin()]
    return torch.cat(drawn)
