"""Loading settings in tests: write a file here, load it, and look at what was said."""

from __future__ import annotations

from pathlib import Path

import pytest

from disco.errors import SettingsError
from disco.settings.load import Run, load_runs

BIG = "512x512_diffusion_uncond_finetune_008100"
SMALL = "256x256_diffusion_uncond"


def write(name: str, text: str) -> str:
    """A file in the current directory; returns its name."""
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text, encoding="utf-8")
    return name


def load(text: str, *overrides: str, prompt: str | None = None) -> Run:
    """The one run of a settings file a.yaml with this text."""
    (run,) = load_runs([write("a.yaml", text)], overrides=overrides, prompt=prompt)
    return run


def said(run: Run, key: str) -> list[str]:
    """The notices about a key."""
    return [notice.split(f": {key}: ", 1)[1] for notice in run.notices if f": {key}: " in notice]


def problems(text: str, *overrides: str) -> tuple[str, ...]:
    """The problems of a settings file that does not load."""
    with pytest.raises(SettingsError) as caught:
        load(text, *overrides)
    return caught.value.problems


def clips(run: Run) -> list[str]:
    """The names of its CLIPs."""
    return [clip.name for clip in run.settings.clip_models]
