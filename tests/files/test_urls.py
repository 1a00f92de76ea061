"""Addresses on the web: told from paths, in ASCII, or refused with a sentence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disco.files.urls import ascii_url, is_url


def test_addresses_are_told_from_paths() -> None:
    assert all(map(is_url, ["http://a/b.png", "HTTPS://a/b.png", "HtTp://a", "http:/a"]))
    assert not any(map(is_url, ["a.png", "http.png", "ftp://a/b", "folder/http://a", "https", "C:/http"]))


@pytest.mark.parametrize(
    ("url", "ascii_text"),
    [
        ("http://example.org/a b/é.png?q=ü#part", "http://example.org/a%20b/%C3%A9.png?q=%C3%BC"),
        ("HTTP://Example.org", "http://example.org/"),
        ("http://bücher.example/a%20b%C3%A9", "http://xn--bcher-kva.example/a%20b%C3%A9"),
        ("https://[::1]:8080/a", "https://[::1]:8080/a"),
        ("http://127.0.0.1:80/a,b;c=[d]@e", "http://127.0.0.1:80/a,b;c=[d]@e"),
        ("http://b%C3%BCcher.example/", "http://xn--bcher-kva.example/"),
    ],
)
def test_what_is_sent(url: str, ascii_text: str) -> None:
    assert ascii_url(url) == ascii_text


HOST = "cannot be the name of a host"
PORT = "the port in the address is no number from 1 to 65535"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://a/b", "only http and https addresses can be fetched"),
        ("http:///b", "the address names no host"),
        ("http:/a/b", "the address names no host"),
        ("http://[::1/b", "the host in the address cannot be read"),
        ("http://a..b/c", f"a..b {HOST}"),
        ("http://a b/c", f"a b {HOST}"),
        ("http://a%2Fb/c", f"a%2Fb {HOST}"),
        ("http://a%0Ab/c", f"a%0Ab {HOST}"),
        (f"http://{'a' * 64}/b", f"{'a' * 57}... {HOST}"),
        (f"http://{'a.' * 200}b/c", f"{'a.' * 28}a... {HOST}"),
        ("http://a:b/c", PORT),
        ("http://a:0/c", PORT),
        ("http://a:65536/c", PORT),
        ("http://a:-1/c", PORT),
        (f"http://a:{'9' * 5000}/c", PORT),
        ("http://me:secret@a/b", "addresses with a user name or password are not supported"),
        ("http://a/b\nc", "the address holds a control character or a line break"),
        ("http://a/\ud800", "the address holds half a character (a lone surrogate)"),
        (f"http://a/{'b' * 8000}", "the address has 8009 characters, 8000 at most are allowed"),
    ],
)
def test_what_is_refused(url: str, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        ascii_url(url)
    assert str(caught.value) == reason


@given(st.text(max_size=40), st.text(max_size=20))
def test_any_text_is_ascii_or_a_sentence(host: str, rest: str) -> None:
    try:
        url = ascii_url(f"http://{host}/{rest}")
    except ValueError as error:
        assert type(error) is ValueError and "\n" not in str(error)
    else:
        assert url.isascii() and " " not in url and ascii_url(url) == url
