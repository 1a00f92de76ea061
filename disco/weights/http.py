"""Answers over HTTP: one open response, or the reason why not. Of the standard library alone."""

from __future__ import annotations

import contextlib
import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

TIMEOUT = 30.0  # seconds without a single byte, then the connection counts as cut
PATIENCE = 4  # attempts in a row that bring nothing new, then the next mirror
PAUSES = (0.5, 2.0, 5.0)  # seconds before the second, third, ... of them
_TRY_LATER = (408, 425, 429)  # and whatever is 500 or more


class MirrorFailed(Exception):
    """This mirror does not give the file; the text is the reason. The next one may."""


class Cut(Exception):
    """The connection ended early or never came about: worth another attempt at the same place."""


class Unreachable(Cut):
    """No connection at all: worth another attempt only where there has been one before."""


@contextlib.contextmanager
def request(url: str, headers: dict[str, str]) -> Iterator[Any]:
    """An open answer with status 200, 206 or 416. Raises MirrorFailed, or Cut where another try may help."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise MirrorFailed("only http and https addresses can be fetched")
    headers = {"User-Agent": "disco", "Accept-Encoding": "identity", **headers}
    opener = urllib.request.build_opener(_Redirects)
    try:
        response = opener.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            with error:
                yield error
            return
        error.close()
        reason = f"the server answers {error.code} {error.reason}"
        raise (Cut if error.code in _TRY_LATER or error.code >= 500 else MirrorFailed)(reason) from error
    except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
        raise Unreachable(network_reason(error)) from error
    with response:
        if response.headers.get_content_type() == "text/html":
            raise MirrorFailed("the server answers with a web page instead of the file")
        yield response


def read_url(url: str, most: int) -> bytes:
    """The bytes behind a URL, in memory. Raises MirrorFailed, also if they are more than `most`."""
    for idle in range(PATIENCE):
        pause(idle)
        try:
            with request(url, {}) as response:
                data, total = read_some(response, most + 1), length(response)
            if len(data) > most:
                raise MirrorFailed(f"it has more than the {readable_size(most)} that are allowed here")
            if total is None or len(data) >= total:
                return data
            raise Cut(f"connection cut after {len(data)} of {total} bytes")
        except Cut as cut:
            reason = str(cut)
            if isinstance(cut, Unreachable):
                break
    raise MirrorFailed(reason)


def read_some(response: Any, size: int) -> bytes:
    """The next bytes of an answer, b"" at its end. Raises Cut."""
    try:
        return bytes(response.read(size))
    except (OSError, http.client.HTTPException) as error:
        raise Cut(f"connection cut ({network_reason(error)})") from error


def content_range(response: Any) -> tuple[int | None, int | None]:
    """(first byte, size of the whole file) of a Content-Range header; None for what it does not say."""
    match = re.fullmatch(
        r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", "").strip()
    )
    if match is None:
        return None, None
    return (int(match[1]) if match[1] else None), (int(match[2]) if match[2] != "*" else None)


def length(response: Any) -> int | None:
    """What Content-Length says, in bytes."""
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isdigit() else None


def validator(response: Any) -> str:
    """What If-Range can hold the server to: a strong ETag, else the date, else nothing."""
    etag = response.headers.get("ETag", "")
    return str(etag if etag.startswith('"') else response.headers.get("Last-Modified", ""))


def network_reason(error: Exception) -> str:
    """A few words about a failed connection."""
    reason = getattr(error, "reason", None) or error
    if isinstance(reason, TimeoutError):
        return f"no answer for {TIMEOUT:.0f} seconds"
    return str(getattr(reason, "strerror", None) or reason) or type(reason).__name__


def pause(idle: int) -> None:
    """Wait before the next attempt; idle: how many in a row have brought nothing."""
    if idle:
        time.sleep(PAUSES[min(idle, len(PAUSES)) - 1])


def readable_size(size: int) -> str:
    """353976522 -> '354 MB'; decimal units, as disks and download pages count."""
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= scale:
            number = size / scale
            return f"{number:.1f} {unit}" if number < 10 else f"{number:.0f} {unit}"
    return f"{size} bytes"


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows 308 on Python 3.10 too, and never from https down to http."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise MirrorFailed(f"it redirects to an unprotected address, {newurl}")
        return super().redirect_request(req, fp, 307 if code == 308 else code, msg, headers, newurl)

    http_error_308 = urllib.request.HTTPRedirectHandler.http_error_302
