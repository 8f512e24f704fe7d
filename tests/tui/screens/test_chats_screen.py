from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dialog_shell import SIZES, UNTRUSTED, Shell, result, run, seen, until
from textual.pilot import Pilot
from textual.widgets import Input

from rstitch_local.errors import StorageError
from rstitch_tui.chat_settings import ChatSettings
from rstitch_tui.screens.chat_list_item import ChatListItem, relative_time
from rstitch_tui.screens.chats import ChatsScreen
from rstitch_tui.store.records import ChatRow, Snippet
from rstitch_tui.store.store import Store

NOW = time.time()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    clock = [NOW - 1000.0]
    with Store(tmp_path / "chats.db", clock=lambda: clock[0]) as store:
        for title, text in [("Sums", "What is 2 + 2?"), ("Primes", "Is 91 prime?"), ("Poems", "A poem about autumn")]:
            clock[0] += 100
            chat = store.new_chat(ChatSettings(), title)
            store.add_user(chat.id, None, text)
        yield store


def titles(shell: Shell) -> list[str]:
    screen = shell.screen
    assert isinstance(screen, ChatsScreen)
    return [row.title for row in screen._rows]


def highlighted(shell: Shell) -> str:
    screen = shell.screen
    assert isinstance(screen, ChatsScreen)
    row = screen._current()
    return row.title if row is not None else ""


def id_of(store: Store, title: str) -> int:
    return next(row.id for row in store.chats() if row.title == title)


def test_newest_chat_is_first_and_enter_opens_it(store: Store) -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        assert titles(shell) == ["Poems", "Primes", "Sums"]
        assert "1 message " in seen(shell)
        assert "3 chats" in seen(shell)
        await pilot.press("enter")
        assert (await result(shell, pilot)).chat_id == id_of(store, "Poems")

    run(lambda: ChatsScreen(store, []), body)


def test_down_enters_the_list_and_up_leaves_it(store: Store) -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.press("down", "down")
        assert highlighted(shell) == "Primes"
        await pilot.press("up", "up", "S", "u")
        await until(pilot, lambda: titles(shell) == ["Sums"])
        await pilot.press("down", "enter")
        assert (await result(shell, pilot)).chat_id == id_of(store, "Sums")

    run(lambda: ChatsScreen(store, []), body)


def test_typing_searches_messages_and_shows_the_match(store: Store) -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.press(*"utum")
        await until(pilot, lambda: titles(shell) == ["Poems"])
        assert "A poem about autumn" in seen(shell)
        await pilot.press(*"xyz")
        await until(pilot, lambda: titles(shell) == [])
        assert "No chat matches utumxyz" in seen(shell)
        await pilot.press("enter", "escape")
        assert await result(shell, pilot) is None

    run(lambda: ChatsScreen(store, []), body)


def test_key_right_after_the_move_to_the_list_acts_there(store: Store) -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        # Both keys are queued before the first one is handled.
        shell.simulate_key("down")
        shell.simulate_key("d")
        await until(pilot, lambda: titles(shell) == ["Primes", "Sums"])
        assert shell.screen.query_one("#search", Input).value == ""
        await pilot.press("escape")

    run(lambda: ChatsScreen(store, []), body)


def test_search_hit_names_its_message(store: Store) -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.press("enter")
        found = await result(shell, pilot)
        assert store.message(found.message_id).text == "Is 91 prime?"

    run(lambda: ChatsScreen(store, [], "91"), body)


def test_initial_search_words(store: Store) -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        assert titles(shell) == ["Primes"]
        await pilot.press("enter")
        assert (await result(shell, pilot)).chat_id == id_of(store, "Primes")

    run(lambda: ChatsScreen(store, [], "91"), body)


@pytest.mark.parametrize("key", ["r", "f2"])
def test_rename_in_place(store: Store, key: str) -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.press("down", "down", key)
        field = shell.screen.query_one("#rename", Input)
        await until(pilot, lambda: field.has_focus and field.region.y > 0)
        assert field.value == "Primes"
        assert field.region.y == shell.screen.query_one("#list").region.y + 1
        await pilot.press(*"Odd", "enter")
        await until(pilot, lambda: titles(shell) == ["Poems", "Odd", "Sums"])
        assert highlighted(shell) == "Odd"
        assert store.chats()[1].title == "Odd"
        assert not field.display
        await pilot.press("enter")
        assert (await result(shell, pilot)).chat_id == id_of(store, "Odd")

    run(lambda: ChatsScreen(store, []), body)


def test_escape_cancels_renaming_then_closes(store: Store) -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.press("down", "f2", "x", "escape")
        await until(pilot, lambda: not shell.screen.query_one("#rename").display)
        assert store.chats()[0].title == "Poems"
        assert shell.results == []
        await pilot.press("escape")
        assert await result(shell, pilot) is None

    run(lambda: ChatsScreen(store, []), body)


def test_click_elsewhere_cancels_renaming(store: Store) -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.press("down", "f2", "x")
        await pilot.click("#search")
        await until(pilot, lambda: not shell.screen.query_one("#rename").display)
        assert shell.screen.query_one("#search").has_focus
        assert store.chats()[0].title == "Poems"

    run(lambda: ChatsScreen(store, []), body)


def test_empty_title_is_ignored(store: Store) -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.press("down", "f2", "delete", "enter")
        await until(pilot, lambda: not shell.screen.query_one("#rename").display)
        assert store.chats()[0].title == "Poems"

    run(lambda: ChatsScreen(store, []), body)


@pytest.mark.parametrize("key", ["d", "delete"])
def test_delete_and_undo(store: Store, key: str) -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.press("down", "down", key)
        await until(pilot, lambda: titles(shell) == ["Poems", "Sums"])
        assert "Deleted: Primes. Press u to undo." in seen(shell)
        assert highlighted(shell) == "Sums"
        await pilot.press(key)
        assert [row.title for row in store.chats()] == ["Poems"]
        await pilot.press("u", "u")
        assert [row.title for row in store.chats()] == ["Poems", "Primes", "Sums"]
        assert highlighted(shell) == "Primes"
        # Nothing is left to restore.
        await pilot.press("u")
        assert len(store.chats()) == 3

    run(lambda: ChatsScreen(store, []), body)


def test_deleted_chats_are_reported_to_the_caller(store: Store) -> None:
    deleted: list[int] = []

    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        poems = id_of(store, "Poems")
        await pilot.press("down", "d")
        await until(pilot, lambda: len(titles(shell)) == 2)
        assert deleted == [poems]

    run(lambda: ChatsScreen(store, deleted), body)


def test_letters_in_the_search_field_trigger_no_actions(store: Store) -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.press(*"rdu/")
        assert shell.screen.query_one("#search", Input).value == "rdu/"
        assert len(store.chats()) == 3

    run(lambda: ChatsScreen(store, []), body)


def test_slash_moves_to_the_search_field(store: Store) -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.press("down", "slash")
        assert shell.screen.query_one("#search").has_focus

    run(lambda: ChatsScreen(store, []), body)


def test_click_highlights_and_second_click_opens(store: Store) -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.click("#list", offset=(5, 2))
        await until(pilot, lambda: highlighted(shell) == "Sums")
        assert shell.results == []
        await pilot.click("#list", offset=(5, 2))
        assert (await result(shell, pilot)).chat_id == id_of(store, "Sums")

    run(lambda: ChatsScreen(store, []), body)


def test_store_error_is_shown(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(chat_id: int) -> None:
        raise StorageError("Database in use", f"Chat {chat_id} cannot be changed now.")

    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        monkeypatch.setattr(store, "delete", locked)
        await pilot.press("down", "d")
        await until(pilot, lambda: "Database in use" in seen(shell))
        assert len(titles(shell)) == 3
        await pilot.press("u")
        assert shell.is_running

    run(lambda: ChatsScreen(store, []), body)


def test_no_chats_yet(tmp_path: Path) -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        assert "No chats yet" in seen(shell)
        await pilot.press("f2", "down", "r", "d", "u", "enter", "up", "escape")
        assert await result(shell, pilot) is None

    with Store(tmp_path / "empty.db") as empty:
        run(lambda: ChatsScreen(empty, []), body)


@pytest.mark.parametrize("size", SIZES)
def test_untrusted_text_is_drawn_as_plain_text(tmp_path: Path, size: tuple[int, int]) -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.press("down")
        # In the title and in the matching text below it.
        assert seen(shell).count("[red]x[/red] [31my[0m") == 2
        assert "\x1b" not in shell.export_screenshot()
        await pilot.press("f2", "enter", "d")
        await until(pilot, lambda: "Deleted: [red]x[/red]" in seen(shell))

    with Store(tmp_path / "strange.db") as strange:
        chat = strange.new_chat(ChatSettings(), "")
        strange.add_user(chat.id, None, f"needle {UNTRUSTED}")
        strange.rename(chat.id, UNTRUSTED)
        run(lambda: ChatsScreen(strange, [], "needle"), body, size=size)


def test_long_lists_are_loaded_in_pages(tmp_path: Path) -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        assert len(titles(shell)) == 200
        await pilot.press("down", "end")
        assert "More chats" in seen(shell)
        await pilot.press("enter")
        await until(pilot, lambda: len(titles(shell)) == 400)
        assert highlighted(shell) == "Chat 199"
        # The highlighted chat is visible.
        assert "Chat 199 " in seen(shell)
        await pilot.press("up", "up", "up")
        chats = shell.screen.query_one("#list")
        scrolled = chats.scroll_y
        assert scrolled > 150
        await pilot.press("d")
        await until(pilot, lambda: len(titles(shell)) == 399)
        assert highlighted(shell) == "Chat 201"
        assert chats.scroll_y == scrolled

    clock = [0.0]
    with Store(tmp_path / "many.db", clock=lambda: clock[0]) as many:
        for number in range(400):
            clock[0] += 1
            many.new_chat(ChatSettings(), f"Chat {number}")
        run(lambda: ChatsScreen(many, []), body)


def test_list_item_fills_its_width() -> None:
    row = ChatRow(
        1, "Ein Gedicht über den Herbst 数学 " * 5, NOW - 120, 12, Snippet("…before ", "match", " after" * 30)
    )
    for width in (20, 40, 59, 60, 100):
        first, second = ChatListItem(row, NOW, with_match=True).content(width).split("\n")
        assert first.cell_length == width
        assert first.plain.endswith("2 min ago")
        assert second.cell_length <= width
        assert any("underline" in str(span.style) for span in second.spans)


def test_relative_time() -> None:
    noon = time.mktime((2026, 3, 12, 12, 0, 0, 0, 0, -1))
    assert relative_time(noon - 20, noon) == "just now"
    assert relative_time(noon + 500, noon) == "just now"
    assert relative_time(noon - 300, noon) == "5 min ago"
    assert relative_time(noon - 3 * 3600, noon) == "3 h ago"
    assert relative_time(noon - 13 * 3600, noon) == "yesterday"
    assert relative_time(noon - 35 * 3600, noon) == "yesterday"
    assert relative_time(noon - 3 * 86400, noon) == "9 Mar"
    assert relative_time(noon - 400 * 86400, noon) == "5 Feb 2025"
