"""Pictures -> a video file of one of four formats, by ffmpeg."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

from disco.errors import InputError, RunError
from disco.media.ffmpeg_read import STALL, Pixels, executable

CodecName = Literal["h264", "vp9", "gif", "webp"]
# Rec. 709 for any size, and said in the file: players guess from the size where nothing is said.
_YUV = (
    "scale=out_color_matrix=bt709:out_range=limited:flags=accurate_rnd+full_chroma_int+full_chroma_inp,"
    "format=yuv420p,setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=limited"
)
# A palette for each frame: one for all would have to wait for the last of them.
_PALETTES = "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1:dither=sierra2_4a"
_OURS = "Unset IMAGEIO_FFMPEG_EXE to use the ffmpeg that comes with Disco"
_ERROR = re.compile(r"\[(?:error|fatal)\] (.*)")


@dataclass(frozen=True)
class Codec:
    """How ffmpeg writes a format. encoder: ffmpeg's name of it; most_side: pixels, of width and height.

    is_yuv: takes even sides only, and has a place for a comment. repeats: how the format says that it is
    shown for ever, and once; None if it cannot.
    """

    ending: str
    muxer: str
    encoder: str
    most_side: int
    options: tuple[str, ...]
    is_yuv: bool = False
    repeats: tuple[int, int] | None = None


CODECS: dict[CodecName, Codec] = {
    "h264": Codec(
        ".mp4",
        "mp4",
        "libx264",
        16384,
        ("-vf", _YUV, "-preset", "slow", "-crf", "17", "-movflags", "+faststart"),
        is_yuv=True,
    ),
    "vp9": Codec(
        ".webm",
        "webm",
        "libvpx-vp9",
        16384,
        ("-vf", _YUV, "-crf", "24", "-b:v", "0", "-row-mt", "1", "-cpu-used", "2"),
        is_yuv=True,
    ),
    "gif": Codec(".gif", "gif", "gif", 65535, ("-filter_complex", _PALETTES), repeats=(0, -1)),
    "webp": Codec(".webp", "webp", "libwebp_anim", 16383, ("-quality", "85"), repeats=(0, 1)),
}


def check_encoder(codec: CodecName) -> None:
    """Raises InputError if there is no ffmpeg, or one that cannot write this format."""
    program = executable()
    command = [program, "-hide_banner", "-loglevel", "error", "-h", f"encoder={CODECS[codec].encoder}"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=STALL, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"{program}: does not run. {_OURS}.") from error
    if not done.stdout.startswith(b"Encoder "):
        raise InputError(
            f"{program}: has no {CODECS[codec].encoder}, which {codec} needs. {_OURS}, "
            "or choose another video_codec."
        )


class Encoder:
    """One run of ffmpeg; as a context manager it is gone at the end, whatever happens."""

    def __init__(
        self, path: Path, codec: CodecName, size: tuple[int, int], fps: float, *, loop: bool, comment: str
    ) -> None:
        """path: where to, whatever its ending. size: (width, height), even where the codec is_yuv.

        comment: kept in the file if the codec is_yuv. Raises InputError if there is no ffmpeg.
        """
        form = CODECS[codec]
        command = [executable(), "-y", "-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+error"]
        command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", f"{size[0]}x{size[1]}"]
        command += ["-framerate", repr(float(fps)), "-i", "pipe:0", "-c:v", form.encoder, *form.options]
        if form.repeats is not None:
            command += ["-loop", str(form.repeats[0 if loop else 1])]
        if form.is_yuv and comment:
            command += ["-metadata", f"comment={_plain(comment)}"]
        self.codec = codec
        self.log = tempfile.TemporaryFile()  # a pipe would fill while we write to another
        # In a session of its own: Ctrl-C is for us, who then end it.
        self.process = subprocess.Popen(
            [*command, "-f", form.muxer, f"file:{path}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self.log,
            start_new_session=True,
        )

    def write(self, pixels: Pixels) -> None:
        """The next frame, of the encoder's size. Raises RunError if ffmpeg has failed."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(pixels.tobytes())
        except OSError as error:
            self.process.wait()
            raise self._failed() from error

    def finish(self) -> None:
        """Wait until the file is whole. Raises RunError."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.close()
        except OSError as error:
            self.process.wait()
            raise self._failed() from error
        if self.process.wait():
            raise self._failed()

    def __enter__(self) -> Encoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdin is not None:
            try:
                self.process.stdin.close()
            except OSError:  # nobody reads the rest
                pass
        self.log.close()

    def _failed(self) -> RunError:
        self.log.seek(0)
        text = self.log.read(1 << 16).decode(errors="replace")
        match = _ERROR.search(text)
        why = match[1].strip()[:200] if match else f"it ended with {self.process.returncode}"
        if "Unknown encoder" in why:
            advice = (
                f"{executable()} cannot write {self.codec}: unset IMAGEIO_FFMPEG_EXE, or try another codec"
            )
        else:
            advice = "Check the disk, or choose another place by --out"
        return RunError(f"ffmpeg could not write the video: {why}. {advice}.")


def _plain(text: str) -> str:
    """What an argument can hold."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()
