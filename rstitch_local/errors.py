"""The errors shown to users, and the exit codes they end a command with.

Independent of where an error is shown: the command line prints it in a panel, the chat in a message, Python in a
traceback.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from rstitch_local.sanitize import safe_text, shortened

PYTHON_ARGUMENTS = {
    "--context": "LoadOptions(context=...)",
    "--field": "fields=dict(...)",
    "--ids": "ids=...",
    "--kv-type": "LoadOptions(kv_type=...)",
    "--llm": "llm=...",
    "--max-tokens": "max_tokens=...",
    "--out": "out=...",
    "--pair": "name=...",
    "--prompt": "prompt=...",
    "--resume": "resume=...",
    "--router": "router=...",
    "--shard": "shard=...",
    "--slm": "slm=...",
    "--strict": "strict=...",
    "--trust-models": "LoadOptions(trust_models=True)",
}
"""The Python argument for each command-line option that appears in a message or hint outside `commands`."""

# A command in backticks, which stays; an option with its value in backticks; an option alone.
_OPTION = re.compile(r"`(?:rstitch|pip) [^`]*`|`(--[a-z][a-z-]*) ([^`]+)`|(?<![\w-])(--[a-z][a-z-]*)")
# A number, a placeholder, or a keyword argument.
_UNQUOTED = re.compile(r"[\d.]+|[A-Z]+|\w+=.*")
# A message may quote what somebody else wrote: the name of a key, a path, the answer of a server.
_LINE_CHARACTERS = 600
_LINES = 12


class RStitchError(Exception):
    """An error a user can understand and act on.

    `str(error)`, the text of a traceback, names Python arguments where `message` and `hint` name command-line options.
    Control characters are removed from all texts, and the middle of long lines.

    Args:
        title: the fault, in two to five words without a full stop ("Unknown pair").
        message: where and why, in full sentences. An option with a value is written in backticks: `--kv-type q8_0`.
        hint: what to do about it, as an instruction; may be empty.
    """

    exit_code = 1

    def __init__(self, title: str, message: str, hint: str = "") -> None:
        self.title, self.message, self.hint = map(_bounded, (title, message, hint))
        super().__init__(self.title, self.message, self.hint)

    def __str__(self) -> str:
        return with_python_arguments(f"{self.title}: {self.message}" + (f" {self.hint}" if self.hint else ""))


class UsageError(RStitchError):
    """An invalid option, router spec or setting (exit code 2)."""

    exit_code = 2


class ModelError(RStitchError):
    """A pair or a model file that is missing, damaged or unsuitable (exit code 3)."""

    exit_code = 3


class InputError(RStitchError):
    """An invalid problem file, prompt or run folder (exit code 4)."""

    exit_code = 4


class PromptTooLongError(InputError):
    """The rendered prompt exceeds a model's context (exit code 4).

    Attributes:
        used: for each model ("SLM", "LLM"), tokens of the prompt and capacity of its context.
    """

    def __init__(
        self, title: str, message: str, hint: str = "", used: Mapping[str, tuple[int, int]] | None = None
    ) -> None:
        super().__init__(title, message, hint)
        self.used = used or {}


class DownloadError(RStitchError):
    """A download failed: the network, the Hub, or a wrong checksum (exit code 5)."""

    exit_code = 5


class StorageError(RStitchError):
    """A file or folder that cannot be written, a full disk, or a lock held by another process (exit code 6)."""

    exit_code = 6


class EngineError(RStitchError):
    """A model could not be evaluated: full KV cache, NaN logits, or a failure of llama.cpp (exit code 7)."""

    exit_code = 7


class CacheFullError(EngineError):
    """The tokens of all trajectories together exceed the KV cache; one trajectory has to wait."""


INTERRUPTED_EXIT_CODE = 130
"""Exit code after Ctrl-C: the shell's usual 128 + SIGINT. Completed work is kept."""


class CancelledError(RStitchError):
    """The user stopped the work; completed work is kept (exit code 130)."""

    exit_code = INTERRUPTED_EXIT_CODE


def _bounded(text: str) -> str:
    lines = text.split("\n", _LINES)
    return "\n".join(safe_text(shortened(line, _LINE_CHARACTERS)) for line in lines[:_LINES])


def with_python_arguments(text: str) -> str:
    """Return a text with each command-line option replaced by its Python argument; commands in backticks stay."""
    return _OPTION.sub(_python_argument, text)


def _python_argument(match: re.Match[str]) -> str:
    option, value = match[1] or match[3], match[2]
    argument = PYTHON_ARGUMENTS.get(option)
    if argument is None:
        return match[0]
    if value is None:
        return argument
    shown = value if _UNQUOTED.fullmatch(value) else json.dumps(value, ensure_ascii=False)
    return f"`{argument.replace('...', shown)}`"
