"""The last line of the chat: the keys for what can be done now.

Unlike Textual's footer it depends on what the chat is doing, and it leaves out the least important keys instead of
being cut off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from textual import events
from textual.content import Content
from textual.style import Style
from textual.widgets import Static

from rstitch_tui.keys import remapped

Place = Literal["prompt", "slider", "message"]

_SEPARATOR = " · "
_SHORT_NAMES = {"enter": "⏎", "escape": "Esc", "up": "↑", "down": "↓", "left": "←", "right": "→"}


class KeyHint(NamedTuple):
    """A hint: ids of the key actions, separated by spaces, a label, and the action of a click."""

    ids: str
    label: str
    action: str


@dataclass(frozen=True)
class ChatState:
    """What the hints depend on.

    Attributes:
        place: where the focus is.
        writing: whether an answer is being generated.
        has_answer: whether there is an answer.
        has_tau: whether the router has a tau.
        letters: whether letters act on the message with the focus.
    """

    place: Place = "prompt"
    writing: bool = False
    has_answer: bool = False
    has_tau: bool = True
    letters: bool = True


def key_hints(state: ChatState) -> Iterator[KeyHint]:
    """Yield the hints, the most important first."""
    if state.writing:
        yield KeyHint("stop", "Stop", "screen.stop")
        if state.has_tau:
            yield KeyHint("tau_down tau_up", "tau", "")
    if state.place == "message":
        yield from _message_hints(state)
        return
    if state.place == "slider":
        yield KeyHint("stop", "Prompt", "screen.prompt")
    elif not state.writing:
        yield KeyHint("send", "Send", "screen.prompt")
    if state.has_answer and not state.writing:
        yield KeyHint("regenerate", "Regenerate", "screen.slash('retry')")
        if state.has_tau:
            yield KeyHint("again_at_another_tau", "Compare", "screen.slash('again')")
    yield KeyHint("toggle_tokens", "Tokens", "screen.slash('tokens')")
    yield KeyHint("command_palette", "Commands", "screen.palette")
    yield KeyHint("help", "Help", "screen.slash('help')")
    yield KeyHint("new_chat", "New", "screen.slash('new')")
    yield KeyHint("chats", "Chats", "screen.slash('chats')")
    yield KeyHint("models", "Models", "screen.slash('models')")
    yield KeyHint("chat_settings", "Settings", "screen.slash('chat')")
    yield KeyHint("inspector", "Inspect", "screen.slash('inspect')")


def _message_hints(state: ChatState) -> Iterator[KeyHint]:
    yield KeyHint("to_prompt", "Prompt", "screen.prompt")
    yield KeyHint("message_up message_down", "Select", "")
    if state.letters:
        yield KeyHint("message_edit", "Edit", "screen.slash('edit')")
        yield KeyHint("message_regenerate", "Regenerate", "screen.slash('retry')")
        yield KeyHint("message_copy", "Copy", "screen.slash('copy')")
        yield KeyHint("message_inspect", "Inspect", "screen.slash('inspect')")
        yield KeyHint("message_tokens", "Tokens", "screen.tokens_here")
        yield KeyHint("message_export", "Export", "screen.export_here")
    yield KeyHint("help", "Help", "screen.slash('help')")


def hints_line(state: ChatState, keymap: Mapping[str, str], width: int) -> Content:
    """Return as many hints as fit into `width` cells, the most important first."""
    keys = {action.id: action.keys.split(",")[0] for action in remapped(keymap)}
    line, cells = Content(""), 0
    for hint in key_hints(state):
        name = "/".join(_short(keys[each]) for each in hint.ids.split())
        style = Style.from_meta({"@click": hint.action}) if hint.action else Style()
        text = Content.assemble((name, "bold"), " ", (hint.label, "$foreground 70%")).stylize(style)
        separator = _SEPARATOR if cells else ""
        needed = len(separator) + text.cell_length
        if cells + needed > width:
            break
        line, cells = Content.assemble(line, (separator, "$foreground 40%"), text), cells + needed
    return line


def _short(key: str) -> str:
    """Return a key name of few cells: ctrl+r becomes ^r."""
    *modifiers, base = key.split("+")
    name = _SHORT_NAMES.get(base) or (base.upper() if len(base) > 1 and base[0] == "f" else base)
    return f"^{name}" if modifiers == ["ctrl"] else "-".join([*(part.capitalize() for part in modifiers), name])


class KeyHints(Static):
    """One line of hints.

    Args:
        keymap: the user's keys, as `keys.resolve` returns them.
    """

    DEFAULT_CSS = """
    KeyHints { height: 1; padding: 0 1; background: $panel; color: $foreground; text-wrap: nowrap; }
    """

    def __init__(self, keymap: Mapping[str, str]) -> None:
        super().__init__(markup=False)
        self._keymap = keymap
        self._state = ChatState()

    def show(self, state: ChatState) -> None:
        """Show the hints for a state of the chat."""
        self._state = state
        self._draw()

    def on_resize(self, event: events.Resize) -> None:  # noqa: ARG002
        self._draw()

    def _draw(self) -> None:
        self.update(hints_line(self._state, self._keymap, self.content_size.width or 78))
