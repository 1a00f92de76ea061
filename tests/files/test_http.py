"""Pictures by URL: limits, redirects and statuses. On a fake clock, and twice on the loopback."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import repeat

import pytest

from disco.errors import InputError
from disco.files import http
from tests.fake_web import Answer, FakeWeb, Server
from tests.http_server import Page, serve

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
PAGE = OK + b"Content-Type: text/html\r\n\r\n"
NINES = OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n"


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> FakeWeb:
    return FakeWeb().install(monkeypatch)


def says(*parts: bytes) -> Server:
    return lambda path, header: iter([(0.1, part) for part in parts])


def refusal(url: str) -> str:
    with pytest.raises(InputError) as caught:
        http.fetch_picture(url)
    start, text = f"{url}: cannot be fetched: ", str(caught.value)
    assert text.startswith(start) and text.endswith(".") and "\n" not in text
    return text[len(start) : -1]


def drip(path: str, header: dict[str, str]) -> Answer:
    yield 0.1, OK + b"\r\n"
    yield from repeat((29.0, b"x"))


def drip_header(path: str, header: dict[str, str]) -> Answer:
    yield 0.1, OK + b"X-Long: "
    yield from repeat((20.0, b"x"))


def endless_continue(path: str, header: dict[str, str]) -> Answer:
    return repeat((0.5, b"HTTP/1.1 100 Continue\r\n\r\n"))


def endless_body(path: str, header: dict[str, str]) -> Answer:
    yield 0.1, OK + b"\r\n"
    yield from repeat((1.0, bytes(2000)))


def silence(path: str, header: dict[str, str]) -> Answer:
    return repeat((1e9, b""))


@pytest.mark.parametrize(
    ("server", "reason"),
    [
        (drip, "slower than 1000 bytes a second for 87 seconds"),
        (drip_header, "not done within 300 seconds"),
        (endless_continue, "not done within 300 seconds"),
        (endless_body, "not done within 300 seconds"),
        (silence, "no answer for 30 seconds"),
    ],
)
def test_the_whole_has_a_limit(web: FakeWeb, server: Server, reason: str) -> None:
    web.servers["a"] = server
    assert refusal("http://a/b.png") == reason or (server is drip and web.clock.now >= 300)
    assert web.clock.now <= 301


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 206 Partial Content\r\n\r\nabc", "the server answers 206 Partial Content"),
        (b"HTTP/1.1 416 Too far\r\n\r\nabc", "the server answers 416 Too far"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "the server answers 204 No Content"),
        (b"HTTP/1.1 103 Early\r\n\r\n", "the server answers 103 Early"),
        (PAGE + b"abc", "the server answers with a web page instead of the file"),
        (NINES + b"abc", f"the server says that it has {'9' * 27}... bytes"),
        (OK + b"Content-Length: \xb2\r\n\r\nabc", "the server says that it has \xb2 bytes"),
        (OK + b"Content-Length: -5\r\n\r\nabc", "the server says that it has -5 bytes"),
        (OK + b"Content-Length: 1000000000\r\n\r\nabc", "it has more than the 268 MB that are allowed here"),
        (OK + b"Content-Length: 9\r\n\r\nabc", "connection cut after 3 of 9 bytes"),
        (CHUNKED + b"zz\r\nabc", "connection cut (IncompleteRead(0 bytes read))"),
        (OK + b"X: y\r\n" * 200 + b"\r\n", "got more than 100 headers"),
        (b"no\r\nHTTP\x1b[31m\r\n\r\n", "no"),
        (b"", "Remote end closed connection without response"),
        (b"HTTP/1.1 302 Found\r\n\r\n", "it redirects without saying where to"),
    ],
)
def test_answers_that_are_no_picture(web: FakeWeb, answer: bytes, reason: str) -> None:
    web.servers["a"] = says(answer)
    assert refusal("http://a/b.png") == reason
    assert web.clock.now < 30


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        (b"ftp://b/c", "ftp://b/c: only http and https addresses can be fetched"),
        (b"file:///etc/passwd", "file:///etc/passwd: only http and https addresses can be fetched"),
        (b"data:,x", "data:,x: only http and https addresses can be fetched"),
        (b"http://[b/c", "http://[b/c: "),
        (b"http://b:99999/c", "http://b:99999/c: the port in the address is no number from 1 to 65535"),
    ],
)
def test_redirects_that_are_not_followed(web: FakeWeb, location: bytes, reason: str) -> None:
    web.servers["a"] = says(b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\n\r\n")
    assert refusal("http://a/b.png").startswith(f"it redirects to {reason}")
    assert web.asked == ["http://a/b.png"]


def test_redirects_are_followed_ten_times(web: FakeWeb) -> None:
    def next_page(path: str, header: dict[str, str]) -> Answer:
        where = f"/{int(path[1:]) + 1}".encode()
        yield 0.1, b"HTTP/1.1 302 Found\r\nLocation: " + where + b"\r\n\r\n"
        yield from repeat((0.0, b"a body without an end"))

    web.servers["a"] = next_page
    assert refusal("http://a/0") == "it redirects more than 10 times"
    assert len(web.asked) == 11


def test_a_redirect_to_an_address_in_utf_8(web: FakeWeb) -> None:
    web.servers["a"] = says("HTTP/1.1 302 Found\r\nLocation: //b/é x.png\r\n\r\n".encode())
    web.servers["b"] = says(OK + b"\r\nab", b"c")
    assert http.fetch_picture("HTTP://a/ü.png") == b"abc"
    assert web.asked == ["http://a/%C3%BC.png", "http://b/%C3%A9%20x.png"]


def test_no_server(web: FakeWeb) -> None:
    assert refusal("http://a/b.png") == "Connection refused"
    assert refusal("http://a:x/b.png") == "the port in the address is no number from 1 to 65535"


def test_chunks_of_a_negative_size_are_not_read_whole(web: FakeWeb) -> None:
    def server(path: str, header: dict[str, str]) -> Iterator[tuple[float, bytes]]:
        yield 0.1, OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n"
        yield from repeat((10.0, bytes(1 << 16)))

    web.servers["a"] = server
    assert refusal("http://a/b.png")
    assert web.clock.now <= 301


# ---- on the loopback ---------------------------------------------------------------------------------------


def test_pictures_from_the_web(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "PAUSES", (0.0,))
    with serve(a=Page(b"picture"), b=Page(b"cut off", claimed=99)) as server:
        assert http.fetch_picture(f"{server.url}/a") == b"picture"
        assert refusal(f"{server.url}/b") == "connection cut after 7 of 99 bytes"
        assert refusal(f"{server.url}/c") == "the server answers 404 Not Found"


def test_a_picture_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "PICTURE_BYTES", 100_000)
    with serve(a=Page(bytes(200_000)), b=Page(bytes(200_000), has_length=False)) as server:
        for name in "ab":
            assert refusal(f"{server.url}/{name}") == "it has more than the 100 kB that are allowed here"


def test_a_server_that_keeps_still_ends_with_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "PICTURE_SECONDS", 0.3)
    gate = threading.Event()
    with serve(a=Page(b"picture", gate=gate)) as server:
        assert refusal(f"{server.url}/a") == "not done within 0 seconds"
        gate.set()
