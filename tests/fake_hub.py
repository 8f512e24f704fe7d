"""A minimal Hugging Face Hub on loopback: metadata, redirects, ranges, faults."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class FakeHub:
    """Serves `files` ("owner/repo/file" -> bytes) and records every request.

    Attributes:
        break_after: per body, in order: close the connection after this many bytes; None sends everything.
        gated: repositories that respond with 401 and the Hub's code for gated repositories.
        announce: a checksum to announce instead of the true one.
        ranges: support Range requests.
        down: respond to every request with this status.
        hostile: answers requests for data in place of the server: called with the handler, the content and the Range.
        requests: (method, path, Range, Authorization) of every request.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    break_after: list[int | None] = field(default_factory=list)
    gated: set[str] = field(default_factory=set)
    announce: str | None = None
    ranges: bool = True
    down: int | None = None
    hostile: Callable[[BaseHTTPRequestHandler, bytes, str | None], None] | None = None
    requests: list[tuple[str, str, str | None, str | None]] = field(default_factory=list)

    def __enter__(self) -> FakeHub:
        self._closed = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def pause(self, seconds: float) -> None:
        """Wait in a handler, until the server is closed at the latest."""
        self._closed.wait(seconds)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def bodies(self) -> list[str | None]:
        """The Range header of every request for data, in order."""
        return [range_ for method, path, range_, _ in self.requests if method == "GET" and path.startswith("/store/")]


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub

    def log_message(self, format: str, *args: Any) -> None:
        del format, args

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        auth, range_ = self.headers.get("Authorization"), self.headers.get("Range")
        self.hub.requests.append((self.command, self.path, range_, auth))
        if self.hub.down is not None:
            self._fail(self.hub.down)
        elif self.path.startswith("/store/"):
            content = self.hub.files[self.path.removeprefix("/store/")]
            if self.hub.hostile is not None:
                self.hub.hostile(self, content, range_)
            else:
                self._body(content, range_)
        else:
            self._resolve()

    def _resolve(self) -> None:
        owner, repo, verb, revision, file = self.path.removeprefix("/").split("/", 4)
        name = f"{owner}/{repo}"
        assert verb == "resolve"
        if name in self.hub.gated:
            self._fail(401, "GatedRepo")
        elif not any(key.startswith(name + "/") for key in self.hub.files):
            self._fail(401, "RepoNotFound")
        elif revision not in ("main", COMMIT):
            self._fail(404, "RevisionNotFound")
        elif f"{name}/{file}" not in self.hub.files:
            self._fail(404, "EntryNotFound")
        else:
            content = self.hub.files[f"{name}/{file}"]
            etag = self.hub.announce or hashlib.sha256(content).hexdigest()
            self.send_response(302)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("X-Linked-Etag", f'"{etag}"')
            self.send_header("X-Linked-Size", str(len(content)))
            # Another host name, like the real one: a token must not be sent there.
            self.send_header("Location", f"http://localhost:{self.hub.port}/store/{name}/{file}")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _fail(self, status: int, code: str | None = None) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", f"\x1b[31m{code}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _body(self, content: bytes, range_: str | None) -> None:
        start = 0
        if range_ is not None and self.hub.ranges:
            start = int(range_.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        limit = self.hub.break_after.pop(0) if self.hub.break_after else None
        self.wfile.write(content[start:] if limit is None else content[start : start + limit])
