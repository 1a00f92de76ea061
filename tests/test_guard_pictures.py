"""Every mode's small pictures are what they were (tests/guard_pictures.py says how to renew them)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from disco.media.images import png_bytes, read_pixels
from tests.guard_pictures import CASES, FACTS, STORED
from tests.places import ROOT

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
pytestmark = pytest.mark.timeout(900)  # half a minute on a free core; more where others work too


def read(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / FACTS).read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Today's pictures, rendered in a process of its own with one thread."""
    made = tmp_path_factory.mktemp("guard")
    command = [sys.executable, "-m", "tests.guard_pictures", "render", str(made)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **ONE_THREAD}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return made


def is_close(a: np.ndarray, b: np.ndarray) -> bool:
    """Within 2 levels on 99 % of the pixels."""
    return a.shape == b.shape and bool((np.abs(a.astype(int) - b).max(2) <= 2).mean() >= 0.99)


@pytest.mark.parametrize("name", CASES)
def test_the_picture_is_the_same(name: str, folder: Path) -> None:
    """Bit for bit where torch and the CPU's kernels are those of the stored ones, else nearly."""
    now, then = read(folder), read(STORED)
    assert len(now["sha256"][name]) == len(then["sha256"][name])
    if now["facts"] == then["facts"]:
        assert now["sha256"][name] == then["sha256"][name]
    else:
        assert is_close(read_pixels(folder / f"{name}.png"), read_pixels(STORED / f"{name}.png"))


def test_no_case_is_forgotten() -> None:
    assert set(read(STORED)["sha256"]) == set(CASES) == {path.stem for path in STORED.glob("*.png")}


def test_the_cases_are_different_pictures() -> None:
    """A setting of a case that did nothing would guard nothing."""
    last = [hashes[-1] for hashes in read(STORED)["sha256"].values()]
    assert len(set(last)) == len(last)


def test_the_comparison_sees_a_change(tmp_path: Path) -> None:
    stored = read_pixels(STORED / "plms.png")
    other = np.clip(stored.astype(int) + 3, 0, 255).astype(np.uint8)
    (tmp_path / "other.png").write_bytes(png_bytes(other))
    assert is_close(stored, stored) and not is_close(stored, read_pixels(tmp_path / "other.png"))
