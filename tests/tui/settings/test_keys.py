"""The table of keys: no collisions, keys that terminals have, and remapping through Textual itself."""

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
from rstitch_tui.keys import ACTIONS, PLACES, KeyAction, binding, bindings, in_force, resolve

# Of the terminal itself, of its multiplexers, or of editing; Ctrl-H, -I and -M are Backspace, Tab and Enter.
NOT_OURS = {"ctrl+s", "ctrl+c", "ctrl+z", "ctrl+b", "ctrl+h", "ctrl+i", "ctrl+m", "f10", "f11", "tab", "shift+tab"}


def keys_of(action: KeyAction) -> list[str]:
    return action.keys.split(",")


def test_the_table_is_in_order() -> None:
    ids = [action.id for action in ACTIONS]
    assert len(set(ids)) == len(ids)
    assert resolve({}) == {}
    for action in ACTIONS:
        assert action.where in PLACES
        assert action.title
        assert action.help.endswith(".")


def test_every_default_would_pass_as_a_setting() -> None:
    keymap = resolve({action.id: action.keys for action in ACTIONS})
    assert keymap == {action.id: action.keys for action in ACTIONS}


def test_no_default_is_the_terminals_or_the_editors() -> None:
    editing = {b.key for widget in (TextArea, Input) for b in Binding.make_bindings(widget.BINDINGS)} - {"enter"}
    for action in ACTIONS:
        assert not NOT_OURS & set(keys_of(action)), action.id
        if action.where == "everywhere":
            assert not editing & set(keys_of(action)), action.id


def test_every_action_has_a_key_that_all_terminals_send() -> None:
    plain = {key.value for key in Keys} | set("abcdefghijklmnopqrstuvwxyz")
    # shift+enter is told from enter by some terminals only, alt+letters are characters on a Mac.
    for action in ACTIONS:
        assert any(key in plain and not key.startswith(("alt+", "shift+")) for key in keys_of(action)), action.id


@pytest.mark.parametrize(
    ("overrides", "said"),
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
        ({"help": "f1,"}, ("names no key",)),
        ({"help": ""}, ("names no key",)),
        ({"help": "?"}, ("question_mark", "types a character")),
        ({"send": "space"}, ("space", "types a character")),
        ({"help": "ctrl+e"}, ("ctrl+e", "edits text")),
        ({"help": "tab"}, ("tab", "moves about")),
    ],
)
def test_what_is_wrong_is_named(overrides: dict[str, str], said: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(overrides)
    for words in said:
        assert words in str(caught.value)


def test_nothing_of_a_setting_reaches_the_terminal() -> None:
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
def test_keys_are_read_as_people_write_them(written: str, key: str) -> None:
    assert resolve({"new_chat": written}) == {"new_chat": key}


def test_letters_and_signs_are_keys_where_nobody_types() -> None:
    keymap = resolve({"message_copy": "?", "message_edit": "Y,shift+g", "message_export": "+"})
    assert keymap == {"message_copy": "question_mark", "message_edit": "Y,G", "message_export": "plus"}


def test_two_actions_may_change_places() -> None:
    keymap = resolve({"new_chat": "ctrl+o", "chats": "ctrl+n"})
    shown = {action.id: action.keys for action in in_force(keymap)}
    assert (shown["new_chat"], shown["chats"], shown["models"]) == ("ctrl+o", "ctrl+n", "ctrl+l,f3")


class Editor(TextArea):
    BINDINGS: ClassVar[list[BindingType]] = [binding("send", "app.did('send')"), binding("newline", "app.did('line')")]

    async def on_key(self, event: events.Key) -> None:
        if event.key == "enter":
            event.prevent_default()  # of TextArea, which would put a line end in


class Keyboard(App[None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        binding("new_chat", "did('new_chat')"),
        binding("models", "did('models')"),
        binding("quit"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.done: list[str] = []

    def compose(self) -> ComposeResult:
        yield Editor()

    def action_did(self, what: str) -> None:
        self.done.append(what)


def pressed(overrides: dict[str, str], *keys: str) -> tuple[list[str], bool]:
    """What the keys did, and whether the app still runs."""

    async def run() -> tuple[list[str], bool]:
        app = Keyboard()
        async with app.run_test() as pilot:
            app.set_keymap(resolve(overrides))
            await pilot.press(*keys)
            await pilot.pause()
            return app.done, app.is_running

    return asyncio.run(run())


def test_textual_remaps_by_the_ids_of_the_table() -> None:
    assert pressed({}, "ctrl+n", "f3", "ctrl+l", "enter", "ctrl+j")[0] == [
        "new_chat", "models", "models", "send", "line",
    ]  # fmt: skip
    overrides = {"new_chat": "f12", "send": "ctrl+j", "newline": "enter", "models": "Ctrl+N"}
    assert pressed(overrides, "f12", "ctrl+n", "f3", "enter", "ctrl+j")[0] == ["new_chat", "models", "line", "send"]


def test_quit_moves_away_from_textuals_own_key() -> None:
    assert pressed({"quit": "f12"}, "ctrl+q") == ([], True)
    assert pressed({"quit": "f12"}, "f12") == ([], False)


def test_bindings_of_a_place_are_all_its_rows() -> None:
    made = [b for b in bindings("message") if isinstance(b, Binding)]
    assert [b.id for b in made] == [action.id for action in ACTIONS if action.where == "message"]
    assert all(b.action == b.id for b in made)
    quit_ = binding("quit")
    assert (quit_.action, quit_.priority) == ("app.quit", True)
