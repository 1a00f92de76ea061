"""The text of an old settings file: UTF-8 or UTF-16 like ours, or a guess that the report names."""

from __future__ import annotations

from pathlib import Path

from disco.errors import InputError
from disco.files.regular import MAX_SETTINGS, read_regular
from disco.files.text_files import NotTextError, decode

UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
# Of files that are not UTF-8: what Disco wrote on a Windows of China, where the text fits, or of the West.
GUESSES = {"gbk": "GBK", "cp1252": "Windows-1252"}
_CHINESE = (("\u3000", "\u303f"), ("\u4e00", "\u9fff"), ("\uff00", "\uffef"), ("\u2014", "\u2026"))


def read_text(path: Path) -> tuple[str, str]:
    """The text, and the encoding in words: "UTF-8" for all that our own settings files may have too.

    Raises InputError for a file that cannot be read or is no text.
    """
    try:
        raw = read_regular(path, MAX_SETTINGS)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        return decode(raw), "UTF-8"
    except NotTextError as error:
        if b"\0" in raw or raw.startswith(UTF16_MARKS):
            raise InputError(f"{path}:{error.line}: {error}") from None
    for encoding, name in GUESSES.items():
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        if encoding != "gbk" or _is_chinese(text):
            return text, name
    raise InputError(f"{path}: not a text file in UTF-8, GBK or Windows-1252; save it as UTF-8")


def _is_chinese(text: str) -> bool:
    """Are all characters beyond ASCII common in Chinese? Other text, read as GBK, gives rare ones."""
    beyond = [char for char in text if char > "\x7f"]
    return all(
        len(char.encode("gb2312", "ignore")) == 2 and any(low <= char <= high for low, high in _CHINESE)
        for char in beyond
    )
