"""Finds, completes and runs slash commands."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from rstitch_local.errors import UsageError
from rstitch_local.sanitize import one_line
from rstitch_tui.chat_host import ChatHost
from rstitch_tui.slash_table import COMMANDS, SlashCommand

_BY_NAME = {name: command for command in COMMANDS.values() for name in command.names}


@dataclass(frozen=True)
class Completion:
    """A completion of the text in the prompt.

    Attributes:
        text: the whole prompt after completion.
        label: what the list shows.
        title: explanation beside it.
        complete: whether the text can be sent; otherwise an argument is missing.
    """

    text: str
    label: str
    title: str
    complete: bool


def is_command(text: str) -> bool:
    """Whether a message is a command; a text that starts with two slashes is a question."""
    return text.startswith("/") and not text.startswith("//")


async def run(host: ChatHost, text: str) -> bool:
    """Run a command line; errors are shown as notifications.

    Returns:
        False if the command or its arguments are invalid, so that the user wants to correct the text.
    """
    name, _, arguments = text.strip().removeprefix("/").partition(" ")
    with host.errors_shown():
        command = None
        try:
            command = find(name or "help")
            if command.needs and not arguments.strip():
                raise UsageError("Missing argument", f"/{command.name} needs an argument.", f"Usage: {command.usage}")
            result = command.action(host, arguments.strip())
            if result is not None:
                await result
        except UsageError as error:
            host.show_error(error)
            return False
    return True


def find(name: str) -> SlashCommand:
    """Return the command of that name or alias, or the only one with a name that starts with it.

    Raises:
        UsageError: there is none, or there are several.
    """
    if name in _BY_NAME:
        return _BY_NAME[name]
    prefixed = [other for other in _BY_NAME if name and other.startswith(name)]
    matches = list({_BY_NAME[other].name: other for other in reversed(prefixed)}.values())[::-1]
    if len(matches) == 1:
        return _BY_NAME[matches[0]]
    suggestions = matches or difflib.get_close_matches(name, _BY_NAME, n=3, cutoff=0.5)
    hint = f"Did you mean {', '.join('/' + each for each in suggestions)}? " if suggestions else "/help lists all. "
    message = f"There is no command /{one_line(name, 30)}."
    raise UsageError("Unknown command", message, f"{hint}A question that starts with a slash needs two: //.")


def ranked(words: str) -> list[SlashCommand]:
    """Return the commands that match, best first.

    A match of a whole name comes before the beginning of a name, a part of a name, the beginning of words of the title
    and a part of the title. Aliases count as names. Ties keep the order of the table; no words match all commands.
    """
    wanted = words.lower().strip().removeprefix("/")
    ranks = {name: _rank(command, wanted) for name, command in COMMANDS.items()}
    return sorted(
        (command for name, command in COMMANDS.items() if ranks[name] < _NO_MATCH), key=lambda each: ranks[each.name]
    )


_NO_MATCH = 9


def _rank(command: SlashCommand, wanted: str) -> int:
    title = command.title.lower()
    if wanted in command.names:
        return 0
    if command.name.startswith(wanted):
        return 1
    if any(name.startswith(wanted) for name in command.names):
        return 2
    if title.startswith(wanted):
        return 3
    if any(word.startswith(wanted) for word in title.split()) or f" {wanted}" in title:
        return 4
    if any(wanted in name for name in command.names):
        return 5
    if wanted in title or wanted in command.takes.lower():
        return 6
    return 7 if wanted and all(word in f"{command.names} {title}" for word in wanted.split()) else _NO_MATCH


def completions(host: ChatHost, text: str) -> Sequence[Completion]:
    """Return the completions of the text in the prompt: commands, or the known arguments of a command."""
    if not is_command(text) or "\n" in text:
        return []
    name, space, argument = text[1:].partition(" ")
    if not space:
        return [
            Completion(
                f"/{command.name}" if command.complete else f"/{command.name} ",
                command.usage,
                command.description,
                command.complete,
            )
            for command in ranked(name)
        ]
    command = _BY_NAME.get(name)
    if command is None or command.values is None:
        return []
    lines = [f"/{name} {value}" for value in command.values(host) if value.startswith(argument) and value != argument]
    return [Completion(line, line, "", complete=True) for line in lines]
