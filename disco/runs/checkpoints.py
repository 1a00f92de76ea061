"""The state of a picture, from which it goes on exactly after a kill: safetensors after a SHA-256."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from disco.errors import ResumeError
from disco.files.atomic import disk_errors, move_aside, write_new

_NAME = re.compile(r"checkpoint-(\d{6,})-(\d{4,})\.disco")  # number, and the first picture
_FORMAT = 1
_KEEP = 2  # the newest and the one before it, should the newest be damaged


@dataclass(frozen=True)
class Checkpoint:
    """The state after `step` executed steps of `pictures` rendered together; loaded tensors are on the CPU.

    x_t and pred_x0: [B, 3, H, W]; history: what the sampler looks back at, tensors and numbers;
    random_state: what randomness.state() gave.
    """

    pictures: tuple[int, ...]
    step: int
    x_t: Tensor
    pred_x0: Tensor | None = None
    history: tuple[Tensor | float, ...] = ()
    random_state: Mapping[str, Tensor] = field(default_factory=dict)


class Checkpoints:
    """The checkpoints of one run, in a folder of their own names; the highest number is the newest.

    Pictures that are rendered at the same time, by several workers, have each their own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.damaged: tuple[Path, ...] = ()  # what `load` moved aside

    def save(self, checkpoint: Checkpoint) -> Path:
        """Write a checkpoint, durable at return, then remove all but the last two of it. Raises RunError."""
        data, first = _pack(checkpoint), checkpoint.pictures[0]
        number = max(self._numbered(), default=0) + 1
        existing = self._numbered(first)
        path = self.folder / f"checkpoint-{number:06}-{first:04}.disco"
        write_new(path, data)
        for older in sorted(existing, reverse=True)[_KEEP - 1 :]:
            remove_file(existing[older])
        return path

    def load(self, pictures: Sequence[int] | None = None) -> Checkpoint | None:
        """The newest whole checkpoint, of these pictures if they are named, or None.

        Damaged ones are renamed and named in `damaged`. Raises ResumeError for one of another version of
        Disco.
        """
        self.damaged = ()
        some = self._numbered(None if pictures is None else pictures[0])
        for _, path in sorted(some.items(), reverse=True):
            checkpoint = self._read(path)
            if checkpoint is not None and (pictures is None or checkpoint.pictures == tuple(pictures)):
                return checkpoint
        return None

    def clear(self, pictures: Sequence[int] | None = None) -> None:
        """Remove all, or those of pictures that are rendered together. Call it once these are on disk."""
        for path in self._numbered(None if pictures is None else pictures[0]).values():
            remove_file(path)

    def drop_from(self, picture: int) -> None:
        """Remove those of `picture` and later: they will come anew."""
        for path in self._numbered().values():
            checkpoint = self._read(path)
            if checkpoint is not None and max(checkpoint.pictures) >= picture:
                remove_file(path)

    def _read(self, path: Path) -> Checkpoint | None:
        with suppress(OSError):  # a folder of this name, or no permission: as damaged
            unpacked = unpack_tensors(path.read_bytes())
            if unpacked is not None:
                return _unpack(*unpacked, path)
        self.damaged += (move_aside(path, self.folder / "damaged"),)
        return None

    def _numbered(self, first: int | None = None) -> dict[int, Path]:
        """By number, all or those that begin with picture `first`."""
        with disk_errors(self.folder):
            matches = [(_NAME.fullmatch(path.name), path) for path in self.folder.iterdir()]
        return {int(match[1]): path for match, path in matches if match and first in (None, int(match[2]))}


def remove_file(path: Path) -> None:
    """Remove a file that may be gone; a folder of its name stays. Raises RunError."""
    with disk_errors(path), suppress(FileNotFoundError):
        if not path.is_dir():
            path.unlink()


def _pack(checkpoint: Checkpoint) -> bytes:
    tensors = {"x_t": checkpoint.x_t}
    if checkpoint.pred_x0 is not None:
        tensors["pred_x0"] = checkpoint.pred_x0
    history = {f"history.{n:04}": value for n, value in enumerate(checkpoint.history)}
    numbers = {name: value for name, value in history.items() if not isinstance(value, Tensor)}
    tensors |= {name: value for name, value in history.items() if isinstance(value, Tensor)}
    tensors |= {f"random.{name}": tensor for name, tensor in checkpoint.random_state.items()}
    plain: dict[str, Any] = {"format": _FORMAT, "pictures": checkpoint.pictures, "step": checkpoint.step}
    if numbers:
        plain["numbers"] = numbers
    return pack_tensors(tensors, plain)


def _unpack(tensors: Mapping[str, Tensor], plain: Mapping[str, Any], path: Path) -> Checkpoint:
    """Files of 0.1.0 also hold `start.*`, `losses` and `extra`, which nothing reads."""
    if plain["format"] != _FORMAT:
        raise ResumeError(
            f"{path}: written by another version of Disco (format {plain['format']}, not {_FORMAT})."
            " Resume with that version, or move the file away to start its picture anew."
        )

    numbers: Mapping[str, float] = plain.get("numbers", {})

    def part(prefix: str) -> dict[str, Tensor]:
        return {name[len(prefix) :]: tensors[name] for name in sorted(tensors) if name.startswith(prefix)}

    return Checkpoint(
        pictures=tuple(plain["pictures"]),
        step=plain["step"],
        x_t=tensors["x_t"],
        pred_x0=tensors.get("pred_x0"),
        history=_history({**tensors, **numbers}),
        random_state=part("random."),
    )


def _history(values: Mapping[str, Tensor | float]) -> tuple[Tensor | float, ...]:
    """The entries "history.0000", "history.0001", ... in their order."""
    return tuple(values[name] for name in sorted(values) if name.startswith("history."))


def pack_tensors(tensors: Mapping[str, Tensor], plain: Any) -> bytes:
    """The file's bytes. plain: anything that JSON knows."""
    # Clones, since safetensors refuses tensors that share memory.
    saved = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    packed: bytes = safetensors.torch.save(saved, metadata={"disco": json.dumps(plain)})
    return hashlib.sha256(packed).digest() + packed


def unpack_tensors(data: bytes) -> tuple[dict[str, Tensor], Any] | None:
    """The tensors, on the CPU, and `plain`; None if the bytes are not those that pack_tensors gave."""
    if hashlib.sha256(data[32:]).digest() != data[:32]:
        return None
    header = json.loads(data[40 : 40 + int.from_bytes(data[32:40], "little")])
    tensors: dict[str, Tensor] = safetensors.torch.load(data[32:])
    return tensors, json.loads(header["__metadata__"]["disco"])
