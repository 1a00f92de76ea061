"""`import disco` defines names and does nothing else; settings are read without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

import disco
from tests.places import ROOT

HEAVY = ("torch", "torchvision", "numpy", "PIL", "yaml", "pydantic", "open_clip", "tqdm", "huggingface_hub")
PROBE = """
import json, os, sys
before, modules = dict(os.environ), set(sys.modules)
{code}
new = sorted(set(sys.modules) - modules)
print(json.dumps({{"new": new, "same": dict(os.environ) == before}}))
"""


def loaded_by(code: str) -> dict[str, Any]:
    """new: the modules that the code imports; same: whether the environment is as before."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(code=code)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.stderr == "" and done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1, f"something was printed: {done.stdout}"
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_the_package_imports_nothing() -> None:
    loaded = loaded_by("import disco")
    assert not set(HEAVY) & set(loaded["new"])
    assert [name for name in loaded["new"] if name.startswith("disco")] == ["disco"]
    assert loaded["same"], "the environment was changed"


def test_dir_and_version_import_nothing() -> None:
    loaded = loaded_by("import disco; dir(disco); disco.__version__; hasattr(disco, 'nothing')")
    assert not set(HEAVY) & set(loaded["new"])


@pytest.mark.parametrize(
    "code",
    [
        "import disco.__main__, disco.cli.command",
        "from disco import Settings, load_runs",
        "import disco; disco.events.Notice, disco.errors.DiscoError",
        "import disco.networks.required",
    ],
)
def test_settings_need_no_torch(code: str) -> None:
    loaded = loaded_by(code)
    assert not {"torch", "torchvision", "numpy", "PIL", "open_clip", "tqdm"} & set(loaded["new"])
    assert loaded["same"]


def test_names_resolve_when_they_are_asked_for() -> None:
    assert disco.render.__module__ == "disco.rendering.api"
    assert disco.load_runs.__module__ == "disco.settings.load"
    assert disco.run_from_mapping.__module__ == "disco.settings.load"
    assert disco.Settings.__module__ == "disco.settings.model"
    for name in set(disco.__all__) - {"errors", "events", "__version__"}:
        assert getattr(disco, name).__name__ == name
    assert (disco.events.__name__, disco.errors.__name__) == ("disco.events", "disco.errors")


def test_the_names_are_these() -> None:
    names = "Settings __version__ connect contact_sheet errors events load_runs needs_of read_again render"
    assert dir(disco) == sorted(disco.__all__) == [*names.split(), "run_from_mapping"]


def test_other_names_are_refused() -> None:
    with pytest.raises(AttributeError) as caught:
        _ = disco.rendr
    assert str(caught.value) == "module 'disco' has no attribute 'rendr'"
