"""Download a file from the Hugging Face Hub, resuming an earlier download.

Uses huggingface-hub for URLs, tokens, proxies and errors, but reads the body itself, because `hf_hub_download` of
huggingface-hub 2 deletes unfinished files.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

from huggingface_hub import get_hf_file_metadata, get_session, hf_hub_url, hf_raise_for_status
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # documented, not re-exported

from rstitch_local.catalog.schema import ModelFile
from rstitch_local.catalog.transfer import (
    PartialFile,
    Progress,
    ShouldStop,
    SourceError,
    check_stop,
    require_space,
    storage_errors,
)
from rstitch_local.sanitize import one_line

TIMEOUT_S = 10.0
"""Seconds to wait for a connection or for more data."""
RECONNECT_WAITS_S = (1.0, 2.0, 4.0)
"""Seconds to wait before each reconnection; received data resets the count."""

# huggingface-hub 1 uses httpx and version 2 httpx2; its own error is derived from the error of either.
_HTTP_ERROR: type[BaseException] = HfHubHTTPError.__bases__[0]


def fetch(file: ModelFile, target: Path, progress: Progress, should_stop: ShouldStop) -> tuple[Path, str]:
    """Download `file` to a partial file beside `target`.

    Returns:
        The finished partial file and its SHA-256, which was compared with that of the Hub if the Hub reports one.

    Raises:
        SourceError: the Hub cannot be reached, does not have the file, or has a different one.
        StorageError: the disk is full or cannot be written.
        CancelledError: `should_stop` returned True; the partial file is kept.
    """
    assert file.repo is not None
    url = hf_hub_url(file.repo, file.file, revision=file.revision, endpoint=_endpoint())
    try:
        metadata = get_hf_file_metadata(url, timeout=TIMEOUT_S, endpoint=_endpoint())
    except Exception as error:  # an invalid URL, proxy or server can raise anything
        raise _source_error(error, file) from None
    etag = metadata.etag or ""
    hub_sha256 = etag if re.fullmatch(r"[0-9a-f]{64}", etag) else None
    _refuse_other_file(file, metadata.size, hub_sha256)
    partial = target.with_name(f"{target.name}.{re.sub('[^A-Za-z0-9]', '', etag)[:16] or 'hub'}.partial")
    total = metadata.size if metadata.size is not None else file.size
    if total is not None:
        with storage_errors(partial.parent):
            partial.parent.mkdir(parents=True, exist_ok=True)
            done = partial.stat().st_size if partial.exists() else 0
        require_space(partial.parent, max(0, total - done))
    with PartialFile(partial, keep_bytes=total) as out:
        progress(file.file, out.size, total)
        _read_body(url, out, total, file, progress, should_stop)
        digest = out.sha256
    if hub_sha256 is not None and digest != hub_sha256:
        with storage_errors(partial):
            partial.unlink()
        raise SourceError(
            "Wrong checksum",
            f"received data with SHA-256 {digest} instead of {hub_sha256}, which the Hub announced",
            "Try again.",
        )
    return partial, digest


def _read_body(
    url: str,
    out: PartialFile,
    total: int | None,
    file: ModelFile,
    progress: Progress,
    should_stop: ShouldStop,
) -> None:
    failures = 0
    while total is None or out.size < total:
        check_stop(should_stop)
        before = out.size
        try:
            _read_once(url, out, total, file, progress, should_stop)
        except (_HTTP_ERROR, OfflineModeIsEnabled) as error:
            failures = 0 if out.size > before else failures + 1
            if isinstance(error, (HfHubHTTPError, OfflineModeIsEnabled)) or failures >= len(RECONNECT_WAITS_S):
                raise _interrupted(error, out.size, total, file) from None
            _wait(RECONNECT_WAITS_S[failures], should_stop)
            continue
        if total is None:
            return
        if out.size == before:
            raise SourceError("Download interrupted", f"the Hub sent {out.size} of {total} bytes of {file.file}")


def _read_once(
    url: str,
    out: PartialFile,
    total: int | None,
    file: ModelFile,
    progress: Progress,
    should_stop: ShouldStop,
) -> None:
    headers = build_hf_headers()
    headers["Accept-Encoding"] = "identity"
    if out.size:
        headers["Range"] = f"bytes={out.size}-"
    client: Any = get_session()
    with client.stream("GET", url, headers=headers, timeout=TIMEOUT_S) as response:
        hf_raise_for_status(response)
        if out.size and response.status_code != 206:
            out.start_over()  # The server does not support ranges and sends the whole file.
        for block in response.iter_bytes():  # a fixed block size would lose a last block on interruption
            if total is not None and out.size + len(block) > total:
                raise SourceError("Wrong size", f"the Hub sent more than the {total} bytes it announced")
            out.append(block)
            progress(file.file, out.size, total)
            check_stop(should_stop)


def _wait(seconds: float, should_stop: ShouldStop) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        check_stop(should_stop)
        time.sleep(min(left, 0.1))


def _endpoint() -> str:
    # Not read at import time, so that a process can change it.
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def _refuse_other_file(file: ModelFile, size: int | None, sha256: str | None) -> None:
    hint = "The publisher may have replaced it: set its new size and sha256 in your models.toml."
    if file.size is not None and size is not None and size != file.size:
        raise SourceError("Wrong size", f"the Hub's file has {size} bytes instead of {file.size}", hint)
    if file.sha256 is not None and sha256 is not None and sha256 != file.sha256:
        raise SourceError("Wrong checksum", f"the Hub's file has SHA-256 {sha256} instead of {file.sha256}", hint)


def _interrupted(error: BaseException, done: int, total: int | None, file: ModelFile) -> SourceError:
    if isinstance(error, (HfHubHTTPError, OfflineModeIsEnabled)):
        reason = _source_error(error, file).message
    else:
        reason = f"the connection was lost ({one_line(error, 240)})"
    of = f" of {total}" if total is not None else ""
    return SourceError("Download interrupted", f"{reason} after {done}{of} bytes", "Try again: the download resumes.")


def _source_error(error: BaseException, file: ModelFile) -> SourceError:
    """Return the error for a failed request, with the reason in plain words."""
    host = _endpoint().split("://", 1)[-1]
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, OfflineModeIsEnabled):
        return SourceError("Offline", "HF_HUB_OFFLINE is set")
    if isinstance(error, GatedRepoError):
        return SourceError(
            "Access denied",
            f"{file.repo} is gated (HTTP {status}): its terms must be accepted",
            f"Accept them at {_endpoint()}/{file.repo}, then run `hf auth login`.",
        )
    if isinstance(error, RevisionNotFoundError):
        return SourceError("Not found", f"{file.repo} has no revision {file.revision}")
    if isinstance(error, RepositoryNotFoundError):
        return SourceError("Not found", f"{host} has no public repository {file.repo} (HTTP {status})")
    if isinstance(error, EntryNotFoundError):
        return SourceError("Not found", f"{file.repo} has no file {file.file} (HTTP {status})")
    if status in (401, 403):
        return SourceError(
            "Access denied", f"{host} denied access to {file.repo} (HTTP {status})", "Log in with `hf auth login`."
        )
    if status is not None:
        return SourceError("Hub error", f"{host} responded with HTTP {status}", "Try again later.")
    reason = one_line(error, 240) or type(error).__name__
    if not isinstance(error, _HTTP_ERROR):
        return SourceError("Hub error", f"the request to {host} failed ({reason})", "Check HF_ENDPOINT.")
    return SourceError("No connection", f"{host} cannot be reached ({reason})", "Check the network and try again.")
