"""The errors a user is meant to see, and the exit codes they end a command with.

Knows nothing of where an error is shown: the command line prints it in a panel, the chat in a message.
"""

from __future__ import annotations


class RStitchError(Exception):
    """Something a user can understand and act on.

    Args:
        title: what is wrong, in a few words without a full stop ("No such pair").
        message: where and why, in whole sentences.
        hint: what to do about it; may be empty.
    """

    exit_code = 1

    def __init__(self, title: str, message: str, hint: str = "") -> None:
        self.title = title
        self.message = message
        self.hint = hint
        super().__init__(f"{title}: {message}" + (f" {hint}" if hint else ""))


class UsageError(RStitchError):
    """An option, a router spec or a setting that does not mean anything (exit code 2)."""

    exit_code = 2


class ModelError(RStitchError):
    """A pair or a model file that is missing, broken, or cannot do this work (exit code 3)."""

    exit_code = 3


class InputError(RStitchError):
    """A problem file, a prompt or a run folder that cannot be used as it is (exit code 4)."""

    exit_code = 4


class DownloadError(RStitchError):
    """The network, the Hub or a checksum stood in the way of a download (exit code 5)."""

    exit_code = 5


class StorageError(RStitchError):
    """A folder that cannot be written, a full disk, a lock held by somebody else (exit code 6)."""

    exit_code = 6


class EngineError(RStitchError):
    """Evaluating a model failed: no room in the cache, NaN logits, llama.cpp gave up (exit code 7)."""

    exit_code = 7


class CacheFullError(EngineError):
    """The tokens of all trajectories together do not fit into a cache; one of them has to wait."""


INTERRUPTED_EXIT_CODE = 130
"""Ctrl-C: what was done is kept (the shell's usual 128 + SIGINT)."""


class CancelledError(RStitchError):
    """The user asked to stop; whatever was finished before is kept (exit code 130)."""

    exit_code = INTERRUPTED_EXIT_CODE
