"""Any file that ffmpeg reads -> its pictures, one after the other, or what is wrong with it."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from disco.errors import InputError

Pixels: TypeAlias = NDArray[np.uint8]  # [H, W, 3]
STALL = 60.0  # seconds without a picture, after which ffmpeg is stopped
_MOST_LOG = 1 << 20  # bytes: on some damaged files ffmpeg complains without end
_ERROR = re.compile(rb"\[(?:error|fatal)\] (.*)")
_VIDEO = re.compile(r"Stream #\d+:\d+.*?: Video: (?!.*\(attached pic\)).*")
NO_FRAMES = "a video without any frames, or cut off before the first. Export or copy it again."
_ALLOWED = "Allowed are videos, animated GIFs and folders of pictures."


@dataclass(frozen=True)
class Probe:
    """fps: as the file says, None if it does not. is_old: ffmpeg is older than 5.1."""

    fps: float | None
    is_old: bool


def executable() -> str:
    """The ffmpeg to run: $IMAGEIO_FFMPEG_EXE, else the one that imageio-ffmpeg brings. Raises InputError."""
    import imageio_ffmpeg

    try:
        path: str = imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise InputError(
            "no ffmpeg for videos: imageio-ffmpeg brings none for this system. "
            "Install ffmpeg, or set IMAGEIO_FFMPEG_EXE to its path."
        ) from error
    if shutil.which(path) is None:
        raise InputError(
            f"{path}: no such program. IMAGEIO_FFMPEG_EXE names it; unset it to use the ffmpeg "
            "that comes with Disco, or give the path of another."
        )
    return path


def probe(path: Path) -> Probe:
    """Whether the file has moving pictures, by its head. Raises InputError: no video, sound only, cut off."""
    command = [executable(), "-nostdin", "-loglevel", "level+info", *_input(path)]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=STALL, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{path}: ffmpeg cannot read its header within {STALL:.0f} s. {_ALLOWED}") from error
    log = done.stderr.decode(errors="replace")
    stream = _VIDEO.search(log)
    if stream is None:
        raise InputError(f"{path}: {_no_video(path, log)}")
    fps = re.search(r"([\d.]+)(k?) fps", stream[0])
    version = re.search(r"ffmpeg version n?(\d+)\.(\d+)", log)
    return Probe(
        fps=float(fps[1]) * (1000 if fps[2] else 1) if fps else None,
        is_old=version is not None and (int(version[1]), int(version[2])) < (5, 1),
    )


def read_frames(path: Path, *, is_old: bool = False) -> Generator[Pixels, None, None]:
    """The pictures of a file that `probe` passed, upright, each once, whatever their times.

    Raises InputError, after the pictures before it, where the file is damaged or cut off: ffmpeg would leave
    out such a picture or invent it.
    """
    every_one = ["-vsync" if is_old else "-fps_mode", "passthrough"]
    command = [executable(), "-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+error", "-xerror"]
    command += [*_input(path), "-map", "0:V:0", *every_one]
    command += ["-pix_fmt", "rgb24", "-f", "image2pipe", "-c:v", "ppm", "-"]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    watch = _Watch(process)
    try:
        while (pixels := watch.next_picture()) is not None:
            yield pixels
        watch.check(path)
    finally:
        watch.stop()


class _Watch:
    """One run of ffmpeg: pictures from its output, complaints from its log, an end to it if it hangs."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None and process.stderr is not None
        self.process, self.output, self.log = process, process.stdout, process.stderr
        self.count, self.complained_at = 0, -1
        self.text, self.has_stalled = b"", False
        self.reader = threading.Thread(target=self._read_log, daemon=True)
        self.reader.start()

    def next_picture(self) -> Pixels | None:
        timer = threading.Timer(STALL, self._give_up)
        timer.daemon = True
        timer.start()
        try:
            pixels = _read_ppm(self.output)
        finally:
            timer.cancel()
        self.count += pixels is not None
        return pixels

    def check(self, path: Path) -> None:
        """Raise InputError unless ffmpeg came to its end without complaint."""
        self.reader.join()
        status = self.process.wait()
        complaint = _ERROR.search(self.text)
        if not (status or complaint or self.has_stalled):
            return
        if self.count == 0 and b"after EOF" in self.text:
            raise InputError(f"{path}: {NO_FRAMES}")
        why = f"no picture within {STALL:.0f} s" if self.has_stalled else f"ffmpeg ended with {status}"
        if complaint and not self.has_stalled:
            why = complaint[1].decode(errors="replace").strip()[:120]
        # ffmpeg is ahead of what was read of it, but where it stops all pictures before have been read.
        position = f"at about frame {self.count}" if status else f"at frame {self.complained_at} or later"
        name = "ffmpeg" if shutil.which("ffmpeg") else executable()
        raise InputError(
            f"{path}: damaged or cut off {position} ({why}). Copy or download it again, "
            f'or repair it: {name} -i "{path}" -crf 12 repaired.mp4'
        )

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.reader.join()
        self.output.close()
        self.log.close()

    def _give_up(self) -> None:
        self.has_stalled = True
        self.process.kill()

    def _read_log(self) -> None:
        size = 0
        while chunk := self.log.read1(1 << 16):  # type: ignore[attr-defined]
            size += len(chunk)
            if len(self.text) < 1 << 16:
                self.text += chunk
            if self.complained_at < 0 and _ERROR.search(self.text):
                self.complained_at = self.count
            if size > _MOST_LOG:
                self.process.kill()


def _input(path: Path) -> list[str]:
    """Only local files: a playlist must not reach into the network, and no name is taken for an option."""
    return ["-protocol_whitelist", "file,pipe", "-i", f"file:{path}"]


def _no_video(path: Path, log: str) -> str:
    with path.open("rb") as file:
        head = file.read(8)
    if not head:
        return "an empty file. Copy or download it again."
    if ": Audio:" in log:
        return f"holds sound only, no moving pictures. {_ALLOWED}"
    if "Error opening input: End of file" in log or ("Input #0" in log and "Stream #" not in log):
        return NO_FRAMES
    if head[4:] == b"ftyp":  # MP4 and its kin, whose index is written last
        return "cut off: the index at its end is missing or damaged. Copy or download it again."
    return f"not a video that ffmpeg can read. {_ALLOWED}"


def _read_ppm(stream: IO[bytes]) -> Pixels | None:
    """The next picture of a stream of binary PPMs, None at its end or where it breaks off."""
    head = [stream.readline() for _ in range(3)]  # P6, width height, 255
    if head[0] != b"P6\n" or not head[2]:
        return None
    width, height = (int(side) for side in head[1].split())
    data = stream.read(width * height * 3)
    if len(data) < width * height * 3:
        return None
    return np.frombuffer(data, np.uint8).reshape(height, width, 3)
