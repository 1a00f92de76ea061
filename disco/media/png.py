"""The PNG container: the settings kept in a text chunk, and whether a file is whole. No torch, no PIL."""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from disco.errors import InputError
from disco.files.regular import open_regular, read_regular

KEYWORD = b"disco"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_END = b"\0\0\0\0IEND\xaeB`\x82"
_MAX_FILE = 1 << 30  # bytes; a picture of 16000 x 16000 is under this
_MAX_TEXT = 16 << 20  # bytes after unpacking; a random state and long schedules are about 50 kB
_AGAIN = " Render the picture again."
_UPLOADS = "Sites and chat programs that re-encode pictures drop it: use the file that the run wrote"


def with_metadata(png: bytes, metadata: Mapping[str, Any]) -> bytes:
    """Return the PNG with `metadata` as UTF-8 JSON in a packed iTXt chunk named `disco`, first of all.

    png: a whole PNG file. Raises TypeError for values that JSON does not know.
    Source: PNG specification (third edition), 11.3.3.4 iTXt.
    """
    try:
        text = json.dumps(metadata, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # a lone surrogate, from a command line that was not UTF-8
        text = json.dumps(metadata, ensure_ascii=True).encode()
    # keyword, packed, zlib, no language, no translated keyword
    body = KEYWORD + b"\0\x01\0\0\0" + zlib.compress(text, 9)
    chunk = struct.pack(">I", len(body)) + b"iTXt" + body + struct.pack(">I", zlib.crc32(b"iTXt" + body))
    end_of_header = len(_SIGNATURE) + 12 + 13
    return png[:end_of_header] + chunk + png[end_of_header:]


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Return what `with_metadata` stored in the picture at `path`.

    Raises InputError for a missing file, a file that is no PNG or a damaged one, a PNG without our chunk
    and a chunk that cannot be read.
    """
    return metadata_in(_read(path), path)


def metadata_in(png: bytes, path: str | Path = "picture") -> dict[str, Any]:
    """The same of a file's bytes. path: for the errors."""
    packed = None
    for kind, body in _chunks(png, path):
        if kind == b"iTXt" and body.startswith(KEYWORD + b"\0"):
            packed = body[len(KEYWORD) + 1 :]
            break
    if packed is None:
        raise InputError(f"{path}: a PNG, but without settings of Disco in it. {_UPLOADS}.")
    try:
        metadata = json.loads(_unpack(packed))
    except (ValueError, zlib.error, RecursionError) as error:
        raise InputError(f"{path}: damaged settings in this picture ({error}). {_UPLOADS}.") from error
    if not isinstance(metadata, dict):
        raise InputError(f"{path}: damaged settings in this picture (no mapping). {_UPLOADS}.")
    return metadata


def check_png(path: str | Path) -> None:
    """Return if the file at `path` is a whole PNG, all checksums right; else raise InputError."""
    for _ in _chunks(_read(path), path):
        pass


def png_size(path: str | Path) -> tuple[int, int]:
    """(width, height) by the file's head, and a look at its end: quick, where check_png reads all of it.

    Raises InputError for a missing file, one that is no PNG and one that is cut off.
    """
    with _input_errors(path), open_regular(path) as file:
        head = file.read(len(_SIGNATURE) + 16)
        file.seek(max(0, file.seek(0, os.SEEK_END) - len(_END)))
        end = file.read()
    if not head.startswith(_SIGNATURE) or end != _END:
        check_png(path)  # says what is wrong; to have something after its end is not
    width, height = struct.unpack_from(">II", head, len(_SIGNATURE) + 8)
    return width, height


def _read(path: str | Path) -> bytes:
    with _input_errors(path):
        return read_regular(path, _MAX_FILE)


@contextmanager
def _input_errors(path: str | Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: no such picture. Check the path; pictures are in images_out/.") from None
    except IsADirectoryError:
        raise InputError(f"{path}: a folder, not a picture. Give one PNG file.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}.") from error


def _chunks(data: bytes, path: str | Path) -> Iterator[tuple[bytes, bytes]]:
    """Yield (kind, body) of each chunk up to IEND; InputError on the first thing wrong."""
    if not data:
        raise InputError(f"{path}: an empty file, not a PNG.{_AGAIN}")
    if not data.startswith(_SIGNATURE):
        raise InputError(f"{path}: not a PNG. Only the PNGs that Disco wrote hold their settings.")
    at, kind, seen_pixels = len(_SIGNATURE), b"", False
    while kind != b"IEND":
        if at + 12 > len(data):
            raise InputError(f"{path}: a damaged PNG: it ends after {len(data)} bytes.{_AGAIN}")
        (length,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        end = at + 8 + length
        if end + 4 > len(data):
            raise InputError(f"{path}: a damaged PNG: it ends after {len(data)} bytes.{_AGAIN}")
        if zlib.crc32(data[at + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise InputError(f"{path}: a damaged PNG: wrong checksum at byte {at}.{_AGAIN}")
        seen_pixels = seen_pixels or kind == b"IDAT"
        yield kind, body
        at = end + 4
    if not seen_pixels:
        raise InputError(f"{path}: a damaged PNG: no pixels in it.{_AGAIN}")


def _unpack(packed: bytes) -> bytes:
    """The text of an iTXt body after its keyword; ValueError or zlib.error if it is damaged."""
    if len(packed) < 4:
        raise ValueError("too short")
    language_end = packed.index(b"\0", 2)
    text = packed[packed.index(b"\0", language_end + 1) + 1 :]
    if not packed[0]:
        return text
    unpacker = zlib.decompressobj()
    unpacked = unpacker.decompress(text, _MAX_TEXT)
    if unpacker.unconsumed_tail:
        raise ValueError(f"more than {_MAX_TEXT >> 20} MiB of text")
    if not unpacker.eof:
        raise ValueError("it ends early")
    return unpacked
