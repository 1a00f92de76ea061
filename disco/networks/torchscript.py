"""The tensors of a TorchScript archive. Its code is not run: its pickle may name what `_allowed` lists."""

from __future__ import annotations

import io
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

_DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_CLASS = re.compile(
    r"^class (\w+)\(Module\):\n  __parameters__ = \[(.*?)\]\n  __buffers__ = \[(.*?)\]", re.MULTILINE
)


class _Storage(NamedTuple):
    dtype: torch.dtype
    key: str


class _StoredTensor(NamedTuple):
    """A tensor that is still in the archive."""

    storage: _Storage
    offset: int
    size: Sequence[int]
    stride: Sequence[int]


class _Module:
    """An object of a class that the archive's own code defines: of it only the attributes are read."""

    attributes: Any = None

    def __setstate__(self, state: Any) -> None:
        self.attributes = state


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}".startswith("__torch__."):
            return type(name, (_Module,), {"path": f"{module}.{name}"})
        return _allowed(module, name)

    def persistent_load(self, pid: Any) -> _Storage:
        _, dtype, key, *_ = pid
        return _Storage(dtype, key)


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """Parameters and buffers by name, on the CPU; a module that stands at two places at the first only.

    Raises pickle.UnpicklingError if the archive names other classes than TorchScript writes; for damage any
    exception.
    """
    with zipfile.ZipFile(path) as archive:
        pickled = next(name for name in archive.namelist() if re.fullmatch(r"[^/]+/data\.pkl", name))
        root = pickled.removesuffix("data.pkl")
        module = _Unpickler(io.BytesIO(archive.read(pickled))).load()
        views = dict(_views(module, _declared(archive, root), "", set()))
        arrays = {view.storage: _array(archive, root, view.storage) for view in views.values()}
    return {name: _tensor(arrays[view.storage], view) for name, view in views.items()}


def _allowed(module: str, name: str) -> Any:
    """What the pickle may call. The functions are new each time: a pickle can set attributes of functions."""
    if module == "torch" and name in _DTYPES:
        return _DTYPES[name]
    allowed = {
        "torch._utils._rebuild_tensor_v2": lambda storage, offset, size, stride, *_: _StoredTensor(
            storage, offset, size, stride
        ),
        "torch.jit._pickle.build_intlist": list,
        "torch.jit._pickle.build_doublelist": list,
        "torch.jit._pickle.build_boollist": list,
        "torch.jit._pickle.build_tensorlist": list,
        "torch.jit._pickle.restore_type_tag": lambda value, tag: value,
        "collections.OrderedDict": OrderedDict,
    }
    if f"{module}.{name}" not in allowed:
        raise pickle.UnpicklingError(f"Unsupported global {module}.{name}")
    return allowed[f"{module}.{name}"]


def _declared(archive: zipfile.ZipFile, root: str) -> dict[str, set[str]]:
    """Class -> the names of its parameters and buffers, as the archive's code lists them."""
    lists: dict[str, set[str]] = {}
    for name in archive.namelist():
        if name.startswith(f"{root}code/") and name.endswith(".py"):
            file = name.removeprefix(f"{root}code/").removesuffix(".py").replace("/", ".")
            for match in _CLASS.finditer(archive.read(name).decode("utf-8", "replace")):
                lists[f"{file}.{match[1]}"] = set(re.findall(r'"(.*?)"', match[2] + match[3]))
    return lists


def _views(
    module: _Module, declared: Mapping[str, set[str]], prefix: str, seen: set[int]
) -> Iterator[tuple[str, _StoredTensor]]:
    """Other tensors than declared ones are no part of a state dict; of an undeclared class all are taken."""
    if id(module) in seen:
        return
    seen.add(id(module))
    attributes = module.attributes if isinstance(module.attributes, dict) else {}
    names = declared.get(module.path, attributes.keys())  # type: ignore[attr-defined]
    for name, value in attributes.items():
        if isinstance(value, _StoredTensor) and name in names:
            yield prefix + name, value
        elif isinstance(value, _Module):
            yield from _views(value, declared, f"{prefix}{name}.", seen)


def _array(archive: zipfile.ZipFile, root: str, storage: _Storage) -> Tensor:
    data = bytearray(archive.read(f"{root}data/{storage.key}"))
    return torch.frombuffer(data, dtype=storage.dtype) if data else torch.empty(0, dtype=storage.dtype)


def _tensor(array: Tensor, view: _StoredTensor) -> Tensor:
    return array.as_strided(tuple(view.size), tuple(view.stride), view.offset)
