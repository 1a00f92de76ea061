"""SIGINT and SIGTERM: the step is finished, the state saved, and --resume goes on to the same pictures."""

from __future__ import annotations

import os
import random
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
    assert len(list(state.iterdir())) > 3, "a checkpoint beside lock, run.json and its copy"
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


# during imports

SLOW_MODULE = """
import signal, time
{how}
time.sleep(0.06)
WHOLE = "WHOLE" not in globals()
"""
CLASS = """
class Named:
    def __set_name__(self, owner, name):
        {0}
class Owner:
    named = Named()
"""
HANDLED = """
try:
    {0}
except BaseException:
    WHOLE = False
"""
WAYS = {
    "a statement": "{0}",
    "a class": CLASS,
    "a sort in C": "sorted([1], key=lambda _: {0})",
    "an import in it": "import nights_inner",
    "an import by pickle": "import pickle; pickle.loads(b'cnights_inner\\nWHOLE\\n.')",
    "handled in it": HANDLED,
}


@BOTH
@pytest.mark.parametrize("way", WAYS)
def test_an_import_is_not_interrupted(
    number: int, code: int, way: str, handlers: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal is noted; when the import is done it comes again, without a wait for check()."""
    signalled = f"signal.raise_signal({int(number)})"
    (tmp_path / "nights_inner.py").write_text(SLOW_MODULE.format(how=signalled))
    (tmp_path / "nights_outer.py").write_text(SLOW_MODULE.format(how=WAYS[way].format(signalled)))
    monkeypatch.syspath_prepend(str(tmp_path))
    flag = StopFlag()
    try:
        with flag.catching(), pytest.raises(Interrupted) as caught:
            import nights_outer  # type: ignore[import-not-found]

            assert nights_outer.WHOLE
            time.sleep(10)
        assert caught.value.exit_code == code and flag.raised
        assert {"nights_outer"} <= set(sys.modules)
    finally:
        for name in ("nights_outer", "nights_inner"):
            sys.modules.pop(name, None)


@pytest.fixture
def outer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module to import, at whose start SIGTERM comes."""
    how = f"signal.raise_signal({int(signal.SIGTERM)})"
    (tmp_path / "nights_outer.py").write_text(SLOW_MODULE.format(how=how))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("nights_outer", None)


def test_check_raises_what_came_during_imports(handlers: None, outer: None) -> None:
    flag = StopFlag()
    with flag.catching():
        with pytest.raises(Interrupted) as caught:
            import nights_outer  # noqa: F401

            flag.check()
        assert caught.value.exit_code == 143
        time.sleep(0.1)  # it does not come twice
        flag.check()


def test_no_picture_begins_after_a_signal_during_imports(handlers: None, outer: None) -> None:
    flag = StopFlag()
    with flag.catching(), pytest.raises(Interrupted):
        import nights_outer  # noqa: F401

        with flag.working():
            raise AssertionError("a picture began")


def test_an_import_while_a_picture_is_rendered(handlers: None, outer: None) -> None:
    flag = StopFlag()
    with flag.catching(), flag.working():
        import nights_outer  # noqa: F401

        assert flag.exit_code == 143


def test_a_destructor_does_not_swallow_it(handlers: None) -> None:
    class Dying:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    flag = StopFlag()
    with flag.catching(), pytest.raises(Interrupted):
        dying = Dying()
        del dying
        time.sleep(10)


def test_nothing_comes_after_the_handlers_are_put_back(handlers: None, outer: None) -> None:
    with StopFlag().catching():
        import nights_outer  # noqa: F401
    time.sleep(0.1)


# whole commands

SIGNAL_AT_IMPORT = """
import signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "{module}":
            for _ in range({times}):
                signal.raise_signal({number})

sys.meta_path.insert(0, Finder())
"""
RUN_PY, MODULE = [str(ROOT / "run.py")], ["-m", "disco"]
WAITS = "\nstopping once the libraries are loaded. Once more: stop at once\n"
CONSOLE = ["-c", "import sys; from disco.__main__ import main; sys.exit(main())"]


def stopped_at(module: str, number: int, folder: Path, *words: str, times: int = 1) -> tuple[int, str, str]:
    """Code and output of a command that gets the signal when it imports `module`."""
    (folder / "sitecustomize.py").write_text(
        SIGNAL_AT_IMPORT.format(module=module, number=int(number), times=times)
    )
    done = subprocess.run(
        [sys.executable, *words],
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr


@BOTH
@pytest.mark.parametrize("words", [RUN_PY, MODULE, CONSOLE], ids=["run.py", "-m disco", "disco"])
def test_stop_while_the_command_line_is_imported(
    number: int, code: int, words: list[str], tmp_path: Path
) -> None:
    assert stopped_at("disco.settings.load", number, tmp_path, *words) == (
        code,
        "",
        WAITS + "stopped at once\n",
    )


@BOTH
@pytest.mark.parametrize("words", [RUN_PY, MODULE], ids=["run.py", "-m disco"])
def test_stop_before_there_is_a_command_line(
    number: int, code: int, words: list[str], tmp_path: Path
) -> None:
    assert stopped_at("disco.cli.signals", number, tmp_path, *words) == (code, "", "")


VERBS_AND_MODULES = {
    "--help": ("argparse", []),
    "settings": ("disco.settings.layers", ["--prompt", "a lake", "--plan"]),
    "show": ("disco.runs.record", ["show", "a.png"]),
    "import": ("disco.settings.importers.reading", ["import", "a.txt"]),
    "models": ("disco.weights.fetch", ["models", "list"]),
    "fetch": ("tqdm", ["models", "fetch", "RN50"]),
    "video": ("numpy", ["video", "."]),
}


@pytest.mark.parametrize("verb", VERBS_AND_MODULES)
def test_stop_while_a_verb_is_imported(verb: str, tmp_path: Path) -> None:
    module, words = VERBS_AND_MODULES[verb]
    code, out, err = stopped_at(module, signal.SIGTERM, tmp_path, *RUN_PY, *words)
    assert code == 143 and "stopped at once" in err and "Traceback" not in err
    assert verb == "models" or out == ""


def test_a_render_stops_between_numpy_and_torch_and_leaves_no_folder(tmp_path: Path) -> None:
    words = ["--prompt", "a lake", "--out", "out"]
    code, out, err = stopped_at("numpy", signal.SIGINT, tmp_path, *RUN_PY, *words)
    assert (code, out) == (130, "")
    assert err == WAITS + "stopped at once; a run that had begun goes on with --resume\n"
    assert not (tmp_path / "out").exists()


def test_the_second_signal_does_not_wait_for_the_imports(tmp_path: Path) -> None:
    assert stopped_at("disco.settings.load", signal.SIGINT, tmp_path, *RUN_PY, times=2) == (130, "", WAITS)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("words", [RUN_PY, MODULE, CONSOLE], ids=["run.py", "-m disco", "disco"])
def test_two_hundred_signals_at_the_start(words: list[str], tmp_path: Path) -> None:
    """At random moments from the first line on until networks are loaded: the code, and no traceback."""
    (tmp_path / "sitecustomize.py").write_text("print('here', flush=True)")
    rng = random.Random(str(words))
    for round in range(200):
        number, after = rng.choice([signal.SIGINT, signal.SIGTERM]), rng.uniform(0.1, 5.0)
        with subprocess.Popen(
            [sys.executable, *words, "--prompt", "a lake", "--out", str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"},
            cwd=tmp_path,
            text=True,
        ) as child:
            assert child.stdout
            child.stdout.readline()  # its first line is about to run
            time.sleep(after)
            child.send_signal(number)
            out, err = child.communicate(timeout=120)
        assert child.returncode == 128 + number, (round, number, after, out, err)
        assert not any(word in err for word in ("Traceback", "ignored", "Fatal", "terminate")), err


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
