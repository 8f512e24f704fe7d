"""Read the body of a file from the Hub, reconnecting where the last connection ended.

The server is not trusted: it may send other bytes than requested, encoded ones, too few or too many, or hardly any.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator
from typing import Any, TypeVar

from huggingface_hub import get_session, hf_raise_for_status
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # documented, not re-exported

from rstitch_local.catalog.hub_errors import (
    UnexpectedDataError,
    busy_wait,
    host,
    interrupted,
    is_lost,
    source_error,
    status_of,
)
from rstitch_local.catalog.schema import ModelFile
from rstitch_local.catalog.stalling import StallLimit, read_apart
from rstitch_local.catalog.transfer import PartialFile, Progress, ShouldStop, SourceError, check_stop
from rstitch_local.errors import RStitchError
from rstitch_local.sanitize import one_line

TIMEOUT_S = 10.0
"""Seconds to wait for a connection or for more data."""
STALL_LIMIT_S, STALL_BYTES = 30.0, 4096
"""A connection on which fewer bytes arrive in this time is given up."""
RECONNECT_WAITS_S = (1.0, 2.0, 4.0)
"""Seconds to wait before each repeated request; progress resets the count."""
_PROGRESS_BYTES = 1 << 16
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-\d{1,19}/(\d{1,19}|\*)")

_Result = TypeVar("_Result")


def with_retries(request: Callable[[], _Result], file: ModelFile, should_stop: ShouldStop) -> _Result:
    """Return the result of a request, repeated a few times if the server is busy.

    Raises:
        SourceError: it failed for good.
        CancelledError: `should_stop` returned True.
    """
    for wait in (*RECONNECT_WAITS_S, None):
        try:
            return request()
        except RStitchError:
            raise
        except Exception as error:  # an invalid URL, proxy or server can raise anything
            asked = busy_wait(error)
            if wait is None or asked is None:
                raise source_error(error, file) from None
            _wait(max(wait, asked), should_stop)
    raise AssertionError


class Body:
    """The body of a file.

    Args:
        url: the file at a commit.
        file: for messages.
        total: its size in bytes.
        progress: called with the name of the file, the bytes on disk, and the total bytes.
        should_stop: polled several times a second.
    """

    def __init__(self, url: str, file: ModelFile, total: int, progress: Progress, should_stop: ShouldStop) -> None:
        self._url = url
        self._file = file
        self._total = total
        self._progress = progress
        self._should_stop = should_stop
        # The tag of the content that the partial file consists of, if it was received by this process.
        self._etag: str | None = None

    def read(self, out: PartialFile) -> None:
        """Append the bytes that a partial file lacks.

        Raises:
            SourceError: the server fails repeatedly, or sends something else.
            CancelledError: `should_stop` returned True.
        """
        failures, largest = 0, out.size
        while out.size < self._total:
            cause = self._attempt(out)
            if out.size >= self._total:
                return
            failures = 0 if out.size >= largest + _PROGRESS_BYTES else failures + 1
            largest = max(largest, out.size)
            asked = 0.0 if is_lost(cause) else busy_wait(cause)
            if asked is None or failures >= len(RECONNECT_WAITS_S):
                raise interrupted(cause, out.size, self._total, self._file) from None
            _wait(max(RECONNECT_WAITS_S[failures], asked), self._should_stop)

    def _attempt(self, out: PartialFile) -> Exception:
        """Read until the connection ends; return why it ended."""
        try:
            self._read_once(out)
        except RStitchError:
            raise
        except Exception as error:  # an invalid URL, proxy or server can raise anything
            if isinstance(error, _OtherBytesError) or status_of(error) == 416:
                # The next request is for the whole file.
                out.start_over()
                self._etag = None
                return UnexpectedDataError(str(error))
            return error
        return UnexpectedDataError("it ended early")

    def _read_once(self, out: PartialFile) -> None:
        received = 0
        limit = StallLimit(STALL_LIMIT_S, STALL_BYTES)

        def on_poll() -> None:
            check_stop(self._should_stop)
            limit.check(received)

        for item in read_apart(lambda: self._request(out.size), on_poll):
            if isinstance(item, int):
                if item == 0 and out.size:
                    out.start_over()
                continue
            if out.size + len(item) > self._total:
                # What arrived before is probably not the file either.
                out.start_over()
                raise SourceError("Wrong size", f"{host()} sent more than the {self._total} bytes it announced")
            out.append(item)
            received += len(item)
            self._progress(self._file.file, out.size, self._total)

    def _request(self, start: int) -> Generator[int | bytes, None, None]:
        """Request the file from a position; yield the position where the bytes start, which can be 0, and the bytes."""
        headers = build_hf_headers()
        headers["Accept-Encoding"] = "identity"
        if start:
            headers["Range"] = f"bytes={start}-"
        client: Any = get_session()
        with client.stream("GET", self._url, headers=headers, timeout=TIMEOUT_S) as response:
            _require_file(response)
            etag = response.headers.get("ETag")
            if start and self._etag is not None and etag != self._etag:
                raise _OtherBytesError("the file changed")
            self._etag = etag
            yield self._position(response, start)
            # Raw: decoding could turn a few bytes into gigabytes.
            yield from response.iter_raw()

    def _position(self, response: Any, start: int) -> int:
        if response.status_code == 200:
            return 0
        if response.status_code != 206:
            raise UnexpectedDataError(f"HTTP {response.status_code}")
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        if found is None or int(found[1]) != start or found[2] not in (str(self._total), "*"):
            raise _OtherBytesError("it sent another part of the file")
        return start


class _OtherBytesError(Exception):
    """The bytes do not follow those of the partial file."""


def _require_file(response: Any) -> None:
    """Raise an error for a response that is an error, a web page, or encoded."""
    if response.status_code >= 400:
        known = ("X-Error-Code", "X-Error-Message", "Retry-After")
        headers = {name: response.headers[name] for name in known if name in response.headers}
        # A copy without the body, which huggingface-hub would read to its end.
        hf_raise_for_status(type(response)(response.status_code, headers=headers, request=response.request))
    if "html" in response.headers.get("Content-Type", "").lower():
        raise SourceError(
            "Not a file",
            f"{host()} sent a web page instead of the file",
            "Check HF_ENDPOINT, and whether this network requires a login in the browser.",
        )
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise SourceError("Encoded file", f"{host()} sent the file in the encoding {one_line(encoding)}, not as it is")


def _wait(seconds: float, should_stop: ShouldStop) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        check_stop(should_stop)
        time.sleep(min(left, 0.1))
