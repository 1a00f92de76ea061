"""upscale, upscale_model: an enlarged copy beside each picture and each eye, never taken for a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from disco.cli.plan import describe
from disco.errors import InputError
from disco.events import Event, StepDone
from disco.media.images import read_metadata, read_pixels
from disco.networks.load import Networks
from disco.networks.required import check_packages, networks_key
from disco.networks.srvgg import Srvgg
from disco.networks.upscaler import Upscaler
from disco.rendering.api import render
from disco.runs.folder import RunFolder, list_runs
from disco.runs.footage import as_upscaled, folder_footage, run_footage
from disco.runs.names import RunNames
from disco.runs.new_run import read_again
from disco.settings.load import run_from_mapping
from disco.settings.model import Settings
from tests.animation_run import animation
from tests.fake_pool import FakePool
from tests.small_run import SMALL, events_of, pictures, rendered, same, small_networks

X4: dict[str, Any] = {"n_batches": 2, "upscale": "x4"}


@pytest.fixture(scope="module")
def upscaler() -> Upscaler:
    torch.manual_seed(0)
    made = Upscaler(Srvgg(4, 2, 4), 4)
    made.name, made.sha256 = "toy", "1" * 64
    return made


@pytest.fixture
def networks(upscaler: Upscaler) -> Networks:
    return small_networks(more={"upscale": [upscaler]})


def files(out: Path, ending: str) -> list[str]:
    return sorted(path.name for path in (out / "small").glob(f"*{ending}.png"))


def names_of(out: Path) -> RunNames:
    return RunNames(out / "small", "small", 0)


def steps(events: list[Event]) -> int:
    return sum(isinstance(event, StepDone) for event in events)


@pytest.mark.parametrize("upscale", ["x2", "x4"])
def test_an_enlarged_copy_beside_each_picture(
    upscale: str, tmp_path: Path, networks: Networks, upscaler: Upscaler
) -> None:
    rendered(tmp_path / "plain", {"n_batches": 2})
    rendered(tmp_path / "more", X4 | {"upscale": upscale}, networks=networks)
    assert files(tmp_path / "more", f"_{upscale}") == [f"small(0)_000{k}_{upscale}.png" for k in (0, 1)]
    assert same(pictures(tmp_path / "more"), pictures(tmp_path / "plain")), "the originals are as before"
    original, larger = (
        names_of(tmp_path / "more").picture(1),
        tmp_path / f"more/small/small(0)_0001_{upscale}.png",
    )
    assert np.array_equal(read_pixels(larger), upscaler(read_pixels(original), upscale))
    known = {"finisher": f"_{upscale}", "upscaler": {"name": "toy", "sha256": "1" * 64}}
    assert read_metadata(larger) == read_metadata(original) | known
    assert read_metadata(original)["weights"] == {"toy": "0" * 64}


def test_none_is_the_default(tmp_path: Path, networks: Networks) -> None:
    assert Settings().upscale == "none"
    rendered(tmp_path, {"n_batches": 2}, networks=networks)
    assert len(files(tmp_path, "")) == 4, "two pictures, their grid, and the last progress"


def test_a_run_killed_between_a_picture_and_its_copy(
    tmp_path: Path, networks: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> Path:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "save_finished", killed)
        with pytest.raises(KeyboardInterrupt):
            rendered(tmp_path, X4, networks=networks)
    assert len(pictures(tmp_path)) == 1 and not files(tmp_path, "_x4")
    events = list(events_of(tmp_path, X4, networks=networks, resume="latest"))
    assert steps(events) == 10, "those of the second picture"
    assert len(files(tmp_path, "_x4")) == 2


def test_a_copy_asked_for_later(tmp_path: Path, networks: Networks) -> None:
    rendered(tmp_path, {"n_batches": 2})
    events = list(events_of(tmp_path, X4, networks=networks, resume="latest"))
    assert steps(events) == 0 and len(files(tmp_path, "_x4")) == 2


def test_nothing_counts_the_copies(tmp_path: Path, networks: Networks) -> None:
    report = rendered(tmp_path, X4, networks=networks)
    assert report is not None and report.report["pictures"] == 2
    (summary,) = list_runs(tmp_path, "small")
    assert summary.done == 2 and list(names_of(tmp_path).pictures_there()) == [0, 1]
    assert read_pixels(names_of(tmp_path).grid).shape[0] == 32, "the sheet shows the originals"
    shown = [path.name for (path,) in folder_footage(tmp_path / "small").shots]
    assert [name for name in shown if "_000" in name] == ["small(0)_0000.png", "small(0)_0001.png"]
    for path in (tmp_path / "small").glob("small(0)_000?.png"):
        path.unlink()
    assert len([1 for (path,) in folder_footage(tmp_path / "small").shots if "_x4" in path.name]) == 2, (
        "without their originals they are pictures"
    )


def test_a_copy_is_rendered_again_as_its_picture(tmp_path: Path, networks: Networks) -> None:
    rendered(tmp_path, X4, networks=networks)
    again = read_again(tmp_path / "small" / "small(0)_0001_x4.png")
    list(render(again.run, out=tmp_path, again=again, networks=networks))
    assert np.array_equal(pictures(tmp_path, run=1)[1], pictures(tmp_path)[1])


def test_networks_without_an_upscaler_are_refused_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^upscale: x4: the networks that were passed in have no upscaler"):
        rendered(tmp_path, X4)
    assert not pictures(tmp_path)


# ---- eyes, videos ----


def eyes(**values: Any) -> Mapping[str, Any]:
    return animation("3D", max_frames=2, upscale="x4", **values)


def test_each_eye_has_one(tmp_path: Path, networks: Networks, upscaler: Upscaler) -> None:
    rendered(tmp_path, eyes(), networks=networks)
    made = files(tmp_path, "_x4")
    assert made == [f"small(0)_000{k}{eye}_x4.png" for k in (0, 1) for eye in ("_l", "_r", "")]
    eye = names_of(tmp_path).eye(1, "r")
    larger = read_pixels(names_of(tmp_path).finished(1, "_r_x4"))
    assert np.array_equal(larger, upscaler(read_pixels(eye), "x4"))
    assert list(names_of(tmp_path).eyes_there("r")) == [0, 1]
    (tmp_path / "small" / "small(0)_0000_l_x4.png").unlink()
    events = list(events_of(tmp_path, eyes(), networks=networks, resume="latest"))
    assert steps(events) == 0 and files(tmp_path, "_x4") == made


def test_a_resume_from_a_frame_moves_the_eyes_copies_along(tmp_path: Path, networks: Networks) -> None:
    rendered(tmp_path, eyes(), networks=networks)
    rendered(tmp_path, eyes(resume_from_frame=0), networks=networks, resume="latest")
    moved = sorted(path.name for path in (tmp_path / "small" / "retained").glob("*_x4.png"))
    assert moved == [f"small(0)_0001{eye}_x4.png" for eye in ("_l", "_r", "")]
    assert len(files(tmp_path, "_x4")) == 6


@pytest.mark.parametrize("values", [X4, eyes()], ids=["stills", "eyes"])
@pytest.mark.parametrize("death", [None, 16, 20])
def test_workers_make_the_same(
    values: Mapping[str, Any],
    death: int | None,
    tmp_path: Path,
    networks: Networks,
) -> None:
    runs = [{**SMALL, **values, "batch_name": name} for name in ("small", "other")]
    list(render(runs, out=tmp_path / "alone", networks=networks))
    pool = FakePool(deaths={} if death is None else {0: death}, load=lambda run, **_: networks)
    list(render(runs, out=tmp_path / "spread", networks=pool))
    made = {path.relative_to(tmp_path / "alone") for path in (tmp_path / "alone").rglob("*_x4.png")}
    assert len(made) == (2 * 2 if "n_batches" in values else 2 * 6)
    for name in made:
        alone, spread = (read_pixels(tmp_path / out / name) for out in ("alone", "spread"))
        assert np.array_equal(alone, spread)


def test_make_video_takes_the_copies_where_all_are_there(tmp_path: Path, networks: Networks) -> None:
    rendered(tmp_path, eyes(), networks=networks)
    settings = run_from_mapping(eyes()).settings
    plain = run_footage(names_of(tmp_path), settings)
    both = run_footage(names_of(tmp_path), settings, eyes="side-by-side")
    assert [path.name for (path,) in as_upscaled(plain, "x4").shots] == [
        "small(0)_0000_x4.png",
        "small(0)_0001_x4.png",
    ]
    assert [path.name for path in as_upscaled(both, "x4").shots[1]] == [
        "small(0)_0001_l_x4.png",
        "small(0)_0001_r_x4.png",
    ]
    assert as_upscaled(plain, "x4").target == plain.target
    assert as_upscaled(plain, "none") == as_upscaled(plain, "x2") == plain
    names_of(tmp_path).finished(1, "_x4").unlink()
    assert as_upscaled(plain, "x4") == plain


# ---- which network ----


def test_the_network_is_a_name_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.pth").touch()
    ours, own, none = (
        run_from_mapping({"upscale": upscale, "upscale_model": name, "text_prompts": ["a lake"]})
        for upscale, name in (("x4", "pocket_upscale"), ("x4", "mine.pth"), ("none", "gone.pth"))
    )
    keys = {networks_key(run.settings, run.base_dirs) for run in (ours, own, none)}
    assert len(keys) == 3 and own.settings.upscale_model == "mine.pth"
    assert "nothing: all weights are here" in describe([ours], tmp_path)


def test_a_network_by_spandrel_needs_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("disco.networks.required.find_spec", lambda name: None)
    run = run_from_mapping(
        {"upscale": "x4", "upscale_model": "realesrgan-x4plus", "text_prompts": ["a lake"]}
    )
    with pytest.raises(Exception) as error:
        check_packages(run)
    assert str(error.value) == (
        "upscale_model: realesrgan-x4plus needs the Python package spandrel, which is not installed. "
        "Run `pip install -e '.[upscale]'` in Disco's folder, or write pocket_upscale"
    )


def test_the_plan_names_the_copies(tmp_path: Path) -> None:
    run = run_from_mapping({"upscale": "x2", "text_prompts": ["a lake"], "width_height": [64, 32]})
    plan = describe([run], tmp_path)
    assert "TimeToDisco(0)_0000_x2.png, 128x64, beside each" in plan
