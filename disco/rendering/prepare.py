"""What a run needs before its first step: loaded networks, encoded prompts, the init picture."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from disco.animation.load import MOTION_LOADERS
from disco.events import Download, Event, NetworksLoaded, Notice
from disco.losses.targets import PromptTarget, encode_targets
from disco.media.perlin import perlin_init
from disco.memory.devices import device_name, pick_device, tf32, use
from disco.memory.oom import at_stage
from disco.memory.policy import Stage
from disco.memory.retry import OomRetry
from disco.networks.compile import compiled
from disco.networks.load import LOADERS, Networks, load_networks
from disco.networks.required import networks_key
from disco.networks.upscaler import upscaler_of
from disco.runs.inputs import Pictures
from disco.sampling.noise import NoiseOptions
from disco.sampling.randomness import FixedRandom, Randomness, StreamRandom
from disco.settings.load import Run
from disco.settings.model import Settings, is_animation
from disco.settings.prompts import prompts_at
from disco.weights.fetch import Progress

if TYPE_CHECKING:
    from disco.settings.load import Run


@dataclass(frozen=True)
class RunContext:
    """Everything that the pictures of one run share. init: [1, 3, H, W] on the device, or None.

    mask: which part of init stays (0) and which is painted (1), softened, [1, 1, H, W] on the CPU, or None.
    known: which part of init the last frame of a video showed (1), of that shape, or None.
    stream: the random stream of compat dd57, as it stands after the prompts were encoded; None in fixed.
    inputs: path or address as written -> SHA-256 of the picture's bytes. drawn_as: the pictures whose random
    numbers are used, where these are not their own. oom_retry: retries work that runs out of memory.
    """

    settings: Settings
    networks: Networks
    targets: tuple[PromptTarget, ...]
    init: Tensor | None
    device: torch.device
    seed: int
    stream: StreamRandom | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    mask: Tensor | None = None
    known: Tensor | None = None
    drawn_as: tuple[int, ...] | None = None
    oom_retry: OomRetry = field(kw_only=True)

    def randomness(self, pictures: Sequence[int]) -> Randomness:
        """The random numbers of pictures rendered together."""
        if self.stream is not None:
            return self.stream
        drawn_as = pictures if self.drawn_as is None else self.drawn_as
        return FixedRandom(self.seed, drawn_as, noise_options(self.settings))

    @property
    def machine(self) -> dict[str, Any]:
        """What, besides the settings and the weights, decides about the last bits of a picture."""
        saved_by = self.oom_retry.saving.plain()
        facts = {"memory": saved_by, "compiled": compiled(self.networks), "tf32": tf32(self.device)}
        known = {name: fact for name, fact in facts.items() if fact}
        return {"device": device_name(self.device), "threads": torch.get_num_threads(), **known}


def noise_options(settings: Settings) -> NoiseOptions:
    """How the noise of these pictures is made."""
    return NoiseOptions(settings.noise_by, settings.noise_cast, settings.noise_size)


def load_for(
    run: Run, *, progress: Progress | None = None, notice: Callable[[str], None] | None = None
) -> Networks:
    """The networks that a run names, on its device. Raises WeightsError and SettingsError."""
    settings, device = run.settings, pick_device(run.settings.device)
    use(device)
    return load_networks(
        settings,
        device=device,
        progress=progress,
        notice=notice,
        base_dirs=run.base_dirs,
        loaders=LOADERS | MOTION_LOADERS,
    )


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


def open_run(
    settings: Settings,
    seed: int,
    networks: Networks,
    oom_retry: OomRetry,
    pictures: Pictures,
    stream_seed: int | None = None,
) -> RunContext:
    """Encode the prompts. In dd57 this starts the run's random stream, as the original's order demands.

    stream_seed: of that stream, where it is not the run's (frames of an animation). Raises InputError for
    networks without the upscaler that the settings ask for.
    """
    if settings.upscale != "none":
        upscaler_of(networks.of("upscale"), settings.upscale)
    return oom_retry.run(
        lambda: _opened(settings, seed, networks, oom_retry, pictures, stream_seed), stage=Stage.PROMPTS
    )


def _opened(
    settings: Settings,
    seed: int,
    networks: Networks,
    oom_retry: OomRetry,
    pictures: Pictures,
    stream_seed: int | None,
) -> RunContext:
    dd57 = settings.compat == "dd57"
    stream = StreamRandom(seed if stream_seed is None else stream_seed) if dd57 else None
    device = pick_device(settings.device)
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
    return RunContext(
        settings,
        networks,
        tuple(targets),
        init,
        device,
        seed,
        stream,
        pictures.inputs,
        pictures.mask,
        oom_retry=oom_retry,
    )


def perlin_start(settings: Settings, random: Randomness) -> Tensor:
    """The perlin init of each picture, [B, 3, H, W] on the CPU."""
    width, height = settings.width_height
    drawn = [perlin_init(generator, width, height, settings.perlin_mode) for generator in random.perlin()]
    return torch.cat(drawn)


Load = Callable[..., Networks]  # as load_for


def loading(run: Run, runs: Sequence[Run], load: Load) -> Generator[Event, None, Networks]:
    """Load what a run names, and encode the prompts of all these runs that use the same networks.

    Raises WeightsError, SettingsError, OutOfMemory.
    """
    networks = yield from _loaded(run, load)
    key = networks_key(run.settings, run.base_dirs)
    with at_stage(Stage.LOADING):
        same = [other for other in runs if networks_key(other.settings, other.base_dirs) == key]
        share_texts(networks, same)
    yield from (Notice(text) for text in networks.notices)
    return networks


def _loaded(run: Run, load: Load) -> Generator[Event, None, Networks]:
    """In a thread, so that downloads can be watched (and interrupted) while they run."""
    began = time.monotonic()
    events: queue.SimpleQueue[Download | Notice] = queue.SimpleQueue()
    result: list[Networks | BaseException] = []

    def work() -> None:
        try:
            result.append(
                load(
                    run,
                    progress=lambda name, done, total: events.put(Download(name, done, total)),
                    notice=lambda text: events.put(Notice(text)),
                )
            )
        except BaseException as error:  # handed to the caller's thread, where it is raised
            result.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.1)
        while not events.empty():
            yield events.get()
    loaded = result[0]
    if isinstance(loaded, BaseException):
        with at_stage(Stage.LOADING):
            raise loaded
    yield NetworksLoaded(tuple(sorted(loaded.hashes)), time.monotonic() - began)
    return loaded
