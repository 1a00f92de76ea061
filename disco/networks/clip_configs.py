"""How the CLIPs of a run are built, known before they are loaded."""

from __future__ import annotations

from collections.abc import Iterator

from disco.errors import DiscoError
from disco.networks.clip import ClipConfig, builtin_config, directory_config
from disco.networks.required import Need, required
from disco.settings.load import Run
from disco.weights.fetch import locate
from disco.weights.registry import Entry


def clip_configs(run: Run) -> Iterator[tuple[str, ClipConfig | None]]:
    """CLIP name -> configuration, or None where only its download could tell."""
    for need in required(run.settings, run.base_dirs):
        if need.role == "clip":
            yield need.name, _config(need)


def _config(need: Need) -> ClipConfig | None:
    try:
        if need.entry is None:
            return None if need.path is None or need.path.is_file() else directory_config(need.path)
        if need.architecture["family"] == "open_clip_dir":
            path = locate(need.entry.files[0])
            return None if path is None else directory_config(path.parent)
        return published_config(need.entry)
    except DiscoError:
        return None


def published_config(entry: Entry) -> ClipConfig:
    """Of one of open_clip's own names. Raises WeightsError for one that open_clip does not know."""
    facts = entry.architecture
    keep_plain = bool(facts.get("quick_gelu_mismatch"))
    return builtin_config(facts["model"], facts["pretrained"], keep_plain=keep_plain)
