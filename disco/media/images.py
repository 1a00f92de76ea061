"""Pictures in and out: tensor <-> PNG, init and prompt pictures, contact sheets. The only user of PIL."""

from __future__ import annotations

import hashlib
import io
import math
import warnings
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError
from torch import Tensor

from disco.errors import InputError, RunError
from disco.files.paths import candidates
from disco.files.regular import read_regular
from disco.files.urls import is_url
from disco.media.png import check_png, read_metadata, with_metadata

__all__ = [
    "LoadedPicture",
    "check_png",
    "contact_sheet",
    "from_uint8",
    "load_mask",
    "load_picture",
    "png_bytes",
    "read_metadata",
    "read_pixels",
    "resize_lanczos",
    "to_uint8",
]

Pixels: TypeAlias = NDArray[np.uint8]  # [H, W, 3]
_MAX_BYTES = 256 << 20  # of a picture file
_MAX_SHEET = 8192  # longest side of a contact sheet, pixels
_MAX_RATIO = 10  # of the sides of a picture that keeps its shape
# EPS and WMF run programs, others are no pictures of people's.
_FORMATS = (
    *("PNG", "JPEG", "MPO", "JPEG2000", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "DIB"),
    *("TGA", "PPM", "PCX", "PSD", "ICO", "ICNS", "QOI", "DDS", "SGI"),
)
_TRY = "Save it anew as an 8-bit PNG or JPEG."


@dataclass(frozen=True)
class LoadedPicture:
    """A picture from outside: `tensor` [1, 3, h, w] in [-1, 1] (masks [1, 1, h, w]), its bytes' SHA-256."""

    tensor: Tensor
    sha256: str
    source: str


def to_uint8(picture: Tensor) -> Pixels:
    """[3, H, W] in [-1, 1] (clamped) -> [H, W, 3] uint8 on the CPU; truncated, as the original does.

    Raises RunError if a number is NaN: such a picture is lost, and black pixels would hide it.
    """
    unit = picture.detach().float().add(1).div(2).clamp(0, 1)
    if bool(unit.isnan().any()):
        raise RunError("the picture contains NaN (values that are not numbers). Try `precision: fp32`.")
    array: Pixels = unit.mul(255).byte().permute(1, 2, 0).cpu().numpy()
    return array


def from_uint8(pixels: Pixels) -> Tensor:
    """[H, W, 3] uint8 -> [1, 3, H, W] float32 in [-1, 1]."""
    unit = torch.from_numpy(pixels.copy()).permute(2, 0, 1).float().div(255)
    return unit.mul(2).sub(1).unsqueeze(0).contiguous()


def png_bytes(picture: Tensor | Pixels, metadata: Mapping[str, Any] | None = None) -> bytes:
    """A PNG of `picture` ([3, H, W] in [-1, 1], or [H, W, 3] uint8), with `metadata` in its `disco` chunk."""
    pixels = to_uint8(picture) if isinstance(picture, Tensor) else picture
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue() if metadata is None else with_metadata(buffer.getvalue(), metadata)


def read_pixels(path: str | Path) -> Pixels:
    """The pixels of one of our PNGs, [H, W, 3] uint8. Raises InputError."""
    check_png(path)
    return decode_png(Path(path).read_bytes(), str(path))


def decode_png(png: bytes, path: str = "picture") -> Pixels:
    """The pixels of a file's bytes, [H, W, 3] uint8. path: for the errors. Raises InputError."""
    return np.asarray(_decode(png, path).convert("RGB"))


def rgb_pixels(data: bytes, path: str) -> Pixels:
    """The pixels of the bytes of any picture, as load_picture reads it. Raises InputError."""
    return np.asarray(_to_rgb(_decode(data, path), path, as_stored=False, paper="white"))


def load_picture(
    source: str,
    *,
    base_dirs: Sequence[Path] = (),
    size: tuple[int, int] | None = None,
    max_short_side: int | None = None,
    as_stored: bool = False,
    paper: str = "white",
    download: Callable[[str], bytes] | None = None,
) -> LoadedPicture:
    """Load an init or prompt picture from a path or URL.

    base_dirs: a relative path is looked for in these, in order (default: the current directory).
    size: (width, height) to resize to, Lanczos, whatever the shape, as the original does with init_image.
    max_short_side: shrink, Lanczos, keeping the shape, until the shorter side is at most this. Only shapes of
        at most 10 to 1: cutouts of such a picture lie on a square of its longer side.
    as_stored: take the pixels as the original does (compat: dd57): EXIF orientation ignored, alpha dropped.
        Else the picture is turned as its EXIF says and transparent parts lie on `paper`, a colour.
    download: fetches the bytes of a URL.
    Raises InputError: missing, unreadable, no picture, cut off, too large.
    """
    data = _fetched(source, base_dirs, download)
    picture = _to_rgb(_decode(data, source), source, as_stored, paper)
    if size is not None:
        picture = resize_lanczos(picture, size)
    elif max_short_side is not None:
        picture = _shortened(picture, max_short_side, source)
    return LoadedPicture(from_uint8(np.asarray(picture)), hashlib.sha256(data).hexdigest(), source)


def _shortened(picture: Image.Image, most: int, source: str) -> Image.Image:
    """The picture with a shorter side of at most `most`. Raises InputError for a strip."""
    (width, height), short = picture.size, min(picture.size)
    if max(width, height) > _MAX_RATIO * short:
        ratio = f"one side is more than {_MAX_RATIO} times as long as the other"
        raise InputError(f"{source}: {width}x{height}: {ratio}. Crop the picture first.")
    size = (width * most // short, height * most // short)
    return picture if short <= most else resize_lanczos(picture, size)


def load_mask(
    source: str,
    *,
    size: tuple[int, int],
    base_dirs: Sequence[Path] = (),
    download: Callable[[str], bytes] | None = None,
) -> LoadedPicture:
    """A mask from a path or URL, resized to size = (width, height): [1, 1, h, w], 0 black .. 1 white.

    Transparent parts count as black. Raises InputError as load_picture does, and for a mask without white.
    """
    data = _fetched(source, base_dirs, download)
    picture = _to_rgb(_decode(data, source), source, as_stored=False, paper="black").convert("L")
    pixels = np.asarray(picture.resize(size, Image.Resampling.BILINEAR))
    if not pixels.any():
        raise InputError(
            f"{source}: this mask is black everywhere, so that nothing would be painted. "
            "White parts are painted, black and transparent ones stay."
        )
    tensor = torch.from_numpy(pixels.copy()).float().div(255)
    return LoadedPicture(tensor[None, None], hashlib.sha256(data).hexdigest(), source)


def _fetched(source: str, base_dirs: Sequence[Path], download: Callable[[str], bytes] | None) -> bytes:
    if not is_url(source):
        return _read(source, base_dirs)
    if download is None:
        raise InputError(f"{source}: a web address; only local pictures can be read. Download it first.")
    return download(source)


def resize_lanczos(picture: Image.Image | Pixels, size: tuple[int, int]) -> Image.Image:
    """Resize to size = (width, height) by PIL's Lanczos filter, whatever the shape of `picture`."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    return image.resize(size, Image.Resampling.LANCZOS)


def _read(source: str, base_dirs: Sequence[Path]) -> bytes:
    paths = candidates(source, base_dirs or (Path(),))
    path = next((path for path in paths if path.exists()), None)
    if path is None:
        looked = ", ".join(str(path) for path in paths)
        raise InputError(f"{source}: no such picture. Looked for {looked}.")
    if not path.is_file():
        raise InputError(f"{path}: not a file but a folder or device. Give one picture.")
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"{path}: larger than {_MAX_BYTES >> 20} MiB. Shrink the picture first.")
        return read_regular(path, _MAX_BYTES)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}.") from error


def _decode(data: bytes, source: str) -> Image.Image:
    """Decode fully, so that a cut off file is an error here and not hours later."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(data), formats=_formats())
            picture.load()
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        most = (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise InputError(f"{source}: more than {most} million pixels. Shrink the picture first.") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{source}: not a picture in a known format. {_TRY}") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise InputError(f"{source}: a damaged picture ({error}). {_TRY}") from error
    return picture


@lru_cache
def _formats() -> tuple[str, ...]:
    """Those of _FORMATS that this PIL reads."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _to_rgb(picture: Image.Image, source: str, as_stored: bool, paper: str) -> Image.Image:
    if not as_stored:
        picture = ImageOps.exif_transpose(picture)
    if picture.mode == "F":
        raise InputError(f"{source}: a picture of floating-point numbers, whose range is unknown. {_TRY}")
    if picture.mode.startswith("I"):  # 16-bit grey, which PIL's own convert would cut at 255
        wide = np.asarray(picture)
        if wide.min() < 0 or wide.max() > 65535:
            raise InputError(f"{source}: a picture of more than 16 bits. {_TRY}")
        picture = Image.fromarray((wide.astype(np.uint32) // 257).astype(np.uint8))
    has_alpha = "A" in picture.getbands() or "transparency" in picture.info
    if as_stored or not has_alpha:
        return picture.convert("RGB")
    layer = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, paper), layer).convert("RGB")


def contact_sheet(
    pictures: Sequence[Pixels],
    labels: Sequence[str] | None = None,
    columns: int | None = None,
    *,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
) -> Pixels:
    """One picture [H, W, 3] uint8 of all, row by row, each in the middle of a cell as large as the largest.

    labels: one text below each; row_labels and column_labels: texts at the left of rows and above columns.
    columns: default as many as column_labels, else nearest to a square. Raises ValueError without pictures.
    The sheet is shrunk when its pictures side by side would be over 8192 pixels.
    """
    if not pictures:
        raise ValueError("a contact sheet needs at least one picture")
    columns = columns or len(column_labels) or math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    cell_w = max(picture.shape[1] for picture in pictures)
    cell_h = max(picture.shape[0] for picture in pictures)
    shrink = min(1.0, _MAX_SHEET / (cell_w * columns), _MAX_SHEET / (cell_h * rows))
    cell_w, cell_h = max(1, int(cell_w * shrink)), max(1, int(cell_h * shrink))
    pen, gap = _Pen(cell_w), max(2, cell_w // 64)
    left, top, below = pen.width(row_labels), pen.height(column_labels), pen.height(labels or ())
    width, height = left + columns * (cell_w + gap) - gap, top + rows * (cell_h + below + gap) - gap
    sheet = Image.new("RGB", (width, height), "white")
    for column, text in enumerate(column_labels):
        pen.write(sheet, text, left + column * (cell_w + gap), 0, cell_w)
    for row, text in enumerate(row_labels):
        middle = top + row * (cell_h + below + gap) + (cell_h - pen.height([text])) // 2
        pen.write(sheet, text, 0, middle, left)
    for k, pixels in enumerate(pictures):
        x, y = left + k % columns * (cell_w + gap), top + k // columns * (cell_h + below + gap)
        picture = _shrunk(Image.fromarray(pixels), shrink)
        sheet.paste(picture, (x + (cell_w - picture.width) // 2, y + (cell_h - picture.height) // 2))
        if labels:
            pen.write(sheet, labels[k], x, y + cell_h, cell_w)
    return np.asarray(sheet)


def _shrunk(picture: Image.Image, factor: float) -> Image.Image:
    if factor >= 1:
        return picture
    width, height = (max(1, int(side * factor)) for side in picture.size)
    return resize_lanczos(picture, (width, height))


class _Pen:
    """Writes labels in PIL's own font, which looks the same everywhere, wrapped to the width of a cell."""

    most_lines = 3

    def __init__(self, cell_w: int) -> None:
        self.cell_w = cell_w
        self.size = min(24, max(11, cell_w // 16))
        self.font = ImageFont.load_default(self.size)
        self.line = self.size * 5 // 4

    def width(self, texts: Sequence[str]) -> int:
        """Room for row labels, at most a cell's; 0 for none."""
        lines = [line for text in texts for line in self._wrap(text)]
        return math.ceil(max(map(self.font.getlength, lines))) + self.size if lines else 0

    def height(self, texts: Sequence[str]) -> int:
        """Room for the label with the most lines; 0 for none."""
        return max((len(self._wrap(text)) for text in texts), default=0) * self.line + (4 if texts else 0)

    def write(self, sheet: Image.Image, text: str, x: int, y: int, width: int) -> None:
        draw = ImageDraw.Draw(sheet)
        for n, line in enumerate(self._wrap(text)):
            at = (x + (width - self.font.getlength(line)) / 2, y + n * self.line)
            draw.text(at, line, fill="black", font=self.font)

    def _wrap(self, text: str) -> list[str]:
        """At most `most_lines` lines, cut with dots where a line is too long or lines are left over."""
        lines: list[str] = []
        for word in text.split():
            if lines and self.font.getlength(f"{lines[-1]} {word}") <= self.cell_w:
                lines[-1] += f" {word}"
            else:
                lines.append(word)
        if len(lines) > self.most_lines:
            lines = [*lines[: self.most_lines - 1], " ".join(lines[self.most_lines - 1 :])]
        return [self._cut(line) for line in lines]

    def _cut(self, line: str) -> str:
        if self.font.getlength(line) <= self.cell_w:
            return line

        def width(kept: int) -> int:
            return math.ceil(self.font.getlength(f"{line[:kept]}…"))

        # Widths grow with the letters kept, so that halving finds how many fit.
        fits = bisect_right(range(1, len(line)), self.cell_w, key=width)
        return f"{line[: max(1, fits)]}…"
