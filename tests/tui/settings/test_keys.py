"""The table of keys: no collisions, keys that terminals send, and remapping by Textual."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import pytest
from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.keys import Keys
from textual.widgets import Input, TextArea

from rstitch_local.errors import UsageError
from rstitch_tui.keys import ACTIONS, PLACES, KeyAction, binding, bindings, remapped, resolve

# Used by terminals, multiplexers or editing; Ctrl-H, -I and -M are Backspace, Tab and Enter.
RESERVED = {"ctrl+s", "ctrl+c", "ctrl+z", "ctrl+b", "ctrl+h", "ctrl+i", "ctrl+m", "f10", "f11", "tab", "shift+tab"}


def keys_of(action: KeyAction) -> list[str]:
    return action.keys.split(",")


def test_action_table_is_valid() -> None:
    ids = [action.id for action in ACTIONS]
    assert len(set(ids)) == len(ids)
    assert resolve({}) == {}
    for action in ACTIONS:
        assert action.where in PLACES
        assert action.title
        assert action.help.endswith(".")


def test_default_keys_are_valid_settings() -> None:
    keymap = resolve({action.id: action.keys for action in ACTIONS})
    assert keymap == {action.id: action.keys for action in ACTIONS}


def test_default_keys_avoid_terminal_and_editing_keys() -> None:
    editing = {b.key for widget in (TextArea, Input) for b in Binding.make_bindings(widget.BINDINGS)} - {"enter"}
    for action in ACTIONS:
        assert not RESERVED & set(keys_of(action)), action.id
        if action.where == "everywhere":
            assert not editing & set(keys_of(action)), action.id


def test_every_action_has_a_key_that_all_terminals_send() -> None:
    plain = {key.value for key in Keys} | set("abcdefghijklmnopqrstuvwxyz")
    # Only some terminals distinguish shift+enter from enter; alt+letters type characters on a Mac.
    for action in ACTIONS:
        assert any(key in plain and not key.startswith(("alt+", "shift+")) for key in keys_of(action)), action.id


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"new_chat": "ctrl+o"}, ("new_chat", "chats", "ctrl+o")),
        ({"message_copy": "ctrl+n"}, ("new_chat", "message_copy", "ctrl+n")),
        ({"message_copy": "e"}, ("message_edit", "message_copy", " e.")),
        ({"stop": "ctrl+m"}, ("stop", "send", "enter")),
        ({"newchat": "f7"}, ("newchat", "Did you mean new_chat?")),
        ({"help": "ctrl+foo"}, ("keys.help", "ctrl+foo")),
        ({"help": "esc"}, ("esc", "Did you mean escape?")),
        ({"help": "return"}, ("return", "Did you mean enter?")),
        ({"help": "pagup"}, ("pagup", "Did you mean pageup?")),
        ({"help": "strg+n"}, ("strg+n",)),
        ({"help": "f1,"}, ("contains no key",)),
        ({"help": ""}, ("contains no key",)),
        ({"help": "?"}, ("question_mark", "types a character")),
        ({"send": "space"}, ("space", "types a character")),
        ({"help": "ctrl+e"}, ("ctrl+e", "edits text")),
        ({"help": "tab"}, ("tab", "moves the cursor")),
    ],
)
def test_invalid_keys_are_named(overrides: dict[str, str], words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(overrides)
    for word in words:
        assert word in str(caught.value)


def test_errors_contain_no_control_characters() -> None:
    for overrides in ({"help": "ctrl+\x1b[31m"}, {"\x1b[31m": "f7"}, {"help": "\x1b"}):
        with pytest.raises(UsageError) as caught:
            resolve(overrides)
        assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("Ctrl+N", "ctrl+n"),
        ("F12", "f12"),
        ("shift+ctrl+f5", "ctrl+shift+f5"),
        ("ctrl+/", "ctrl+slash"),
        ("f12 , alt+h", "f12,alt+h"),
    ],
)
def test_key_names_are_normalized(written: str, key: str) -> None:
    assert resolve({"new_chat": written})["new_chat"] == key


def test_a_key_of_a_later_action_gives_way_to_the_users() -> None:
    assert resolve({"message_copy": "m"}) == {"message_copy": "m", "message_formulas": "M"}
    assert resolve({"pair_load": "m"}) == {"pair_load": "m"}
    assert resolve({"help": "f12", "message_formulas": "f"})["toggle_formulas"] == "ctrl+underscore"
    with pytest.raises(UsageError, match="toggle_formulas"):
        resolve({"help": "f12,ctrl+underscore"})


def test_letters_and_signs_are_allowed_outside_text_fields() -> None:
    keymap = resolve({"message_copy": "?", "message_edit": "Y,shift+g", "message_export": "+"})
    assert keymap == {"message_copy": "question_mark", "message_edit": "Y,G", "message_export": "plus"}


def test_two_actions_can_swap_keys() -> None:
    keymap = resolve({"new_chat": "ctrl+o", "chats": "ctrl+n"})
    shown = {action.id: action.keys for action in remapped(keymap)}
    assert (shown["new_chat"], shown["chats"], shown["models"]) == ("ctrl+o", "ctrl+n", "ctrl+l,f3")


class Editor(TextArea):
    BINDINGS: ClassVar[list[BindingType]] = [
        binding("send", "app.record('send')"),
        binding("newline", "app.record('line')"),
    ]

    async def on_key(self, event: events.Key) -> None:
        if event.key == "enter":
            event.prevent_default()  # TextArea would insert a line end


class Keyboard(App[None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        binding("new_chat", "record('new_chat')"),
        binding("models", "record('models')"),
        binding("quit"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.done: list[str] = []

    def compose(self) -> ComposeResult:
        yield Editor()

    def action_record(self, name: str) -> None:
        self.done.append(name)


def pressed(overrides: dict[str, str], *keys: str) -> tuple[list[str], bool]:
    """Return the recorded actions and whether the app is still running."""

    async def run() -> tuple[list[str], bool]:
        app = Keyboard()
        async with app.run_test() as pilot:
            app.set_keymap(resolve(overrides))
            await pilot.press(*keys)
            await pilot.pause()
            return app.done, app.is_running

    return asyncio.run(run())


def test_textual_remaps_by_action_ids() -> None:
    assert pressed({}, "ctrl+n", "f3", "ctrl+l", "enter", "ctrl+j")[0] == [
        "new_chat", "models", "models", "send", "line",
    ]  # fmt: skip
    overrides = {"new_chat": "f12", "send": "ctrl+j", "newline": "enter", "models": "Ctrl+N"}
    assert pressed(overrides, "f12", "ctrl+n", "f3", "enter", "ctrl+j")[0] == ["new_chat", "models", "line", "send"]


def test_quit_can_be_remapped() -> None:
    assert pressed({"quit": "f12"}, "ctrl+q") == ([], True)
    assert pressed({"quit": "f12"}, "f12") == ([], False)


def test_bindings_of_a_place() -> None:
    made = [b for b in bindings("message") if isinstance(b, Binding)]
    assert [b.id for b in made] == [action.id for action in ACTIONS if action.where == "message"]
    assert all(b.action == b.id for b in made)
    quit_ = binding("quit")
    assert (quit_.action, quit_.priority) == ("app.quit", True)
