"""Servers without a network or waiting: sockets that answer from memory, and a clock that they move."""

from __future__ import annotations

import http.client
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from disco.files import http as client


@dataclass
class Clock:
    """Stands in for the module time."""

    now: float = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


Answer = Iterator[tuple[float, bytes]]  # (seconds before these bytes, the bytes)
Server = Callable[[str, "dict[str, str]"], Answer]  # of a path and the header in small letters


@dataclass
class FakeWeb:
    """servers: host -> what it answers. asked: the URLs, in order."""

    clock: Clock = field(default_factory=Clock)
    servers: dict[str, Server] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def connect(self, address: tuple[str, int], *_: Any, **__: Any) -> _Socket:
        if address[0] not in self.servers:
            raise ConnectionRefusedError(111, "Connection refused")
        return _Socket(self, address[0])

    def install(self, monkeypatch: pytest.MonkeyPatch) -> FakeWeb:
        monkeypatch.setattr(client, "time", self.clock)
        monkeypatch.setattr(http.client.socket, "create_connection", self.connect)  # type: ignore[attr-defined]
        monkeypatch.setenv("no_proxy", "*")
        return self


class _Socket:
    def __init__(self, web: FakeWeb, host: str) -> None:
        self.web, self.host, self.sent, self.timeout = web, host, b"", 30.0

    def sendall(self, data: bytes) -> None:
        self.sent += data

    def settimeout(self, seconds: float) -> None:
        assert seconds > 0
        self.timeout = seconds

    def makefile(self, mode: str) -> io.BufferedReader:
        first, *lines = self.sent.decode("ascii").split("\r\n")
        path = first.split(" ")[1]
        self.web.asked.append(f"http://{self.host}{path}")
        header = {name.lower(): text for name, _, text in (line.partition(": ") for line in lines)}
        return io.BufferedReader(_Arriving(self, self.web.servers[self.host](path, header)))

    def setsockopt(self, *_: Any) -> None:
        pass

    def close(self) -> None:
        pass


class _Arriving(io.RawIOBase):
    def __init__(self, sock: _Socket, answer: Answer) -> None:
        self.sock, self.answer, self.rest, self.wait = sock, answer, b"", 0.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self.rest:
            wait, self.rest = next(self.answer, (0.0, b""))
            if wait > self.sock.timeout:
                self.sock.web.clock.now += self.sock.timeout
                raise TimeoutError("timed out")
            self.sock.web.clock.now += wait
        count = min(len(buffer), len(self.rest))
        buffer[:count], self.rest = self.rest[:count], self.rest[count:]
        return count
