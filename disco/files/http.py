"""Files on the web over http(s): the one client, for pictures and weights. Of the standard library alone.

Three limits hold every request: TIMEOUT without a byte, LEAST_SPEED, and a TimeLimit for the whole of it.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import io
import re
import string
import time
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urljoin

from disco.errors import InputError, shortened
from disco.files.urls import ascii_url

TIMEOUT = 30.0  # seconds without a single byte, then the connection counts as cut
LEAST_SPEED = 1000  # bytes a second, on average over SPEED_WINDOW
SPEED_WINDOW = 60.0  # seconds
PATIENCE = 4  # attempts in a row that bring nothing new, then the next mirror
PAUSES = (0.5, 2.0, 5.0)  # seconds before the second, third, ... of them
MOST_REDIRECTS = 10
PICTURE_SECONDS = 300.0  # for one picture, all attempts together
PICTURE_BYTES = 256 << 20
CHUNK = 1 << 16  # bytes
_REDIRECTS = (301, 302, 303, 307, 308)
_TRY_LATER = (408, 425, 429)  # and whatever is 500 or more


class FetchError(Exception):
    """This address does not give the file; the text is the reason. Another mirror may."""


class Cut(Exception):
    """The connection ended early or never came about: worth another attempt at the same place."""


class Unreachable(Cut):
    """No connection at all: worth another attempt only where there has been one before."""


class TimeLimit:
    """Seconds that all attempts at one address may take together, from now on."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        return self._end - time.monotonic()

    def check(self) -> None:
        """Raise FetchError once the time is over."""
        if self.left() <= 0:
            is_long = self.seconds >= 7200
            text = f"{self.seconds / 3600:.0f} hours" if is_long else f"{self.seconds:.0f} seconds"
            raise FetchError(f"not done within {text}")


@contextlib.contextmanager
def request(url: str, headers: dict[str, str], limit: TimeLimit) -> Iterator[Any]:
    """An open answer with status 200; with a Range header also 206 or 416.

    Redirects are followed, to http and https alone. Raises FetchError, or Cut where another try may help.
    """
    headers = {"User-Agent": "disco", "Accept-Encoding": "identity", **headers}
    with _follow(url, headers, limit) as response:
        _check_status(response, "Range" in headers)
        yield response


def fetch_picture(url: str) -> bytes:
    """The bytes of a picture on the web, at most 256 MiB, within 300 seconds. Raises InputError."""
    try:
        return read_url(url, PICTURE_BYTES, PICTURE_SECONDS)
    except FetchError as error:
        raise InputError(f"{shortened(url, 200)}: cannot be fetched: {error}.") from error


def read_url(url: str, most: int, seconds: float) -> bytes:
    """The bytes behind a URL, in memory. Raises FetchError, also if they are more than `most`."""
    limit = TimeLimit(seconds)
    for idle in range(PATIENCE):
        pause(idle)
        try:
            with request(url, {}, limit) as response:
                return _read_all(response, most, limit)
        except Cut as cut:
            limit.check()
            reason = str(cut)
            if isinstance(cut, Unreachable):
                break
    raise FetchError(reason)


def chunks(response: Any, limit: TimeLimit) -> Iterator[bytes]:
    """The body of an answer as it arrives. Raises Cut, also below LEAST_SPEED; FetchError past the limit."""
    start, arrived = time.monotonic(), 0
    while True:
        try:
            chunk = bytes(response.read1(CHUNK))
        except (OSError, http.client.HTTPException, ValueError) as error:
            limit.check()
            raise Cut(f"connection cut ({network_reason(error)})") from error
        if not chunk:
            return
        limit.check()
        arrived += len(chunk)
        seconds = time.monotonic() - start
        if seconds >= SPEED_WINDOW:
            if arrived < LEAST_SPEED * seconds:
                raise Cut(f"slower than {LEAST_SPEED} bytes a second for {seconds:.0f} seconds")
            start, arrived = time.monotonic(), 0
        yield chunk


def content_range(response: Any) -> tuple[int | None, int | None]:
    """(first byte, size of the whole file) of a Content-Range header; None for what it does not say."""
    match = re.fullmatch(
        r"bytes (?:([0-9]{1,18})-[0-9]{1,18}|\*)/([0-9]{1,18}|\*)",
        response.headers.get("Content-Range", "").strip(),
    )
    if match is None:
        return None, None
    return (int(match[1]) if match[1] else None), (int(match[2]) if match[2] != "*" else None)


def length(response: Any) -> int | None:
    """What Content-Length says, in bytes; None without one. Raises FetchError for one that is no length."""
    text = response.headers.get("Content-Length")
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", text.strip()):
        raise FetchError(f"the server says that it has {shortened(_one_line(text), 30)} bytes")
    return int(text)


def validator(response: Any) -> str:
    """What If-Range can hold the server to: a strong ETag, else the date, else nothing."""
    etag = response.headers.get("ETag", "")
    return str(etag if etag.startswith('"') else response.headers.get("Last-Modified", ""))


def network_reason(error: Exception) -> str:
    """A few words about a failed connection, on one line."""
    reason = getattr(error, "reason", None) or error
    if isinstance(reason, TimeoutError):
        return f"no answer for {TIMEOUT:.0f} seconds"
    text = _one_line(str(getattr(reason, "strerror", None) or reason))
    return shortened(text, 200) or type(reason).__name__


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


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _read_all(response: Any, most: int, limit: TimeLimit) -> bytes:
    total, data = length(response), bytearray()
    for chunk in chunks(response, limit) if total is None or total <= most else ():
        data += chunk
        if len(data) > most:
            break
    if len(data) > most or (total or 0) > most:
        raise FetchError(f"it has more than the {readable_size(most)} that are allowed here")
    if total is not None and len(data) < total:
        raise Cut(f"connection cut after {len(data)} of {total} bytes")
    return bytes(data)


def _follow(url: str, headers: dict[str, str], limit: TimeLimit) -> Any:
    """The first answer that is no redirect."""
    try:
        address = ascii_url(url)
    except ValueError as error:
        raise FetchError(str(error)) from error
    for _ in range(MOST_REDIRECTS + 1):
        response = _open(address, headers, limit)
        if response.status not in _REDIRECTS:
            return response
        response.close()  # unread: its body may have no end
        address = _redirected(address, response.headers.get("Location", ""))
    raise FetchError(f"it redirects more than {MOST_REDIRECTS} times")


def _redirected(address: str, location: str) -> str:
    if not location.strip():
        raise FetchError("it redirects without saying where to")
    try:  # http.client reads headers as Latin-1: these are the bytes that were sent
        sent = urljoin(address, quote(location.strip(), safe=string.punctuation, encoding="latin-1"))
        target = ascii_url(sent)
    except ValueError as error:
        raise FetchError(f"it redirects to {shortened(_one_line(location), 200)}: {error}") from error
    if address.startswith("https:") and not target.startswith("https:"):
        raise FetchError(f"it redirects to an unprotected address, {shortened(target, 200)}")
    return target


def _open(address: str, headers: dict[str, str], limit: TimeLimit) -> Any:
    """The answer of one server, whatever its status; proxies of the environment are used."""
    limit.check()
    opener = urllib.request.OpenerDirector()
    for handler in (urllib.request.ProxyHandler(), _Client(limit), urllib.request.UnknownHandler()):
        opener.add_handler(handler)
    try:
        sent = urllib.request.Request(address, headers=headers)
        return opener.open(sent, timeout=min(TIMEOUT, limit.left()))
    except (OSError, http.client.HTTPException, ValueError) as error:  # URLError is an OSError
        limit.check()
        raise Unreachable(network_reason(error)) from error


def _check_status(response: Any, is_part: bool) -> None:
    status = response.status
    if status != 200 and not (is_part and status in (206, 416)):
        reason = shortened(_one_line(f"the server answers {status} {response.reason}"), 200)
        raise (Cut if status in _TRY_LATER or status >= 500 else FetchError)(reason)
    if status != 416 and response.headers.get_content_type() == "text/html":
        raise FetchError("the server answers with a web page instead of the file")


class _Client(urllib.request.HTTPHandler):
    """Opens http and https so that every read of an answer, its header included, ends with the limit."""

    def __init__(self, limit: TimeLimit) -> None:
        super().__init__()
        self.limit = limit

    def http_open(self, req: Any) -> Any:
        return self.do_open(functools.partial(self._connect, http.client.HTTPConnection), req)

    def https_open(self, req: Any) -> Any:
        return self.do_open(functools.partial(self._connect, http.client.HTTPSConnection), req)

    https_request = urllib.request.HTTPHandler.http_request

    def _connect(self, kind: Any, host: str, **options: Any) -> Any:
        connection = kind(host, **options)
        connection.response_class = functools.partial(_Response, limit=self.limit)
        return connection


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: Any, *args: Any, limit: TimeLimit, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        raw: Any = self.fp
        self.fp = io.BufferedReader(_TimedReads(raw.detach(), sock, limit))


class _TimedReads(io.RawIOBase):
    """The bytes of a socket; each read waits for TIMEOUT at most, and never past the limit."""

    def __init__(self, raw: Any, sock: Any, limit: TimeLimit) -> None:
        self._raw, self._sock, self._limit = raw, sock, limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._limit.left()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(min(TIMEOUT, left))
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        super().close()
        self._raw.close()
