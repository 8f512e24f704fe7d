"""The keys of the chat: the table of actions and the user's remapping of it.

The remapping itself is Textual's: the id of an action is the id of its `Binding`, and `resolve` returns the keymap
for `App.set_keymap`.
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
    "everywhere": "Everywhere, also while typing",
    "prompt": "In the prompt",
    "message": "On a message",
    "list": "In the list of models",
}
"""Where a key works, with the heading in the help. Keys of "everywhere" work in all places."""


@dataclass(frozen=True, slots=True)
class KeyAction:
    """An action bound to keys.

    Attributes:
        id: id of the binding, and its name in the settings file.
        keys: key names as in Textual, separated by commas.
        title: label in the footer.
        help: one sentence for the help and the documentation.
        where: where the keys work.
        gives_way: whether the action loses a key that the user gives to another one; otherwise that is refused. For
            actions that were added later: a settings file may use their keys already.
    """

    id: str
    keys: str
    title: str
    help: str
    where: Where = "everywhere"
    gives_way: bool = False


# Not used on purpose: Ctrl-S (stops the output of some terminals), Ctrl-C, Ctrl-Z and the letters that edit text
# (a d e k u v w x y), Ctrl-B (tmux), Ctrl-H, -I and -M (Backspace, Tab and Enter), F10 and F11 (used by terminals).
ACTIONS: Sequence[KeyAction] = (
    KeyAction("stop", "escape", "Stop", "Stop the answer; the text so far is kept."),
    KeyAction("new_chat", "ctrl+n", "New chat", "Start a new chat."),
    KeyAction("chats", "ctrl+o", "Chats", "List, search, rename and delete chats."),
    KeyAction("models", "ctrl+l,f3", "Models", "Load, download or switch the pair."),
    KeyAction("chat_settings", "f4", "Chat settings", "Edit system prompt, router and sampling of this chat."),
    KeyAction("inspector", "ctrl+g", "Inspect", "Inspect the last answer token by token."),
    KeyAction("toggle_tokens", "ctrl+t", "Tokens", "Show answers as colored tokens or as Markdown."),
    KeyAction(
        "toggle_formulas", "f12,ctrl+underscore", "Formulas", "Show formulas as Unicode or as TeX.", gives_way=True
    ),
    KeyAction("toggle_thinking", "ctrl+f", "Fold thinking", "Fold or unfold the thinking of all answers."),
    KeyAction("tau_down", "f8,ctrl+down", "More LLM", "Lower tau from the next token on: more LLM tokens."),
    KeyAction("tau_up", "f9,ctrl+up", "Less LLM", "Raise tau from the next token on: fewer LLM tokens."),
    KeyAction("regenerate", "ctrl+r", "Regenerate", "Regenerate the last answer; the old one is kept as a branch."),
    KeyAction("again_at_another_tau", "f5", "Other tau", "Regenerate the answer at another tau, side by side."),
    KeyAction("edit_last", "f2", "Edit last", "Edit your last message."),
    KeyAction("help", "f1", "Help", "Show all keys and commands."),
    KeyAction("command_palette", "ctrl+p", "Commands", "Search the commands by name."),
    KeyAction("quit", "ctrl+q", "Quit", "Quit; all chats are saved."),
    KeyAction("send", "enter", "Send", "Send the message.", "prompt"),
    KeyAction("newline", "ctrl+j,shift+enter,alt+enter", "New line", "Insert a new line.", "prompt"),
    KeyAction("page_up", "pageup", "Page up", "Scroll the conversation up.", "prompt"),
    KeyAction("page_down", "pagedown", "Page down", "Scroll the conversation down.", "prompt"),
    KeyAction("message_up", "up,k", "Up", "Select the message above.", "message"),
    KeyAction("message_down", "down,j", "Down", "Select the message below.", "message"),
    KeyAction("branch_previous", "left,h", "Previous branch", "Show the previous branch.", "message"),
    KeyAction("branch_next", "right,l", "Next branch", "Show the next branch.", "message"),
    KeyAction("message_edit", "e", "Edit", "Edit the message and continue from there.", "message"),
    KeyAction(
        "message_regenerate",
        "r",
        "Regenerate",
        "Regenerate this answer; the old one is kept as a branch.",
        "message",
    ),
    KeyAction("message_copy", "c", "Copy", "Copy the message.", "message"),
    KeyAction("message_copy_code", "b", "Copy code", "Copy the last code block of the message.", "message"),
    KeyAction("message_inspect", "i", "Inspect", "Inspect this answer token by token.", "message"),
    KeyAction("message_tokens", "t", "Tokens", "Show this answer as tokens or as Markdown.", "message"),
    KeyAction("message_formulas", "m,M", "Formulas", "Show formulas as Unicode or as TeX.", "message", gives_way=True),
    KeyAction("message_thinking", "x", "Thinking", "Fold or unfold the thinking of this answer.", "message"),
    KeyAction("message_export", "d", "Export", "Export this answer as an HTML file.", "message"),
    KeyAction("to_prompt", "enter", "Prompt", "Return to the prompt.", "message"),
    KeyAction("pair_load", "enter", "Load", "Load the pair and chat with it.", "list"),
    KeyAction("pair_download", "d", "Download", "Download the missing files of the pair.", "list"),
    KeyAction("pair_pause", "p", "Pause", "Pause the download.", "list"),
    KeyAction("pair_resume", "r", "Resume", "Resume the download.", "list"),
    KeyAction("pair_cancel", "c", "Cancel", "Cancel the download; downloaded data is kept.", "list"),
    KeyAction("pair_unload", "u", "Unload", "Unload the pair to free its memory.", "list"),
    KeyAction("pair_files", "o", "Two files", "Load two GGUF files from this disk.", "list"),
)
"""All actions, in the order of the help."""

_BY_ID = {action.id: action for action in ACTIONS}
# Textual's own actions: they work above every dialog. An app binds them in place of Textual's bindings without an id.
_OF_TEXTUAL = ("quit",)
_MODIFIERS = {"alt", "ctrl", "hyper", "meta", "shift", "super"}
# Terminals cannot distinguish Ctrl-M from Enter; Textual reports the first name only.
_ALIASES = {alias: name for name, aliases in KEY_ALIASES.items() for alias in aliases}
# `return` is in Textual's list, but the key is reported as enter.
_NAMED = sorted(
    {base for key in Keys if len(base := key.value.rpartition("+")[2]) > 1 and base[0] != "<"} - {"return", "ctrl-at"}
)
_DISPLAY_NAMES = {
    "up": "↑", "down": "↓", "left": "←", "right": "→", "escape": "Esc", "pageup": "PgUp", "pagedown": "PgDn",
    "delete": "Del", "slash": "/",
}  # fmt: skip
_OTHER_NAMES = {"return": "enter", "esc": "escape", "pgup": "pageup", "pgdn": "pagedown", "del": "delete"}


def key_names(keys: str) -> str:
    """Return key names for display: "ctrl+n,shift+enter" becomes "Ctrl-N, Shift-Enter"."""
    return ", ".join(_key_name(key) for key in keys.split(","))


def _key_name(key: str) -> str:
    # A single letter is shown as typed; combined with a modifier it is capitalized, as on the key.
    return key if len(key) == 1 else "-".join(_DISPLAY_NAMES.get(part, part.capitalize()) for part in key.split("+"))


def binding(action_id: str, action: str = "") -> Binding:
    """Return the Textual binding of an action, which follows the user's keymap.

    Args:
        action_id: id of the action.
        action: Textual's action ("screen.pair_load"), if its name is not the id.
    """
    row = _BY_ID[action_id]
    of_textual = row.id in _OF_TEXTUAL
    return Binding(
        row.keys,
        action or (f"app.{row.id}" if of_textual else row.id),
        row.title,
        show=row.where == "list",
        # Takes precedence over the focused widget, and works above every dialog.
        priority=of_textual,
        tooltip=row.help,
        id=row.id,
    )


def bindings(where: Where) -> list[BindingType]:
    """Return the bindings of all actions of a place."""
    return [binding(row.id) for row in ACTIONS if row.where == where]


def resolve(overrides: Mapping[str, str]) -> dict[str, str]:
    """Return the keymap for `App.set_keymap`, with key names as Textual reports them.

    Args:
        overrides: the user's keys by action id, separated by commas.

    Raises:
        UsageError: unknown action or key, a key that cannot work there, or one key for two actions in one place.
    """
    keymap: dict[str, str] = {}
    for action_id, keys in overrides.items():
        row = _BY_ID.get(action_id)
        if row is None:
            shown = one_line(action_id, 40)
            near = difflib.get_close_matches(action_id, _BY_ID, n=1, cutoff=0.5)
            hint = f"Did you mean {near[0]}?" if near else f"Use one of {', '.join(_BY_ID)}."
            raise UsageError("Unknown action", f"keys.{shown}: there is no action '{shown}'.", hint)
        keymap[action_id] = ",".join(_parsed(row, keys))
    keymap.update(_given_way(keymap))
    _refuse_conflicts(remapped(keymap))
    return keymap


def _given_way(keymap: Mapping[str, str]) -> dict[str, str]:
    """Return the remaining keys of actions that give way to the user's keys, if there are any."""
    remaining: dict[str, str] = {}
    for row in ACTIONS:
        if row.gives_way and row.id not in keymap:
            taken = {key for name, keys in keymap.items() if _share_place(row, _BY_ID[name]) for key in keys.split(",")}
            keys = ",".join(key for key in row.keys.split(",") if key not in taken)
            if keys not in ("", row.keys):
                remaining[row.id] = keys
    return remaining


def _share_place(row: KeyAction, other: KeyAction) -> bool:
    return row.where == other.where or "everywhere" in (row.where, other.where)


def remapped(keymap: Mapping[str, str]) -> list[KeyAction]:
    """Return the table of actions with the keys of a keymap from `resolve`."""
    return [replace(row, keys=keymap.get(row.id, row.keys)) for row in ACTIONS]


def _parsed(row: KeyAction, keys: str) -> Iterator[str]:
    try:
        names = [made.key for made in Binding.make_bindings([(keys, row.id)])]
    except InvalidBinding:
        message = f"keys.{row.id} = '{one_line(keys, 40)}' contains no key."
        raise UsageError("No key", message, 'Write keys like "ctrl+n" or "f5,ctrl+g".') from None
    for written in names:
        key = _normal(written, row)
        setting = f"keys.{row.id} = '{key}'"
        if row.where in ("everywhere", "prompt") and _is_printable(key):
            raise UsageError("Key in use", f"{setting}: the key types a character.", "Choose another key.")
        if row.where == "everywhere" and key in _editing_keys():
            raise UsageError("Key in use", f"{setting}: the key edits text or moves the cursor.", "Choose another key.")
        yield key


def _normal(written: str, row: KeyAction) -> str:
    """Return a key as Textual reports it; raises UsageError if there is no such key."""
    key = written if len(written) == 1 else written.lower()
    *modifiers, base = _ALIASES.get(key, key).split("+")
    if modifiers == ["shift"] and len(base) == 1 and base.isalpha():
        return base.upper()
    if len(base) == 1:
        (base,) = (made.key for made in Binding.make_bindings([(base, row.id)]))
    if not (base in _NAMED or _is_printable(base)) or not _MODIFIERS.issuperset(modifiers):
        shown = one_line(written, 40)
        near = _OTHER_NAMES.get(base) or next(iter(difflib.get_close_matches(base, _NAMED, n=1)), "")
        hint = f"Did you mean {near}?" if near else ""
        raise UsageError("Unknown key", f"keys.{row.id} = '{shown}': there is no such key.", hint)
    return "+".join([*sorted(modifiers), base])


def _is_printable(key: str) -> bool:
    character = key_to_character(REPLACED_KEYS.get(key, key))
    return character is not None and character.isprintable()


def _editing_keys() -> set[str]:
    from rstitch_tui.widgets.editor import Editor

    return {"tab", "shift+tab", *(made.key for made in Binding.make_bindings(Editor.BINDINGS))}


def _refuse_conflicts(rows: Sequence[KeyAction]) -> None:
    for number, row in enumerate(rows):
        for other in rows[number + 1 :]:
            shared = sorted(set(row.keys.split(",")) & set(other.keys.split(",")))
            if shared and _share_place(row, other):
                raise UsageError(
                    "Duplicate key",
                    f"keys: {row.id} and {other.id} both use {shared[0]}.",
                    "Give one of them another key.",
                )
