"""A weights file -> tensors by name -> strictly into a network; errors say what the file really is."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from disco.errors import WeightsError
from disco.networks.torchscript import read_torchscript

StateDict = dict[str, Tensor]
_UNPACKED = 16 << 20  # bytes that a weights file may unpack to beside twice its own
_DAMAGED = "damaged or cut short. Delete the file and run again"


def read_state_dict(path: Path, *, torchscript: bool = False) -> StateDict:
    """Tensors by name from .safetensors or from what torch.save wrote, on the CPU, floats as float32.

    Accepted: a plain state dict, one under the key `state_dict`, `params_ema` or `params` (upscalers), names
    with the prefix `module.`, 8- and 16-bit floats; with `torchscript` also OpenAI's CLIP archives, of which
    only the tensors are read and no code is run.
    Raises WeightsError: not there, damaged, holding Python code, no state dict.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such file")
    try:
        content = _read(path, torchscript)
    except (WeightsError, MemoryError):
        raise
    except pickle.UnpicklingError as error:
        raise WeightsError(_refused(path, str(error))) from error
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # a damaged pickle makes torch's reader raise almost anything
        raise WeightsError(f"{path}: {_DAMAGED}") from error
    return _normalised(path, content)


def _read(path: Path, torchscript: bool) -> Any:
    kind = _kind(path)
    if kind == "torchscript" and not torchscript:
        raise WeightsError(f"{path}: a TorchScript program, not plain weights")
    if kind == "safetensors":
        return load_file(path, device="cpu")
    if kind == "torchscript":
        return read_torchscript(path)
    with path.open("rb") as file:  # given a path, torch would go by the suffix
        return torch.load(file, map_location="cpu", weights_only=True)


def _kind(path: Path) -> str:
    """By content, since hubs and users rename files: safetensors, torchscript or torch."""
    with path.open("rb") as file:
        head = file.read(9)
    if head[8:] == b"{":  # eight bytes of length, then JSON
        return "safetensors"
    if head[:2] != b"PK":
        return "torch"
    with zipfile.ZipFile(path) as archive:  # torch.save and torch.jit.save both write zip files
        _check_unpacked(path, sum(part.file_size for part in archive.infolist()))
        return "torchscript" if any("/code/" in name for name in archive.namelist()) else "torch"


def _check_unpacked(path: Path, unpacked: int) -> None:
    """torch does not pack weights, which hardly shrink: what grows much only fills the memory."""
    size, most = path.stat().st_size, 2 * path.stat().st_size + _UNPACKED
    if unpacked > most:
        mib = f"unpacks to {unpacked >> 20} MiB, a file of its {size >> 10} KiB may to {most >> 20} MiB"
        raise WeightsError(f"{path}: no weights of a network: it {mib}")


def _refused(path: Path, reason: str) -> str:
    """torch's reader raises one error for code and for damage; its text tells them apart."""
    for mark in ("GLOBAL ", "Unsupported class ", "Unsupported global"):
        if mark in reason:
            return (
                f"{path}: holds Python objects beside the weights, which could run code when loaded. "
                "Disco does not load it; use a .safetensors file or a plain state dict"
            )
    return f"{path}: {_DAMAGED}"


def _normalised(path: Path, content: Any) -> StateDict:
    for key in ("state_dict", "params_ema", "params"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{path}: holds no state dict (names with tensors)")
    strangers = [str(key) for key, value in content.items() if not isinstance(value, Tensor)]
    if strangers:
        raise WeightsError(f"{path}: holds no state dict: {strangers[0]!r} is not a tensor")
    for key, value in content.items():
        _check_tensor(path, str(key), value)
    _check_unpacked(path, sum(value.nbytes for value in content.values()))  # views may repeat what is stored
    prefix = "module." if all(str(key).startswith("module.") for key in content) else ""
    return {str(key)[len(prefix) :]: _float32(value) for key, value in content.items()}


def _check_tensor(path: Path, name: str, tensor: Tensor) -> None:
    """Raises WeightsError for what is no plain array of numbers."""
    kinds = {
        "without its numbers (a meta tensor)": tensor.is_meta,
        "sparse": tensor.layout != torch.strided,
        "quantized": tensor.is_quantized,
        "complex": tensor.is_complex(),
    }
    wrong = [kind for kind, is_so in kinds.items() if is_so]
    if wrong:
        raise WeightsError(
            f"{path}: {name} is {wrong[0]}; weights are plain tensors of floating-point numbers"
        )


def _float32(tensor: Tensor) -> Tensor:
    return tensor.detach().float() if tensor.is_floating_point() else tensor.detach()


def _kind_of(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def differences(network: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """How `state` differs from what `network` holds: wrong shapes, missing, then superfluous names."""
    own = network.state_dict()
    shapes = [
        f"{name} has shape {list(state[name].shape)}, expected {list(tensor.shape)}"
        for name, tensor in own.items()
        if name in state and state[name].shape != tensor.shape
    ]
    shapes += [
        f"{name} has numbers of the kind {_kind_of(state[name])}, expected {_kind_of(tensor)}"
        for name, tensor in own.items()
        if name in state and tensor.is_floating_point() and not state[name].is_floating_point()
    ]
    missing = [f"{name} {list(own[name].shape)} is missing" for name in own if name not in state]
    extra = [f"{name} {list(state[name].shape)} is not expected" for name in state if name not in own]
    return shapes[:1] + missing[:1] + extra[:1] + shapes[1:] + missing[1:] + extra[1:]


def load_strict(
    network: nn.Module,
    state: Mapping[str, Tensor],
    path: Path,
    *,
    describe: Callable[[Mapping[str, Tensor]], str] = lambda state: "",
) -> None:
    """Put every tensor of `state` into `network` (which may live on the meta device), or raise WeightsError.

    describe: a sentence about what the file seems to hold, or "".
    """
    wrong = differences(network, state)
    if wrong:
        shown = wrong[:3]
        more = f"; {len(wrong) - len(shown)} more" if len(wrong) > len(shown) else ""
        hint = describe(state)
        raise WeightsError(
            f"{path}: does not fit the network: {'; '.join(shown)}{more}" + (f". {hint}" if hint else "")
        )
    network.load_state_dict(dict(state), strict=True, assign=True)
