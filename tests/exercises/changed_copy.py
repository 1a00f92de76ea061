"""A copy of disco/ with a newcomer's diff, in which processes of their own run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.places import ROOT


def files_of(diff: Path) -> list[str]:
    """The files that a diff touches."""
    lines = diff.read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("+++ b/") for line in lines if line.startswith("+++ ")]


def copy_with(diff: Path, folder: Path) -> None:
    """Make `folder`/disco, changed by the diff; without weights, since runs bring networks of their own."""
    ignored = shutil.ignore_patterns("__pycache__", "*.safetensors")
    shutil.copytree(ROOT / "disco", folder / "disco", ignore=ignored)
    subprocess.run(["git", "apply", str(diff)], cwd=folder, check=True)
    assert diff.read_text(encoding="utf-8").count("+++ ") == len(files_of(diff)) > 0


def run_in(folder: Path, script: str, status: int = 0) -> str:
    """Run the Python script with the copy in `folder`, tests/ beside it; what it prints.

    status: how it is to end, as subprocess says it: -9 for one that is killed.
    """
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    check = f"import disco\nassert disco.__file__.startswith({str(folder)!r}), disco.__file__\n"
    done = subprocess.run(
        [sys.executable, "-c", check + script], cwd=folder, env=env, capture_output=True, text=True
    )
    assert done.returncode == status, done.stderr
    return done.stdout
