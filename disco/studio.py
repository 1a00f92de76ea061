"""What a run needs before its first step: networks, encoded prompts, the init picture, on one device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from disco.compiling import compiled
from disco.devices import device_name, pick_device
from disco.economy import Stage
from disco.errors import SettingsError
from disco.governor import Governor
from disco.inputs import Pictures
from disco.models import Networks, load_networks
from disco.perlin import perlin_init
from disco.prompts import prompts_at
from disco.randomness import FixedRandom, Randomness, StreamRandom
from disco.schedules import Schedule
from disco.settings import Settings, is_animation
from disco.targets import Target, encode_targets
from disco.weights import Progress

if TYPE_CHECKING:
    from disco.animation.depth import Depth
    from disco.animation.flow import Flow
    from disco.settings_load import Run


@dataclass(frozen=True)
class Studio:
    """Everything that the pictures of one run share. init: [1, 3, H, W] on the device, or None.

    mask: which part of init stays (0) and which is painted (1), softened, [1, 1, H, W] on the CPU, or None.
    known: which part of init the last frame of a video showed (1), of that shape, or None.
    stream: the random stream of compat dd57, as it stands after the prompts were encoded; None in fixed.
    inputs: path or address as written -> SHA-256 of the picture's bytes. drawn_as: the pictures whose random
    numbers are used, where these are not their own. governor: tries what is done until it fits into memory.
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
    known: Tensor | None = None
    drawn_as: tuple[int, ...] | None = None
    governor: Governor = field(kw_only=True)

    def randomness(self, pictures: Sequence[int]) -> Randomness:
        """The random numbers of pictures rendered together."""
        if self.stream is not None:
            return self.stream
        return FixedRandom(self.seed, pictures if self.drawn_as is None else self.drawn_as)

    @property
    def machine(self) -> dict[str, Any]:
        """What, besides the settings and the weights, decides about the last bits of a picture."""
        given_up = self.governor.economy.plain()
        facts = {"memory": given_up, "compiled": compiled(self.networks)}
        known = {name: fact for name, fact in facts.items() if fact}
        return {"device": device_name(self.device), "threads": torch.get_num_threads(), **known}


def needs_lpips(settings: Settings) -> bool:
    """Whether the init loss acts: in fixed on an init_image, in dd57 on the perlin init too (quirk Q9)."""
    has_init = settings.init_image is not None or (settings.compat == "dd57" and settings.perlin_init)
    if settings.animation_mode == "Video Input":
        return _acts(settings.video_init_frames_scale)
    if is_animation(settings) and settings.max_frames > 1 and _acts(settings.frames_scale):
        return True
    return has_init and _acts(settings.init_scale)


def _acts(scale: Schedule) -> bool:
    """Is it above 0 at any noise level of any frame?"""
    versions = [scale] if scale.frames is None else [version for _, version in scale.frames.keys]
    return any(version.max() > 0 for version in versions)


def needs_flow(settings: Settings) -> bool:
    """Is motion in a video to be measured?"""
    is_video = settings.animation_mode == "Video Input"
    return is_video and settings.video_init_flow_warp and settings.video_init_flow_blend > 0


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
        settings.lpips_model if needs_lpips(settings) else None,
        *_depth_choice(settings),
        settings.flow_model if needs_flow(settings) else None,
    )


def _depth_choice(settings: Settings) -> tuple[object, ...]:
    if settings.animation_mode != "3D":
        return ()
    return settings.midas_depth_model, settings.second_depth_model, settings.midas_weight


def load_for(
    run: Run, *, progress: Progress | None = None, notice: Callable[[str], None] | None = None
) -> Networks:
    """The networks that a run names, on its device. Raises WeightsError and SettingsError."""
    settings = run.settings
    moving = load_moving(settings, progress=progress, notice=notice)
    networks = load_networks(
        settings,
        device=pick_device(settings.device),
        progress=progress,
        notice=notice,
        need_lpips=needs_lpips(settings),
        compat=settings.compat,
        base_dirs=run.base_dirs,
    )
    moving.join(networks)
    return networks


def check_packages(run: Run) -> None:
    """Raises SettingsError if depth needs a Python package that is not installed; nothing is loaded."""
    if run.settings.animation_mode != "3D":
        return
    from disco.animation.depth import missing_packages

    first, second = run.settings.midas_depth_model, _second_depth(run.settings)
    problems = []
    for name, package in missing_packages(first, run.settings.midas_weight, second).items():
        key, instead = ("midas_depth_model", "plane") if name == first else ("second_depth_model", "none")
        origin = run.origins[key]
        place = f"{origin}: " if ":" in origin or origin.startswith("--") else ""
        problems.append(
            f"{place}{key}: {name} needs the Python package {package}, which is not installed. "
            f"Run `pip install -e '.[depth]'` in Disco's folder, or write {instead}"
        )
    if problems:
        raise SettingsError(problems)


def _second_depth(settings: Settings) -> str | None:
    return None if settings.second_depth_model == "none" else settings.second_depth_model


@dataclass(frozen=True)
class Moving:
    """What an animation needs besides the networks of stills: depth for 3D, motion for Video Input."""

    depth: Depth | None = None
    flow: Flow | None = None
    hashes: Mapping[str, str] = field(default_factory=dict)

    def join(self, networks: Networks) -> None:
        """Put them beside the others, where these have none."""
        networks.depth = networks.depth or self.depth
        networks.flow = networks.flow or self.flow
        networks.hashes = networks.hashes | dict(self.hashes)


def load_moving(
    settings: Settings,
    *,
    progress: Progress | None = None,
    notice: Callable[[str], None] | None = None,
) -> Moving:
    """What the mode of these settings needs. Raises SettingsError and WeightsError."""
    device = pick_device(settings.device)
    if settings.animation_mode == "3D":
        from disco.animation.depth import load_depth

        name, weight, second = settings.midas_depth_model, settings.midas_weight, _second_depth(settings)
        depth = load_depth(name, weight, second, device=device, progress=progress, notice=notice)
        return Moving(depth=depth, hashes=depth.hashes)
    if needs_flow(settings):
        from disco.animation.flow import load_flow

        flow = load_flow(settings.flow_model, device, progress=progress, notice=notice)
        return Moving(flow=flow, hashes=flow.hashes)
    return Moving()


def share_texts(networks: Networks, runs: Sequence[Run]) -> None:
    """Encode the prompts of all these runs, then give the memory of the text towers back."""
    for clip in networks.clips:
        for run in runs:
            dd57 = run.settings.compat == "dd57"
            groups = run.settings.text_prompts
            used = groups.values() if is_animation(run.settings) else [prompts_at(groups, 0)]
            prompts = [prompt for group in used for prompt in group]
            clip.remember(["", *(prompt.raw if dd57 else prompt.text for prompt in prompts)])
        clip.free_text_tower()


def open_studio(
    settings: Settings, seed: int, governor: Governor, pictures: Pictures, stream_seed: int | None = None
) -> Studio:
    """Encode the prompts. In dd57 this starts the run's random stream, as the original's order demands.

    stream_seed: of that stream, where it is not the run's (frames of an animation).
    """
    return governor.attempt(
        lambda: _opened(settings, seed, governor, pictures, stream_seed), stage=Stage.PROMPTS
    )


def _opened(
    settings: Settings, seed: int, governor: Governor, pictures: Pictures, stream_seed: int | None
) -> Studio:
    networks = governor.networks
    dd57 = settings.compat == "dd57"
    stream = StreamRandom(seed if stream_seed is None else stream_seed) if dd57 else None
    device = pick_device(settings.device)
    with governor.stage(Stage.PROMPTS, *networks.clips):
        targets = encode_targets(
            networks.clips,
            prompts_at(settings.text_prompts, 0),
            pictures.prompts_of(settings),
            settings,
            stream or FixedRandom(seed, ()),
            compat=settings.compat,
        )
    if stream is not None and settings.perlin_init:
        perlin_start(settings, stream)  # drawn and thrown away before the first picture (quirk Q9)
    init = None if pictures.init is None else pictures.init.to(device)
    return Studio(
        settings,
        networks,
        tuple(targets),
        init,
        device,
        seed,
        stream,
        pictures.inputs,
        pictures.mask,
        governor=governor,
    )


def perlin_start(settings: Settings, random: Randomness) -> Tensor:
    """The perlin init of each picture, [B, 3, H, W] on the CPU."""
    width, height = settings.width_height
    drawn = [perlin_init(generator, width, height, settings.perlin_mode) for generator in random.perlin()]
    return torch.cat(drawn)
