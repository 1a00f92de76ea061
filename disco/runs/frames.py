"""The states of frames, which the next ones start from: float tensors in the run's state folder."""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from disco.files.atomic import disk_errors, move_aside, replace
from disco.runs.checkpoints import pack_tensors, remove_file, unpack_tensors

_NAME = re.compile(r"frame-(\d{6,})(?:-copy)?\.disco")
_FORMAT = 1


@dataclass(frozen=True)
class FrameState:
    """Frame `frame`, as the next one needs it.

    picture: what the next frame starts from, [1, 3, H, W] in [-1, 1]; in turbo not what was shown. old: turbo
    alone: the picture that fades out, moved along. exact: False for one read back from an 8-bit PNG.
    """

    frame: int
    picture: Tensor
    old: Tensor | None = None
    exact: bool = True


class FrameStore:
    """The saved frames of one run, in its state folder, which must be there to save; each in two copies."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, state: FrameState) -> Path:
        """Write it, durable at return; one of the same frame is replaced. Raises RunError.

        Returns the path of the first copy.
        """
        tensors = {"picture": state.picture} | ({} if state.old is None else {"old": state.old})
        data = pack_tensors(tensors, {"format": _FORMAT, "frame": state.frame})
        paths = self._paths(state.frame)
        for path in paths:
            replace(path, data)
        return paths[0]

    def load(self, frame: int) -> FrameState | None:
        """The state of a frame, on the CPU; None if no copy is whole. Damaged ones are moved aside."""
        states = (self._read(path, frame) for path in self._paths(frame))
        return next((state for state in states if state is not None), None)

    def _read(self, path: Path, frame: int) -> FrameState | None:
        if not path.exists():
            return None
        unpacked = None
        with suppress(OSError):  # a folder of this name, or no permission: as damaged
            unpacked = unpack_tensors(path.read_bytes())
        if unpacked is None:
            move_aside(path, self.folder / "damaged")
            return None
        tensors, plain = unpacked
        if plain["format"] != _FORMAT:
            return None  # the frame's PNG will have to do
        return FrameState(frame, tensors["picture"], tensors.get("old"))

    def keep(self, frames: Collection[int]) -> None:
        """Remove all others."""
        for frame in self.frames():
            if frame not in frames:
                self._remove(frame)

    def drop_from(self, frame: int) -> None:
        """Remove those of `frame` and later: they will come anew."""
        for saved in self.frames():
            if saved >= frame:
                self._remove(saved)

    def frames(self) -> list[int]:
        """Which are there, in order."""
        with disk_errors(self.folder):
            if not self.folder.is_dir():
                return []
            matches = [_NAME.fullmatch(path.name) for path in self.folder.iterdir()]
        return sorted({int(match[1]) for match in matches if match})

    def _paths(self, frame: int) -> tuple[Path, Path]:
        return self.folder / f"frame-{frame:06}.disco", self.folder / f"frame-{frame:06}-copy.disco"

    def _remove(self, frame: int) -> None:
        for path in self._paths(frame):
            remove_file(path)
