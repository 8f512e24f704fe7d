from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chat_samples import SETTINGS, Clock, answer, ask, make_steps, make_trace, new_chat, open_sqlite, row_count
from hypothesis import given, settings
from hypothesis import strategies as st

from rstitch_local.errors import StorageError
from rstitch_tui.chat_settings import ChatSettings
from rstitch_tui.store import Snippet, Store

TABLES = ("chats", "messages", "traces", "parts", "writing", "words", "words_docsize", "words_content")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chats.db"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(path: Path, clock: Clock) -> Iterator[Store]:
    with Store(path, clock=clock) as opened:
        yield opened


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One store for all examples of a property test."""
    with Store(tmp_path_factory.mktemp("shared") / "chats.db") as opened:
        yield opened


def test_a_chat_is_complete_after_reopening(path: Path) -> None:
    chat_settings = ChatSettings(
        pair="demo", router="entropy:0.01", system="Be brief.", temperature=0.5, seed=3, first=None
    )
    with Store(path) as store:
        chat = store.new_chat(chat_settings)
        assert (chat.title, chat.leaf, chat.settings) == ("", None, chat_settings)
        question = ask(store, chat, "What is 2 + 2?")
        unfinished = store.begin_answer(chat.id, question.id, "It is", {"seed": 7, "opens_thinking": True})
        assert unfinished.unfinished
        assert unfinished.text == "It is"
        trace = make_trace(make_steps([" fo", "", "ur", "."]), taus=[(1, 0.5)], resumed_tokens=1)
        store.finish_answer(unfinished.id, trace)
    with Store(path) as store:
        first, second = store.path(chat.id)
        assert first == question
        assert (second.role, second.parent, second.text, second.prefix) == (
            "assistant", question.id, "It is four.", "It is"
        )  # fmt: skip
        assert (second.stop, second.error, second.unfinished) == ("eog", "", False)
        assert second.settings == {**SETTINGS, "seed": 7, "opens_thinking": True}
        assert second.opens_thinking
        assert second.totals == trace.totals()
        reopened = store.trace(second.id)
        assert reopened is not None
        assert reopened.steps == trace.steps
        assert reopened.to_dict() == {**trace.to_dict(), "settings": second.settings}
        assert store.trace(first.id) is None
        assert store.chat(chat.id).settings == chat_settings
        assert store.chat(chat.id).leaf == second.id


def test_the_title_is_the_first_question_unless_one_was_set(store: Store) -> None:
    chat = new_chat(store, "  How\n\nmany \x1b[31mhens " + "x" * 100, "36", "And then?")
    assert chat.title.startswith("How many [31mhens xxx")
    assert len(chat.title) == 60
    assert new_chat(store, "How many?", title="Hens").title == "Hens"
    store.rename(chat.id, "Two\nlines\x07")
    ask(store, chat, "Something else", chat.leaf)
    assert store.chat(chat.id).title == "Two lines"


def test_a_blank_question_does_not_set_the_title(store: Store) -> None:
    chat = new_chat(store, " \x1b ", "36")
    assert chat.title == ""
    ask(store, chat, "And now?", chat.leaf)
    assert store.chat(chat.id).title == "And now?"


def test_the_list_is_ordered_by_last_update(store: Store, clock: Clock) -> None:
    one, two, three = (new_chat(store, name) for name in ("one", "two", "three"))
    assert [row.title for row in store.chats()] == ["three", "two", "one"]
    clock.now += 5
    question = ask(store, one, "more", one.leaf)
    unfinished = store.begin_answer(one.id, question.id, "", {})
    assert store.chats()[0].updated == 1005.0
    clock.now += 5
    store.finish_answer(unfinished.id, make_trace([]))
    clock.now += 5
    store.rename(two.id, "deux")
    store.set_settings(two.id, ChatSettings(seed=9))
    rows = store.chats()
    assert [(row.id, row.title, row.messages) for row in rows] == [
        (one.id, "one", 3), (three.id, "three", 1), (two.id, "deux", 1),
    ]  # fmt: skip
    assert rows[0].updated == 1010.0
    assert rows[0].snippet == Snippet("", "", "")
    assert [row.id for row in store.chats(limit=1)] == [one.id]
    assert store.chat(two.id).settings.seed == 9


def test_a_deleted_chat_is_hidden_until_it_is_restored(store: Store) -> None:
    chat = new_chat(store, "hens", "eggs")
    before = store.path(chat.id)
    store.delete(chat.id)
    assert store.chats() == []
    assert store.chats("hens") == []
    assert store.prompts() == []
    with pytest.raises(StorageError, match="no chat"):
        store.chat(chat.id)
    store.restore(chat.id)
    assert store.chat(chat.id) == chat
    assert store.path(chat.id) == before
    assert [row.id for row in store.chats("eggs")] == [chat.id]


def test_purge_removes_chats_deleted_a_day_ago(store: Store, clock: Clock, path: Path) -> None:
    old, young, kept = (new_chat(store, name, f"an answer to {name}") for name in ("old", "young", "kept"))
    # Also unfinished answers and long chats: a cascade along the parents would fail at a depth of 1000.
    store.extend_answer(store.begin_answer(old.id, old.leaf or 0, "", {}).id, make_steps(["a"]))
    last = old.leaf
    for number in range(1100):
        last = ask(store, old, f"{number}", last).id
    store.delete(old.id)
    clock.now += 86_000
    store.delete(young.id)
    clock.now += 401
    assert store.purge() == 1
    with pytest.raises(StorageError):
        store.restore(old.id)
    with pytest.raises(StorageError, match="no message"):
        store.message(last or 0)
    store.restore(young.id)
    assert {row.id for row in store.chats()} == {young.id, kept.id}
    store.delete(young.id)
    store.delete(kept.id)
    assert store.purge(0) == 2
    assert store.purge(0) == 0
    store.close()
    assert {table: row_count(path, table) for table in TABLES} == dict.fromkeys(TABLES, 0)


def test_ids_are_never_reused(store: Store) -> None:
    chat = new_chat(store, "question")
    store.delete(chat.id)
    store.purge(0)
    assert new_chat(store, "another").id > chat.id


def test_branches_are_stored_and_selected(store: Store) -> None:
    chat = new_chat(store, "question")
    question = store.path(chat.id)[0]
    first = answer(store, question, "first")
    follow = ask(store, chat, "follow", first.id)
    second = answer(store, question, "second")
    assert [message.text for message in store.path(chat.id)] == ["question", "second"]
    assert store.siblings(first) == store.siblings(second) == [first.id, second.id]
    store.select(first.id)
    assert [message.text for message in store.path(chat.id)] == ["question", "first", "follow"]
    edited = ask(store, chat, "another question")
    assert store.siblings(edited) == [question.id, edited.id]
    assert [message.text for message in store.path(chat.id)] == ["another question"]
    # The newest descendant, which is not the leaf that was shown last.
    store.select(question.id)
    assert store.chat(chat.id).leaf == second.id
    store.select(follow.id)
    assert store.chat(chat.id).leaf == follow.id
    assert [message.id for message in store.messages(chat.id)] == [
        question.id, first.id, follow.id, second.id, edited.id,
    ]  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(
    moves=st.lists(st.tuples(st.sampled_from(["ask", "answer", "select"]), st.integers(0, 1000)), max_size=30),
)
def test_the_tree_matches_a_simple_model(shared: Store, moves: list[tuple[str, int]]) -> None:
    chat, other = shared.new_chat(ChatSettings()), new_chat(shared, "neighbour", "untouched")
    parents: dict[int, int | None] = {}
    leaf: int | None = None

    def path_to(message: int | None) -> list[int]:
        return [] if message is None else [*path_to(parents[message]), message]

    for move, number in moves:
        messages = [None, *parents]
        chosen = messages[number % len(messages)]
        if move == "ask":
            leaf = shared.add_user(chat.id, chosen, f"text {number}").id
            parents[leaf] = chosen
        elif chosen is None:
            continue
        elif move == "answer":
            leaf = answer(shared, shared.message(chosen), f"text {number}").id
            parents[leaf] = chosen
        else:
            shared.select(chosen)
            leaf = max(message for message in parents if chosen in path_to(message))
        assert shared.chat(chat.id).leaf == leaf
        assert [message.id for message in shared.path(chat.id)] == path_to(leaf)
    for message in shared.messages(chat.id):
        assert message.parent == parents.pop(message.id)
        same = [m.id for m in shared.messages(chat.id) if m.parent == message.parent]
        assert shared.siblings(message) == same
    assert parents == {}
    assert [message.text for message in shared.path(other.id)] == ["neighbour", "untouched"]


def test_prompts_are_the_user_messages_newest_first(store: Store) -> None:
    new_chat(store, "one", "an answer", "two")
    chat = new_chat(store, "two", "an answer", "")
    ask(store, chat, "one")
    assert [text for _, text in store.prompts()] == ["one", "two", "two", "one"]
    assert [text for _, text in store.prompts(2)] == ["one", "two"]


def test_state_is_stored(path: Path) -> None:
    with Store(path) as store:
        assert store.get_state("theme") is None
        store.set_state("theme", "dark")
        store.set_state("theme", "nord \ud800")
    with Store(path) as store:
        assert store.get_state("theme") == "nord ?"


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("a\0b\0", "a\0b\0"),
        ("half \ud83d and \udc00", "half ? and ?"),
        ("x" * 100_000, "x" * 100_000),
        ("👩‍👩‍👧 \u202e \x1b[2J \r\n", "👩‍👩‍👧 \u202e \x1b[2J \r\n"),
        ("", ""),
    ],
)
def test_any_text_is_stored(store: Store, path: Path, text: str, stored: str) -> None:
    chat = store.new_chat(ChatSettings(system=text), title=text)
    question = store.add_user(chat.id, None, text)
    unfinished = store.begin_answer(chat.id, question.id, text, {"seed": 1, "note": text})
    store.extend_answer(unfinished.id, make_steps([text]))
    assert store.message(unfinished.id).text == stored + stored
    store.fail_answer(unfinished.id, make_trace(make_steps([text, text])), text)
    store.close()
    with Store(path) as reopened:
        assert reopened.chat(chat.id).settings.system == stored
        user, assistant = reopened.path(chat.id)
        assert (user.text, assistant.text, assistant.error) == (stored, stored * 3, stored)
        assert assistant.settings["note"] == stored
        trace = reopened.trace(assistant.id)
        assert trace is not None
        assert trace.text == stored * 2


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(max_size=5), max_size=5), st.text(max_size=5))
def test_any_answer_is_stored(shared: Store, texts: list[str], prefix: str) -> None:
    chat = new_chat(shared, "question")
    unfinished = shared.begin_answer(chat.id, chat.leaf or 0, prefix, {})
    trace = make_trace(make_steps(texts))
    shared.extend_answer(unfinished.id, trace.steps)
    assert shared.message(unfinished.id).text == prefix + trace.text
    shared.finish_answer(unfinished.id, trace)
    reopened = shared.trace(unfinished.id)
    assert reopened is not None
    assert reopened.steps == trace.steps
    assert shared.message(unfinished.id).text == prefix + trace.text


def test_a_chat_with_settings_of_another_version_opens(store: Store, path: Path) -> None:
    chat = new_chat(store, "question")
    with open_sqlite(path) as db:
        db.execute(
            "UPDATE chats SET settings = ?",
            ('{"system": "Be brief.", "router": "oracle:3", "temperature": -1, "seed": 5, "new": {}}',),
        )
    assert store.chat(chat.id).settings == ChatSettings(system="Be brief.", seed=5)
    with open_sqlite(path) as db:
        db.execute("UPDATE chats SET settings = '[1, '")
    assert store.chat(chat.id).settings == ChatSettings()
