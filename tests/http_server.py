"""A web server on the loopback that misbehaves on order: cuts, lies, ignores Range, redirects, fails."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Page:
    """What one path answers. Each request takes the next of `cuts` (bytes before the connection ends)."""

    data: bytes = b""
    status: int = 200
    content_type: str = "application/octet-stream"
    etag: str | None = '"one"'
    has_range: bool = True
    wrong_start: bool = False  # answers a Range request with another part
    claimed: int | None = None  # Content-Length of the whole file, if not the truth
    has_length: bool = True
    location: str | None = None
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)  # the first requests get these
    gate: threading.Event | None = None  # the body waits for it
    headers: dict[str, str] = field(default_factory=dict)  # further ones


@dataclass
class Server:
    """pages: path -> Page. requests: (path, Range header or None) of every GET, in order."""

    url: str
    pages: dict[str, Page]
    requests: list[tuple[str, str | None]]


def _answer(handler: BaseHTTPRequestHandler, page: Page) -> None:
    status = page.statuses.pop(0) if page.statuses else page.status
    start, total = 0, page.claimed if page.claimed is not None else len(page.data)
    match = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range") or "")
    asked_for = handler.headers.get("If-Range")
    if status == 200 and match and page.has_range and asked_for in (None, page.etag):
        start = 0 if page.wrong_start else int(match[1])
        status = 206 if start < len(page.data) else 416
    handler.send_response(status)
    handler.send_header("Content-Type", page.content_type)
    if page.etag:
        handler.send_header("ETag", page.etag)
    for name, value in page.headers.items():
        handler.send_header(name, value)
    if page.location:
        handler.send_header("Location", page.location)
    if status == 416:
        handler.send_header("Content-Range", f"bytes */{len(page.data)}")
    elif status == 206:
        handler.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
    body = page.data[start:] if status in (200, 206) else b""
    if page.has_length:
        handler.send_header("Content-Length", str(total - start if status in (200, 206) else 0))
    handler.end_headers()
    if page.gate is not None:
        page.gate.wait(20)
    if handler.command == "GET":
        handler.wfile.write(body[: page.cuts.pop(0)] if page.cuts else body)


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"  # the connection ends with the answer, whole or not

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if self.command == "GET":
                server.requests.append((path, self.headers.get("Range")))
            with contextlib.suppress(ConnectionError):
                _answer(self, server.pages.get(path, Page(status=404)))

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextlib.contextmanager
def serve(_more: dict[str, Page] | None = None, **pages: Page) -> Iterator[Server]:
    """A server with these pages: serve(a=Page(b"...")) answers http://127.0.0.1:PORT/a."""
    server = Server("", {f"/{name}": page for name, page in {**(_more or {}), **pages}.items()}, [])
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    httpd.daemon_threads = True
    server.url = f"http://127.0.0.1:{httpd.server_address[1]}"
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()
