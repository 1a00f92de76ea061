"""How much memory a run will need, by its settings: what --plan says of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from disco.clip_model import ClipConfig
from disco.devices import pick_device
from disco.errors import DiscoError, SettingsError
from disco.frame_settings import at_frame
from disco.jobs import together
from disco.memory_estimate import MemoryEstimate, Work, estimate
from disco.models import custom_architecture, read_architecture
from disco.registry import registry
from disco.settings import Settings
from disco.settings_load import Run
from disco.studio import needs_lpips

GIB = 2**30


def memory_lines(run: Run, configs: dict[str, ClipConfig | None]) -> Iterator[str]:
    """What stands under `memory`. configs: of the CLIPs; None where only a download could tell."""
    settings = run.settings
    unknown = [name for name, config in configs.items() if config is None]
    found = _estimated(run, {name: config for name, config in configs.items() if config is not None})
    if isinstance(found, str):
        yield f"unknown: {found}"
        return
    device = _device(settings.device)
    yield (
        f"about {found.total / GIB:.1f} GiB on {device}: weights {found.weights / GIB:.1f}, work of a step "
        f"{found.work / GIB:.1f}, the rest for kernels" + _room(device)
    )
    if unknown:
        yield f"not counted: {', '.join(unknown)}"
    if found.total > 8 * GIB:
        yield "to need less: " + ", ".join(_savings(settings, device))


def _savings(settings: Settings, device: torch.device) -> Iterator[str]:
    """What would lower the memory and is not done yet; on a CPU auto is about 16."""
    yield "a smaller width_height"
    if device.type != "cpu" if settings.clip_batch == "auto" else settings.clip_batch > 16:
        yield from ["fewer cutn_batches"] if settings.cutn_batches.max() > 1 else []
        yield "clip_batch: 16 (a little slower)"
    if settings.batch_size > 1:
        yield "batch_size: 1"
    if not settings.use_secondary_model:
        yield "use_secondary_model: true (a little less exact)"


def _estimated(run: Run, configs: dict[str, ClipConfig]) -> MemoryEstimate | str:
    settings = run.settings
    try:
        if settings.diffusion_model == "custom":
            architecture: dict[str, Any] = custom_architecture(settings.custom_config)
        else:
            architecture = read_architecture(registry().get("diffusion", settings.diffusion_model))
        channels = None
        if settings.use_secondary_model:
            secondary = registry().get("secondary", architecture["secondary"])
            channels = int(secondary.architecture["channels"])
        perceptual = registry().get("lpips", settings.lpips_model) if needs_lpips(settings) else None
        facts = perceptual.architecture if perceptual else None
        return estimate(architecture, channels, configs, _work(at_frame(settings, 0)), facts)
    except (DiscoError, RuntimeError) as error:
        return str(error).splitlines()[0]


def _work(settings: Settings) -> Work:
    cuts = [
        (settings.cut_overview.at(i) + settings.cut_innercut.at(i)) * settings.cutn_batches.at(i)
        for i in range(1000)
    ]
    return Work(
        settings.width_height,
        together(settings),
        int(max(cuts)) * together(settings),
        settings.precision,
        _device(settings.device),
        settings.clip_batch if isinstance(settings.clip_batch, int) else None,
        settings.use_checkpoint,
        settings.compat,
    )


def _device(name: str) -> torch.device:
    """As pick_device gives it; a run can be planned for a device that this machine has not."""
    try:
        return pick_device(name)
    except SettingsError:
        return torch.device(name)


def _room(device: torch.device) -> str:
    try:
        pick_device(str(device))
    except SettingsError as error:
        return f"; {error}"
    if device.type != "cuda":
        return ""
    free, total = torch.cuda.mem_get_info(device)
    return f"; free are {free / GIB:.1f} of {total / GIB:.1f} GiB"
