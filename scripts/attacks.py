"""What the attack scripts share: running rstitch as a process, the rule for its end, and the counts.

The rule: a process ends with a documented exit code and without a traceback, whatever it was given.
"""

from __future__ import annotations

import os
import platform
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import rstitch_local
from rstitch_local.errors import RStitchError

EXIT_CODES = frozenset({0, 1, 2, 3, 4, 5, 6, 7, 130})
"""The documented exit codes."""
TIMEOUT_S = 60.0
MEMORY_BYTES = 6 << 30
"""Limit of the address space of a process that is given endless files."""


@dataclass
class Tally:
    """Counts of one group of cases, and the failures with their details."""

    group: str
    tried: int = 0
    failures: list[str] = field(default_factory=list)

    def record(self, case: str, *faults: str | None) -> None:
        """Count one case; it failed if any fault is given."""
        self.tried += 1
        found = [fault for fault in faults if fault]
        if found:
            self.failures.append(f"{case}: {'; '.join(found)}")

    def __str__(self) -> str:
        return f"{self.group}: {self.tried} tried, {len(self.failures)} failed"


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that ended: its exit code, negative for a signal, and its output."""

    code: int
    stdout: str
    stderr: str

    def fault(self, *, killed: bool = False) -> str | None:
        """Return what breaks the rule; `killed`: a signal may have ended the process."""
        if "Traceback (most recent call last)" in self.stderr:
            return f"traceback: {self.stderr.strip().splitlines()[-1][:300]}"
        if self.code not in EXIT_CODES and not (killed and self.code < 0):
            return f"exit code {self.code}: {self.stderr.strip()[-300:]}"
        if self.code not in (0, 130) and self.code > 0 and not self.stderr.strip():
            return f"exit code {self.code} without a message"
        return None


def start(arguments: Sequence[str | Path], home: Path, **options: object) -> subprocess.Popen[str]:
    """Start `rstitch` with these arguments in its own process group, with all its folders in `home`."""
    return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-m", "rstitch_local", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "RSTITCH_HOME": str(home), "NO_COLOR": "1", "COLUMNS": "200"},
        **{"start_new_session": True, **options},
    )


def limited(kind: int, value: int) -> Callable[[], None]:
    """Return a function that limits a resource of a child process before it starts."""

    def limit() -> None:
        # A file that is too long must be an error, not a signal.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(kind, (value, value))

    return limit


def wait(process: subprocess.Popen[str]) -> Ended:
    """Wait until a process ends; one that hangs is killed and reported with exit code 124."""
    try:
        stdout, stderr = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        stdout, stderr = process.communicate()
        return Ended(124, stdout, f"{stderr}\nhung for {TIMEOUT_S:.0f} s")
    return Ended(process.returncode, stdout, stderr)


def run(arguments: Sequence[str | Path], home: Path, **options: object) -> Ended:
    """Run `rstitch` to its end."""
    return wait(start(arguments, home, **options))


def escaped(action: Callable[[], object]) -> str | None:
    """Call a function; return the exception that is not an RStitchError, None if there is none."""
    try:
        action()
    except RStitchError:
        return None
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    return None


@contextmanager
def workplace() -> Iterator[Path]:
    """Provide a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="attack-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def conclude(tallies: Mapping[str, Tally], seed: int) -> None:
    """Print the counts and all failures; exit with 1 if there are any."""
    tried = sum(tally.tried for tally in tallies.values())
    failed = sum(len(tally.failures) for tally in tallies.values())
    print(f"rstitch {rstitch_local.__version__}, Python {platform.python_version()}, {platform.system()}; seed {seed}")
    for tally in tallies.values():
        print(tally)
        for failure in tally.failures:
            print(f"  {failure}")
    print(f"all: {tried} tried, {failed} failed")
    sys.exit(1 if failed else 0)
