from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from chat_samples import Clock, answer, ask, new_chat
from hypothesis import given, settings
from hypothesis import strategies as st

from rstitch_tui.store import Snippet, Store
from rstitch_tui.store.search import snippet


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "chats.db", clock=Clock()) as opened:
        yield opened


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("search") / "chats.db") as opened:
        new_chat(opened, "another chat", "with other words")
        yield opened


def _titles(store: Store, typed: str) -> list[str]:
    return [row.title for row in store.chats(typed)]


def test_messages_and_titles_are_searched_newest_chat_first(store: Store) -> None:
    new_chat(store, "How many eggs?", "Twelve hens lay them.", title="Farm")
    new_chat(store, "Who lays eggs?", title="Birds")
    new_chat(store, "Nothing of that kind", title="Rivers")
    assert _titles(store, "eggs") == ["Birds", "Farm"]
    assert _titles(store, "EGGS") == ["Birds", "Farm"]
    assert _titles(store, "hens") == ["Farm"]
    assert _titles(store, "river") == ["Rivers"]
    assert _titles(store, "ivers") == ["Rivers"]
    assert _titles(store, "elephants") == []
    assert _titles(store, "  ") == ["Rivers", "Birds", "Farm"]
    assert [row.title for row in store.chats("eggs", limit=1)] == ["Birds"]


def test_the_last_updated_chat_is_listed_first(tmp_path: Path) -> None:
    clock = Clock()
    with Store(tmp_path / "chats.db", clock=clock) as store:
        old = new_chat(store, "hens", title="old")
        new_chat(store, "hens", title="new")
        clock.now += 5
        ask(store, old, "more", old.leaf)
        assert _titles(store, "hens") == ["old", "new"]


def test_all_words_must_be_in_one_message(store: Store) -> None:
    new_chat(store, "hens and eggs", "milk", title="one")
    new_chat(store, "hens", "eggs", title="two")
    assert _titles(store, "eggs hens") == ["one"]
    assert _titles(store, "eggs  an he") == ["one"]
    assert _titles(store, "hens milk") == []


def test_the_snippet_shows_the_match_in_its_context(store: Store) -> None:
    chat = new_chat(store, "hens first", "a\nlong   answer " + "x " * 100 + "about Hens\x1b[31m and more" + " y" * 100)
    (row,) = store.chats("hens")
    assert row.messages == 2
    assert row.snippet.match == "Hens"
    assert row.snippet.before == "…" + "x " * 12 + "about "
    assert row.snippet.after == "[31m and more" + " y" * 38 + "…"
    store.rename(chat.id, "The poultry")
    (row,) = store.chats("poult")
    assert row.snippet == Snippet("The ", "poult", "ry")


def test_a_letter_that_becomes_two_in_lower_case_does_not_shift_the_match() -> None:
    assert snippet("İİİİ hens", ["hens"]) == Snippet("İİİİ ", "hens", "")


def test_a_replaced_title_is_no_longer_found(store: Store) -> None:
    chat = new_chat(store, "question", title="first title")
    store.rename(chat.id, "second title")
    assert _titles(store, "first") == []
    assert _titles(store, "second") == ["second title"]


def test_a_finished_answer_is_found_with_its_prefix(store: Store) -> None:
    chat = new_chat(store, "question")
    answer(store, store.path(chat.id)[0], "is blue", prefix="The whale ")
    assert _titles(store, "whale is") == ["question"]
    assert store.chats("whale")[0].snippet == Snippet("The ", "whale", " is blue")


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("今天天气很好", "天气"),
        ("今天天气很好", "天气很"),
        ("今天天气很好", "好"),
        ("ラーメンを食べた", "メンを"),
        ("a hen 🐔🐣🐥 there", "🐔"),
        ("a hen 🐔🐣🐥 there", "🐔🐣🐥"),
        ("Ёлка и ÉCOLE", "ёлка"),
        ("Ёлка и ÉCOLE", "école"),
        ("100%_sure\\n", "%_"),
        ("100%_sure\\n", "\\n"),
        ('he said "NOT" (this) OR that*', '"NOT"'),
        ('he said "NOT" (this) OR that*', "that*"),
        ("before\0behind the NUL", "behind"),
        ("İstanbul'da güneş", "güneş"),
    ],
)
def test_text_in_any_script_is_found(store: Store, text: str, typed: str) -> None:
    new_chat(store, text, title="it")
    new_chat(store, "something else, 100 sure", title="other")
    assert _titles(store, typed) == ["it"]


@pytest.mark.parametrize(
    "typed",
    ['"', '""', "*", "NOT", "AND OR NOT", "a AND", "(", ")", "text:hens", "^hens", "hen*", "NEAR(a b)", "\ud800"],
)
def test_a_query_has_no_operators(store: Store, typed: str) -> None:
    new_chat(store, "hens")
    assert store.chats(typed) == []


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=20))
def test_any_query_is_valid(shared: Store, typed: str) -> None:
    for row in shared.chats(typed):
        assert row.title == "another chat"


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_part_of_a_text_is_found(shared: Store, data: st.DataObject) -> None:
    # NULs are not searched and lone surrogates are not stored.
    text = data.draw(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30))
    start = data.draw(st.integers(0, len(text) - 1))
    typed = text[start : data.draw(st.integers(start + 1, len(text)))]
    chat = new_chat(shared, "question")
    ask(shared, chat, text, chat.leaf)
    assert chat.id in {row.id for row in shared.chats(typed)}
    shared.delete(chat.id)


@given(st.text(max_size=200), st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=3))
def test_a_snippet_is_one_line_of_the_text(text: str, words: list[str]) -> None:
    before, match, after = snippet(text, words)
    assert not re.search(r"[\x00-\x1f]", before + match + after)
    assert len(before) <= 31
    assert len(after) <= 91
    inside = re.sub(r"\s", "", text)
    for piece in (before.lstrip("…"), match, after.rstrip("…")):
        assert all(character in inside or character in " …" for character in piece)
