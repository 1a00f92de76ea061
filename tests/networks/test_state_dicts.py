"""disco.networks.state_dicts: every format in, every kind of damage named."""

from __future__ import annotations

import contextlib
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from disco.errors import WeightsError
from disco.networks.state_dicts import load_strict, read_state_dict

DAMAGED = "damaged or cut short. Delete the file and run again"


class Pair(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.first = nn.Linear(2, width)
        self.second = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


@pytest.fixture
def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return Pair().state_dict()


def assert_same(read: dict[str, Tensor], state: dict[str, Tensor]) -> None:
    assert list(read) == list(state)
    for name, tensor in state.items():
        assert torch.equal(read[name], tensor)


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(WeightsError) as error:
        read_state_dict(path, **options)
    assert str(error.value).startswith(f"{path}: ")
    return str(error.value).removeprefix(f"{path}: ")


def test_all_formats_give_the_same_tensors(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save(state, tmp_path / "zip.pt")
    torch.save(state, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "wrapped.pt")
    torch.save({f"module.{name}": tensor for name, tensor in state.items()}, tmp_path / "parallel.pt")
    torch.save(state, tmp_path / "renamed.safetensors")  # a hub's other format under the name asked for
    for path in tmp_path.iterdir():
        assert_same(read_state_dict(path), state)
    save_file(state, tmp_path / "weights.safetensors")
    read = read_state_dict(tmp_path / "weights.safetensors")
    assert_same({name: read[name] for name in state}, state)


def test_small_floats_become_float32(tmp_path: Path, state: dict[str, Tensor]) -> None:
    kinds = [torch.float8_e4m3fn, torch.float16, torch.bfloat16, torch.float32]
    small = {name: state[name].to(kind) for name, kind in zip(state, kinds, strict=True)}
    save_file(small | {"count": torch.tensor(7)}, tmp_path / "small.safetensors")
    read = read_state_dict(tmp_path / "small.safetensors")
    assert read["count"].dtype == torch.int64
    for name in state:
        assert read[name].dtype == torch.float32
        assert torch.equal(read[name], small[name].float())


def test_torchscript_only_where_it_is_expected(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = tmp_path / "jit.pt"
    network = Pair()
    network.load_state_dict(state)
    torch.jit.save(torch.jit.trace(network, torch.zeros(1, 2)), path)
    assert refusal(path) == "a TorchScript program, not plain weights"
    assert_same(read_state_dict(path, torchscript=True), state)


class Mixed(Pair):
    """With a buffer, one that is not saved, an attribute, a list, and modules in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("size", torch.tensor(224))
        self.register_buffer("small", torch.randn(2, 3).half().T)
        self.mask = torch.ones(4)
        self.sides = [1, 2]
        self.more = nn.ModuleList([nn.BatchNorm1d(2), nn.Linear(2, 2)])


def archive_of(network: nn.Module, path: Path) -> None:
    torch.jit.save(torch.jit.trace(network.eval(), torch.zeros(1, 2)), path)


def rewritten(path: Path, change: Callable[[str, bytes], bytes]) -> None:
    with zipfile.ZipFile(path) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, data in parts.items():
            new.writestr(name, change(name, data))


def test_torchscript_gives_what_its_own_loader_does_and_views_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "jit.pt"
    archive_of(Mixed(), path)
    own = {name: value.clone() for name, value in torch.jit.load(str(path)).state_dict().items()}
    assert {"size", "small", "more.0.running_mean"} <= own.keys() and "mask" not in own
    assert_same(
        read_state_dict(path, torchscript=True),
        {name: value.float() if value.is_floating_point() else value for name, value in own.items()},
    )


def test_no_code_of_a_torchscript_archive_is_run(tmp_path: Path, state: dict[str, Tensor]) -> None:
    """Its code may be anything; its own loader would compile it, and run what a class says of loading."""
    path = tmp_path / "jit.pt"
    network = Pair()
    network.load_state_dict(state)
    archive_of(network, path)
    rewritten(path, lambda name, data: b"no code" if name.endswith(".py") else data)
    assert_same(read_state_dict(path, torchscript=True), state)


def test_a_torchscript_archive_may_name_no_other_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for pickled in (pickle.dumps(Evil(), protocol=2), b"cos\nsystem\n(S'echo run'\ntR.", b"ctorch\nload\n."):
        path = tmp_path / "jit.pt"
        archive_of(Pair(), path)
        rewritten(path, lambda name, data, new=pickled: new if name.endswith("/data.pkl") else data)
        assert "holds Python objects beside the weights" in refusal(path, torchscript=True)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("pickled", [b"N.", b"}.", b"", b"]q\x00h\x00a.", b"(I1\nI2\nl."])
def test_a_torchscript_archive_without_a_module_is_damaged(tmp_path: Path, pickled: bytes) -> None:
    path = tmp_path / "jit.pt"
    archive_of(Pair(), path)
    rewritten(path, lambda name, data: pickled if name.endswith("/data.pkl") else data)
    assert refusal(path, torchscript=True) == DAMAGED


def test_flipped_bytes_in_the_pickle_of_an_archive_are_errors_or_tensors(tmp_path: Path) -> None:
    """The zip file's checksum fits, as in a file that was made so."""
    whole, path = tmp_path / "whole.pt", tmp_path / "jit.pt"
    archive_of(Mixed(), whole)
    drawn = random.Random(0)

    def flip(name: str, data: bytes) -> bytes:
        if not name.endswith("/data.pkl"):
            return data
        at = drawn.randrange(len(data))
        return data[:at] + bytes([data[at] ^ 1 << drawn.randrange(8)]) + data[at + 1 :]

    for _ in range(150):
        path.write_bytes(whole.read_bytes())
        rewritten(path, flip)
        with contextlib.suppress(WeightsError):
            read = read_state_dict(path, torchscript=True)
            assert all(isinstance(value, Tensor) for value in read.values())


def test_a_tensor_that_repeats_what_is_stored_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "wide.pt"
    torch.save({"w": torch.zeros(1, dtype=torch.float16).expand(1 << 40)}, path)
    assert "it unpacks to 2097152 MiB, a file of its" in refusal(path)


class Evil:
    def __reduce__(self) -> Any:
        return (print, ("run",))


@pytest.mark.parametrize("zipped", [True, False])
def test_files_with_code_are_refused_and_nothing_runs(
    tmp_path: Path, state: dict[str, Tensor], zipped: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "evil.pt"
    torch.save({"state_dict": state, "extra": Evil()}, path, _use_new_zipfile_serialization=zipped)
    assert refusal(path) == (
        "holds Python objects beside the weights, which could run code when loaded. "
        "Disco does not load it; use a .safetensors file or a plain state dict"
    )
    path.write_bytes(pickle.dumps(Evil(), protocol=2))
    assert "could run code" in refusal(path)
    assert capsys.readouterr().out == ""


def test_damage_is_named(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save(state, tmp_path / "a.pt")
    torch.save(state, tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    save_file(state, tmp_path / "a.safetensors")
    for whole in ("a.pt", "legacy.pt", "a.safetensors"):
        data = (tmp_path / whole).read_bytes()
        for share in (0.1, 0.5, 0.97):
            path = tmp_path / f"cut_{whole}"
            path.write_bytes(data[: int(len(data) * share)])
            assert refusal(path, torchscript=True) == DAMAGED
    for content in (b"", b"P", b"PK\x03\x04 not a zip", b"<html>404</html>", b"\x00" * 64, b"\x80\x02x"):
        (tmp_path / "bad.pt").write_bytes(content)
        assert refusal(tmp_path / "bad.pt") == DAMAGED


@pytest.mark.parametrize("legacy", [False, True])
def test_flipped_bytes_never_end_in_a_traceback(
    tmp_path: Path, state: dict[str, Tensor], legacy: bool
) -> None:
    path = tmp_path / "a.pt"
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    whole, dice = path.read_bytes(), random.Random(0)
    for _ in range(100):
        data = bytearray(whole)
        for _ in range(3):
            data[dice.randrange(min(len(data), 600))] = dice.randrange(256)
        path.write_bytes(data)
        with contextlib.suppress(WeightsError):
            load_strict(Pair(), read_state_dict(path), path)


def test_what_is_no_state_dict_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    for content in ({}, [1, 2], torch.zeros(3), {"state_dict": {}}):
        torch.save(content, path)
        assert refusal(path) == "holds no state dict (names with tensors)"
    torch.save({"weights": {"a": torch.zeros(1)}, "step": 1}, path)
    assert refusal(path) == "holds no state dict: 'weights' is not a tensor"


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.pt") == "no such file"
    assert refusal(tmp_path) == "no such file"


def test_loading_is_strict_and_says_the_first_of_each_kind(state: dict[str, Tensor]) -> None:
    wrong = dict(state)
    wrong["first.weight"] = torch.zeros(8, 2)
    wrong["first.bias"] = torch.zeros(8)
    wrong["third.weight"] = wrong.pop("second.weight")
    with pytest.raises(WeightsError) as error:
        load_strict(Pair(), wrong, Path("models/pair.pt"), describe=lambda s: f"It has {len(s)} tensors")
    assert str(error.value) == (
        "models/pair.pt: does not fit the network: first.weight has shape [8, 2], expected [4, 2]; "
        "second.weight [1, 4] is missing; third.weight [1, 4] is not expected; 1 more. It has 4 tensors"
    )
    del wrong["third.weight"], wrong["first.bias"], wrong["first.weight"]
    with pytest.raises(WeightsError) as error:
        load_strict(Pair(), wrong, Path("a.pt"))
    assert str(error.value) == (
        "a.pt: does not fit the network: first.weight [4, 2] is missing; first.bias [4] is missing; "
        "second.weight [1, 4] is missing"
    )


def test_a_network_without_memory_is_filled(state: dict[str, Tensor]) -> None:
    with torch.device("meta"):
        network = Pair()
    load_strict(network, state, Path("a.pt"))
    assert_same(network.state_dict(), state)
    assert network(torch.ones(1, 2)).isfinite().all()


@pytest.mark.parametrize(
    "tensor, kind",
    [
        (torch.zeros(4, 2, device="meta"), "without its numbers (a meta tensor)"),
        (torch.eye(4, 2).to_sparse(), "sparse"),
        (torch.zeros(4, 2, dtype=torch.complex64), "complex"),
    ],
)
def test_tensors_that_are_no_weights(
    tensor: Tensor, kind: str, state: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "a.pt"
    torch.save({**state, "first.weight": tensor}, path)
    with pytest.raises(WeightsError) as error:
        read_state_dict(path)
    told = f"first.weight is {kind}; weights are plain tensors of floating-point numbers"
    assert str(error.value) == f"{path}: {told}"


@pytest.mark.parametrize("kind", ["int64", "bool", "uint8"])
def test_numbers_of_another_kind(kind: str, state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({**state, "first.weight": state["first.weight"].to(getattr(torch, kind))}, path)
    with pytest.raises(WeightsError) as error:
        load_strict(Pair(), read_state_dict(path), path)
    told = f"first.weight has numbers of the kind {kind}, expected float32"
    assert str(error.value) == f"{path}: does not fit the network: {told}"


def test_a_file_that_unpacks_to_much_more_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", b"")
        archive.writestr("bomb/data/0", bytes(40 << 20))
    size = path.stat().st_size
    with pytest.raises(WeightsError) as error:
        read_state_dict(path)
    told = f"it unpacks to 40 MiB, a file of its {size >> 10} KiB may to 16 MiB"
    assert str(error.value) == f"{path}: no weights of a network: {told}"
