"""The memory that a run will need, by its settings: for --plan, and for the savings a run begins with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from disco.animation.memory import moving_needs
from disco.errors import DiscoError, SettingsError
from disco.memory.devices import device_name, pick_device
from disco.memory.free import free_memory
from disco.memory.number_types import check_precision
from disco.memory.policy import MemoryPolicy, PossibleSavings, has_second_stream
from disco.memory.retry import OomRetry, bytes_of, possible_savings
from disco.networks.clip import ClipConfig
from disco.networks.clip_configs import clip_configs
from disco.networks.estimate import MemoryPlan, Workload, gib, peak_memory
from disco.networks.footprint import count
from disco.networks.load import Networks
from disco.networks.required import required
from disco.runs.new_run import together
from disco.settings.frame import at_frame
from disco.settings.load import Run
from disco.settings.model import Settings, picture_count

RESERVE = 2**28  # bytes that no plan uses: libraries and kernels need some that are not counted
_MUCH = 32 * 1024  # bytes for each pixel rendered or seen by a CLIP at once: more than any network here needs


def memory_lines(run: Run, configs: Mapping[str, ClipConfig | None]) -> Iterator[str]:
    """The lines of --plan under `memory`. configs: of the CLIPs; None where only a download could tell."""
    settings, device = run.settings, _device(run.settings.device)
    through_unet, kind = not settings.use_secondary_model, device.type
    second_stream = has_second_stream(kind, through_unet)
    possible = PossibleSavings(second_stream, through_unet, offload=kind == "cuda")
    needs = _needs(run, configs, possible)
    if isinstance(needs, str):
        yield f"unknown: {needs}"
        return
    peak, free = peak_memory(needs.counts, needs.work), None
    here = f"about {gib(peak.total)} GiB on {device}: weights {gib(peak.weights)}, activations of a step "
    here += f"{gib(peak.work)}, the rest for kernels and the allocator"
    try:
        free = _free(pick_device(str(device)))
    except SettingsError as error:
        here += f"; {error}"
    yield here if free is None else f"{here}; {gib(free)} GiB are free for it"
    unknown = [name for name, config in configs.items() if config is None]
    if unknown:
        yield f"not counted: {', '.join(unknown)}"
    if free is not None and peak.total > free:
        yield from _to_fit(needs, free)
    if peak.total > 8 * 2**30:
        yield "to use less: " + ", ".join(_savings(settings, device))


def check_start_noise(run: Run, images: Sequence[int] | None = None, batch: Sequence[int] = ()) -> None:
    """Raise SettingsError for a size whose start noise alone, made on the CPU, needs more than is free here.

    images: only these pictures of the run. batch: those rendered together, where batch_size does not say it.
    """
    width, height = run.settings.width_height
    n = min(together(run.settings), picture_count(run.settings) if images is None else max(len(images), 1))
    n = len(batch) or n
    needed, free = n * 3 * height * width * 4, free_memory(torch.device("cpu"))
    if free is None or needed <= free:
        return
    size = f"{width} x {height}" + (f" in batches of {n}" if n > 1 else "")
    smaller = "a smaller width_height" + (" or batch_size" if n > 1 else "")
    raise SettingsError(
        [
            f"{run.name}: width_height: {size} needs about {gib(needed)} GiB for the start noise alone; "
            f"{gib(free)} GiB are here. Choose {smaller}"
        ]
    )


def _to_fit(needs: MemoryPlan, free: int) -> Iterator[str]:
    """The savings that the run will begin with where memory is short."""
    saving, peak = needs.fitting(free)
    if peak.total <= free:
        yield f"memory saving to fit: {saving.words()}; then about {gib(peak.total)} GiB"
    else:
        yield "does not fit: " + needs.would_fit(free)


def make_oom_retry(
    run: Run,
    networks: Networks,
    was: Mapping[str, Any] | None,
    remember: Callable[[Mapping[str, Any]], None],
    *,
    known: bool = True,
    processes: int = 1,
) -> OomRetry:
    """The OomRetry of a run, with the memory savings of before turned on, or else those by the estimate.

    was: the last argument of `remember`; it counts on the same kind of device. known: the networks are those
    that the settings name, and not others that the caller passed in. processes: those like this one that
    will use the same memory, this one among them.
    """
    device, name = networks.device, device_name(networks.device)

    def plan() -> MemoryPlan | str:
        return (
            _needs(run, dict(clip_configs(run)), possible_savings(networks)) if known else "unknown networks"
        )

    def free() -> int | None:
        left = _free(device)
        return None if left is None else left // processes + bytes_of(networks)

    def would_fit() -> str:
        memory_plan, left = plan(), free()
        return "" if isinstance(memory_plan, str) or left is None else memory_plan.would_fit(left)

    oom_retry = OomRetry(
        networks,
        remember=lambda saving: remember({"device": name, **saving.plain()}),
        would_fit=would_fit,
    )
    if was is not None and was.get("device") == name:
        oom_retry.begin(MemoryPolicy.of(was), "memory saving as before")
        return oom_retry
    if known and not _is_ample(networks, _work(at_frame(run.settings, 0)), free()):
        memory_plan, left = plan(), free()
        if not isinstance(memory_plan, str) and left is not None:
            oom_retry.begin(memory_plan.fitting(left)[0], f"memory saving to fit into {gib(left)} GiB")
    if not oom_retry.saving.plain():
        remember({"device": name})  # whoever resumes the run does not estimate anew: its bits would change
    return oom_retry


def _free(device: torch.device) -> int | None:
    """Bytes that a plan may use there; None where it is not known."""
    unused = free_memory(device)
    return None if unused is None else max(unused - RESERVE, 0)


def _is_ample(networks: Networks, work: Workload, free: int | None) -> bool:
    """Whether so much is free that the networks need not be counted."""
    if free is None:
        return True
    sides = [getattr(clip, "image_size", 0) for clip in networks.clips]
    pixels = work.batch_size * work.size[0] * work.size[1] + work.cutouts * max(sides, default=0) ** 2
    return free > 2 * bytes_of(networks) + pixels * _MUCH


def _savings(settings: Settings, device: torch.device) -> Iterator[str]:
    """Settings that would need less memory; clip_batch auto is about 16 on a CPU."""
    yield "a smaller width_height"
    if device.type != "cpu" if settings.clip_batch == "auto" else settings.clip_batch > 16:
        yield from ["fewer cutn_batches"] if settings.cutn_batches.max() > 1 else []
        yield "clip_batch: 16 (a little slower)"
    if settings.batch_size > 1:
        yield "batch_size: 1"
    if not settings.use_secondary_model:
        yield "use_secondary_model: true (a little less exact)"


def _needs(run: Run, configs: Mapping[str, ClipConfig | None], possible: PossibleSavings) -> MemoryPlan | str:
    """configs: of the CLIPs; those that are None are not counted. A text says why nothing is known."""
    known = {name: config for name, config in configs.items() if config is not None}
    work = _work(at_frame(run.settings, 0))
    try:
        needs = required(run.settings, run.base_dirs, device=work.device.type)
        check_precision(run.settings.precision, work.device.type)
        moving, moved = moving_needs(needs, work.size, work.device)
        counts = replace(count(needs, known, work.size), moving=moving, moved=moved)
        return MemoryPlan(counts, work, possible)
    except (DiscoError, RuntimeError) as error:
        return str(error).splitlines()[0]


def _work(settings: Settings) -> Workload:
    cuts = [
        (settings.cut_overview.at(i) + settings.cut_innercut.at(i)) * settings.cutn_batches.at(i)
        for i in range(1000)
    ]
    return Workload(
        settings.width_height,
        together(settings),
        int(max(cuts)) * together(settings),
        _device(settings.device),
        settings.clip_batch if isinstance(settings.clip_batch, int) else None,
        settings.use_checkpoint,
    )


def _device(name: str) -> torch.device:
    """As pick_device gives it; a run can be planned for a device that this machine has not."""
    try:
        return pick_device(name)
    except SettingsError:
        return torch.device(name)
