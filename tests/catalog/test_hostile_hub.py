"""Downloads from a hostile Hub: each ends in one sentence or the right file; a partial file is not taken for whole."""

from __future__ import annotations

import gzip
import hashlib
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from fake_hub import FakeHub

from rstitch_local.catalog import download, hub_body, hub_errors, store
from rstitch_local.catalog.schema import ModelFile
from rstitch_local.errors import DownloadError

BOMB = gzip.compress(bytes(10 << 20))
CONTENT = random.Random(3).randbytes(300_000)
FILE = ModelFile(file="a.gguf", repo="acme/models", size=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())
Answer = Callable[[BaseHTTPRequestHandler, bytes, str | None], None]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(hub_body, "RECONNECT_WAITS_S", (0.0, 0.0))
    with FakeHub({"acme/models/a.gguf": CONTENT}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    with suppress(OSError):
        handler.wfile.write(body)


def endlessly(handler: BaseHTTPRequestHandler, status: int, block: bytes) -> None:
    handler.send_response(status)
    handler.end_headers()
    with suppress(OSError):
        while True:
            handler.wfile.write(block)


REFUSED: dict[str, tuple[Answer, str]] = {
    "web page": (lambda h, _c, _r: send(h, 200, b"<html>Log in", Content_Type="text/html"), "sent a web page"),
    "gzip bomb": (lambda h, _c, _r: send(h, 200, BOMB, Content_Encoding="gzip"), "encoding gzip"),
    "endless body": (lambda h, _c, _r: endlessly(h, 200, bytes(1 << 16)), "sent more than the 300000 bytes"),
    "endless error": (lambda h, _c, _r: endlessly(h, 403, b"x" * (1 << 16)), "denied access"),
    "other bytes": (lambda h, c, _r: send(h, 200, bytes(len(c))), "SHA-256"),
    "a byte more": (lambda h, c, _r: send(h, 200, c + b"x"), "sent more than"),
    "a byte less": (lambda h, c, _r: send(h, 200, c[:-1]), "(it ended early) after 299999 of 300000 bytes"),
    "nothing": (lambda h, _c, _r: send(h, 204, b""), "HTTP 204"),
    "redirect loop": (lambda h, _c, _r: send(h, 302, b"", Location=h.path), "redirects"),
    "redirect to a file": (lambda h, _c, _r: send(h, 302, b"", Location="file:///etc/passwd"), "protocol"),
    "busy": (lambda h, _c, _r: send(h, 429, b"", Retry_After="0"), "HTTP 429"),
    "busy for long": (lambda h, _c, _r: send(h, 429, b"", Retry_After="999999999"), "HTTP 429"),
    "broken": (lambda h, _c, _r: send(h, 502, b"", X_Error_Message="why"), "HTTP 502"),
    "another range": (
        lambda h, c, _r: send(h, 206, c[7:], Content_Range=f"bytes 7-{len(c) - 1}/{len(c)}"), "another part of the",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_answer_is_refused_in_a_sentence(fake: FakeHub, name: str) -> None:
    fake.hostile, message = REFUSED[name]
    with pytest.raises(DownloadError) as caught:
        download.pull_file(FILE)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 500
    assert not store.path_of(FILE).exists()
    # The next download, from a server that is well again, has the right file.
    fake.hostile = None
    assert download.pull_file(FILE).read_bytes() == CONTENT


def test_a_resumed_download_that_gets_another_part_starts_again(fake: FakeHub) -> None:
    fake.break_after = [200_000, 0, 0]
    with pytest.raises(DownloadError):
        download.pull_file(FILE)

    def other_part(handler: BaseHTTPRequestHandler, content: bytes, range_: str | None) -> None:
        if range_ is None:
            send(handler, 200, content)
        else:
            size = len(content)
            send(handler, 206, content[5:], Content_Range=f"bytes 5-{size - 1}/{size}")

    fake.hostile = other_part
    assert download.pull_file(FILE).read_bytes() == CONTENT
    assert fake.bodies[-2:] == ["bytes=200000-", None]


def test_a_server_that_sends_a_byte_now_and_then_is_given_up(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_body, "STALL_LIMIT_S", 0.3)

    def trickle(handler: BaseHTTPRequestHandler, content: bytes, range_: str | None) -> None:
        start = 0 if range_ is None else int(range_[6:-1])
        handler.send_response(200 if range_ is None else 206)
        handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        handler.send_header("Content-Length", str(len(content) - start))
        handler.end_headers()
        with suppress(OSError):
            for index in range(start, start + 60):
                handler.wfile.write(content[index : index + 1])
                fake.pause(0.02)

    fake.hostile = trickle
    with pytest.raises(DownloadError, match="less than 4,096 bytes in 0 s"):
        download.pull_file(FILE)
    kept = store.file_state(FILE).size
    assert 0 < kept < 400
    fake.hostile = None
    assert download.pull_file(FILE).read_bytes() == CONTENT
    assert fake.bodies[-1] == f"bytes={kept}-"


def test_a_file_without_a_checksum_must_be_a_model_file(fake: FakeHub) -> None:
    fake.announce = "not a checksum"
    file = ModelFile(file="a.gguf", repo="acme/models")
    with pytest.raises(DownloadError, match="not a GGUF file"):
        download.pull_file(file)
    assert store.partial_files(store.path_of(file)) == []
    fake.files["acme/models/a.gguf"] = b"GGUF" + CONTENT
    assert download.pull_file(file).read_bytes() == b"GGUF" + CONTENT


def test_a_longer_wait_than_the_limit_is_told(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_errors, "MAX_RETRY_AFTER_S", 5.0)
    fake.hostile = lambda handler, _content, _range: send(handler, 429, b"", Retry_After="600")
    with pytest.raises(DownloadError, match=r"HTTP 429.*Try again in 600 s\. The download resumes"):
        download.pull_file(FILE)
