"""Worker processes: modules of this package run by `python -m` that exchange JSON lines with their parent.

A crash, a hang or excessive memory use in a worker costs a result, not the program. The first half of this module is
used by the parent, the second by the worker.
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any


def start_worker(
    command: Sequence[str], environment: Mapping[str, str] | None = None, errors: int = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    """Start a worker with pipes as stdin and stdout.

    Args:
        command: as returned by `command_of`.
        environment: variables to set besides the inherited ones.
        errors: where stderr goes: `subprocess.DEVNULL` or `subprocess.PIPE`.

    Raises:
        OSError: the process cannot be started.
    """
    package_folder = str(Path(__file__).parent.parent)
    inherited = os.environ.get("PYTHONPATH")
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        env={
            **os.environ,
            **(environment or {}),
            "PYTHONPATH": os.pathsep.join([package_folder, *([inherited] if inherited else [])]),
        },
        # A new session on POSIX, a new process group on Windows: Ctrl-C must not reach the worker.
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0) | getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )


def command_of(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of this package."""
    # -P keeps the current folder, which may hold files of others, out of the import path.
    return [sys.executable, "-P", "-m", module, *arguments]


def read_lines(stream: IO[bytes] | None) -> queue.SimpleQueue[bytes | None]:
    """Return a queue of the lines of a worker's stdout or stderr, which ends with None."""
    lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def read() -> None:
        assert stream is not None
        # ValueError: `end_worker` has closed the stream.
        with contextlib.suppress(OSError, ValueError):
            for line in stream:
                lines.put(line)
        lines.put(None)

    # Only a reader thread can wait for a pipe with a timeout on all three systems.
    threading.Thread(target=read, daemon=True).start()
    return lines


def end_worker(process: subprocess.Popen[bytes]) -> None:
    """Kill a worker and close its pipes."""
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            # Buffered bytes cannot be flushed to a dead process.
            with contextlib.suppress(OSError):
                stream.close()


def replies() -> IO[str]:
    """Return a stream to the parent, and send everything else that is printed to stdout to nowhere."""
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    os.dup2(_nowhere(), 1)
    return stream


def reply(stream: IO[str], message: Mapping[str, Any]) -> None:
    """Send a message to the parent."""
    stream.write(json.dumps(message) + "\n")
    stream.flush()


def limit_memory(bytes_: int) -> None:
    """Limit the address space of this process where the system can."""
    if sys.platform != "win32":
        import resource

        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        limit = bytes_ if hard == resource.RLIM_INFINITY else min(hard, bytes_)
        # Some versions of macOS refuse this; the other limits remain.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def leave_no_traces() -> None:
    """Write no core dump and show no dialog when this process crashes."""
    if sys.platform == "win32":
        import ctypes

        # SEM_FAILCRITICALERRORS, SEM_NOGPFAULTERRORBOX and SEM_NOOPENFILEERRORBOX.
        ctypes.windll.kernel32.SetErrorMode(0x8003)
    else:
        import resource

        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def exit_with_parent() -> None:
    """Exit when the parent has ended, which closes stdin; call it when stdin was read for the last time."""

    def wait() -> None:
        # os.read: a buffered reader would hold a lock that Python takes when it exits.
        while os.read(0, 4096):
            continue
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def exit_after(seconds: float) -> None:
    """Exit after a time even during a C call that no Python thread can interrupt; a later call replaces the time."""
    faulthandler.dump_traceback_later(seconds, exit=True, file=_nowhere())


@functools.cache
def _nowhere() -> int:
    return os.open(os.devnull, os.O_WRONLY)
