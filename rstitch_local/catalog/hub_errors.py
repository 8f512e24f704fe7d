"""Failed requests to the Hugging Face Hub, in plain words."""

from __future__ import annotations

import os
from typing import Any

from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from rstitch_local.catalog.schema import ModelFile
from rstitch_local.catalog.stalling import StalledError
from rstitch_local.catalog.transfer import SourceError
from rstitch_local.sanitize import one_line

MAX_RETRY_AFTER_S = 30.0
"""The longest wait that a server can ask for in `Retry-After`; after a longer one the download ends with a message."""

# huggingface-hub 1 uses httpx and version 2 httpx2; its own error is derived from the error of either.
_HTTP_ERROR: type[BaseException] = HfHubHTTPError.__bases__[0]
_MAX_SHOWN_WAIT_S = 86_400
_BUSY = frozenset({429, 500, 502, 503, 504})


class UnexpectedDataError(Exception):
    """The server sent something else than the bytes that follow a partial file."""


_LOST = (StalledError, UnexpectedDataError, _HTTP_ERROR)


def endpoint() -> str:
    """Return the URL of the Hub; not read at import time, so that a process can change it."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def host() -> str:
    """Return the name of the Hub's host, for messages."""
    return one_line(endpoint().split("://", 1)[-1])


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status of a failed request; None for an error of another kind."""
    status: int | None = getattr(getattr(error, "response", None), "status_code", None)
    return status


def is_lost(error: BaseException) -> bool:
    """Return whether a connection was lost, or had to be given up."""
    return status_of(error) is None and isinstance(error, _LOST)


def busy_wait(error: BaseException) -> float | None:
    """Return the seconds to wait for a server that is busy, 0 if it names none; None if it is not or asks for more."""
    if status_of(error) not in _BUSY:
        return None
    wait = _retry_after(error)
    return wait if wait <= MAX_RETRY_AFTER_S else None


def source_error(error: BaseException, file: ModelFile) -> SourceError:
    """Return the error for a failed request."""
    status = status_of(error)
    if isinstance(error, SourceError):
        return error
    if isinstance(error, OfflineModeIsEnabled):
        return SourceError("Offline", "HF_HUB_OFFLINE is set")
    if isinstance(error, GatedRepoError):
        return SourceError(
            "Access denied",
            f"{file.repo} is gated (HTTP {status}): its terms must be accepted",
            f"Accept them at {endpoint()}/{file.repo}, then run `hf auth login`.",
        )
    if isinstance(error, RevisionNotFoundError):
        return SourceError("Not found", f"{file.repo} has no revision {file.revision}")
    if isinstance(error, RepositoryNotFoundError):
        return SourceError("Not found", f"{host()} has no public repository {file.repo} (HTTP {status})")
    if isinstance(error, EntryNotFoundError):
        return SourceError("Not found", f"{file.repo} has no file {file.file} (HTTP {status})")
    if status in (401, 403):
        return SourceError(
            "Access denied", f"{host()} denied access to {file.repo} (HTTP {status})", "Log in with `hf auth login`."
        )
    if status is not None:
        wait = _retry_after(error)
        when = f"in {wait:.0f} s" if 0 < wait <= _MAX_SHOWN_WAIT_S else "later"
        return SourceError("Hub error", f"{host()} responded with HTTP {status}", f"Try again {when}.")
    reason = one_line(error, 240) or type(error).__name__
    if not is_lost(error):
        return SourceError("Hub error", f"the request to {host()} failed ({reason})", "Check HF_ENDPOINT.")
    return SourceError("No connection", f"{host()} cannot be reached ({reason})", "Check the network and try again.")


def interrupted(error: BaseException, done: int, total: int, file: ModelFile) -> SourceError:
    """Return the error for a request that failed after `done` of `total` bytes."""
    if isinstance(error, SourceError):
        return error
    hint = "Try again: the download resumes."
    if is_lost(error):
        reason = f"the transfer failed ({one_line(error, 240) or type(error).__name__})"
    else:
        known = source_error(error, file)
        reason = known.message
        hint = f"{known.hint} The download resumes." if known.hint else hint
    return SourceError("Download interrupted", f"{reason} after {done} of {total} bytes", hint)


def _retry_after(error: BaseException) -> float:
    """Return the seconds that a server asks to wait; 0 if it names none, or a date."""
    headers: Any = getattr(getattr(error, "response", None), "headers", {})
    value = str(headers.get("Retry-After", ""))
    return float(value) if value.isascii() and value.isdigit() else 0.0
