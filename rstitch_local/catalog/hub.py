"""Brings one file from the Hugging Face Hub, going on where an earlier download broke off.

Uses huggingface-hub for addresses, tokens, proxies and errors, but reads the body itself: `hf_hub_download`
of huggingface-hub 2 throws an unfinished file away, and nobody wants to fetch 20 GB twice.
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
    SourceError,
    Stop,
    check_stop,
    require_space,
    storage_errors,
)
from rstitch_local.sanitize import one_line

TIMEOUT_S = 10.0
"""The longest wait for a connection, or for the next bytes."""
RECONNECT_WAITS_S = (1.0, 2.0, 4.0)
"""How long to wait before a broken connection is taken up again; a byte gained starts this anew."""

# huggingface-hub 1 speaks through httpx and 2 through httpx2; its own error is derived from whichever it is.
_HTTP_ERROR: type[BaseException] = HfHubHTTPError.__bases__[0]


def fetch(file: ModelFile, target: Path, progress: Progress, stop: Stop) -> tuple[Path, str]:
    """Download `file` to a partial file beside `target`.

    Returns:
        The finished partial file and its sha256, which is the Hub's own where the Hub says one.

    Raises:
        SourceError: the Hub cannot be reached, does not have the file, or has another one.
        StorageError: the disk is full or cannot be written.
        CancelledError: `stop` said so; what was downloaded is kept.
    """
    assert file.repo is not None
    url = hf_hub_url(file.repo, file.file, revision=file.revision, endpoint=_endpoint())
    try:
        about = get_hf_file_metadata(url, timeout=TIMEOUT_S, endpoint=_endpoint())
    except Exception as error:  # a bad address, proxy or server: whatever it raises becomes a sentence
        raise _explained(error, file) from None
    etag = about.etag or ""
    hub_sum = etag if re.fullmatch(r"[0-9a-f]{64}", etag) else None
    _refuse_other_file(file, about.size, hub_sum)
    partial = target.with_name(f"{target.name}.{re.sub('[^A-Za-z0-9]', '', etag)[:16] or 'hub'}.partial")
    total = about.size if about.size is not None else file.size
    if total is not None:
        with storage_errors(partial.parent):
            partial.parent.mkdir(parents=True, exist_ok=True)
            there = partial.stat().st_size if partial.exists() else 0
        require_space(partial.parent, max(0, total - there))
    with PartialFile(partial, keep=total) as out:
        progress(file.file, out.size, total)
        _read_body(url, out, total, file, progress, stop)
        digest = out.sha256
    if hub_sum is not None and digest != hub_sum:
        with storage_errors(partial):
            partial.unlink()
        raise SourceError(
            "Wrong checksum",
            f"the Hub announced sha256 {hub_sum} and sent bytes with {digest}",
            "Pull again.",
        )
    return partial, digest


def _read_body(
    url: str,
    out: PartialFile,
    total: int | None,
    file: ModelFile,
    progress: Progress,
    stop: Stop,
) -> None:
    failures = 0
    while total is None or out.size < total:
        check_stop(stop)
        before = out.size
        try:
            _read_once(url, out, total, file, progress, stop)
        except (_HTTP_ERROR, OfflineModeIsEnabled) as error:
            failures = 0 if out.size > before else failures + 1
            if isinstance(error, (HfHubHTTPError, OfflineModeIsEnabled)) or failures >= len(RECONNECT_WAITS_S):
                raise _broken_off(error, out.size, total, file) from None
            _wait(RECONNECT_WAITS_S[failures], stop)
            continue
        if total is None:
            return
        if out.size == before:
            raise SourceError("Broken off", f"the Hub ended {file.file} after {out.size} of {total} bytes")


def _read_once(
    url: str,
    out: PartialFile,
    total: int | None,
    file: ModelFile,
    progress: Progress,
    stop: Stop,
) -> None:
    headers = build_hf_headers()
    headers["Accept-Encoding"] = "identity"
    if out.size:
        headers["Range"] = f"bytes={out.size}-"
    client: Any = get_session()
    with client.stream("GET", url, headers=headers, timeout=TIMEOUT_S) as response:
        hf_raise_for_status(response)
        if out.size and response.status_code != 206:
            out.start_over()  # The server does not do ranges and sends the whole file again.
        for block in response.iter_bytes():  # as they come: a fixed block size would lose up to one block
            if total is not None and out.size + len(block) > total:
                raise SourceError("Wrong size", f"the Hub sends more than the {total} bytes it announced")
            out.append(block)
            progress(file.file, out.size, total)
            check_stop(stop)


def _wait(seconds: float, stop: Stop) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        check_stop(stop)
        time.sleep(min(left, 0.1))


def _endpoint() -> str:
    # Read now, not when huggingface_hub was imported, so that one process may change it.
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def _refuse_other_file(file: ModelFile, size: int | None, sha256: str | None) -> None:
    hint = "The publisher may have replaced it: give its new size and sha256 in your models.toml."
    if file.size is not None and size is not None and size != file.size:
        raise SourceError("Wrong size", f"the Hub's file has {size} bytes instead of {file.size}", hint)
    if file.sha256 is not None and sha256 is not None and sha256 != file.sha256:
        raise SourceError("Wrong checksum", f"the Hub's file has sha256 {sha256} instead of {file.sha256}", hint)


def _broken_off(error: BaseException, done: int, total: int | None, file: ModelFile) -> SourceError:
    if isinstance(error, (HfHubHTTPError, OfflineModeIsEnabled)):
        reason = _explained(error, file).message
    else:
        reason = f"the connection broke ({one_line(error, 240)})"
    of = f" of {total}" if total is not None else ""
    return SourceError("Broken off", f"{reason}, after {done}{of} bytes", "Pull again: it goes on from there.")


def _explained(error: BaseException, file: ModelFile) -> SourceError:
    """Say in a few words what the Hub, or the way to it, has against this file."""
    host = _endpoint().split("://", 1)[-1]
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, OfflineModeIsEnabled):
        return SourceError("Offline", "HF_HUB_OFFLINE is set, so the Hub was not asked")
    if isinstance(error, GatedRepoError):
        return SourceError(
            "Not allowed",
            f"{file.repo} is gated (HTTP {status}): its terms must be accepted first",
            f"Accept them at {_endpoint()}/{file.repo}, then `hf auth login`.",
        )
    if isinstance(error, RevisionNotFoundError):
        return SourceError("Not found", f"{file.repo} has no revision {file.revision}")
    if isinstance(error, RepositoryNotFoundError):
        return SourceError("Not found", f"{host} has no public repository {file.repo} (HTTP {status})")
    if isinstance(error, EntryNotFoundError):
        return SourceError("Not found", f"{file.repo} has no file {file.file} (HTTP {status})")
    if status in (401, 403):
        return SourceError(
            "Not allowed", f"{host} refuses {file.repo} (HTTP {status})", "`hf auth login` sets a token."
        )
    if status is not None:
        return SourceError("The Hub failed", f"{host} answers HTTP {status}", "Try again later.")
    reason = one_line(error, 240) or type(error).__name__
    if not isinstance(error, _HTTP_ERROR):
        return SourceError("The Hub failed", f"{host} could not be asked ({reason})", "Check HF_ENDPOINT.")
    return SourceError("No connection", f"{host} cannot be reached ({reason})", "Check the network and pull again.")
