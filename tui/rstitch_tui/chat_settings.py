"""The settings of one chat, stored as JSON with the chat."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, field_validator

from rstitch_local.decoding.sampling import Sampling
from rstitch_local.errors import UsageError
from rstitch_local.routing.spec import one_spelling
from rstitch_local.sanitize import one_line

_ESCAPE = re.compile(r"\\([n\\])")


class ChatSettings(BaseModel):
    """Settings of a chat; None stands for the pair's default.

    Attributes:
        stop: strings that end an answer; the text is cut before them.
        first: id of the oldest message that is still sent to the models; older ones were dropped from a full context.
    """

    # Fields of newer versions are ignored.
    model_config = ConfigDict(frozen=True, extra="ignore")

    pair: str | None = None
    router: str | None = None
    system: str = ""
    temperature: float | None = Field(default=None, ge=0.0, le=100.0)
    top_p: float | None = Field(default=None, ge=0.0, le=1.0)
    top_k: int | None = Field(default=None, ge=0)
    min_p: float | None = Field(default=None, ge=0.0, le=1.0)
    max_tokens: int | None = Field(default=None, ge=1)
    seed: int = 0
    stop: tuple[str, ...] = ()
    thinking: bool | None = None
    first: int | None = None

    @field_validator("router")
    @classmethod
    def _check_router(cls, spec: str | None) -> str | None:
        if spec is not None:
            one_spelling(spec)
        return spec

    @field_validator("stop")
    @classmethod
    def _check_stop(cls, strings: tuple[str, ...]) -> tuple[str, ...]:
        if "" in strings:
            raise ValueError("a stop string cannot be empty")
        return strings

    def sampling(self, defaults: Sampling) -> Sampling:
        """Return the pair's sampling with the settings of this chat applied."""
        chosen = {name: getattr(self, name) for name in ("temperature", "top_p", "top_k", "min_p")}
        merged = {name: getattr(defaults, name) if value is None else value for name, value in chosen.items()}
        return Sampling(**merged)


def stop_strings_from_lines(text: str) -> tuple[str, ...]:
    r"""Return the stop strings in a text, one per line, where \n is a line break and \\ a backslash."""
    return tuple(_unescaped(line) for line in text.split("\n") if line)


def stop_strings_as_lines(strings: Sequence[str]) -> str:
    """Return the text that `stop_strings_from_lines` reads."""
    return "\n".join(map(_escaped, strings))


def stop_strings_from_arguments(text: str) -> tuple[str, ...]:
    r"""Return the stop strings in arguments such as `Q: "two words" \n\n`, with the escapes of a line.

    Raises:
        UsageError: a quotation mark is not closed.
    """
    lexer = shlex.shlex(text, posix=True)
    lexer.whitespace_split, lexer.commenters, lexer.escape = True, "", ""
    try:
        return tuple(_unescaped(argument) for argument in lexer if argument)
    except ValueError:
        message = f"A quotation mark in {one_line(text, 60)} is not closed."
        raise UsageError("Unclosed quotation mark", message, "Close it.") from None


def stop_strings_as_arguments(strings: Sequence[str]) -> str:
    """Return stop strings in quotation marks, for display."""
    return " ".join(f'"{_escaped(string)}"' for string in strings)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _unescaped(text: str) -> str:
    # Other backslashes are kept: TeX commands such as \boxed need no escape.
    return _ESCAPE.sub(lambda match: "\n" if match[1] == "n" else "\\", text)
