"""Runs of earlier versions go on to the pixels that those versions gave (tests/old_runs/README.md)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import disco
from disco.cli.verbs import show
from disco.errors import ResumeError
from disco.events import PictureFinished, RunFinished
from disco.media.images import read_metadata, read_pixels
from disco.runs.new_run import read_again
from disco.runs.resume import resume_job
from tests.guard_pictures import facts, networks, sha256
from tests.places import ROOT, TESTS
from tests.test_guard_pictures import ONE_THREAD, is_close

OLD = TESTS / "old_runs"
NAMES = ("dd57_plms", "memory_saving", "frames")
RESUME = """
import sys, torch
from pathlib import Path
from tests.runs.test_old_runs import go_on
torch.set_num_threads(1)
go_on(Path(sys.argv[1]))
"""
pytestmark = pytest.mark.timeout(900)  # half a minute on a free core; more where others work too


def go_on(out: Path) -> None:
    """Resume every old run in `out`; its report goes to <name>.json."""
    for name in NAMES:
        saved = out / name / f"{name}(0)_settings.yaml"
        (run,) = disco.load_runs([str(saved)])
        events = disco.render(run, out=out, networks=networks(run.settings), resume="latest")
        report: dict[str, Any] = {"finished": []}
        for event in events:
            if isinstance(event, PictureFinished):
                report["finished"].append(event.path.name)
            elif isinstance(event, RunFinished):
                report |= dict(event.report)
        (out / f"{name}.json").write_text(json.dumps(report, default=str), encoding="utf-8")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies of the old runs, gone on with in a process of one thread."""
    copies = tmp_path_factory.mktemp("old")
    for name in NAMES:
        shutil.copytree(OLD / name, copies / name)
    command = [sys.executable, "-c", RESUME, str(copies)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **ONE_THREAD}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return copies


@pytest.mark.parametrize("name", NAMES)
def test_it_ends_in_the_old_pixels(name: str, out: Path) -> None:
    then = json.loads((OLD / "facts.json").read_text(encoding="utf-8"))
    made = {picture: read_pixels(out / name / picture) for picture in then["sha256"][name]}
    if facts() == then["facts"]:
        assert {picture: sha256(pixels) for picture, pixels in made.items()} == then["sha256"][name]
    else:
        assert is_close(list(made.values())[-1], read_pixels(OLD / f"{name}.png"))


@pytest.mark.parametrize("name", NAMES)
def test_only_what_was_missing_was_rendered(name: str, out: Path) -> None:
    report = json.loads((out / f"{name}.json").read_text(encoding="utf-8"))
    then = json.loads((OLD / "facts.json").read_text(encoding="utf-8"))
    assert report["finished"] == sorted(then["sha256"][name])


def test_its_savings_of_memory_act_again(out: Path) -> None:
    saved = {"clip_batch": 4, "together": 1, "twice": True, "guess_twice": True, "park": True}
    memory = json.loads((out / "memory_saving.json").read_text(encoding="utf-8"))["memory"]
    assert memory == saved, "under the keys that the files always had"
    (info,) = [json.loads(path.read_bytes()) for path in (out / "memory_saving").rglob("run.json")]
    assert info["memory"] == {"device": "cpu", **saved}
    machine = read_metadata(out / "memory_saving" / "memory_saving(0)_0001.png")["machine"]
    assert machine["memory"] == saved


def test_old_pictures_are_shown() -> None:
    metadata = read_metadata(OLD / "dd57_plms" / "dd57_plms(0)_0000.png")
    assert metadata["settings"]["diffusion_sampling_mode"] == "plms" and "stream" in metadata


def test_settings_that_came_later_are_as_they_were_then(capsys: Any) -> None:
    """A picture and a run without the keys of the noise: rendered again and gone on with by the old noise."""
    picture = OLD / "dd57_plms" / "dd57_plms(0)_0000.png"
    then = {"noise_by": "step", "noise_cast": 1, "noise_size": None}
    assert not then.keys() & read_metadata(picture)["settings"].keys()
    settings = read_again(picture).run.settings
    assert {key: getattr(settings, key) for key in then} == then
    assert show([str(picture)]) == 0
    assert "noise_by: step\nnoise_cast: 1\nnoise_size: null\n" in capsys.readouterr().out


def test_a_later_setting_that_was_written_is_a_difference(tmp_path: Path) -> None:
    shutil.copytree(OLD / "memory_saving", tmp_path / "memory_saving")
    saved = tmp_path / "memory_saving" / "memory_saving(0)_settings.yaml"
    (run,) = disco.load_runs([str(saved)], overrides=["noise_cast=0.4"])
    with pytest.raises(ResumeError) as error:
        resume_job(run, tmp_path, "memory_saving")
    assert "\n  noise_cast: saved 1, now 0.4\n" in str(error.value)
    assert "noise_by" not in str(error.value)
