"""The table of slash commands, which are also the entries of the command palette."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from rstitch_local.errors import UsageError
from rstitch_local.routing.spec import usable_spec
from rstitch_local.sanitize import one_line
from rstitch_tui.actions import answers, chats, models, settings
from rstitch_tui.chat_host import ChatHost
from rstitch_tui.chat_setting_fields import NUMBERS
from rstitch_tui.chat_settings import stop_strings_from_arguments

Action = Callable[[ChatHost, str], Awaitable[None] | None]
Group = Literal["Answer", "Chat", "Settings of this chat", "Models", "App"]


@dataclass(frozen=True)
class SlashCommand:
    """A command.

    Attributes:
        name: what is typed after the slash.
        title: what it does, for the palette, the help and the documentation.
        action: called with the chat and the arguments as typed.
        needs: name of a required argument.
        takes: description of an optional argument.
        group: heading in the command palette.
        aliases: other names.
        key: id of the key action that does the same.
        values: returns arguments that can be completed.
    """

    name: str
    title: str
    action: Action
    needs: str = ""
    takes: str = ""
    group: Group = "Chat"
    aliases: tuple[str, ...] = ()
    key: str = ""
    values: Callable[[ChatHost], Iterable[str]] | None = None

    @property
    def usage(self) -> str:
        """The command with its arguments, such as "/rename TITLE"."""
        return f"/{self.name} {self.needs}{f'[{self.takes}]' if self.takes else ''}".rstrip()

    @property
    def complete(self) -> bool:
        """Whether the command can be run without an argument."""
        return not self.needs

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.aliases)

    @property
    def description(self) -> str:
        """The title, followed by the aliases."""
        also = ", ".join(f"/{alias}" for alias in self.aliases)
        return f"{self.title} (also {also})" if also else self.title


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
    loaded = host.models.loaded
    if values[text] is not None and loaded is not None and not loaded.thinking_switch:
        host.notice(f"It has no effect with {loaded.choice.name}: its chat template has no switch for thinking.")


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
    if text == "auto":
        settings.reset_tau(host)
    elif text:
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


def _fixed(*values: str) -> Callable[[ChatHost], Iterable[str]]:
    return lambda _: values


def _number_command(name: str, title: str) -> SlashCommand:
    action = _number_setting(name)
    return SlashCommand(name, title, action, takes="NUMBER", values=_fixed("auto"))


def _routers(host: ChatHost) -> Iterable[str]:
    """Return the router in effect and those that have no parameters or common ones."""
    return dict.fromkeys((host.session.router, "auto", "slm", "llm", "entropy:0.02", "entropy:0.05", "entropy:0.1"))


_ANSWER = (
    SlashCommand(
        "retry", "Regenerate the answer", lambda h, _: answers.regenerate(h), aliases=("regenerate",), key="regenerate"
    ),
    SlashCommand(
        "again",
        "Regenerate at another tau, side by side",
        _again,
        takes="TAU",
        aliases=("compare",),
        key="again_at_another_tau",
    ),
    SlashCommand("edit", "Edit the last question or a stopped answer", lambda h, _: answers.edit(h)),
    SlashCommand("continue", "Continue a stopped answer", lambda h, _: answers.continue_answer(h), aliases=("resume",)),
    SlashCommand("inspect", "Inspect an answer token by token", lambda h, _: answers.inspect(h), key="inspector"),
    SlashCommand(
        "tokens", "Show answers as tokens or as Markdown", lambda h, _: h.toggle_tokens(), key="toggle_tokens"
    ),
    SlashCommand(
        "formulas", "Show formulas as Unicode or as TeX", lambda h, _: h.toggle_formulas(), key="toggle_formulas"
    ),
    SlashCommand("thinking", "Fold or unfold the thinking", lambda h, _: h.toggle_thinking(), key="toggle_thinking"),
    SlashCommand("copy", "Copy the answer", lambda h, _: answers.copy(h)),
    SlashCommand("code", "Copy the last code block", lambda h, _: answers.copy_code(h)),
)
_CHAT = (
    SlashCommand("new", "New chat", lambda h, _: chats.new_chat(h), aliases=("clear",), key="new_chat"),
    SlashCommand(
        "chats",
        "Open, rename or delete a chat",
        chats.list_chats,
        takes="words to search for",
        aliases=("history",),
        key="chats",
    ),
    SlashCommand("search", "Search all chats", chats.list_chats, needs="WORDS"),
    SlashCommand("rename", "Rename this chat", chats.rename, needs="TITLE", aliases=("title",)),
    SlashCommand("delete", "Delete this chat", lambda h, _: chats.delete(h)),
    SlashCommand("undo", "Restore the chat deleted last", lambda h, _: chats.restore(h)),
    SlashCommand(
        "export",
        "Export to a file",
        chats.export,
        takes="md, json or html, and a path",
        aliases=("save",),
        values=_fixed("md", "json", "html"),
    ),
    SlashCommand("drop", "Forget the older half of the chat", lambda h, _: models.forget_older_half(h)),
)
_SETTINGS = (
    SlashCommand("chat", "Settings of this chat", lambda h, _: settings.open_form(h), key="chat_settings"),
    SlashCommand("system", "System prompt", _system, takes="TEXT", values=_fixed("auto")),
    SlashCommand("router", "Router", _router, takes="SPEC", values=_routers),
    SlashCommand("tau", "Entropy threshold", _tau, takes="NUMBER", values=_fixed("auto")),
    _number_command("temperature", "Sampling: temperature"),
    _number_command("top_p", "Sampling: top-p"),
    _number_command("top_k", "Sampling: top-k"),
    _number_command("min_p", "Sampling: min-p"),
    _number_command("max_tokens", "Maximum tokens per answer"),
    SlashCommand("seed", "Random seed", _seed, needs="NUMBER"),
    SlashCommand("stop_strings", "Strings that end an answer", _stop_strings, takes="STRINGS", values=_fixed("auto")),
    SlashCommand("think", "Turn thinking on or off", _think, takes="on, off, auto", values=_fixed("on", "off", "auto")),
)
_MODELS = (
    SlashCommand(
        "models",
        "Load, download or switch models",
        lambda h, _: h.dialogs.open_models(),
        aliases=("model",),
        key="models",
    ),
    SlashCommand("pair", "Load a pair by name", models.load_pair, needs="NAME", values=lambda _: models.pair_names()),
    SlashCommand("unload", "Unload the models to free their memory", lambda h, _: models.unload(h)),
    SlashCommand("context", "Reload the models with another context size", models.set_context, needs="TOKENS"),
)
_APP = (
    SlashCommand(
        "theme",
        "Change the theme",
        lambda h, name: h.dialogs.choose_theme(name),
        takes="NAME",
        values=lambda h: h.dialogs.themes(),
    ),
    SlashCommand("settings", "Create the settings file", lambda h, _: settings.write_settings_file(h)),
    SlashCommand(
        "help", "Keys and commands", lambda h, _: h.dialogs.open_help(), aliases=("keys", "commands"), key="help"
    ),
    SlashCommand("quit", "Quit", lambda h, _: h.quit(), aliases=("exit", "q", "bye"), key="quit"),
)


def _grouped() -> Iterable[SlashCommand]:
    for group, commands in _GROUPS.items():
        yield from (replace(command, group=group) for command in commands)


_GROUPS: Mapping[Group, tuple[SlashCommand, ...]] = {
    "Answer": _ANSWER,
    "Chat": _CHAT,
    "Settings of this chat": _SETTINGS,
    "Models": _MODELS,
    "App": _APP,
}

COMMANDS = {command.name: command for command in _grouped()}
"""All commands by name, group by group."""
