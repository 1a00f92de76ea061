"""SIGINT and SIGTERM: the step is finished, the state saved, and --resume goes on to the same pictures."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from disco.cli.signals import Interrupted, StopFlag
from disco.settings.load import dump_yaml, run_from_mapping
from tests.places import ROOT
from tests.rendering.test_kill import SETTINGS, VARIANTS, Worker, pictures, same_files, worker

BOTH = pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
__all__ = ["worker"]  # a fixture


@pytest.fixture
def handlers() -> Iterator[None]:
    """Whatever happens, the handlers of the test run are put back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        assert signal.getsignal(number) == handler
        signal.signal(number, handler)


# StopFlag


@BOTH
def test_while_a_picture_is_rendered_a_signal_is_a_wish(number: int, code: int, handlers: None) -> None:
    flag = StopFlag()
    with flag.catching(), flag.working():
        assert not flag.is_set() and flag.exit_code == 0
        signal.raise_signal(number)
        assert flag.is_set() and flag.exit_code == code


@BOTH
def test_the_second_one_stops_at_once(number: int, code: int, handlers: None) -> None:
    flag = StopFlag()
    with flag.catching(), flag.working():
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interrupted) as caught:
            signal.raise_signal(number)
    assert caught.value.exit_code == code


@BOTH
def test_while_nothing_is_rendered_a_signal_stops_at_once(number: int, code: int, handlers: None) -> None:
    flag = StopFlag()
    with flag.catching():
        with pytest.raises(Interrupted) as caught:
            signal.raise_signal(number)
        assert caught.value.exit_code == code
        with flag.working():
            pass
        with pytest.raises(Interrupted):
            signal.raise_signal(number)


def test_nothing_swallows_it() -> None:
    assert not issubclass(Interrupted, Exception)


def test_the_handlers_are_put_back_after_an_error(handlers: None) -> None:
    with pytest.raises(ValueError), StopFlag().catching():
        raise ValueError


# the command line, with fakes for networks


@pytest.fixture
def harbour(tmp_path: Path) -> Path:
    """A settings file."""
    path = tmp_path / "harbour.yaml"
    path.write_text(dump_yaml(run_from_mapping({**SETTINGS, **VARIANTS["ddim"], "checkpoint_every": 0})))
    return path


@pytest.fixture(scope="module")
def uninterrupted(worker: Worker, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("uninterrupted")
    settings = folder / "harbour.yaml"
    settings.write_text(dump_yaml(run_from_mapping({**SETTINGS, **VARIANTS["ddim"], "checkpoint_every": 0})))
    assert run(worker, folder, str(settings)) == 0
    return pictures(folder / "images")


def run(worker: Worker, folder: Path, *words: str) -> int:
    status = worker.order("command", out=str(folder), words=words)[-1]["status"]
    return os.waitstatus_to_exitcode(status)


def ended(worker: Worker) -> list[int]:
    return [os.waitstatus_to_exitcode(status) for status in worker.order("wait")[-1]["statuses"]]


def start(worker: Worker, folder: Path, *words: str, until: str = "denoising", **pauses: float) -> int:
    """Start a command and wait until it says `until`. Returns its process's number."""
    order = {"out": str(folder), "words": words, "in_background": True, **pauses}
    pid: int = worker.order("command", until=until, **order)[-1]["pid"]
    return pid


@BOTH
def test_stop_and_go_on(
    number: int, code: int, worker: Worker, harbour: Path, uninterrupted: dict[str, bytes]
) -> None:
    folder = harbour.parent
    pid = start(worker, folder, str(harbour), pause=0.2)
    worker.until("denoising")
    os.kill(pid, number)
    assert ended(worker) == [code]
    log = (folder / "log").read_text()
    assert "stopped after a finished step; --resume goes on from there" in log and "Traceback" not in log
    state = folder / "images" / "kill" / ".state" / "0"
    assert len(list(state.iterdir())) > 2, "a checkpoint beside lock and run.json"
    assert not list((folder / "images").rglob("*_0001.png"))
    assert run(worker, folder, str(harbour), "--resume") == 0
    same_files(folder / "images", uninterrupted)


def test_stop_twice(worker: Worker, harbour: Path, uninterrupted: dict[str, bytes]) -> None:
    """The second signal does not wait for the step, which here would take a minute."""
    folder, began = harbour.parent, time.monotonic()
    pid = start(worker, folder, str(harbour), pause=60)
    os.kill(pid, signal.SIGINT)
    time.sleep(0.3)
    os.kill(pid, signal.SIGINT)
    assert ended(worker) == [130]
    assert time.monotonic() - began < 30
    log = (folder / "log").read_text()
    assert "stopped at once; a run that had begun goes on with --resume" in log and "Traceback" not in log
    assert run(worker, folder, "--resume") == 0
    same_files(folder / "images", uninterrupted)


@BOTH
def test_stop_while_networks_load(
    number: int, code: int, worker: Worker, harbour: Path, uninterrupted: dict[str, bytes]
) -> None:
    folder, began = harbour.parent, time.monotonic()
    pid = start(worker, folder, str(harbour), until="loading", load_pause=60)
    os.kill(pid, number)
    assert ended(worker) == [code]
    assert time.monotonic() - began < 30
    assert "stopped at once" in (folder / "log").read_text()
    assert run(worker, folder, "--resume") == 0
    same_files(folder / "images", uninterrupted)


def test_a_queue_stops_as_a_whole(worker: Worker, harbour: Path) -> None:
    folder = harbour.parent
    second = folder / "second.yaml"
    second.write_text(f"extends: {harbour.name}\nbatch_name: second\n")
    pid = start(worker, folder, str(harbour), str(second), "--set", "n_batches=1", pause=0.2)
    os.kill(pid, signal.SIGINT)
    assert ended(worker) == [130]
    assert not (folder / "images" / "second").exists()
    assert run(worker, folder, str(harbour), str(second), "--set", "n_batches=1", "--resume") == 0
    names = [path.name for path in sorted((folder / "images").rglob("*_0000.png"))]
    assert names == ["kill(0)_0000.png", "second(0)_0000.png"]


# run.py itself

SIGNAL_AT_IMPORT = """
import signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "disco.settings.load":
            signal.raise_signal({number})

sys.meta_path.insert(0, Finder())
"""


@BOTH
@pytest.mark.parametrize("words", [[str(ROOT / "run.py")], ["-m", "disco"]], ids=["run.py", "-m disco"])
def test_stop_while_the_command_line_is_imported(
    number: int, code: int, words: list[str], tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(SIGNAL_AT_IMPORT.format(number=int(number)))
    done = subprocess.run(
        [sys.executable, *words],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "stopped at once\n")


def test_stop_run_py_while_it_loads(tmp_path: Path) -> None:
    """The thread that loads does not bring the interpreter down when it ends."""
    with subprocess.Popen(
        [sys.executable, str(ROOT / "run.py"), "--prompt", "a lake", "--out", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        text=True,
    ) as child:
        assert child.stderr
        said = child.stderr.readline()
        while "starting run 0" not in said and said[-1:] == "\n":
            said += child.stderr.readline()
        child.send_signal(signal.SIGTERM)
        _, rest = child.communicate(timeout=120)
    assert child.returncode == 143, rest
    assert "stopped" in rest and "Traceback" not in rest and "Fatal" not in rest
