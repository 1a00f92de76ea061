"""Going on: inside a picture, between pictures, in queues; what is refused; what moves to retained/."""

from __future__ import annotations

import json

import pytest

import disco
from disco.cli.plan import describe
from disco.errors import ResumeError
from disco.events import Notice, RunFinished, RunStarted, StepDone
from disco.runs.folder import RunFolder, list_runs
from disco.runs.new_run import read_again
from disco.runs.resume import unfinished_run
from disco.settings.load import run_from_mapping
from tests.small_run import (
    SMALL,
    StopAfter,
    closed_after,
    events_of,
    finished_paths,
    pictures,
    rendered,
    same,
    small_networks,
)

VARIANTS = {
    "fixed": {},
    "plms": {"diffusion_sampling_mode": "plms"},
    "dd57": {"compat": "dd57"},
    "dd57 perlin init": {"compat": "dd57", "perlin_init": True, "skip_steps": 2, "fuzzy_prompt": True},
    "dd57 plms": {"compat": "dd57", "diffusion_sampling_mode": "plms"},
    "two together": {"batch_size": 2},
    "no checkpoints": {"checkpoint_every": 0},
    "symmetry": {"use_horizontal_symmetry": True, "transformation_percent": [0.5]},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Variant -> the pictures of an uninterrupted run."""
    out = tmp_path_factory.mktemp("whole")
    found = {}
    for name, values in VARIANTS.items():
        rendered(out / name, values)
        found[name] = pictures(out / name)
    return found


# Perlin noise takes half a second each time, so of its stops only two are tried.
STOPS = [(name, n) for name in VARIANTS for n in ([4, 11] if "perlin" in name else [1, 4, 10, 11, 17])]


@pytest.mark.parametrize(("name", "steps"), STOPS)
def test_stopped_by_a_wish_and_resumed_is_as_if_uninterrupted(tmp_path, whole, name, steps):
    finished = rendered(tmp_path, VARIANTS[name], stop=StopAfter(steps))
    assert finished.interrupted and finished.grid is None
    events = list(events_of(tmp_path, VARIANTS[name], resume="latest"))
    assert next(event for event in events if isinstance(event, RunStarted)).resumed
    assert same(pictures(tmp_path), whole[name])


@pytest.mark.parametrize("name", VARIANTS)
def test_a_closed_generator_goes_on_from_its_last_step(tmp_path, whole, name):
    closed_after(tmp_path, 15, VARIANTS[name])
    events = list(events_of(tmp_path, VARIANTS[name], resume="latest"))
    of_all = 30 if name != "two together" else 20
    of_all -= 6 if "perlin" in name else 0
    assert sum(isinstance(event, StepDone) for event in events) == of_all - 15
    assert same(pictures(tmp_path), whole[name])


def test_resuming_twice_in_one_picture(tmp_path, whole):
    rendered(tmp_path, stop=StopAfter(4))
    rendered(tmp_path, resume="latest", stop=StopAfter(3))
    rendered(tmp_path, resume="latest")
    assert same(pictures(tmp_path), whole["fixed"])


def test_resume_run_starts_where_there_is_nothing_and_goes_on_where_there_is(tmp_path, whole):
    values = {"resume_run": True}
    assert rendered(tmp_path, values, stop=StopAfter(5)).interrupted
    rendered(tmp_path, values)
    assert same(pictures(tmp_path), whole["fixed"])
    texts = [event.text for event in events_of(tmp_path, values) if isinstance(event, Notice)]
    assert texts == [
        "small(0) is finished: nothing to resume. A larger n_batches extends it; a new run starts without "
        "--resume and resume_run."
    ]
    rendered(tmp_path, values | {"eta": 0.1})
    assert len(pictures(tmp_path, run=1)) == 3, "other settings, nothing unfinished: a new run"


def test_a_random_seed_goes_on_with_the_one_that_was_drawn(tmp_path):
    values = {"set_seed": "random_seed", "resume_run": True}
    rendered(tmp_path, values, stop=StopAfter(5))
    rendered(tmp_path, values)
    seed = json.loads((tmp_path / "small" / ".state" / "0" / "run.json").read_text())["seed"]
    rendered(tmp_path / "again", {"set_seed": seed})
    assert same(pictures(tmp_path), pictures(tmp_path / "again"))


def test_other_pixels_are_refused_and_shown(tmp_path):
    rendered(tmp_path, stop=StopAfter(5))
    with pytest.raises(ResumeError) as error:
        rendered(tmp_path, {"eta": 0.5, "text_prompts": "blue", "display_rate": 1}, resume="latest")
    folder = tmp_path / "small"
    assert str(error.value) == (
        f"run 0 of {folder} was started with other settings:\n"
        "  text_prompts: saved {0: ['red']}, now {0: ['blue']}\n"
        "  eta: saved 0.8, now 0.5\n"
        "Undo the change, or start a new run without --resume and resume_run."
    )
    rendered(tmp_path, resume="latest")
    assert len(pictures(tmp_path)) == 3, "a refused resume leaves the run as it was"


def test_settings_that_change_no_pixels_may_change(tmp_path, whole):
    rendered(tmp_path, stop=StopAfter(5))
    rendered(
        tmp_path,
        {"display_rate": 1, "checkpoint_every": 1, "clip_batch": 3, "device": "cpu"},
        resume="latest",
    )
    assert pictures(tmp_path).keys() == {0, 1, 2}


def test_a_larger_n_batches_extends_a_run_finished_or_not(tmp_path, whole):
    rendered(tmp_path, {"n_batches": 1})
    rendered(tmp_path, {"n_batches": 2}, resume="latest", stop=StopAfter(5))
    rendered(tmp_path, {"n_batches": 3}, resume="latest")
    assert same(pictures(tmp_path), whole["fixed"])
    assert len(list((tmp_path / "small" / "retained").glob("*_grid.png"))) == 0
    rendered(tmp_path, {"n_batches": 4}, resume="latest")
    assert [path.name for path in (tmp_path / "small" / "retained").iterdir()] == ["small(0)_grid.png"]


def test_a_smaller_n_batches_loses_nothing(tmp_path, whole):
    rendered(tmp_path, stop=StopAfter(5))
    rendered(tmp_path, {"n_batches": 1}, resume="latest")
    assert same(pictures(tmp_path), whole["fixed"])


def test_resume_without_any_run_lists_that(tmp_path):
    with pytest.raises(ResumeError) as error:
        rendered(tmp_path, resume="latest")
    assert str(error.value) == f"{tmp_path / 'small'}: no unfinished run to resume. Runs here: none."
    with pytest.raises(ResumeError) as error:
        rendered(tmp_path, {"resume_run": True, "run_to_resume": 3})
    assert str(error.value) == "run_to_resume: no run 3 of small. Runs here: none"


def test_a_numbered_run_goes_on_though_a_newer_one_is_unfinished(tmp_path, whole):
    rendered(tmp_path, stop=StopAfter(5))
    rendered(tmp_path, stop=StopAfter(5))
    rendered(tmp_path, resume=0)
    assert same(pictures(tmp_path, run=0), whole["fixed"]) and not pictures(tmp_path, run=1)


def test_a_run_that_lives_is_not_taken_up_twice(tmp_path):
    events = events_of(tmp_path)
    next(events)
    with pytest.raises(ResumeError, match="run 0 is being rendered now, by process"):
        rendered(tmp_path, resume="latest")
    events.close()


def test_resume_from_frame_moves_later_pictures_aside_once(tmp_path, whole):
    rendered(tmp_path)
    values = {"resume_run": True, "resume_from_frame": 0}
    rendered(tmp_path, values, stop=StopAfter(12))
    retained = tmp_path / "small" / "retained"
    assert sorted(path.name for path in retained.iterdir()) == ["small(0)_0001.png", "small(0)_0002.png"]
    assert sorted(pictures(tmp_path)) == [0, 1]
    rendered(tmp_path, values)
    assert same(pictures(tmp_path), whole["fixed"])
    assert "small(0)_0001-2.png" not in [path.name for path in retained.iterdir()], "a restart moves nothing"


def test_dd57_goes_on_from_a_frame(tmp_path, whole):
    rendered(tmp_path, VARIANTS["dd57"])
    rendered(tmp_path, VARIANTS["dd57"] | {"resume_run": True, "resume_from_frame": 0})
    assert same(pictures(tmp_path), whole["dd57"])


def test_a_torn_picture_is_moved_aside_and_rendered_anew(tmp_path, whole):
    rendered(tmp_path, stop=StopAfter(15))
    torn = tmp_path / "small" / "small(0)_0000.png"
    torn.write_bytes(torn.read_bytes()[:100])
    rendered(tmp_path, resume="latest")
    assert same(pictures(tmp_path), whole["fixed"])
    assert (tmp_path / "small" / "retained" / torn.name).stat().st_size == 100


def test_half_a_saved_batch_is_rendered_in_its_old_company(tmp_path, whole):
    rendered(tmp_path, VARIANTS["two together"])
    (tmp_path / "small" / "small(0)_0001.png").unlink()
    rendered(tmp_path, {"batch_size": 1}, resume="latest")
    assert same(pictures(tmp_path), whole["two together"])


def test_the_newest_checkpoint_may_be_damaged(tmp_path, whole):
    rendered(tmp_path, stop=StopAfter(8))
    newest = max((tmp_path / "small" / ".state" / "0").glob("checkpoint*"))
    newest.write_bytes(newest.read_bytes()[:-7])
    events = list(events_of(tmp_path, resume="latest"))
    assert sum(isinstance(event, StepDone) for event in events) == 30 - 6
    assert same(pictures(tmp_path), whole["fixed"])


def test_saved_settings_are_enough(tmp_path, whole):
    rendered(tmp_path, stop=StopAfter(8))
    run = unfinished_run(tmp_path, [], "latest")
    list(disco.render(run, out=tmp_path, resume="latest", networks=small_networks()))
    assert same(pictures(tmp_path), whole["fixed"])
    with pytest.raises(ResumeError) as error:
        unfinished_run(tmp_path, [], "latest")
    settings = tmp_path / "small" / "small(0)_settings.yaml"
    assert str(error.value) == (
        f"{tmp_path}: no unfinished run. Runs here:\n  small: run 0: finished, 3 of 3 pictures ({settings})"
    )


# ---- queues and sweeps ----


def queue_of(*texts: str) -> list[dict[str, object]]:
    return [{**SMALL, "n_batches": 1, "text_prompts": text} for text in texts]


def test_a_queue_goes_on_run_by_run(tmp_path):
    networks = small_networks()
    runs = queue_of("red", "green", "blue")
    list(disco.render(runs, out=tmp_path / "whole", networks=networks))
    events = list(disco.render(runs, out=tmp_path / "cut", networks=networks, stop=StopAfter(14)))
    assert isinstance(events[-1], RunFinished) and events[-1].interrupted
    events = list(disco.render(runs, out=tmp_path / "cut", networks=networks, resume="latest"))
    assert [path.name for path in finished_paths(iter(events))] == ["small(1)_0000.png", "small(2)_0000.png"]
    for run in range(3):
        assert same(pictures(tmp_path / "whole", run=run), pictures(tmp_path / "cut", run=run))


def test_a_queue_that_was_never_started_cannot_be_resumed(tmp_path):
    with pytest.raises(ResumeError) as error:
        list(disco.render(queue_of("red", "blue"), out=tmp_path, networks=small_networks(), resume="latest"))
    assert str(error.value) == f"no queue of 2 runs to resume in {tmp_path} (small)"


def test_a_finished_queue_with_resume_run_renders_nothing(tmp_path):
    runs = [{**run, "resume_run": True} for run in queue_of("red", "blue")]
    list(disco.render(runs, out=tmp_path, networks=small_networks()))
    events = list(disco.render(runs, out=tmp_path, networks=small_networks()))
    assert [type(event) for event in events] == [Notice, Notice]
    others = [run | {"eta": 0.3} for run in runs]
    assert len(finished_paths(disco.render(others, out=tmp_path, networks=small_networks()))) == 2
    assert len(list_runs(tmp_path, "small")) == 4, "other settings, nothing unfinished: a new queue"


def test_a_sweep_ends_with_one_labelled_grid_resumed_or_not(tmp_path):
    file = {**SMALL, "n_batches": 1, "sweep": {"eta": [0, 0.8], "tv_scale": [0, 100]}}
    how = {"networks": small_networks(), "out": tmp_path}
    events = list(disco.render(file, **how, stop=StopAfter(25)))
    assert not list((tmp_path / "small").glob("*_sweep.png"))
    events = list(disco.render(file, **how, resume="latest"))
    sheet = tmp_path / "small" / "small(0)_sweep.png"
    assert events[-1] == Notice(f"grid of the sweep: {sheet}") and sheet.exists()
    assert all(len(pictures(tmp_path, run=run)) == 1 for run in range(4))


def test_the_lock_is_given_back_after_an_error(tmp_path):
    networks = small_networks()
    networks.denoiser = None
    with pytest.raises(TypeError):
        rendered(tmp_path, networks=networks)
    with RunFolder.open(tmp_path, "small") as folder:
        assert folder.run == 0


def test_a_picture_rendered_again_is_not_the_newest_run(tmp_path, whole):
    rendered(tmp_path, stop=StopAfter(15))
    again = read_again(tmp_path / "small" / "small(0)_0000.png")
    list(disco.render(again.run, out=tmp_path, again=again, networks=small_networks()))
    assert str(list_runs(tmp_path, "small")[1]).startswith("run 1: finished, 1 of 1 pictures")
    rendered(tmp_path, resume="latest")
    assert same(pictures(tmp_path), whole["fixed"])
    rendered(tmp_path, {"n_batches": 4}, resume="latest")
    assert sorted(pictures(tmp_path)) == [0, 1, 2, 3]


def test_a_signal_in_the_last_step_starts_no_further_run(tmp_path):
    runs = queue_of("red", "blue")
    list(disco.render(runs, out=tmp_path, networks=small_networks(), stop=StopAfter(10)))
    assert len(pictures(tmp_path)) == 1 and len(list_runs(tmp_path, "small")) == 1


def test_a_resume_says_which_run_goes_on(tmp_path):
    run = run_from_mapping({**SMALL, "n_batches": 3})
    none = describe([run], tmp_path, resume="latest").splitlines()[1]
    assert none == "resumes    no run: there is none to resume"
    rendered(tmp_path, stop=StopAfter(15))
    settings = tmp_path / "small" / "small(0)_settings.yaml"
    line = f"resumes    run 0: unfinished, 1 of 3 pictures ({settings})"
    assert describe([run], tmp_path, resume="latest").splitlines()[1] == line
    assert describe([run.with_values({"resume_run": True})], tmp_path).splitlines()[1] == line
    assert "resumes" not in describe([run], tmp_path)
