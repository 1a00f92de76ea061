"""A real Ray cluster of two CPU workers on this machine, one of them killed: the same folder all the same.

`pytest -m ray tests/rendering/test_ray.py`: minutes, and the package ray.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.places import ROOT
from tests.rendering.test_kill import pictures as files
from tests.rendering.test_kill import without_resume

pytest.importorskip("ray")
pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]
RECIPE = """
batch_name: rt
text_prompts: [a red house, "green:0.5"]
width_height: [64, 64]
steps: 40
skip_steps: 0
n_batches: 4
clip_models: [pocket-conv]
cut_overview: 1
cut_innercut: 1
cutn_batches: 1
checkpoint_every: 3
display_rate: 4
set_seed: 5
"""


class Command:
    """`python run.py`, in a process group of its own, as a terminal starts it."""

    def __init__(self, *words: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "run.py", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            text=True,
            start_new_session=True,
        )

    def end(self) -> tuple[int, str]:
        """Exit code, and all that was said."""
        out, err = self.process.communicate()
        return self.process.returncode, out + err

    def workers(self) -> list[int]:
        """The processes of its workers."""
        return [pid for pid in _children(self.process.pid) if _title(pid).startswith("ray::Actor")]


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


def _is_ray(pid: int) -> bool:
    """Is it there, and not another process by now?"""
    return "ray::" in _title(pid) or "/ray/" in _title(pid)


def _children(pid: int) -> list[int]:
    """And theirs."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        own = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []
    return [*own, *(other for child in own for other in _children(child))]


def until(holds: Callable[[], object], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def states(out: Path) -> set[str]:
    """The pictures that have a checkpoint by now."""
    return {path.stem.rpartition("-")[2] for path in out.rglob("checkpoint-*.disco")}


def same_folder(out: Path, other: Path) -> None:
    found, expected = files(out), files(other)
    assert found.keys() == expected.keys()
    assert not [n for n in expected if without_resume(n, found[n]) != without_resume(n, expected[n])]
    assert not states(out)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "rt.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def alone(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alone")
    code, said = Command(recipe, "--out", out, "--quiet").end()
    assert code == 0, said
    return out


@pytest.fixture
def running(recipe: Path, tmp_path: Path) -> Iterator[Command]:
    """With both workers at work."""
    command = Command(recipe, "--ray=local", "--out", tmp_path, "--quiet")
    until(lambda: len(states(tmp_path)) == 2 or command.process.poll() is not None)
    yield command
    if command.process.poll() is None:
        command.process.kill()
        command.end()


def test_a_worker_is_killed(running: Command, tmp_path: Path, alone: Path) -> None:
    first, second = running.workers()
    os.kill(second, signal.SIGKILL)
    code, said = running.end()
    assert code == 0 and "Traceback" not in said, said
    assert said.count(" was lost (ActorDiedError") == 1 and "goes on with another worker after step " in said
    assert first != second
    same_folder(tmp_path, alone)


LISTENS = "0A"  # the state of a socket in /proc/net/tcp
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


def _listening(pids: list[int]) -> dict[int, str]:
    """Port -> address, in hexadecimal digits, of the sockets on which these processes listen."""
    links = [link for pid in pids for link in Path(f"/proc/{pid}/fd").iterdir()]
    own = {os.readlink(link) for link in links if os.path.lexists(link)}
    tables = [Path(f"/proc/net/{name}").read_text().splitlines() for name in ("tcp", "tcp6")]
    rows = [row.split() for table in tables for row in table]
    sockets = [row[1].split(":") for row in rows if row[3] == LISTENS and f"socket:[{row[9]}]" in own]
    return {int(port, 16): address for address, port in sockets}


def test_a_started_cluster_listens_on_loopback_alone(running: Command) -> None:
    sockets = _listening([running.process.pid, *_children(running.process.pid)])
    assert sockets and set(sockets.values()) <= LOOPBACK
    assert 8265 not in sockets, "the dashboard"


def test_ctrl_c_and_on_without_ray(running: Command, recipe: Path, tmp_path: Path, alone: Path) -> None:
    started = _children(running.process.pid)
    os.killpg(running.process.pid, signal.SIGINT)
    code, said = running.end()
    assert code == 130, said
    assert said.splitlines()[-1] == "stopped after a finished step; --resume goes on from there"
    assert "Traceback" not in said
    assert len(states(tmp_path)) >= 2
    until(lambda: not any(map(_is_ray, started)), 120)
    code, said = Command(recipe, "--resume", "--out", tmp_path, "--quiet").end()
    assert code == 0, said
    same_folder(tmp_path, alone)


def test_the_driver_is_killed(running: Command, recipe: Path, tmp_path: Path, alone: Path) -> None:
    started = _children(running.process.pid)
    running.process.kill()
    running.end()
    until(lambda: not any(map(_is_ray, started)), 120)
    code, said = Command(recipe, "--resume", "--ray=local", "--out", tmp_path, "--quiet").end()
    assert code == 0, said
    same_folder(tmp_path, alone)


def test_errors_are_those_of_one_process(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.pt").write_bytes(b"not weights")
    words = [recipe, "--out", tmp_path / "out", "--quiet", "--set", "diffusion_model=custom"]
    words += ["--set", f"custom_path={tmp_path}/bad.pt", "--set", "custom_config={patch: 4}"]
    alone, there = Command(*words).end(), Command(*words, "--ray=local").end()
    assert there == alone and there[0] != 0


def test_no_cluster_there(recipe: Path, tmp_path: Path) -> None:
    code, said = Command(recipe, "--out", tmp_path / "out", "--ray=127.0.0.1:1").end()
    assert code == 2 and said.startswith("--ray=127.0.0.1:1: no Ray cluster that this process can use")
    assert "Traceback" not in said and not (tmp_path / "out").exists()
