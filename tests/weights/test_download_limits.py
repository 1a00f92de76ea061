"""Mirrors that are wrong in every way at once: each ends within the limit, and the next one is asked.

A fake web and a fake clock: nothing is sent and nobody waits.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from disco.errors import WeightsError
from disco.files import http
from disco.weights import download, fetch
from disco.weights.download import MIRROR_SECONDS, Expected
from disco.weights.registry import Entry, WeightFile
from tests.fake_web import Answer, FakeWeb, Server

DATA = bytes(range(256)) * 40  # 10,240 bytes
SHA = hashlib.sha256(DATA).hexdigest()

STATUSES = ("200", "404", "503", "204")
RANGES = ("right", "none", "smaller 416", "from byte 0", "nonsense")
LENGTHS = ("right", "none", "too small", "too large", "absurd")
BODIES = ("whole", "cut", "empty", "endless", "other bytes")
SPEEDS = ("fast", "a byte now and then", "never")
REDIRECTS = ("none", "one", "to ftp", "circle")
KNOWN = {
    "hash": Expected(None, SHA),
    "size": Expected(len(DATA), None),
    "both": Expected(len(DATA), SHA),
    "nothing": Expected(),
}
RIGHT = ("200", "right", "right", "whole", "fast", "none")
ALL = (STATUSES, RANGES, LENGTHS, BODIES, SPEEDS, REDIRECTS)


def two_wrong() -> list[tuple[str, ...]]:
    """Every answer that is wrong in at most two of the six ways; three with a part that Range asks for."""
    behaviours = []
    for behaviour in itertools.product(*ALL):
        wrong = sum(mine != right for mine, right in zip(behaviour, RIGHT, strict=True))
        is_asked_for_the_rest = behaviour[3] == "cut" and behaviour[0] == "200" and behaviour[5] == "none"
        if wrong <= 2 or (wrong == 3 and is_asked_for_the_rest and behaviour[1] != "right"):
            behaviours.append(behaviour)
    return behaviours


def length_of(kind: str, size: int) -> str | None:
    sizes = {"right": size, "too small": size // 2, "too large": size * 2, "absurd": 10**17, "none": None}
    length = sizes[kind]
    return None if length is None else str(length)


def body_of(kind: str, data: bytes) -> Any:
    if kind == "endless":
        return itertools.repeat(bytes(1 << 16))
    return {"whole": [data], "cut": [data[:1]], "empty": [], "other bytes": [b"x" * len(data)]}[kind]


def partial(kind: str, asked: int) -> tuple[str, int, str]:
    """(status, first byte sent, Content-Range) to a request from byte `asked` on."""
    last = f"{len(DATA) - 1}/{len(DATA)}"
    if kind == "right":
        return "206", asked, f"bytes {asked}-{last}"
    if kind == "from byte 0":
        return "206", 0, f"bytes 0-{last}"
    if kind == "smaller 416":
        return "416", 0, "bytes */0"
    return ("206", asked, "bytes x-y/z") if kind == "nonsense" else ("200", 0, "")


def mirror(behaviour: tuple[str, ...]) -> Server:
    status, range_, length, body, speed, redirect = behaviour

    def answer(path: str, header: dict[str, str]) -> Answer:
        location = {"one": "/moved", "to ftp": "ftp://b/c", "circle": "/net", "none": ""}[redirect]
        if location and path != "/moved":
            yield 0.1, f"HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n".encode()
            return
        code, start, lines = status, 0, ""
        if status == "200" and "range" in header:
            asked = int(re.sub(r"\D", "", header["range"]))
            code, start, where = partial(range_, asked)
            lines = f"Content-Range: {where}\r\n" if where else ""
        says = length_of(length, len(DATA) - start)
        lines += "" if says is None else f"Content-Length: {says}\r\n"
        yield 0.1, f'HTTP/1.1 {code} Answer\r\nETag: "one"\r\n{lines}\r\n'.encode()
        for piece in body_of(body, DATA[start:]) if code in ("200", "206") else ():
            if speed == "a byte now and then":
                yield from ((25.0, piece[k : k + 1]) for k in range(len(piece)))
            else:
                yield 1e9 if speed == "never" else 0.1, piece

    return answer


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeWeb:
    """A web beside a disk with room for 2 MB, of which what has been written is gone."""
    monkeypatch.setattr(download, "LOOK", 1 << 18)
    monkeypatch.setattr(download.os, "fsync", lambda number: None)
    usage = shutil.disk_usage(tmp_path)

    def left(folder: Path) -> Any:
        written = sum(path.stat().st_size for path in tmp_path.rglob("net.pth*"))
        return usage._replace(free=download.SPARE + 2_000_000 - written)

    monkeypatch.setattr(download.shutil, "disk_usage", left)
    monkeypatch.setenv("DISCO_MODELS", str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return FakeWeb().install(monkeypatch)


def network(expected: Expected, *hosts: str) -> Entry:
    mirrors = tuple(f"http://{host}/net" for host in hosts)
    file = WeightFile(name="net.pth", bytes=expected.size, sha256=expected.sha256, mirrors=mirrors)
    return Entry(name="net", kind="secondary", title="A network", files=(file,), architecture={})


@pytest.mark.parametrize("known", KNOWN)
def test_every_wrong_mirror_ends_and_the_next_is_asked(web: FakeWeb, tmp_path: Path, known: str) -> None:
    web.servers["good"] = mirror(RIGHT)
    for behaviour in two_wrong():
        web.servers["bad"] = mirror(behaviour)
        start = web.clock.now
        path = fetch.fetch(network(KNOWN[known], "bad", "good"))["net.pth"]
        assert web.clock.now - start <= 2 * MIRROR_SECONDS + 1, behaviour
        assert len(web.asked) <= 60, (behaviour, web.asked)
        if known in ("hash", "both"):
            assert path.read_bytes() == DATA, behaviour
        if known == "size":
            assert path.stat().st_size == len(DATA), behaviour
        for left in tmp_path.iterdir():
            left.unlink()
        web.asked.clear()


@pytest.mark.parametrize("known", ["hash", "nothing"])
def test_wrong_mirrors_alone_end_with_one_sentence_each(web: FakeWeb, tmp_path: Path, known: str) -> None:
    for behaviour in two_wrong():
        web.servers["one"] = web.servers["two"] = mirror(behaviour)
        start = web.clock.now
        try:
            fetch.fetch(network(KNOWN[known], "one", "two"))
        except WeightsError as error:
            first, *reasons, last = str(error).splitlines()
            assert first.startswith("net.pth: no source could deliver it"), behaviour
            assert [reason.partition(": ")[0] for reason in reasons] == [
                "  http://one/net",
                "  http://two/net",
            ], behaviour
            assert last.startswith("Put it at"), behaviour
        assert web.clock.now - start <= 2 * MIRROR_SECONDS + 1, behaviour
        for left in tmp_path.iterdir():
            left.unlink()


def test_a_mirror_that_brings_a_little_each_time_is_left(web: FakeWeb) -> None:
    """Each attempt resumes rightly and brings one byte more."""
    web.servers["slow"] = mirror(("200", "right", "right", "cut", "fast", "none"))
    web.servers["good"] = mirror(RIGHT)
    fetch.fetch(network(Expected(None, SHA), "slow", "good"))
    assert web.asked == ["http://slow/net"] * http.PATIENCE + ["http://good/net"]


def test_a_steady_mirror_without_end_has_a_limit(web: FakeWeb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "MIRROR_SECONDS", 300.0)

    def steady(path: str, header: dict[str, str]) -> Answer:
        yield 0.1, b"HTTP/1.1 200 OK\r\n\r\n"
        yield from itertools.repeat((1.0, bytes(2000)))

    web.servers["steady"] = steady
    with pytest.raises(WeightsError) as caught:
        fetch.fetch(network(Expected(), "steady"))
    assert "  http://steady/net: not done within 300 seconds\n" in str(caught.value)
    assert 300 <= web.clock.now <= 302
