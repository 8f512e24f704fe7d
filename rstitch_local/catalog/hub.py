"""Download a file from the Hugging Face Hub, resuming an earlier download.

Uses huggingface-hub for URLs, tokens, proxies and errors, but reads the body itself, because `hf_hub_download` of
huggingface-hub 2 deletes unfinished files. Nothing that the server sends is trusted: see `hub_body`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
from huggingface_hub.file_download import HfFileMetadata

from rstitch_local.catalog.hub_body import TIMEOUT_S, Body, with_retries
from rstitch_local.catalog.hub_errors import endpoint, host
from rstitch_local.catalog.schema import ModelFile
from rstitch_local.catalog.stalling import StallLimit, read_apart
from rstitch_local.catalog.transfer import (
    PartialFile,
    Progress,
    ShouldStop,
    SourceError,
    check_stop,
    require_space,
    storage_errors,
)
from rstitch_local.files import read_regular

METADATA_LIMIT_S = 60.0
"""Seconds to wait for the size and the checksum of a file."""
_MAX_TOKEN_BYTES = 1 << 16
_MAGIC = b"GGUF"


class _Announced(NamedTuple):
    """What the Hub announces of a file: the commit, the size, the tag of the content, and its SHA-256 if it has one."""

    commit: str
    size: int
    etag: str
    sha256: str | None


def fetch(file: ModelFile, target: Path, progress: Progress, should_stop: ShouldStop) -> tuple[Path, str]:
    """Download `file` to a partial file beside `target`.

    Returns:
        The finished partial file and its SHA-256, which was compared with that of the Hub if the Hub reports one.

    Raises:
        SourceError: the Hub cannot be reached, stalls, does not have the file, or has a different one.
        StorageError: the disk is full or cannot be written.
        CancelledError: `should_stop` returned True; the partial file is kept.
    """
    assert file.repo is not None
    _require_token_file()
    announced = with_retries(lambda: _announced(file, should_stop), file, should_stop)
    _refuse_other_file(file, announced)
    total = announced.size
    name = re.sub("[^A-Za-z0-9]", "", announced.etag)[:16] or "hub"
    partial = target.with_name(f"{target.name}.{name}.partial")
    with storage_errors(partial.parent):
        partial.parent.mkdir(parents=True, exist_ok=True)
        done = partial.stat().st_size if partial.exists() else 0
    require_space(partial.parent, max(0, total - done))
    # The commit, not the revision: the file of a branch can change during the transfer.
    url = hf_hub_url(file.repo, file.file, revision=announced.commit, endpoint=endpoint())
    with PartialFile(partial, keep_bytes=total) as out:
        progress(file.file, out.size, total)
        Body(url, file, total, progress, should_stop).read(out)
        digest = out.sha256
    _check(file, partial, digest, announced)
    return partial, digest


def _announced(file: ModelFile, should_stop: ShouldStop) -> _Announced:
    """Ask the Hub for the metadata of a file."""
    assert file.repo is not None
    url = hf_hub_url(file.repo, file.file, revision=file.revision, endpoint=endpoint())

    def request() -> Generator[HfFileMetadata, None, None]:
        yield get_hf_file_metadata(url, timeout=TIMEOUT_S, endpoint=endpoint())

    limit = StallLimit(METADATA_LIMIT_S, 1)

    def on_poll() -> None:
        check_stop(should_stop)
        limit.check(0)

    (metadata,) = read_apart(request, on_poll)
    commit, size, etag = metadata.commit_hash or "", metadata.size, metadata.etag or ""
    if not re.fullmatch("[0-9a-f]{40}", commit) or size is None or size < 0:
        raise SourceError(
            "Not a Hub",
            f"{host()} does not answer like a Hugging Face Hub",
            "Check HF_ENDPOINT, and whether this network requires a login in the browser.",
        )
    return _Announced(commit, size, etag, etag if re.fullmatch("[0-9a-f]{64}", etag) else None)


def _require_token_file() -> None:
    """Refuse a token file that huggingface-hub would read without end."""
    if os.environ.get("HF_TOKEN"):
        return
    path = Path(constants.HF_TOKEN_PATH)
    try:
        read_regular(path, _MAX_TOKEN_BYTES)
    except FileNotFoundError:
        return
    except OSError as error:
        raise SourceError(
            "Cannot read token", f"{path}: {error.strerror}", "Correct HF_TOKEN_PATH or HF_HOME."
        ) from None


def _refuse_other_file(file: ModelFile, announced: _Announced) -> None:
    hint = "The publisher may have replaced it: set its new size and sha256 in your models.toml."
    if file.size is not None and announced.size != file.size:
        raise SourceError("Wrong size", f"the Hub's file has {announced.size} bytes instead of {file.size}", hint)
    if file.sha256 is not None and announced.sha256 is not None and announced.sha256 != file.sha256:
        message = f"the Hub's file has SHA-256 {announced.sha256} instead of {file.sha256}"
        raise SourceError("Wrong checksum", message, hint)


def _check(file: ModelFile, partial: Path, digest: str, announced: _Announced) -> None:
    """Delete a finished download and raise SourceError if it is not the announced file."""
    error = None
    if announced.sha256 is not None and digest != announced.sha256:
        message = f"received data with SHA-256 {digest} instead of {announced.sha256}, which the Hub announced"
        error = SourceError("Wrong checksum", message, "Try again.")
    elif announced.sha256 is None and file.sha256 is None:
        with storage_errors(partial), partial.open("rb") as data:
            if data.read(len(_MAGIC)) != _MAGIC:
                error = SourceError("Not a GGUF file", f"the Hub's {file.file} is not a GGUF file")
    if error is not None:
        with storage_errors(partial):
            partial.unlink()
        raise error
