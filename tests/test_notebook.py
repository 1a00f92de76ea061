"""The notebook runs from top to bottom on a CPU, and is stored as a thin tour: no outputs, no functions."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

import disco
from disco.errors import ResumeError
from disco.events import PictureFinished, PictureStarted, RunFinished, StepDone
from tests.places import ROOT

NOTEBOOK = ROOT / "notebooks" / "disco.ipynb"
ENOUGH = 900  # seconds, on a machine that has much else to do; a free core needs a minute
SETTINGS = {"text_prompts": "a lake", "width_height": [64, 64], "steps": 6, "n_batches": 1, "set_seed": 3}


class ThisInterpreter(KernelSpecManager):
    """Every kernel is the Python that runs the tests, whatever kernels are installed on the machine."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, language="python", display_name=kernel_name)


def execute(to: Path) -> None:
    """Run the notebook in the current folder. In its own process: zmq leaves sockets to the collector."""
    book = nbformat.read(NOTEBOOK, as_version=4)
    manager = AsyncKernelManager(kernel_spec_manager=ThisInterpreter())
    NotebookClient(book, km=manager, timeout=ENOUGH, resources={"metadata": {"path": "."}}).execute()
    nbformat.write(book, to)


@pytest.fixture(scope="module")
def notebook() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """The executed notebook, and the folder that it ran in."""
    folder = tmp_path_factory.mktemp("notebook")
    command = [sys.executable, __file__, str(folder / "executed.ipynb")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=ENOUGH
    )
    assert done.returncode == 0, done.stderr
    return nbformat.read(folder / "executed.ipynb", as_version=4), folder


def printed(book: Any) -> str:
    return "".join(
        output.text
        for cell in book.cells
        for output in cell.get("outputs", [])
        if output.output_type == "stream" and output.name == "stdout"
    )


def test_it_is_a_thin_tour(notebook: Any) -> None:
    sources = [cell.source for cell in notebook.cells]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(sources) <= 10
    assert any("pip install" in source for source in sources)
    assert not any(re.search(r"\bdef\b|\blambda\b|\bclass\b|^[!%]", cell.source, re.M) for cell in code)


@pytest.mark.parametrize("path", [NOTEBOOK, ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))])
def test_examples_import_from_disco_only(path: Path) -> None:
    """Not from its packages, whose files may move."""
    assert not re.findall(r"^.*(?:from|import) disco\.\w.*$", path.read_text(encoding="utf-8"), re.MULTILINE)


def test_it_is_stored_without_outputs(notebook: Any) -> None:
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None
        assert not cell.metadata


@pytest.mark.timeout(ENOUGH)
def test_it_runs_from_top_to_bottom(executed: tuple[Any, Path]) -> None:
    book, folder = executed
    names = sorted(path.relative_to(folder / "images_out").as_posix() for path in folder.rglob("*_0000.png"))
    assert names == [
        "notebook/notebook(0)_0000.png",
        "notebook_short/notebook_short(0)_0000.png",
        "notebook_short/notebook_short(1)_0000.png",
        "notebook_short/notebook_short(2)_0000.png",
        "notebook_sweep/notebook_sweep(0)_0000.png",
        "notebook_sweep/notebook_sweep(1)_0000.png",
        "notebook_sweep/notebook_sweep(2)_0000.png",
    ]
    assert "the same pixels: True" in printed(book)


@pytest.mark.timeout(ENOUGH)
def test_it_shows_a_live_preview_and_all_its_pictures(executed: tuple[Any, Path]) -> None:
    """update_display changes what the cell shows: the last preview is the finished picture."""
    book, _ = executed
    shown = [
        sum("image/png" in output.get("data", {}) for output in cell.get("outputs", []))
        for cell in book.cells
    ]
    assert [count for count in shown if count] == [1, 1, 1, 1]


@pytest.mark.timeout(ENOUGH)
def test_its_stopped_run_goes_on(executed: tuple[Any, Path]) -> None:
    book, folder = executed
    text = printed(book)
    assert "stopped after step 5 of 18" in text
    assert "going on with run 0" in text
    assert "5 steps are done already" in text
    status = folder / "images_out" / "notebook_short" / "notebook_short(0)_status.json"
    assert json.loads(status.read_text())["resumed"] is True


def test_an_interrupted_loop_goes_on(tmp_path: Path) -> None:
    """The kernel's interrupt is a KeyboardInterrupt in the loop; the generator goes with it."""
    with pytest.raises(KeyboardInterrupt):
        for event in disco.render(SETTINGS, out=tmp_path):
            if isinstance(event, StepDone) and event.step == 2:
                raise KeyboardInterrupt
    events = list(disco.render(SETTINGS | {"resume_run": True}, out=tmp_path))
    assert [event.step for event in events if isinstance(event, PictureStarted)] == [3]
    assert [event.picture for event in events if isinstance(event, PictureFinished)] == [0]
    assert isinstance(events[-1], RunFinished) and not events[-1].interrupted


def test_a_kept_generator_holds_its_run(tmp_path: Path) -> None:
    """What the notebook says of generators in variables: until they are closed, nobody else may resume."""
    events = disco.render(SETTINGS, out=tmp_path)
    next(event for event in events if isinstance(event, StepDone))
    with pytest.raises(ResumeError, match="is being rendered now"):
        list(disco.render(SETTINGS, out=tmp_path, resume="latest"))
    events.close()  # type: ignore[attr-defined]
    resumed = disco.render(SETTINGS, out=tmp_path, resume="latest")
    assert next(event.step for event in resumed if isinstance(event, PictureStarted)) == 1
    resumed.close()  # type: ignore[attr-defined]


if __name__ == "__main__":
    execute(Path(sys.argv[1]))
