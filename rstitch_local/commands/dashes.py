"""Arguments that begin with a dash, such as the question "-3 + 5": the error says how to give them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import cast

import typer
from typer.core import TyperCommand

from rstitch_local.errors import UsageError
from rstitch_local.sanitize import one_line

# The base class of parsing errors; Typer has it from Click, or from a copy of Click.
_PARSING_ERROR = cast("type[Exception]", typer.BadParameter.__base__)
_LONG_OPTION = re.compile(r"--[A-Za-z][\w-]*(?:=.*)?", re.DOTALL)
_PATHS = ("FILE", "DIR", "SLM", "LLM")


class Command(TyperCommand):
    """A command whose error explains `--` where an unknown option looks like an argument."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Parse as usual.

        Raises:
            UsageError: an argument begins with a dash.
        """
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except _PARSING_ERROR as error:
            option = getattr(error, "option_name", None)
            arguments = [each.metavar or "" for each in self.params if each.param_type_name == "argument"]
            text = _text_with(option, given) if isinstance(option, str) and arguments else None
            if text is None:
                raise
            shown = one_line(text, 40)
            or_path = f" A path can begin with `./`: `./{shown}`." if arguments[0] in _PATHS else ""
            raise UsageError(
                "Not an option",
                f'"{shown}" begins with a dash, so it is read as an option.',
                f'Put the {arguments[0]} last, after `--`: `{ctx.command_path} -- "{shown}"`.{or_path}',
            ) from None


def _text_with(option: str, arguments: Sequence[str]) -> str | None:
    """Return the argument that the parser took for an unknown option, unless it is like a misspelled long option."""
    for text in arguments:
        if text == "--":
            return None
        if not text.startswith("-") or _LONG_OPTION.fullmatch(text):
            continue
        # Of one dash the parser reads each letter as an option.
        if text.startswith(option) or (not text.startswith("--") and option.lstrip("-") in text[1:]):
            return text
    return None
