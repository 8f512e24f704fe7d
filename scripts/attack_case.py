"""One case of attack_inputs.py: run a function in this process and judge how it ends."""

from __future__ import annotations

import ctypes
import io
import os
import platform
import sys
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from attacks import EXIT_CODES

from rstitch_local.errors import RStitchError

OUTCOMES = ("refused", "fine", "long", "control", "wrong", "traceback", "killed", "hang")
"""How a case can end. `long`: a message of more than `MESSAGE_CHARACTERS`. `control`: a message that moves the cursor
or colors the terminal. `wrong`: the result is not what it must be. `killed`: the process died."""
FAULTS = OUTCOMES[2:]
MESSAGE_CHARACTERS = 2000
MEMORY_BYTES = 3 << 30

_CAPABILITY_VERSION = 0x20080522
# CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH.
_IGNORE_PERMISSIONS = 0b110


@dataclass(frozen=True, slots=True)
class Case:
    """A case: its name, and a function that is called with an empty folder, its RSTITCH_HOME and working directory.

    The function returns for a case that is fine, and raises RStitchError or `RefusedError` for one that is refused.
    """

    name: str
    run: Callable[[Path], object]


@dataclass(frozen=True, slots=True)
class Ending:
    """How a case ended: one of `OUTCOMES`, and the message or the error."""

    outcome: str
    detail: str = ""


class RefusedError(Exception):
    """A command ended with a documented exit code; the text is what it printed on stderr."""


def command(*arguments: str | Path) -> str:
    """Run `rstitch ARGUMENTS` in this process and return its output; raise `RefusedError` if it fails as documented."""
    from rstitch_local.commands.main import main

    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with patch.object(sys, "argv", ["rstitch", *map(str, arguments)]), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    if code == 0:
        return out.getvalue()
    assert code in EXIT_CODES, f"exit code {code}: {err.getvalue()[-300:]}"
    raise RefusedError(err.getvalue())


def run_here(case: Case, folder: Path) -> Ending:
    """Run a case in this process and return how it ended."""
    if platform.system() == "Linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    os.environ.update(RSTITCH_HOME=str(folder / "home"), COLUMNS="120", NO_COLOR="1", HF_HUB_DISABLE_TELEMETRY="1")
    os.chdir(folder)
    try:
        case.run(folder)
    except (RStitchError, RefusedError) as error:
        return _judged(str(error))
    except AssertionError as error:
        return Ending("wrong", str(error)[:300] or _place(error))
    except BaseException as error:
        return Ending("traceback", f"{type(error).__name__}: {_text_of(error)[:200]} ({_place(error)})")
    return Ending("fine")


def without_privileges() -> None:
    """Make root subject to the permissions of files; nothing to do for other users."""
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()
    assert libc.capget(header, sets) == 0
    # The sets are pairs of 32 bits each: effective, permitted, inheritable; then the higher capabilities.
    for index in range(3):
        sets[index] &= ~_IGNORE_PERMISSIONS
    assert libc.capset(header, sets) == 0


def _judged(message: str) -> Ending:
    detail = message[:300].encode("unicode_escape").decode()
    if len(message) > MESSAGE_CHARACTERS:
        return Ending("long", f"{len(message)} characters: {detail[:100]}")
    if any((ord(character) < 32 and character not in "\n\t") or ord(character) == 127 for character in message):
        return Ending("control", detail)
    return Ending("refused", detail)


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "no text"


def _place(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(last.filename).name}, line {last.lineno}"
