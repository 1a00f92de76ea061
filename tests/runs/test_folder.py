"""One run's folder: names, numbers, nothing overwritten, and real processes that race and are killed."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Container, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from disco.errors import InputError, ResumeError, RunError
from disco.media.images import png_bytes
from disco.media.png import check_png, read_metadata
from disco.runs.folder import Checkpoint, RunFolder, list_runs, partial_steps, renamed_runs
from disco.runs.resume import unfinished_run
from tests.run_folder_worker import picture

BATCH = "Time [x] (2) *?"  # every sign that glob and regex know


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def number_of_next(out: Path, batch_name: str = BATCH) -> int:
    with begun(out, batch_name) as run:
        return run.run


def begun(out: Path, batch_name: str = BATCH, n_batches: int = 3) -> RunFolder:
    run = RunFolder.create(out, batch_name)
    run.save_settings("steps: 10\n")
    run.update_info(n_batches=n_batches, seed=42)
    return run


def refused(what: type[Exception], do: Any, *args: Any) -> str:
    with pytest.raises(what) as caught:
        do(*args)
    return str(caught.value)


# names


def test_names_are_the_originals(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, "Disco") as run:
        run.save_settings("a: ü\n")
        run.save_picture(0, picture(0))
        run.save_picture(12345, picture(1))
        run.save_partial(0, "34%", picture(2))
        run.save_partial(1, "079", picture(2))
        run.save_partial(1, "67%", picture(2), in_subfolder=False)
        run.save_grid(picture(3))
        run.write_progress(picture(4))
        run.write_status({"step": 3})
        run.checkpoints.save(Checkpoint((0,), 1, torch.zeros(1)))
    assert files(tmp_path) == [
        "Disco/.state/0/checkpoint-000001-0000.disco",
        "Disco/.state/0/lock",
        "Disco/.state/0/run-copy.json",
        "Disco/.state/0/run.json",
        "Disco/Disco(0)_0000.png",
        "Disco/Disco(0)_0001-67%.png",
        "Disco/Disco(0)_12345.png",
        "Disco/Disco(0)_grid.png",
        "Disco/Disco(0)_progress.png",
        "Disco/Disco(0)_settings.yaml",
        "Disco/Disco(0)_status.json",
        "Disco/partials/Disco(0)_0000-34%.png",
        "Disco/partials/Disco(0)_0001-079.png",
    ]
    assert run.names.settings.read_text("utf-8") == "a: ü\n"


@pytest.mark.parametrize("name", ["", " ", ".", "..", ".state", "a/b", "a\\b", "a\nb", "a\0b"])
def test_a_batch_name_that_names_no_folder_is_refused(tmp_path: Path, name: str) -> None:
    text = refused(InputError, RunFolder.create, tmp_path, name)
    allowed = "Allowed: a text without / and \\ that does not begin with a dot."
    assert text == f"batch_name: {name!r} cannot name a folder. {allowed}"
    assert files(tmp_path) == []


def test_a_batch_name_too_long_is_explained(tmp_path: Path) -> None:
    text = refused(RunError, RunFolder.create, tmp_path, "x" * 300)
    assert "cannot be written: the name is too long. Choose a shorter batch_name." in text


def test_the_partials_of_the_original() -> None:
    assert partial_steps(2, 240) == {79: "34%", 158: "67%"}
    assert partial_steps(2, 240, compat="dd57") == {79: "34%", 158: "67%", 237: "100%"}
    assert partial_steps([158, 79, 79], 240) == {79: "079", 158: "158"}
    assert partial_steps((0, 239, 240, -1), 240) == {0: "000"}
    assert partial_steps([0, 239, 240], 240, compat="dd57") == {0: "000", 239: "239"}


def test_partials_of_short_runs() -> None:
    assert partial_steps(0, 240) == partial_steps([], 240) == partial_steps(5, 1) == partial_steps(1, 2) == {}
    assert partial_steps(10, 4) == {1: "34%", 2: "67%"}
    assert partial_steps(10, 4, compat="dd57") == {1: "34%", 2: "67%", 3: "100%"}
    assert partial_steps(1, 250) == {124: "50%"}
    for k in range(1, 30):
        for n in range(2, 60):
            assert len(partial_steps(k, n)) == min(k, n - 2)
            assert n - 1 not in partial_steps(k, n)


# run numbers


def test_numbers_begin_at_0_and_go_on(tmp_path: Path) -> None:
    assert [number_of_next(tmp_path) for _ in range(3)] == [0, 1, 2]
    assert number_of_next(tmp_path, "other") == 0


@pytest.mark.parametrize(
    "name",
    [
        f"{BATCH}(3)_settings.txt",
        f"{BATCH}-3_settings.txt",
        f"{BATCH}(3)_0000.png",
        f"{BATCH}(3)_7.png",
        f"partials/{BATCH}(3)_0000-34%.png",
        f"retained/{BATCH}(3)_0001.png",
        ".state/3/run.json",
    ],
)
def test_numbers_of_any_file_there_are_not_used_again(tmp_path: Path, name: str) -> None:
    path = tmp_path / BATCH / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    (tmp_path / BATCH / "Time x(9)_settings.txt").write_bytes(b"")  # of another batch
    assert number_of_next(tmp_path) == 4


def test_a_run_killed_before_it_began_keeps_its_number_and_is_not_listed(tmp_path: Path) -> None:
    (tmp_path / BATCH / ".state" / "0").mkdir(parents=True)
    RunFolder.create(tmp_path, BATCH).close()
    assert list_runs(tmp_path, BATCH) == []
    assert number_of_next(tmp_path) == 2


# nothing is overwritten


def test_settings_pictures_and_grids_are_never_overwritten(tmp_path: Path) -> None:
    with begun(tmp_path) as run:
        path = run.save_picture(0, picture(0))
        text = refused(RunError, run.save_picture, 0, picture(1))
        advice = "nothing is overwritten. Move it away and run again with --resume."
        assert text == f"{path}: exists already, and {advice}"
        assert read_metadata(path) == {"picture": 0}
        assert "exists already" in refused(RunError, run.save_settings, "steps: 11\n")
        for k in (1, 2, 3):
            assert read_metadata(run.save_grid(picture(k))) == {"picture": k}
            assert read_metadata(run.save_sweep(picture(k))) == {"picture": k}
    assert files(run.names.retained) == [
        f"{BATCH}(0)_{what}.png" for what in ("grid-2", "grid", "sweep-2", "sweep")
    ]
    assert read_metadata(run.names.retained / f"{BATCH}(0)_grid.png") == {"picture": 1}


def test_a_partial_from_before_an_interruption_stays(tmp_path: Path) -> None:
    with begun(tmp_path) as run:
        run.save_partial(0, "34%", picture(0))
        path = run.save_partial(0, "34%", picture(1))
        assert read_metadata(path) == {"picture": 0}


def test_progress_and_status_are_refreshed(tmp_path: Path) -> None:
    with begun(tmp_path) as run:
        for k in (0, 1):
            path = run.write_progress(picture(k))
            run.write_status({"picture": k, "of": 3, "losses": {"clip": [float("nan"), 0.5]}})
        assert read_metadata(path) == {"picture": 1}
        status = json.loads(run.names.status.read_text())
    assert status.pop("updated").endswith("+00:00")
    assert status == {"picture": 1, "of": 3, "losses": {"clip": [None, 0.5]}, "run": 0}


# what is there


def test_only_finished_pictures_count(tmp_path: Path) -> None:
    with begun(tmp_path) as run:
        run.save_picture(1, picture(1))
        run.save_partial(0, "34%", picture(0), in_subfolder=False)
        run.save_partial(0, "079", picture(0), in_subfolder=False)
        run.save_grid(picture(0))
        run.write_progress(picture(0))
        for name in (f"{BATCH}(00)_0000.png", f"{BATCH}(0)_0000.png.tmp", f"x{BATCH}(0)_0000.png"):
            (run.folder / name).write_bytes(picture(0))
        assert run.finished_pictures() == {1}
        assert run.missing(3) == [0, 2]
        assert run.missing(1) == [0]


def test_a_torn_picture_is_moved_aside_and_rendered_anew(tmp_path: Path) -> None:
    with begun(tmp_path) as run:
        for k in (0, 1):
            run.save_picture(k, picture(k))
        run.names.picture(1).write_bytes(picture(1)[:60])
        assert run.missing(2) == [1]
        assert (run.names.retained / run.names.picture(1).name).read_bytes() == picture(1)[:60]
        run.save_picture(1, picture(1))
        assert run.missing(2) == []


def test_retaining_moves_later_pictures_with_their_partials(tmp_path: Path) -> None:
    with begun(tmp_path) as run, begun(tmp_path) as other:
        for k in range(4):
            run.save_picture(k, picture(k))
            run.save_partial(k, "34%", picture(k))
            run.save_partial(k, "079", picture(k), in_subfolder=False)
            other.save_picture(k, picture(k))
        run.checkpoints.save(Checkpoint((4,), 1, torch.zeros(1)))
        moved = run.retain(2)
        assert sorted(path.name for path in moved) == sorted(
            f"{BATCH}(0)_000{k}{label}.png" for k in (2, 3) for label in ("", "-34%", "-079")
        )
        assert all(path.parent == run.names.retained for path in moved)
        assert run.finished_pictures() == {0, 1}
        assert other.finished_pictures() == {0, 1, 2, 3}
        assert run.checkpoints.load() is None
        run.save_picture(2, picture(9))
        run.checkpoints.save(Checkpoint((1,), 1, torch.zeros(1)))
        assert [path.name for path in run.retain(2)] == [f"{BATCH}(0)_0002-2.png"]
        assert run.checkpoints.load() is not None  # of an earlier picture: goes on
        assert run.retain(2) == []
        assert read_metadata(run.names.retained / f"{BATCH}(0)_0002.png") == {"picture": 2}


# taking a run up again


def test_info_is_kept(tmp_path: Path) -> None:
    begun(tmp_path).close()
    with RunFolder.open(tmp_path, BATCH) as run:
        run.mark("interrupted")
        info = run.info
    assert (info["seed"], info["n_batches"], info["status"], info["run"]) == (42, 3, "interrupted", 0)
    assert info["pid"] == os.getpid()


def test_the_newest_unfinished_run_is_taken(tmp_path: Path) -> None:
    for status in ("running", "interrupted", "finished"):
        with begun(tmp_path) as run:
            run.mark(status)  # type: ignore[arg-type]
    with RunFolder.open(tmp_path, BATCH) as latest:
        assert latest.run == 1
    with RunFolder.open(tmp_path, BATCH, 2) as chosen:  # to extend it
        assert chosen.info["status"] == "finished"
    with RunFolder.open(tmp_path, BATCH, 0) as chosen:
        chosen.mark("finished")
    with RunFolder.open(tmp_path, BATCH) as latest:
        latest.mark("finished")
    folder = tmp_path / BATCH
    listing = "".join(
        f"\n  run {n}: finished, 0 of 3 pictures ({folder / f'{BATCH}({n})_settings.yaml'})" for n in range(3)
    )
    text = refused(ResumeError, RunFolder.open, tmp_path, BATCH)
    assert text == f"{folder}: no unfinished run to resume. Runs here:{listing}"
    assert refused(ResumeError, RunFolder.open, tmp_path, BATCH, 9) == (
        f"{folder}: no run 9 to resume. Runs here:{listing}"
    )


def test_an_empty_place_has_nothing_to_resume(tmp_path: Path) -> None:
    text = refused(ResumeError, RunFolder.open, tmp_path, "none")
    assert text == f"{tmp_path / 'none'}: no unfinished run to resume. Runs here: none."
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_run_json_is_explained(tmp_path: Path) -> None:
    with begun(tmp_path) as run:
        path, copy = run.names.state / "run.json", run.names.state / "run-copy.json"
    path.write_text("{")
    RunFolder.open(tmp_path, BATCH, 0).close()  # by the copy, and both are written anew
    path.write_text("{")
    copy.write_text("[]")
    text = refused(ResumeError, RunFolder.open, tmp_path, BATCH, 0)
    assert text.startswith(f"{path}: cannot be read (")
    assert text.endswith("). Start a new run; pictures stay.")


def test_a_run_in_this_process_is_not_taken_twice(tmp_path: Path) -> None:
    with begun(tmp_path) as run:
        assert [summary.state for summary in list_runs(tmp_path, BATCH)] == ["rendering"]
        text = refused(ResumeError, RunFolder.open, tmp_path, BATCH)
        who = f"process {os.getpid()} on {run.info['host']}"
        advice = "Wait for it, or stop it first."
        assert text == f"{tmp_path / BATCH}: run 0 is being rendered now, by {who}. {advice}"
    assert [summary.state for summary in list_runs(tmp_path, BATCH)] == ["unfinished"]


# a disk that refuses


def test_a_full_disk_is_explained_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begun(tmp_path)
    run.save_picture(0, picture(0))
    run.checkpoints.save(Checkpoint((1,), 1, torch.zeros(1)))
    run.write_status({"step": 1})
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    advice = "the disk is full. Free some space and run again with --resume. Files written before are kept."
    with monkeypatch.context() as patch:
        for call in ("fsync", "link", "replace"):
            patch.setattr(os, call, full)
        for do, path in (
            (lambda: run.save_picture(1, picture(1)), run.names.picture(1)),
            (lambda: run.save_partial(1, "34%", picture(1)), run.names.partial(1, "34%")),
            (lambda: run.save_grid(picture(1)), run.names.grid),
            (lambda: run.write_progress(picture(1)), run.names.progress),
            (lambda: run.write_status({"step": 2}), run.names.status),
            (lambda: run.mark("interrupted"), run.names.state / "run.json"),
        ):
            assert refused(RunError, do) == f"{path}: cannot be written: {advice}"
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before
    run.close()
    with RunFolder.open(tmp_path, BATCH) as again:
        assert again.missing(3) == [1, 2]
        assert again.checkpoints.load() is not None


def test_an_unwritable_folder_is_explained_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    text = refused(RunError, RunFolder.create, tmp_path / "file", BATCH)
    folder = tmp_path / "file" / BATCH
    assert text.startswith(f"{folder}: cannot be written: a file stands where a folder is needed.")
    assert "cannot be written" in refused(RunError, RunFolder.create, Path("/proc"), BATCH)

    def read_only(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "fsync", read_only)
    text = refused(RunError, RunFolder.create, tmp_path, BATCH)
    assert text.startswith(
        f"{tmp_path / BATCH}: cannot be written: the disk is read-only. Choose another --out."
    )
    assert files(tmp_path) == ["file"]


def test_a_folder_without_permission_is_explained(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        if os.access(tmp_path, os.W_OK):  # root may all the same; the test above has a place where it may not
            RunFolder.create(tmp_path, BATCH).close()
        else:
            text = refused(RunError, RunFolder.create, tmp_path, BATCH)
            assert "no permission to write there. Change the folder's owner or mode" in text
    finally:
        tmp_path.chmod(0o755)


# real processes


class Workers:
    """Forks children on order; see run_folder_worker.py."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.run_folder_worker"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.children: list[int] = []
        self.said: list[dict[str, Any]] = []
        assert self.read() == {"pid": self.process.pid, "ready": True}

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        assert "error" not in answer, answer
        return answer

    def order(self, do: str, out: Path, **arguments: Any) -> int:
        """Start a child and return its process number."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, "out": str(out), **arguments}) + "\n")
        self.process.stdin.flush()
        while "child" not in (answer := self.read()):
            self.said.append(answer)
        child: int = answer["child"]
        self.children.append(child)
        return child

    def wait_for(self, key: str, pids: Container[int]) -> dict[str, Any]:
        """The next answer with `key` of one of these children; what others said is dropped."""
        while True:
            answer = self.said.pop(0) if self.said else self.read()
            if key in answer and answer["pid"] in pids:
                return answer

    def close(self) -> None:
        for pid in self.children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    workers = Workers()
    yield workers
    workers.close()


def test_processes_that_start_at_once_never_share_a_number(tmp_path: Path, workers: Workers) -> None:
    n, times = 8, 5
    start = time.time() + 0.3
    pids = [
        workers.order("create_many", tmp_path, batch_name=BATCH, start=start, times=times) for _ in range(n)
    ]
    made = {}
    for _ in range(n * times):
        answer = workers.wait_for("run", pids)
        assert answer["run"] not in made
        made[answer["run"]] = answer["pid"]
    assert sorted(made) == list(range(n * times))
    for run, pid in made.items():
        text = (tmp_path / BATCH / f"{BATCH}({run})_settings.yaml").read_text()
        assert text == f"pid: {pid}\n"


def test_a_run_of_a_living_process_is_refused_until_it_dies(tmp_path: Path, workers: Workers) -> None:
    pid = workers.order("hold", tmp_path, batch_name=BATCH)
    workers.wait_for("run", [pid])
    assert [str(summary).split(" (")[0] for summary in list_runs(tmp_path, BATCH)] == [
        "run 0: rendering, 0 of 2 pictures"
    ]
    text = refused(ResumeError, RunFolder.open, tmp_path, BATCH)
    assert f"run 0 is being rendered now, by process {pid} on " in text
    os.kill(pid, signal.SIGKILL)
    with RunFolder.open(tmp_path, BATCH) as run:  # waits out the moment that the death takes
        assert run.info["pid"] == os.getpid()


def check_after_kill(folder: Path, saved: int) -> None:
    """Whatever is there under its own name is whole, and every picture reported as saved is there."""
    run = RunFolder(folder, BATCH, 0)
    for path in folder.rglob("*.png"):
        check_png(path)
    there = run.names.pictures_there()
    assert set(there) in (set(range(saved)), set(range(saved + 1)))
    for k, path in there.items():
        assert path.read_bytes() == picture(k)
    if run.names.status.exists():
        assert json.loads(run.names.status.read_text())["run"] == 0
    assert run.names.settings.read_text() == "text_prompts: [a lighthouse]\n" * 500
    assert run.info["run"] == 0
    checkpoint = run.checkpoints.load()
    assert run.checkpoints.damaged == ()
    if saved:
        assert checkpoint is not None
        assert checkpoint.step >= saved - 1
        assert torch.equal(checkpoint.x_t, -checkpoint.history[0])
    assert not (folder / "retained").exists()


def test_kill_9_at_any_moment_leaves_only_whole_files(tmp_path: Path, workers: Workers) -> None:
    moments = random.Random(5)
    saved = 0
    for _ in range(20):
        pid = workers.order("write_forever", tmp_path, batch_name=BATCH)
        workers.wait_for("started", [pid])
        until = time.monotonic() + moments.uniform(0.0, 0.15)
        time.sleep(max(0.0, until - time.monotonic()))
        os.kill(pid, signal.SIGKILL)
        with RunFolder.open(tmp_path, BATCH) as run:  # as soon as the kernel has let the lock go
            check_after_kill(run.folder, len(run.names.pictures_there()))
            assert not list(run.folder.rglob(".disco-*"))
        saved = len(run.names.pictures_there())
    assert saved >= 1


def test_kill_9_at_any_line_leaves_only_whole_files(tmp_path: Path, workers: Workers) -> None:
    with begun(tmp_path) as run:
        run.names.settings.write_text("text_prompts: [a lighthouse]\n" * 500)
    for line in range(100, 1000, 53):
        pid = workers.order("die_at_line", tmp_path, batch_name=BATCH, line=line)
        with suppress(ProcessLookupError):
            while os.kill(pid, 0) is None:  # it lives
                time.sleep(0.002)
        check_after_kill(run.folder, len(run.names.pictures_there()))
    assert len(run.names.pictures_there()) > 5
    with RunFolder.open(tmp_path, BATCH) as run:
        assert not list(run.folder.rglob(".disco-*"))


def test_pictures_reported_as_saved_survive_the_kill(tmp_path: Path, workers: Workers) -> None:
    pid = workers.order("write_forever", tmp_path, batch_name=BATCH)
    workers.wait_for("started", [pid])
    for k in range(6):
        assert workers.wait_for("saved", [pid])["saved"] == k
    os.kill(pid, signal.SIGKILL)
    with RunFolder.open(tmp_path, BATCH) as run:
        assert run.finished_pictures() >= set(range(6))
    assert read_metadata(run.names.picture(5)) == {"picture": 5}
    assert png_bytes(torch.zeros(3, 1, 1))[:4] == b"\x89PNG"


def test_a_renamed_folder_does_not_hide_its_runs(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, "castle") as run:
        run.update_info(settings={"batch_name": "castle"}, n_batches=3)
        run.names.settings.write_text("steps: 2\n")
    assert renamed_runs(tmp_path) == []
    (tmp_path / "castle").rename(tmp_path / "ruin")
    told = f"{tmp_path / 'ruin'} holds run 0 of castle: rename it back to {tmp_path / 'castle'}"
    assert renamed_runs(tmp_path) == [told]
    for name in ("castle", "ruin"):
        with pytest.raises(ResumeError) as caught:
            RunFolder.open(tmp_path, name)
        assert told in str(caught.value)
    with pytest.raises(ResumeError) as listed:
        unfinished_run(tmp_path, (), "latest")
    assert told in str(listed.value)
    (tmp_path / "ruin").rename(tmp_path / "castle")
    RunFolder.open(tmp_path, "castle").close()


@pytest.mark.parametrize(
    "damage", [b"", b"[]", b'{"settings": 3}', b"[1]", b'{"settings": {"batch_name": 7}}']
)
def test_a_damaged_run_says_nothing_about_its_name(damage: bytes, tmp_path: Path) -> None:
    RunFolder.create(tmp_path, "castle").close()
    (tmp_path / "castle" / ".state" / "0" / "run.json").write_bytes(damage)
    assert renamed_runs(tmp_path) == []
