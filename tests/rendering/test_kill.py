"""Runs killed with SIGKILL at any event and while they write, and resumed: the same files, bit for bit.

Real processes with small fakes for networks; see render_worker.py.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from disco.media.png import check_png
from tests.places import ROOT

SETTINGS: dict[str, Any] = {
    "text_prompts": ["a red house", "green:0.5"],
    "batch_name": "kill",
    "width_height": [32, 32],
    "steps": 4,
    "n_batches": 2,
    "cutn_batches": 1,
    "cut_overview": 1,
    "cut_innercut": 2,
    "clip_models": ["pocket-conv"],
    "use_secondary_model": False,
    "checkpoint_every": 2,
    "display_rate": 2,
    "set_seed": 5,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "ddim": {"checkpoint_every": 1, "intermediate_saves": 2},
    "plms": {"diffusion_sampling_mode": "plms", "steps": 6},
    "batches": {"batch_size": 2, "n_batches": 3, "use_vertical_symmetry": True},
    "dd57": {"compat": "dd57", "intermediate_saves": [1, 2]},
    "dd57 with plms": {"compat": "dd57", "diffusion_sampling_mode": "plms", "fuzzy_prompt": True},
    "no checkpoints": {"checkpoint_every": 0},
}


class Worker:
    """Its children render and die; each order returns what the child said."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.render_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            text=True,
        )
        self.until("ready")

    def until(self, key: str) -> list[dict[str, Any]]:
        assert self.process.stdout
        said = []
        while not said or key not in said[-1]:
            said.append(json.loads(self.process.stdout.readline()))
        return said

    def order(self, do: str, until: str = "done", **order: Any) -> list[dict[str, Any]]:
        assert self.process.stdin
        print(json.dumps({"do": do, **order}), file=self.process.stdin, flush=True)
        return self.until(until)

    def render(self, out: Path, settings: Any, **options: Any) -> list[dict[str, Any]]:
        return self.order("go", out=str(out), settings=settings, **options)

    def close(self) -> None:
        assert self.process.stdin
        with self.process:
            self.process.stdin.close()


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.close()


def pictures(out: Path) -> dict[str, bytes]:
    """Everything that a run leaves for the user, but for the times in status.json."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and ".state" not in path.parts and not path.name.endswith(("_status.json", ".tmp"))
    }


NOT_COMPARED = ("resume_run", "run_to_resume", "n_batches")  # the second command may say these otherwise


def without_resume(name: str, data: bytes) -> Any:
    """What must be equal of a file: PNG data bit for bit, and all it carries but the wish to resume."""
    if name.endswith(".yaml"):
        return [line for line in data.splitlines() if not line.startswith(b"resume_run")]
    with_text = b"iTXtdisco\0" in data
    length = int.from_bytes(data[33:37], "big") if with_text else 0
    rest = data[33 + 12 + length :] if with_text else data
    if not with_text:
        return rest
    metadata = json.loads(zlib.decompress(data[41 + len(b"disco\0\x01\0\0\0") : 41 + length]))
    for key in NOT_COMPARED:
        del metadata["settings"][key]
    return rest, metadata


Whole = Callable[[str], tuple[dict[str, bytes], int]]


@pytest.fixture(scope="module")
def whole(worker: Worker, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """whole(variant) -> the files of the uninterrupted run, and how many lines it ran."""
    known: dict[str, tuple[dict[str, bytes], int]] = {}

    def render(variant: str) -> tuple[dict[str, bytes], int]:
        if variant not in known:
            out = tmp_path_factory.mktemp("whole")
            settings = SETTINGS | VARIANTS[variant]
            said = worker.order("go_to_line", out=str(out), settings=settings, line=10**9)
            lines = [message["lines"] for message in said if "lines" in message]
            assert lines, said
            known[variant] = pictures(out), lines[0]
        return known[variant]

    return render


def resumed(worker: Worker, out: Path, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is on disk is whole; go on until the end, whether or not the run had its settings saved."""
    before = pictures(out)
    for name in before:
        if name.endswith(".png"):
            check_png(out / name)
    said = worker.render(out, {**settings, "resume_run": True})
    assert {"end": True} in [{"end": message.get("end")} for message in said], said
    after = pictures(out)
    kept = {name: data for name, data in before.items() if not name.endswith("_progress.png")}
    assert {name: after[name] for name in kept} == kept, "a file was overwritten"
    return said


def same_files(out: Path, whole: dict[str, bytes]) -> None:
    """All files are there and equal. A run that died before its settings were saved only used up a number."""
    found = pictures(out)
    first = min(int(name.split("(")[1].split(")")[0]) for name in found)
    renamed = {name.replace(f"({first})", "(0)"): data for name, data in found.items()}
    assert renamed.keys() == whole.keys()
    different = [n for n in whole if without_resume(n, renamed[n]) != without_resume(n, whole[n])]
    assert not different


def was_killed(said: list[dict[str, Any]]) -> bool:
    return said[-1]["status"] == signal.SIGKILL


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("every", [8, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_at_an_event(every: int, variant: str, worker: Worker, whole: Whole, tmp_path: Path) -> None:
    """At every eighth event, or at every one: steps, partials, between pictures, before the first."""
    settings, (files, _) = SETTINGS | VARIANTS[variant], whole(variant)
    event = list(VARIANTS).index(variant) % every
    while True:
        out = tmp_path / str(event)
        said = worker.render(out, settings, die_at_event=event)
        if not was_killed(said):
            break
        resumed(worker, out, settings)
        same_files(out, files)
        event += every
    assert event > 10
    same_files(out, files)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("n", [5, pytest.param(300, marks=pytest.mark.slow)])
def test_killed_between_two_lines(n: int, variant: str, worker: Worker, whole: Whole, tmp_path: Path) -> None:
    """In the middle of saving too: n moments, evenly spread over all lines of the modules that write."""
    settings, (files, lines) = SETTINGS | VARIANTS[variant], whole(variant)
    for k in range(n):
        out = tmp_path / str(k)
        line = (2 * k + 1) * lines // (2 * n)
        said = worker.order("go_to_line", out=str(out), settings=settings, line=line)
        assert was_killed(said), said
        resumed(worker, out, settings)
        same_files(out, files)


def test_killed_again_and_again(worker: Worker, whole: Whole, tmp_path: Path) -> None:
    """A machine that dies every few events gets there by one command in a loop."""
    settings = {**SETTINGS, **VARIANTS["ddim"], "resume_run": True}
    for _ in range(20):
        if not was_killed(worker.render(tmp_path, settings, die_at_event=6)):
            break
    same_files(tmp_path, whole("ddim")[0])


def test_a_killed_run_is_found_without_its_settings_file(
    worker: Worker, whole: Whole, tmp_path: Path
) -> None:
    settings = SETTINGS | VARIANTS["ddim"]
    worker.render(tmp_path, settings, die_at_event=7)
    said = worker.order("resume_unnamed", out=str(tmp_path))
    assert any(message.get("end") for message in said), said
    same_files(tmp_path, whole("ddim")[0])


def test_a_queue_is_taken_up_where_it_was_killed(worker: Worker, tmp_path: Path) -> None:
    """Between its runs too; runs that are finished are not rendered again."""
    queue = [SETTINGS | {"batch_name": name, "n_batches": 1} for name in ("one", "two", "one")]
    worker.render(tmp_path / "whole", queue)
    files = pictures(tmp_path / "whole")
    assert len([name for name in files if name.endswith("_0000.png")]) == 3
    for event in range(1, 25, 3):
        out = tmp_path / str(event)
        assert was_killed(worker.render(out, queue, die_at_event=event))
        said = worker.render(out, queue, resume="latest")
        assert any(message.get("end") for message in said), said
        same_files(out, files)


def test_a_kill_just_before_the_grid(worker: Worker, whole: Whole, tmp_path: Path) -> None:
    last_picture = 2 + SETTINGS["n_batches"] * (SETTINGS["steps"] + 2) - 2
    assert was_killed(worker.render(tmp_path, SETTINGS, die_at_event=last_picture))
    assert len(list((tmp_path / "kill").glob("*_000?.png"))) == SETTINGS["n_batches"]
    worker.render(tmp_path, SETTINGS, resume="latest")
    assert (tmp_path / "kill" / "kill(0)_grid.png").exists()


def test_a_kill_while_the_run_is_extended(worker: Worker, tmp_path: Path) -> None:
    more = SETTINGS | {"n_batches": 4}
    worker.render(tmp_path / "whole", more)
    worker.render(tmp_path / "run", SETTINGS)
    grid = (tmp_path / "run" / "kill" / "kill(0)_grid.png").read_bytes()
    assert was_killed(worker.render(tmp_path / "run", more, resume="latest", die_at_event=4))
    worker.render(tmp_path / "run", more, resume="latest")
    assert (tmp_path / "run" / "kill" / "retained" / "kill(0)_grid.png").read_bytes() == grid
    for folder in ("run", "whole"):
        (tmp_path / folder / "kill" / "kill(0)_settings.yaml").unlink()  # says what the run began with
    (tmp_path / "run" / "kill" / "retained" / "kill(0)_grid.png").unlink()
    same_files(tmp_path / "run", pictures(tmp_path / "whole"))


def test_two_processes_in_one_folder(worker: Worker, whole: Whole, tmp_path: Path) -> None:
    settings = SETTINGS | VARIANTS["ddim"]
    for _ in range(2):
        worker.order(
            "go", until="child", out=str(tmp_path), settings=settings, pause=0.05, in_background=True
        )
    said = worker.order("wait")
    ends = [message["pid"] for message in said if message.get("end")]
    assert len(set(ends)) == 2, said
    found = pictures(tmp_path)
    for run in (0, 1):
        for name, data in whole("ddim")[0].items():
            assert found.pop(name.replace("(0)", f"({run})")) == data
    assert not found


def test_a_run_that_another_process_renders_is_left_alone(worker: Worker, tmp_path: Path) -> None:
    settings = SETTINGS | {"n_batches": 1}
    order = {"out": str(tmp_path), "settings": settings, "pause": 60, "in_background": True}
    (*_, started) = worker.order("go", until="child", **order)
    if "step" not in started:
        worker.until("step")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    try:
        refusals = [
            worker.render(tmp_path, settings, resume="latest"),
            worker.render(tmp_path, settings, resume=0),
            worker.render(tmp_path, settings | {"resume_run": True}),
        ]
        listed = worker.order("resume_unnamed", out=str(tmp_path))
    finally:
        os.kill(started["child"], signal.SIGKILL)
        worker.order("wait")
    for said in refusals:
        (refusal,) = [message for message in said if "error" in message]
        assert refusal["error"] == "ResumeError"
        assert refusal["text"].startswith(f"{tmp_path / 'kill'}: run 0 is being rendered now, by process ")
        assert refusal["text"].endswith("Wait for it, or stop it first.")
        assert str(started["child"]) in refusal["text"]
    (refusal,) = [message for message in listed if "error" in message]
    assert "no unfinished run" in refusal["text"] and "run 0: rendering, 0 of 1 pictures" in refusal["text"]
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    said = worker.render(tmp_path, settings, resume="latest")
    assert any(message.get("end") for message in said), said
