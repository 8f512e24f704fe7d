"""Every key of the chat: what it does, where it works, and how a user's own keys are laid over the table.

Knows names of keys and nothing of the widgets that act on them. The remapping itself is Textual's: each row's id
is the id of a `Binding`, and `resolve` gives the keymap for `App.set_keymap`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from textual.binding import Binding, BindingType, InvalidBinding
from textual.keys import KEY_ALIASES, REPLACED_KEYS, Keys, key_to_character

from rstitch_local.errors import UsageError
from rstitch_local.sanitize import one_line

Where = Literal["everywhere", "prompt", "message", "list"]

PLACES: Mapping[Where, str] = {
    "everywhere": "Everywhere, also while you type",
    "prompt": "In the prompt",
    "message": "On a message",
    "list": "In the list of models",
}
"""The places a key works in, as a help screen heads them. A key of everywhere works in all of them."""


@dataclass(frozen=True, slots=True)
class KeyAction:
    """Something the user can do with a key.

    id: the binding's id, and the name in the settings file.
    keys: the keys by Textual's names, separated by commas.
    title: two or three words for the footer; help is a sentence.
    shown: whether a footer, which has little room, shows it.
    """

    id: str
    keys: str
    title: str
    help: str
    where: Where = "everywhere"
    shown: bool = False


# Not used on purpose: Ctrl-S (stops the output of some terminals), Ctrl-C, Ctrl-Z and the letters that edit text
# (a d e k u v w x y), Ctrl-B (tmux), Ctrl-H, -I and -M (Backspace, Tab and Enter), F10 and F11 (the terminal's own).
ACTIONS: Sequence[KeyAction] = (
    KeyAction("stop", "escape", "Stop", "Stop the answer; what is there of it is kept."),
    KeyAction("new_chat", "ctrl+n", "New chat", "Begin a new chat.", shown=True),
    KeyAction("chats", "ctrl+o", "Chats", "List, search, rename and delete chats.", shown=True),
    KeyAction("models", "ctrl+l,f3", "Models", "Load, download or switch the pair.", shown=True),
    KeyAction("chat_settings", "f4", "Chat settings", "System prompt, router and sampling of this chat.", shown=True),
    KeyAction("inspector", "ctrl+g", "Inspect", "Walk through the last answer token by token.", shown=True),
    KeyAction("toggle_tokens", "ctrl+t", "Tokens", "Show answers as coloured tokens, or as text.", shown=True),
    KeyAction("toggle_thinking", "ctrl+f", "Fold thinking", "Fold or unfold the reasoning of all answers."),
    KeyAction("tau_down", "f8,ctrl+down", "More LLM", "Lower tau, from the next token on: the large model helps more."),
    KeyAction("tau_up", "f9,ctrl+up", "Less LLM", "Raise tau, from the next token on: the large model helps less."),
    KeyAction("regenerate", "ctrl+r", "Regenerate", "Answer the last message again; the old answer is kept."),
    KeyAction("again_at_another_tau", "f5", "Other tau", "Answer again at another tau, side by side."),
    KeyAction("edit_last", "f2", "Edit last", "Edit your last message and go on from there."),
    KeyAction("help", "f1", "Help", "Show all keys and commands.", shown=True),
    KeyAction("command_palette", "ctrl+p", "Commands", "Find any command by its name.", shown=True),
    KeyAction("quit", "ctrl+q", "Quit", "Leave the chat; everything is saved."),
    KeyAction("send", "enter", "Send", "Send the message.", "prompt"),
    KeyAction("newline", "ctrl+j,shift+enter,alt+enter", "New line", "Begin a new line in the message.", "prompt"),
    KeyAction("message_up", "up,k", "Up", "Go to the message above.", "message"),
    KeyAction("message_down", "down,j", "Down", "Go to the message below.", "message"),
    KeyAction("branch_previous", "left,h", "Older branch", "Show the branch before this one.", "message"),
    KeyAction("branch_next", "right,l", "Newer branch", "Show the branch after this one.", "message"),
    KeyAction("message_edit", "e", "Edit", "Edit a message or an answer and go on from there.", "message", shown=True),
    KeyAction(
        "message_regenerate", "r", "Regenerate", "Write this answer again; the old one stays.", "message", shown=True
    ),
    KeyAction("message_copy", "c", "Copy", "Copy the message.", "message", shown=True),
    KeyAction("message_copy_code", "b", "Copy code", "Copy the last block of code in the message.", "message"),
    KeyAction("message_inspect", "i", "Inspect", "Walk through this answer token by token.", "message", shown=True),
    KeyAction("message_tokens", "t", "Tokens", "Show this answer as tokens, or as text.", "message", shown=True),
    KeyAction("message_thinking", "x", "Thinking", "Unfold or fold the reasoning of this answer.", "message"),
    KeyAction("message_export", "d", "Export", "Write this answer, or the chat, to a file.", "message"),
    KeyAction("to_prompt", "enter", "Type", "Go back to the prompt.", "message", shown=True),
    KeyAction("pair_load", "enter", "Load", "Load the pair and chat with it.", "list", shown=True),
    KeyAction("pair_download", "d", "Download", "Download what is missing of the pair.", "list", shown=True),
    KeyAction("pair_pause", "p", "Pause", "Pause the download.", "list", shown=True),
    KeyAction("pair_resume", "r", "Resume", "Go on with the download.", "list", shown=True),
    KeyAction("pair_cancel", "c", "Cancel", "Stop the download; what is there of it is kept.", "list", shown=True),
    KeyAction("pair_unload", "u", "Unload", "Free the memory of the pair that is loaded.", "list", shown=True),
    KeyAction("pair_files", "o", "Two files", "Load any two GGUF files of this disk.", "list", shown=True),
)
"""The table, in the order a help screen shows it."""

_BY_ID = {action.id: action for action in ACTIONS}
# Textual's own: they work above every dialogue. An app binds them too, in place of Textual's bindings without an id.
_OF_TEXTUAL = ("quit", "command_palette")
_MODIFIERS = {"alt", "ctrl", "hyper", "meta", "shift", "super"}
# To a terminal Ctrl-M and Enter are one; Textual only ever reports the first name.
_ALIASES = {alias: name for name, aliases in KEY_ALIASES.items() for alias in aliases}
# `return` is in Textual's list, but that key is reported as enter.
_NAMED = sorted(
    {base for key in Keys if len(base := key.value.rpartition("+")[2]) > 1 and base[0] != "<"} - {"return", "ctrl-at"}
)
_OTHER_NAMES = {"return": "enter", "esc": "escape", "pgup": "pageup", "pgdn": "pagedown", "del": "delete"}


def binding(action_id: str, action: str = "", *, show: bool | None = None, priority: bool | None = None) -> Binding:
    """A Textual binding for a row of the table, remapped with it.

    Args:
        action_id: the row's id.
        action: Textual's action, when it is not called like the row ("screen.pair_load").
        show: whether a footer shows it, when not as the table says.
        priority: whether it goes before the keys of the focused widget and above every dialogue.
    """
    row = _BY_ID[action_id]
    of_textual = row.id in _OF_TEXTUAL
    return Binding(
        row.keys,
        action or (f"app.{row.id}" if of_textual else row.id),
        row.title,
        show=row.shown if show is None else show,
        priority=of_textual if priority is None else priority,
        tooltip=row.help,
        id=row.id,
    )


def bindings(where: Where) -> list[BindingType]:
    """The bindings of all rows of a place; their actions are called like the rows."""
    return [binding(row.id) for row in ACTIONS if row.where == where]


def resolve(overrides: Mapping[str, str]) -> dict[str, str]:
    """The keymap for `App.set_keymap`: the user's keys by the ids of the table, in Textual's names.

    Args:
        overrides: an action's id and the keys it shall have instead, separated by commas.

    Raises:
        UsageError: an unknown action or key, a key that cannot work there, or two actions on one key in one place.
    """
    keymap: dict[str, str] = {}
    for action_id, keys in overrides.items():
        row = _BY_ID.get(action_id)
        if row is None:
            shown = one_line(action_id, 40)
            near = difflib.get_close_matches(action_id, _BY_ID, n=1, cutoff=0.5)
            hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(_BY_ID)}."
            raise UsageError("No such action", f"keys.{shown}: there is no action '{shown}'.", hint)
        keymap[action_id] = ",".join(_parsed(row, keys))
    _refuse_conflicts(in_force(keymap))
    return keymap


def in_force(keymap: Mapping[str, str]) -> list[KeyAction]:
    """The table with the keys of a keymap that `resolve` gave."""
    return [replace(row, keys=keymap.get(row.id, row.keys)) for row in ACTIONS]


def _parsed(row: KeyAction, keys: str) -> Iterator[str]:
    try:
        names = [found.key for found in Binding.make_bindings([(keys, row.id)])]
    except InvalidBinding:
        message = f"keys.{row.id} = '{one_line(keys, 40)}' names no key."
        raise UsageError("No key", message, 'Write it like "ctrl+n" or "f5,ctrl+g".') from None
    for written in names:
        key = _normal(written, row)
        said = f"keys.{row.id} = '{key}': that key "
        if row.where in ("everywhere", "prompt") and _types(key):
            raise UsageError("Not a free key", f"{said}types a character.")
        if row.where == "everywhere" and key in _editing_keys():
            raise UsageError("Not a free key", f"{said}edits text or moves about.")
        yield key


def _normal(written: str, row: KeyAction) -> str:
    """A key as Textual reports it; raises UsageError where there is no such key."""
    key = written if len(written) == 1 else written.lower()
    *modifiers, base = _ALIASES.get(key, key).split("+")
    if modifiers == ["shift"] and len(base) == 1 and base.isalpha():
        return base.upper()
    if len(base) == 1:
        (base,) = (found.key for found in Binding.make_bindings([(base, row.id)]))
    if not (base in _NAMED or _types(base)) or not _MODIFIERS.issuperset(modifiers):
        shown = one_line(written, 40)
        near = _OTHER_NAMES.get(base) or next(iter(difflib.get_close_matches(base, _NAMED, n=1)), "")
        hint = f"Did you mean {near}?" if near else ""
        raise UsageError("No such key", f"keys.{row.id} = '{shown}': there is no such key.", hint)
    return "+".join([*sorted(modifiers), base])


def _types(key: str) -> bool:
    """Whether a key types a character."""
    character = key_to_character(REPLACED_KEYS.get(key, key))
    return character is not None and character.isprintable()


def _editing_keys() -> set[str]:
    from textual.widgets import TextArea

    return {"tab", "shift+tab", *(found.key for found in Binding.make_bindings(TextArea.BINDINGS))}


def _refuse_conflicts(rows: Sequence[KeyAction]) -> None:
    for number, row in enumerate(rows):
        for other in rows[number + 1 :]:
            if row.where != other.where and "everywhere" not in (row.where, other.where):
                continue
            shared = sorted(set(row.keys.split(",")) & set(other.keys.split(",")))
            if shared:
                raise UsageError(
                    "Two actions on one key",
                    f"keys: {row.id} and {other.id} are both on {shared[0]}.",
                    "Give one of them another key.",
                )
