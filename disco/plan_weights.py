"""Which networks a command needs, how they are built, and what of them would have to be fetched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from disco.animation.depth import depth_entries
from disco.clip_model import ClipConfig, builtin_config, directory_config
from disco.errors import DiscoError
from disco.models import clip_directory, custom_architecture
from disco.registry import Entry, registry
from disco.settings_load import Run
from disco.studio import needs_flow, needs_lpips
from disco.weights import locate, models_dir, readable_size, size_text, to_fetch


def clip_configs(run: Run) -> Iterator[tuple[str, ClipConfig | None]]:
    """CLIP name -> configuration, or None where only its download could tell."""
    for choice in run.settings.clip_models:
        yield choice.name, _config(choice.name, run)


def _config(name: str, run: Run) -> ClipConfig | None:
    try:
        directory = clip_directory(name, run.base_dirs)
        if directory is not None:
            return directory_config(directory)
        entry = registry().find_clip(name, run.settings.compat)[0]
        facts = entry.architecture
        if facts["family"] == "open_clip_dir":
            path = locate(entry.files[0])
            return None if path is None else directory_config(path.parent)
        keep_plain = bool(facts.get("quick_gelu_mismatch"))
        return builtin_config(facts["model"], facts["pretrained"], keep_plain=keep_plain)
    except DiscoError:
        return None


def needed(run: Run) -> Iterator[Entry]:
    """The registry entries that a run loads; the user's own files have none."""
    settings = run.settings
    if settings.diffusion_model == "custom":
        architecture = custom_architecture(settings.custom_config)
    else:
        entry = registry().get("diffusion", settings.diffusion_model)
        architecture = entry.architecture
        yield entry
    if settings.use_secondary_model:
        yield registry().get("secondary", architecture["secondary"])
    for choice in settings.clip_models:
        if clip_directory(choice.name, run.base_dirs) is None:
            yield registry().find_clip(choice.name, settings.compat)[0]
    if needs_lpips(settings):
        yield registry().get("lpips", settings.lpips_model)
    if settings.animation_mode == "3D":
        second = None if settings.second_depth_model == "none" else settings.second_depth_model
        for _, entry in depth_entries(settings.midas_depth_model, settings.midas_weight, second):
            yield entry
    if needs_flow(settings) and settings.flow_model != "dis":
        yield registry().get("flow", settings.flow_model)


def downloads(runs: Sequence[Run]) -> Iterator[str]:
    """One line for each weights file that is not here yet, with its size, then the sum."""
    entries = {(entry.kind, entry.name): entry for run in runs for entry in needed(run)}
    missing = [entry for entry in entries.values() if entry.unlisted or to_fetch(entry)]
    if not missing:
        yield "nothing: all weights are here"
        return
    for entry in missing:
        for file in to_fetch(entry):
            yield f"{entry.name}: {file.name}, {size_text(file, entry)}"
        if entry.unlisted:
            yield f"{entry.name}: as open_clip names it, size unknown"
    sizes = [entry.size()[0] for entry in missing]
    more = " and what has no known size" if None in sizes else ""
    total = readable_size(sum(size or 0 for size in sizes))
    yield f"in all about {total}{more}, to {models_dir()}"
