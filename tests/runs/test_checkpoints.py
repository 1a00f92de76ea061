"""A checkpoint returns bit for bit, or not at all and then the one before it does."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import safetensors.torch
import torch

from disco.errors import ResumeError, RunError
from disco.runs import checkpoints as checkpoints_module
from disco.runs.checkpoints import Checkpoint, Checkpoints, pack_tensors


def checkpoint(step: int) -> Checkpoint:
    generator = torch.Generator().manual_seed(step)
    x_t = torch.randn(2, 3, 8, 8, generator=generator)
    return Checkpoint(
        pictures=(4, 5),
        step=step,
        x_t=x_t,
        pred_x0=x_t[:, :, ::2].permute(0, 1, 3, 2),  # not contiguous, shares memory
        history=tuple(torch.randn(2, 3, 8, 8, generator=generator) for _ in range(12)),
        random_state={"cpu": generator.get_state(), "empty": torch.zeros(0), "half": x_t.bfloat16()},
    )


def assert_equal(a: Checkpoint, b: Checkpoint) -> None:
    assert (a.pictures, a.step) == (b.pictures, b.step)
    assert a.pred_x0 is not None
    assert b.pred_x0 is not None
    assert a.random_state.keys() == b.random_state.keys()
    assert len(a.history) == len(b.history)
    pairs = [(a.x_t, b.x_t), (a.pred_x0, b.pred_x0), *zip(a.history, b.history, strict=True)]
    pairs += [(a.random_state[name], b.random_state[name]) for name in a.random_state]
    for one, other in pairs:
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


def test_all_returns_bit_for_bit(tmp_path: Path) -> None:
    Checkpoints(tmp_path).save(checkpoint(7))
    loaded = Checkpoints(tmp_path).load()
    assert loaded is not None
    assert_equal(loaded, checkpoint(7))


def test_numbers_in_the_history_return_in_their_order(tmp_path: Path) -> None:
    history = (0.1 + 0.2, torch.ones(1, 2), -1.5e-310, 3)
    Checkpoints(tmp_path).save(Checkpoint((0,), 3, torch.zeros(1, 3, 4, 4), history=history))
    loaded = Checkpoints(tmp_path).load()
    assert loaded is not None
    assert torch.equal(loaded.history[1], torch.ones(1, 2))
    assert (loaded.history[0], *loaded.history[2:]) == (history[0], *history[2:])


def test_the_optional_parts_may_be_left_out(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    store.save(Checkpoint((0,), 3, torch.zeros(1, 3, 4, 4)))
    loaded = store.load()
    assert loaded is not None
    assert (loaded.pred_x0, loaded.history, dict(loaded.random_state)) == (None, (), {})


def test_the_newest_counts_and_two_are_kept(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    assert store.load() is None
    for step in (30, 20, 10):  # a later picture begins at lower steps: not the step decides
        store.save(checkpoint(step))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint-000002-0004.disco",
        "checkpoint-000003-0004.disco",
    ]
    loaded = store.load()
    assert loaded is not None
    assert loaded.step == 10
    store.clear()
    assert store.load() is None
    assert list(tmp_path.iterdir()) == []
    store.clear()


def test_pictures_rendered_at_the_same_time_have_their_own(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    for step in (1, 2, 3):
        store.save(checkpoint(step))
        store.save(Checkpoint((7,), 10 + step, torch.zeros(1)))
    assert len(list(tmp_path.iterdir())) == 4
    found = [store.load(pictures) for pictures in ((4, 5), (7,), (5,), (4,), None)]
    assert [checkpoint and checkpoint.step for checkpoint in found] == [3, 13, None, None, 13]
    store.clear((4, 5))
    assert store.load((4, 5)) is None and store.load((7,)) is not None
    store.save(checkpoint(4))
    store.drop_from(6)
    assert store.load((7,)) is None and store.load((4, 5)) is not None
    store.drop_from(5)
    assert list(tmp_path.iterdir()) == []


def test_numbers_go_on_beyond_six_digits(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    store.save(checkpoint(1)).rename(tmp_path / "checkpoint-999999-0004.disco")
    store.save(checkpoint(2))
    loaded = store.load()
    assert loaded is not None
    assert loaded.step == 2


@pytest.mark.parametrize("part", [0.0, 0.001, 0.01, 0.3, 0.7, 0.999])
def test_a_cut_off_newest_gives_way_to_the_one_before(tmp_path: Path, part: float) -> None:
    store = Checkpoints(tmp_path)
    store.save(checkpoint(1))
    newest = store.save(checkpoint(2))
    data = newest.read_bytes()
    newest.write_bytes(data[: int(len(data) * part)])
    loaded = store.load()
    assert loaded is not None
    assert_equal(loaded, checkpoint(1))
    assert store.damaged == (tmp_path / "damaged" / newest.name,)
    assert store.damaged[0].read_bytes() == data[: int(len(data) * part)]
    store.save(checkpoint(3))
    loaded = store.load()
    assert loaded is not None
    assert loaded.step == 3
    assert store.damaged == ()


def test_every_flipped_byte_is_noticed(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    path = store.save(Checkpoint((0,), 1, torch.ones(1, 3, 2, 2)))
    data = path.read_bytes()
    for at in range(0, len(data), len(data) // 25):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert store.load() is None
    path.write_bytes(data)
    assert store.load() is not None


def test_nothing_whole_means_none(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    for step in (1, 2):
        store.save(checkpoint(step)).write_bytes(b"")
    assert store.load() is None
    assert len(store.damaged) == 2


def test_another_format_is_refused_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Checkpoints(tmp_path)
    monkeypatch.setattr(checkpoints_module, "_FORMAT", 9)
    path = store.save(checkpoint(1))
    monkeypatch.undo()
    with pytest.raises(ResumeError) as caught:
        store.load()
    assert str(caught.value) == (
        f"{path}: written by another version of Disco (format 9, not 1)."
        " Resume with that version, or move the file away to start its picture anew."
    )


def test_the_file_is_a_digest_and_plain_safetensors(tmp_path: Path) -> None:
    data = Checkpoints(tmp_path).save(checkpoint(1)).read_bytes()
    assert hashlib.sha256(data[32:]).digest() == data[:32]
    assert set(safetensors.torch.load(data[32:])) >= {"x_t", "pred_x0", "history.0000", "random.cpu"}


def test_a_full_disk_keeps_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Checkpoints(tmp_path)
    store.save(checkpoint(1))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(RunError, match="the disk is full"):
        patch.setattr("os.fsync", full)
        store.save(checkpoint(2))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-000001-0004.disco"]
    loaded = store.load()
    assert loaded is not None
    assert loaded.step == 1


def test_the_unused_parts_of_old_files_are_passed_over(tmp_path: Path) -> None:
    """0.1.0 wrote `start.*`, `losses` and `extra` too (tests/old_runs has such a file, and resumes it)."""
    tensors = {"x_t": torch.ones(1, 3, 2, 2), "start.cpu": torch.zeros(3), "random.cpu": torch.ones(2)}
    plain = {"format": 1, "pictures": [0], "step": 2, "losses": {"clip": [1.5]}, "extra": {}}
    (tmp_path / "checkpoint-000001-0000.disco").write_bytes(pack_tensors(tensors, plain))
    loaded = Checkpoints(tmp_path).load((0,))
    assert loaded is not None and loaded.step == 2 and list(loaded.random_state) == ["cpu"]
