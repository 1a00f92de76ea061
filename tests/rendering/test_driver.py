"""Runs on several workers, by a fake pool: the same folder as from one process, whatever happens."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import disco
from disco.errors import InputError, ResumeError, RunError, SettingsError, WeightsError
from disco.events import (
    Event,
    NetworksLoaded,
    Notice,
    PictureFinished,
    PictureStarted,
    RunFinished,
    RunStarted,
    StepDone,
)
from disco.media.images import png_bytes
from disco.memory.oom import OutOfMemory
from disco.memory.policy import Failure, Stage
from disco.networks.load import Networks
from disco.rendering.distributed.messages import MemoryPlan, Ready, check_spread, needs_of, spread_lines
from disco.runs.folder import RunFolder
from disco.settings.load import run_from_mapping
from tests.fake_pool import FakePool
from tests.rendering.test_kill import pictures as files
from tests.rendering.test_kill import without_resume
from tests.short_memory import Module
from tests.small_run import SMALL, SmallClip, StopAfter, closed_after, events_of, rendered, small_networks

OLD = {"torch": "1.0"}
Values = Mapping[str, Any]


def by_pool(out: Path, values: Values | None = None, pool: FakePool | None = None, **how: Any) -> list[Event]:
    return list(events_of(out, values, networks=pool or FakePool(), **how))


def of_kind(events: Sequence[Event], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def notices(events: Sequence[Event]) -> list[str]:
    return [event.text for event in of_kind(events, Notice)]


def same_folder(out: Path, other: Path) -> None:
    """The same files with the same bytes, for all that the user sees but the times in status.json."""
    found, expected = files(out), files(other)
    assert found.keys() == expected.keys()
    assert not [n for n in expected if without_resume(n, found[n]) != without_resume(n, expected[n])]
    assert not list(out.rglob("checkpoint-*"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes of SMALL."""
    out = tmp_path_factory.mktemp("alone")
    rendered(out)
    return out


@pytest.mark.parametrize(
    "values",
    [
        {"n_batches": 5, "intermediate_saves": 2},
        {"n_batches": 5, "batch_size": 2, "perlin_init": True, "skip_steps": 3},
        {"diffusion_sampling_mode": "plms", "image_prompts": ["red.png:2"]},
        {"init_image": "red.png", "mask_path": "half.png", "skip_steps": 3},
    ],
)
def test_the_folder_is_as_from_one_process(
    values: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    red, half = torch.tensor([1.0, -1, -1]).view(3, 1, 1).expand(3, 32, 32), torch.ones(3, 32, 32)
    half[..., :12] = -1
    Path("red.png").write_bytes(png_bytes(red))
    Path("half.png").write_bytes(png_bytes(half))
    alone, pool = rendered(tmp_path / "a", values), FakePool()
    by_two = of_kind(by_pool(tmp_path / "b", values, pool), RunFinished)[-1]
    same_folder(tmp_path / "b", tmp_path / "a")
    assert {worker for worker, _ in pool.orders} == {0, 1}
    assert alone is not None
    different = {key for key in by_two.report if by_two.report[key] != alone.report.get(key)}
    assert different <= {"seconds", "seconds_per_step", "workers"} and by_two.report["workers"] == 2


def test_what_is_heard(tmp_path: Path) -> None:
    """The run's own events once; of a picture those that one process tells of it."""
    events = by_pool(tmp_path)
    assert isinstance(events[0], RunStarted) and isinstance(events[-1], RunFinished)
    assert len(of_kind(events, NetworksLoaded)) == 1 and not notices(events)
    assert sorted(event.pictures for event in of_kind(events, PictureStarted)) == [(0,), (1,), (2,)]
    for picture in range(3):
        steps = [event for event in of_kind(events, StepDone) if event.pictures == (picture,)]
        assert [event.step for event in steps] == list(range(10))
        assert set(steps[-1].losses()) == {"pocket-conv", "range", "nan"}
        assert steps[-1].preview()[0].shape == (32, 32, 3)
    left = [event.seconds_left for event in of_kind(events, StepDone)]
    assert left[0] is None and left[-1] == 0 and all(seconds >= 0 for seconds in left[1:])
    paths = sorted(event.path for event in of_kind(events, PictureFinished))
    assert paths == [tmp_path / "small" / f"small(0)_000{k}.png" for k in range(3)]


@pytest.mark.parametrize("death", [1, 9, 17, 26, 40])
def test_a_lost_worker_costs_the_steps_since_its_checkpoint(death: int, tmp_path: Path, alone: Path) -> None:
    pool = FakePool(deaths={1: death})
    events = by_pool(tmp_path, pool=pool)
    same_folder(tmp_path, alone)
    lost = [order for worker, order in pool.orders if worker == 1][-1]
    if pool.hired == 2:
        return  # it was done before
    (again,) = [order for _, order in pool.orders if order.batch == lost.batch and order is not lost]
    step = again.checkpoint.step if again.checkpoint else 0
    assert step % 3 == 0
    (text,) = notices(events)
    assert text.endswith(
        f"was lost (killed by the test): picture {lost.batch[0]} goes on with another worker "
        f"after step {step}"
    )
    begun = [e.step for e in of_kind(events, PictureStarted) if e.pictures == lost.batch]
    assert begun[-1] == step


def test_a_worker_lost_between_two_pictures_of_a_batch(tmp_path: Path) -> None:
    """The one that is on the disk is not written again."""
    values = {"batch_size": 2, "n_batches": 2}
    rendered(tmp_path / "a", values)
    for death in range(20, 30):
        pool = FakePool(room=1, deaths={0: death})
        by_pool(tmp_path / str(death), values, pool)
        same_folder(tmp_path / str(death), tmp_path / "a")
        if any(order.wanted == {1} for _, order in pool.orders):
            return
    raise AssertionError("no such moment")


def test_workers_that_are_lost_again_and_again_at_one_place(tmp_path: Path) -> None:
    pool = FakePool(room=1, deaths=dict.fromkeys(range(9), 4))
    with pytest.raises(RunError, match="third in a row at picture 0 after step 0"):
        by_pool(tmp_path, pool=pool)
    assert pool.hired == 3 and not pool.workers


def test_workers_that_cannot_be_started(tmp_path: Path) -> None:
    pool = FakePool()
    pool.starts = False
    with pytest.raises(RunError, match="no worker can be started: killed by the test"):
        by_pool(tmp_path, pool=pool)


@pytest.mark.parametrize("then", ["alone", "by a pool"])
def test_a_stopped_run_goes_on(then: str, tmp_path: Path, alone: Path) -> None:
    """The batches of both workers where each of them was; a wish of the user, then a closed generator."""
    pool = FakePool()
    last = by_pool(tmp_path, pool=pool, stop=StopAfter(15))[-1]
    assert isinstance(last, RunFinished) and last.interrupted and not pool.workers
    states = RunFolder(tmp_path / "small", "small", 0).checkpoints
    found = {k: checkpoint.step for k in range(3) if (checkpoint := states.load((k,))) is not None}
    assert len(found) == 2 and all(0 < step < 10 for step in found.values())
    assert last.report["checkpoints"] >= 2
    how = {"networks": FakePool()} if then == "by a pool" else {}
    closed_after(tmp_path, 3, resume="latest", **how)
    finished = rendered(tmp_path, resume="latest", **how)
    assert finished is not None and finished.report["resumed"]
    same_folder(tmp_path, alone)


def test_a_run_that_one_process_began(tmp_path: Path, alone: Path) -> None:
    closed_after(tmp_path, 14)
    pool = FakePool()
    events = by_pool(tmp_path, pool=pool, resume="latest")
    assert [event.step for event in of_kind(events, PictureStarted) if event.pictures == (1,)] == [4]
    same_folder(tmp_path, alone)


def test_a_sweep_and_a_queue(tmp_path: Path) -> None:
    """Each worker takes the next batch of whatever run; the events come run by run."""
    runs = [
        {**SMALL, "n_batches": 1, "batch_name": "swept", "sweep": {"eta": [0, 0.4, 0.8]}},
        {**SMALL, "n_batches": 2, "batch_name": "last"},
    ]
    for out, networks in (("a", small_networks()), ("b", FakePool(room=3))):
        events = list(disco.render(runs, out=tmp_path / out, networks=networks))  # type: ignore[arg-type]
    same_folder(tmp_path / "b", tmp_path / "a")
    marks = [event for event in events if isinstance(event, (RunStarted, RunFinished))]
    assert [type(mark) for mark in marks] == [RunStarted, RunFinished] * 4
    assert isinstance(networks, FakePool)
    assert [order.names.prefix for _, order in networks.orders[:3]] == ["swept(0)", "swept(1)", "swept(2)"]
    assert {worker for worker, _ in networks.orders[:3]} == {0, 1, 2}
    assert notices(events) == [f"grid of the sweep: {tmp_path}/b/swept/swept(0)_sweep.png"]


def test_a_queue_that_was_stopped_goes_on(tmp_path: Path) -> None:
    queue = [{**SMALL, "n_batches": 1, "batch_name": name} for name in ("one", "two", "three")]
    list(disco.render(queue, out=tmp_path / "a", networks=small_networks()))
    list(disco.render(queue, out=tmp_path / "b", networks=FakePool(), stop=StopAfter(12)))  # type: ignore[arg-type]
    list(disco.render(queue, out=tmp_path / "b", networks=FakePool(), resume="latest"))  # type: ignore[arg-type]
    same_folder(tmp_path / "b", tmp_path / "a")


def test_a_run_that_cannot_begin_waits_for_those_before_it(tmp_path: Path) -> None:
    """Another process renders it: the runs before it are done all the same, and its error is told."""
    rendered(tmp_path, {"batch_name": "two", "n_batches": 1}, stop=StopAfter(2))
    with RunFolder.open(tmp_path, "two"):
        queue = [{**SMALL, "n_batches": 1, "batch_name": "one"}]
        queue += [{**SMALL, "n_batches": 1, "batch_name": "two", "resume_run": True, "run_to_resume": 0}]
        with pytest.raises(ResumeError, match="run 0 is being rendered now"):
            list(disco.render(queue, out=tmp_path, networks=FakePool()))  # type: ignore[arg-type]
    assert (tmp_path / "one" / "one(0)_0000.png").exists()


class _Loads:
    """The first worker has networks, the next ones fail."""

    def __init__(self, error: Exception) -> None:
        self.error, self.n = error, 0

    def __call__(self, run: Any, *, progress: Any, **_: Any) -> Networks:
        self.n += 1
        if self.n > 1:
            for k in range(8):  # the other one has begun by then
                progress("a.pth", k, 9)
            time.sleep(0.3)
            raise self.error
        return small_networks()


@pytest.mark.parametrize(
    "error, text",
    [
        (WeightsError("models/a.pth: a damaged download"), "models/a.pth: a damaged download"),
        (SettingsError(["device: cuda: not here", "another"]), "device: cuda: not here\nanother"),
        (OutOfMemory(Failure(Stage.LOADING), "no room"), "out of memory (loading the networks): no room"),
    ],
)
def test_what_a_worker_fails_with_is_told_as_it_is(error: Exception, text: str, tmp_path: Path) -> None:
    with pytest.raises(type(error) if not isinstance(error, OutOfMemory) else RunError) as caught:
        by_pool(tmp_path, pool=FakePool(load=_Loads(error)))
    assert str(caught.value).startswith(text)
    assert getattr(caught.value, "exit_code") == getattr(error, "exit_code")  # noqa: B009
    states = RunFolder(tmp_path / "small", "small", 0).checkpoints
    assert states.load() is not None, "what the other worker did is kept"


def test_another_error_comes_with_its_traceback(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)Traceback.*ValueError: a mistake of ours"):
        by_pool(tmp_path, pool=FakePool(load=_Loads(ValueError("a mistake of ours"))))


class _Hungry(SmallClip):
    """Memory for one cutout at a time."""

    def __init__(self) -> None:
        self.network = Module(self._encode)  # a module, which tells its stage

    def encode_image(self, cutouts: torch.Tensor) -> torch.Tensor:
        return self.network(cutouts)

    def _encode(self, cutouts: torch.Tensor) -> torch.Tensor:
        if len(cutouts) > 1:
            raise MemoryError("too many")
        return super().encode_image(cutouts)


def test_what_a_worker_gives_up_is_remembered(tmp_path: Path) -> None:
    def load(run: Any, **_: Any) -> Networks:
        return replace(small_networks(), clips=[_Hungry()])

    events = by_pool(tmp_path, pool=FakePool(load=load))
    info = RunFolder(tmp_path / "small", "small", 0).info
    assert info["memory"]["device"] == "cpu" and info["memory"]["clip_batch"] == 1
    assert of_kind(events, RunFinished)[-1].report["memory"]["clip_batch"] == 1
    assert len(notices(events)) == len(set(notices(events))) >= 1
    assert notices(events)[-1].startswith("out of memory: retried with ")


def run_of(**values: Any) -> disco.settings.load.Run:  # type: ignore[name-defined]
    return run_from_mapping({**SMALL, **values}, name="a.yaml")


def test_what_cannot_be_spread() -> None:
    runs = [
        run_of(compat="dd57"),
        run_of(animation_mode="2D", max_frames=2),  # one of several is work for one worker
        run_of(device="cuda:1"),
        run_of(),
    ]
    with pytest.raises(SettingsError) as caught:
        check_spread(runs)
    compat, device = caught.value.problems
    assert "compat: dd57 draws the random numbers of all pictures from one stream" in compat
    assert device.endswith(
        "device: cuda:1: with --ray each worker has a GPU of its own; allowed are auto, cuda, cpu"
    )
    check_spread([run_of(), run_of(device="cpu")])


def test_it_is_refused_before_a_folder_is_made(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="needs compat: fixed"):
        by_pool(tmp_path / "out", {"compat": "dd57"})
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="one process: leave --ray out"):
        check_spread([run_of()], again=object())  # type: ignore[arg-type]


def test_what_the_workers_need() -> None:
    """gpus_per_picture: the most that any run asks for, as all workers are alike."""
    assert needs_of([run_of()]) == MemoryPlan(1.0, False)
    runs = [run_of(gpus_per_picture=0.25), run_of(gpus_per_picture=0.5, device="cpu")]
    assert needs_of(runs) == MemoryPlan(0.5, False)
    assert needs_of(runs[1:]).cpu_only
    for wrong in (0, 2):
        with pytest.raises(SettingsError, match="gpus_per_picture"):
            run_of(gpus_per_picture=wrong)


def test_the_plan_says_how_it_is_spread() -> None:
    runs = [run_of(n_batches=8, batch_size=4), run_of(n_batches=1)]
    assert list(spread_lines(runs, None, 2, "each with 1 GPU")) == [
        "9 pictures in 3 batches",
        "2 workers of 2 possible, each with 1 GPU",
        "at most 2 batches one after another on each",
    ]
    assert list(spread_lines(runs[:1], None, 8, "each with 1 GPU"))[-1] == (
        "2 batches for 8 workers: a smaller batch_size (now 4) would keep more of them busy"
    )
    assert list(spread_lines(runs[1:], None, 8, "on CPUs"))[:2] == [
        "1 picture in 1 batch",
        "1 worker of 8 possible, on CPUs",
    ]


def test_idle_workers_are_told(tmp_path: Path) -> None:
    events = by_pool(tmp_path, {"batch_size": 3}, FakePool(room=2))
    assert notices(events) == [
        "1 batch for 2 workers: a smaller batch_size (now 3) would keep more of them busy"
    ]


def test_other_versions_are_told(tmp_path: Path) -> None:
    class OlderPool(FakePool):
        def pop_messages(self, seconds: float) -> list[Any]:
            messages = super().pop_messages(seconds)
            return [(w, replace(m, versions=OLD) if isinstance(m, Ready) else m) for w, m in messages]

    texts = notices(by_pool(tmp_path, pool=OlderPool()))
    assert len(texts) == 1 and "may differ in details: it has torch 1.0 (here " in texts[0]
