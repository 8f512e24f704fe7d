"""Everything the chat can be told by a word: the slash commands, which the command palette lists as well.

Knows each command's name, what may follow it and what it does to the screen; nothing of how those things are done.
"""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rstitch_local.errors import UsageError
from rstitch_local.sanitize import one_line
from rstitch_tui import actions

if TYPE_CHECKING:
    from rstitch_tui.screens.chat import ChatScreen

Action = Callable[["ChatScreen", str], Awaitable[None] | None]


@dataclass(frozen=True)
class SlashCommand:
    """A command: `needs` names what must follow it, `takes` what may; `title` is how the palette calls it."""

    name: str
    title: str
    action: Action
    needs: str = ""
    takes: str = ""

    @property
    def usage(self) -> str:
        """How it is typed."""
        return f"/{self.name} {self.needs}{f'[{self.takes}]' if self.takes else ''}".rstrip()


async def run(screen: ChatScreen, text: str) -> None:
    """Run what was typed; what is wrong with it is said on the screen."""
    name, _, words = text.strip().removeprefix("/").partition(" ")
    name = name or "help"
    with screen.chat_app.telling():
        command = find(name)
        if command.needs and not words.strip():
            raise UsageError(f"/{command.name} needs more", f"It is used as {command.usage}.")
        result = command.action(screen, words.strip())
        if result is not None:
            await result


def beginning_with(name: str) -> list[SlashCommand]:
    """The commands whose names begin so."""
    return [command for known, command in COMMANDS.items() if known.startswith(name)]


def find(name: str) -> SlashCommand:
    """The command of that name, or the only one that begins with it.

    Raises:
        UsageError: there is none, or several begin so.
    """
    if name in COMMANDS:
        return COMMANDS[name]
    begun = [command.name for command in beginning_with(name)] if name else []
    if len(begun) == 1:
        return COMMANDS[begun[0]]
    near = begun or difflib.get_close_matches(name, COMMANDS, n=3, cutoff=0.5)
    hint = f"Did you mean {', '.join('/' + command for command in near)}?" if near else "/help lists them all."
    raise UsageError("No such command", f"There is no /{one_line(name, 30)}.", hint)


def _set(field: str, kind: Callable[[str], object]) -> Action:
    def action(screen: ChatScreen, words: str) -> None:
        value: object = None
        if words not in ("", "auto"):
            try:
                value = kind(words)
            except ValueError:
                raise UsageError(
                    "Not a number", f"/{field} wants a number or auto, not {one_line(words, 30)!r}."
                ) from None
        actions.change(screen, **{field: value})

    return action


def _text(field: str) -> Action:
    return lambda screen, words: actions.show_or_change(screen, field, words)


def _think(screen: ChatScreen, words: str) -> None:
    switch = {"on": True, "off": False, "auto": None, "": None}
    if words not in switch:
        raise UsageError("On or off?", "/think is followed by on, off or auto.")
    actions.change(screen, thinking=switch[words])


def _seed(screen: ChatScreen, words: str) -> None:
    try:
        seed = int(words)
    except ValueError:
        raise UsageError("Not a number", f"seed is a whole number, not {one_line(words, 30)!r}.") from None
    actions.change(screen, seed=seed)


def _tau(screen: ChatScreen, words: str) -> None:
    if words:
        screen.set_tau(_number(words, "tau"))
    else:
        tau = actions.tau_of(screen)
        screen.say("This chat's router has no threshold." if tau is None else f"tau: {tau:g}")


def _again(screen: ChatScreen, words: str) -> Awaitable[None]:
    return actions.again(screen, _number(words, "tau") if words else None)


def _number(words: str, name: str) -> float:
    try:
        return float(words)
    except ValueError:
        raise UsageError("Not a number", f"{name} is a number, not {one_line(words, 30)!r}.") from None


_ALL = (
    SlashCommand("new", "New chat", lambda s, _: actions.new_chat(s)),
    SlashCommand("chats", "Open, rename or delete a chat", actions.chats, takes="words to search for"),
    SlashCommand("search", "Search in all chats", actions.chats, needs="WORDS"),
    SlashCommand("rename", "Rename this chat", actions.rename, needs="TITLE"),
    SlashCommand("delete", "Delete this chat", lambda s, _: actions.delete(s)),
    SlashCommand("undo", "Bring back the chat deleted last", lambda s, _: actions.undelete(s)),
    SlashCommand("export", "Export to a file", actions.export, takes="md, json or html, and a path"),
    SlashCommand("models", "Models: load, download, switch", lambda s, _: actions.models(s)),
    SlashCommand("pair", "Load a pair by its name", lambda s, w: s.chat_app.load_pair(w), needs="NAME"),
    SlashCommand("unload", "Free the models' memory", lambda s, _: s.chat_app.unload()),
    SlashCommand("context", "Load again with a larger or smaller context", actions.context, needs="TOKENS"),
    SlashCommand("drop", "Leave the older half of the turns out", lambda s, _: actions.drop_oldest(s)),
    SlashCommand("chat", "Settings of this chat", lambda s, _: actions.chat_settings(s)),
    SlashCommand("system", "System prompt of this chat", _text("system"), takes="TEXT"),
    SlashCommand("router", "Who writes: the router", _text("router"), takes="SPEC"),
    SlashCommand("tau", "Threshold on the entropy", _tau, takes="NUMBER"),
    SlashCommand("temperature", "Sampling: temperature", _set("temperature", float), takes="NUMBER"),
    SlashCommand("top_p", "Sampling: nucleus", _set("top_p", float), takes="NUMBER"),
    SlashCommand("top_k", "Sampling: the K likeliest", _set("top_k", int), takes="NUMBER"),
    SlashCommand("min_p", "Sampling: least share", _set("min_p", float), takes="NUMBER"),
    SlashCommand("max_tokens", "Longest answer", _set("max_tokens", int), takes="NUMBER"),
    SlashCommand("seed", "Seed of all noise", _seed, needs="NUMBER"),
    SlashCommand("think", "Whether the models think first", _think, takes="on, off, auto"),
    SlashCommand("retry", "Answer once more", lambda s, _: actions.regenerate(s)),
    SlashCommand("again", "The same at another tau, side by side", _again, takes="TAU"),
    SlashCommand("edit", "Edit the last question, or a stopped answer", lambda s, _: actions.edit(s)),
    SlashCommand("continue", "Let the answer go on", lambda s, _: actions.go_on(s)),
    SlashCommand("inspect", "Look at the tokens of an answer", lambda s, _: actions.inspect(s)),
    SlashCommand("tokens", "Show tokens or Markdown", lambda s, _: actions.toggle_tokens(s)),
    SlashCommand("thinking", "Unfold or fold the thinking", lambda s, _: actions.toggle_thinking(s)),
    SlashCommand("copy", "Copy the answer", lambda s, _: actions.copy(s)),
    SlashCommand("code", "Copy its last block of code", lambda s, _: actions.copy_code(s)),
    SlashCommand("theme", "Change the colours", lambda s, w: s.chat_app.choose_theme(w), takes="NAME"),
    SlashCommand("settings", "Write the settings file, and say where it is", lambda s, _: s.chat_app.write_settings()),
    SlashCommand("help", "Keys and commands", lambda s, _: actions.help_screen(s)),
    SlashCommand("quit", "Leave", lambda s, _: s.chat_app.leave()),
)

COMMANDS = {command.name: command for command in _ALL}
"""All commands by name."""
