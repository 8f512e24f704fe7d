"""The slash commands, which are also the entries of the command palette: names, arguments and actions."""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from rstitch_local.errors import UsageError
from rstitch_local.routing.spec import usable_spec
from rstitch_local.sanitize import one_line
from rstitch_tui.actions import answers, chats, models, settings
from rstitch_tui.chat_host import ChatHost
from rstitch_tui.chat_setting_fields import NUMBERS
from rstitch_tui.chat_settings import stop_strings_from_arguments

Action = Callable[[ChatHost, str], Awaitable[None] | None]


@dataclass(frozen=True)
class SlashCommand:
    """A command.

    Attributes:
        name: what is typed after the slash.
        title: what it does, for the palette, the help and the documentation.
        action: called with the chat and the arguments as typed.
        needs: name of a required argument.
        takes: description of an optional argument.
    """

    name: str
    title: str
    action: Action
    needs: str = ""
    takes: str = ""

    @property
    def usage(self) -> str:
        """The command with its arguments, such as "/rename TITLE"."""
        return f"/{self.name} {self.needs}{f'[{self.takes}]' if self.takes else ''}".rstrip()


def is_command(text: str) -> bool:
    """Whether a message is a command; a text that starts with two slashes is a question."""
    return text.startswith("/") and not text.startswith("//")


async def run(host: ChatHost, text: str) -> None:
    """Run a command line; errors are shown as notifications."""
    name, _, arguments = text.strip().removeprefix("/").partition(" ")
    name = name or "help"
    with host.errors_shown():
        command = find(name)
        if command.needs and not arguments.strip():
            raise UsageError("Missing argument", f"/{command.name} needs an argument.", f"Usage: {command.usage}")
        result = command.action(host, arguments.strip())
        if result is not None:
            await result


def starting_with(prefix: str) -> list[SlashCommand]:
    """Return the commands whose names start with `prefix`."""
    return [command for name, command in COMMANDS.items() if name.startswith(prefix)]


def completions(text: str) -> list[SlashCommand]:
    """Return the commands that complete a text; none once an argument is typed."""
    typing_name = is_command(text) and not any(character.isspace() for character in text)
    return starting_with(text[1:]) if typing_name else []


def find(name: str) -> SlashCommand:
    """Return the command of that name, or the only one whose name starts with it.

    Raises:
        UsageError: there is none, or there are several.
    """
    if name in COMMANDS:
        return COMMANDS[name]
    matches = [command.name for command in starting_with(name)] if name else []
    if len(matches) == 1:
        return COMMANDS[matches[0]]
    suggestions = matches or difflib.get_close_matches(name, COMMANDS, n=3, cutoff=0.5)
    hint = f"Did you mean {', '.join('/' + each for each in suggestions)}?" if suggestions else "/help lists all."
    raise UsageError("Unknown command", f"There is no command /{one_line(name, 30)}.", hint)


def _number_setting(name: str) -> Action:
    field = next(field for field in NUMBERS if field.name == name)

    def action(host: ChatHost, text: str) -> None:
        value: object = None
        if text not in ("", "auto"):
            try:
                value = field.parse(text)
            except ValueError as error:
                message = f"{one_line(text, 30)!r} is not a value of /{name}."
                raise UsageError("Invalid number", message, f"{error} auto resets it.") from None
        settings.change(host, **{name: value})

    return action


def _system(host: ChatHost, text: str) -> None:
    settings.show_or_change(host, "system", text)


def _think(host: ChatHost, text: str) -> None:
    values = {"on": True, "off": False, "auto": None, "": None}
    if text not in values:
        raise UsageError(
            "Invalid argument", f"{one_line(text, 30)!r} is not a value of /think.", "Use on, off or auto."
        )
    settings.change(host, thinking=values[text])


def _seed(host: ChatHost, text: str) -> None:
    try:
        seed = int(text)
    except ValueError:
        raise UsageError("Not a number", f"seed must be a whole number, not {one_line(text, 30)!r}.") from None
    settings.change(host, seed=seed)


def _router(host: ChatHost, text: str) -> None:
    if text not in ("", "auto"):
        # Creates the router once: a missing file or module is reported now, not by the next answer.
        usable_spec(text)
    settings.show_or_change(host, "router", text)


def _stop_strings(host: ChatHost, text: str) -> None:
    if text:
        settings.change(host, stop=() if text == "auto" else stop_strings_from_arguments(text))
    else:
        settings.show_or_change(host, "stop", "")


def _tau(host: ChatHost, text: str) -> None:
    if text:
        settings.set_tau(host, _number(text))
    else:
        tau = host.session.tau
        host.notice(f"The router {host.session.router} has no threshold." if tau is None else f"tau: {tau:g}")


def _again(host: ChatHost, text: str) -> Awaitable[None]:
    return answers.regenerate_at(host, _number(text) if text else None)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError("Not a number", f"tau must be a number, not {one_line(text, 30)!r}.") from None


_ALL = (
    SlashCommand("new", "New chat", lambda h, _: chats.new_chat(h)),
    SlashCommand("chats", "Open, rename or delete a chat", chats.list_chats, takes="words to search for"),
    SlashCommand("search", "Search all chats", chats.list_chats, needs="WORDS"),
    SlashCommand("rename", "Rename this chat", chats.rename, needs="TITLE"),
    SlashCommand("delete", "Delete this chat", lambda h, _: chats.delete(h)),
    SlashCommand("undo", "Restore the chat deleted last", lambda h, _: chats.restore(h)),
    SlashCommand("export", "Export to a file", chats.export, takes="md, json or html, and a path"),
    SlashCommand("models", "Load, download or switch models", lambda h, _: h.dialogs.open_models()),
    SlashCommand("pair", "Load a pair by name", models.load_pair, needs="NAME"),
    SlashCommand("unload", "Unload the models to free their memory", lambda h, _: models.unload(h)),
    SlashCommand("context", "Reload the models with another context size", models.set_context, needs="TOKENS"),
    SlashCommand("drop", "Forget the older half of the chat", lambda h, _: models.forget_older_half(h)),
    SlashCommand("chat", "Settings of this chat", lambda h, _: settings.open_form(h)),
    SlashCommand("system", "System prompt", _system, takes="TEXT"),
    SlashCommand("router", "Router", _router, takes="SPEC"),
    SlashCommand("tau", "Entropy threshold", _tau, takes="NUMBER"),
    SlashCommand("temperature", "Sampling: temperature", _number_setting("temperature"), takes="NUMBER"),
    SlashCommand("top_p", "Sampling: top-p", _number_setting("top_p"), takes="NUMBER"),
    SlashCommand("top_k", "Sampling: top-k", _number_setting("top_k"), takes="NUMBER"),
    SlashCommand("min_p", "Sampling: min-p", _number_setting("min_p"), takes="NUMBER"),
    SlashCommand("max_tokens", "Maximum tokens per answer", _number_setting("max_tokens"), takes="NUMBER"),
    SlashCommand("seed", "Random seed", _seed, needs="NUMBER"),
    SlashCommand("stop_strings", "Strings that end an answer", _stop_strings, takes="STRINGS"),
    SlashCommand("think", "Turn thinking on or off", _think, takes="on, off, auto"),
    SlashCommand("retry", "Regenerate the answer", lambda h, _: answers.regenerate(h)),
    SlashCommand("again", "Regenerate at another tau, side by side", _again, takes="TAU"),
    SlashCommand("edit", "Edit the last question or a stopped answer", lambda h, _: answers.edit(h)),
    SlashCommand("continue", "Continue a stopped answer", lambda h, _: answers.continue_answer(h)),
    SlashCommand("inspect", "Inspect an answer token by token", lambda h, _: answers.inspect(h)),
    SlashCommand("tokens", "Show answers as tokens or as Markdown", lambda h, _: h.toggle_tokens()),
    SlashCommand("thinking", "Fold or unfold the thinking", lambda h, _: h.toggle_thinking()),
    SlashCommand("copy", "Copy the answer", lambda h, _: answers.copy(h)),
    SlashCommand("code", "Copy the last code block", lambda h, _: answers.copy_code(h)),
    SlashCommand("theme", "Change the theme", lambda h, name: h.dialogs.choose_theme(name), takes="NAME"),
    SlashCommand("settings", "Create the settings file", lambda h, _: settings.write_settings_file(h)),
    SlashCommand("help", "Keys and commands", lambda h, _: h.dialogs.open_help()),
    SlashCommand("quit", "Quit", lambda h, _: h.quit()),
)

COMMANDS = {command.name: command for command in _ALL}
"""All commands by name."""
