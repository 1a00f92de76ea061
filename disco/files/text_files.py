"""The text of a file: which encodings are read, and halves of characters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_MARKS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_HALF = re.compile("[\ud800-\udfff]")
HALF = "half a character (U+{:04X}) without its other half: write the character itself"


class NotTextError(ValueError):
    """Bytes that are no text in the encodings that are read; `line`: of the first such byte, from 1."""

    def __init__(self, line: int, what: str) -> None:
        self.line = line
        super().__init__(what)


def decode(raw: bytes) -> str:
    """UTF-8, with a mark or without, and UTF-16 with a mark. Raises NotTextError for anything else."""
    encoding = next((name for mark, name in _MARKS.items() if raw.startswith(mark)), "utf-8")
    try:
        text = raw.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    except UnicodeDecodeError as error:
        line, byte = raw[: error.start].count(b"\n") + 1, raw[error.start : error.start + 1].hex()
        what = f"the file is not {encoding.upper()} text (byte 0x{byte}); save it as UTF-8"
        raise NotTextError(line, what) from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        is_wide = raw[:4].count(0) >= 1 and encoding == "utf-8"
        what = "UTF-16 or UTF-32 without a mark" if is_wide else "not a text file"
        raise NotTextError(line, f"{what}; save it as UTF-8")
    return text


def join_halves(text: str) -> str:
    """The text with pairs of UTF-16 halves, as JSON escapes write them, joined to characters.

    Raises ValueError for half a character without its other half.
    """
    if _HALF.search(text) is None:
        return text
    joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    lone = _HALF.search(joined)
    if lone is not None:
        raise ValueError(HALF.format(ord(lone.group())))
    return joined


def join_all_halves(data: Any) -> Any:
    """As join_halves, for every text inside lists and mappings, keys too."""
    if isinstance(data, str):
        return join_halves(data)
    if isinstance(data, list):
        return [join_all_halves(part) for part in data]
    if isinstance(data, Mapping):
        return {join_all_halves(key): join_all_halves(part) for key, part in data.items()}
    return data
