"""disco.runs.frames and disco.runs.checkpoints: frames on disk, float for float."""

from __future__ import annotations

from pathlib import Path

import torch

from disco.runs.checkpoints import pack_tensors, unpack_tensors
from disco.runs.frames import FrameState, FrameStore


def test_a_frame_comes_back_bit_for_bit(tmp_path: Path) -> None:
    store, picture = FrameStore(tmp_path), torch.randn(1, 3, 5, 7)
    store.save(FrameState(12, picture, old=picture.flip(-1)))
    back = store.load(12)
    assert back is not None and back.frame == 12 and back.exact and back.old is not None
    assert torch.equal(back.picture, picture) and torch.equal(back.old, picture.flip(-1))
    assert store.load(11) is None and FrameStore(tmp_path / "none").frames() == []


def test_saving_again_replaces(tmp_path: Path) -> None:
    store = FrameStore(tmp_path)
    for value in (0.25, 0.5):
        store.save(FrameState(3, torch.full((1, 3, 2, 2), value)))
    back = store.load(3)
    assert back is not None and back.old is None and float(back.picture.max()) == 0.5


def test_a_damaged_one_is_put_aside(tmp_path: Path) -> None:
    store = FrameStore(tmp_path)
    path = store.save(FrameState(3, torch.zeros(1, 3, 2, 2)))
    path.write_bytes(path.read_bytes()[:-1])
    state = store.load(3)
    assert state is not None and state.exact and store.frames() == [3]
    copy = tmp_path / "frame-000003-copy.disco"
    copy.write_bytes(copy.read_bytes()[:-1])
    assert store.load(3) is None and store.frames() == []
    assert sorted(file.name for file in (tmp_path / "damaged").iterdir()) == [copy.name, path.name]


def test_only_what_is_needed_is_kept(tmp_path: Path) -> None:
    store = FrameStore(tmp_path)
    for frame in range(6):
        store.save(FrameState(frame, torch.zeros(1, 3, 2, 2)))
    store.keep({0, 4, 5})
    assert store.frames() == [0, 4, 5]
    store.drop_from(5)
    assert store.frames() == [0, 4]


def test_what_is_sealed_shows_damage() -> None:
    data = pack_tensors({"a": torch.arange(3.0)}, {"b": [1, None]})
    tensors, plain = unpack_tensors(data) or ({}, None)
    assert tensors["a"].tolist() == [0, 1, 2] and plain == {"b": [1, None]}
    assert unpack_tensors(data[:-1]) is None and unpack_tensors(b"") is None
