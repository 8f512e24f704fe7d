from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chat_samples import SETTINGS, Clock, answer, count, make_steps, make_trace, new_chat, raw, say
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
    """One store for all examples of a property."""
    with Store(tmp_path_factory.mktemp("shared") / "chats.db") as opened:
        yield opened


def test_a_conversation_is_there_when_opened_again(path: Path) -> None:
    wanted = ChatSettings(pair="demo", router="entropy:0.01", system="Be brief.", temperature=0.5, seed=3, first=None)
    with Store(path) as store:
        chat = store.new_chat(wanted)
        assert (chat.title, chat.leaf, chat.settings) == ("", None, wanted)
        question = say(store, chat, "What is 2 + 2?")
        begun = store.begin_answer(chat.id, question.id, "It is", {"seed": 7, "opens_thinking": True})
        assert begun.unfinished
        assert begun.text == "It is"
        trace = make_trace(make_steps([" fo", "", "ur", "."]), taus=[(1, 0.5)], resumed_tokens=1)
        store.finish_answer(begun.id, trace)
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
        again = store.trace(second.id)
        assert again is not None
        assert again.steps == trace.steps
        assert again.to_dict() == {**trace.to_dict(), "settings": second.settings}
        assert store.trace(first.id) is None
        assert store.chat(chat.id).settings == wanted
        assert store.chat(chat.id).leaf == second.id


def test_a_title_is_that_of_the_first_question_unless_one_was_given(store: Store) -> None:
    chat = new_chat(store, "  How\n\nmany \x1b[31mhens " + "x" * 100, "36", "And then?")
    assert chat.title.startswith("How many [31mhens xxx")
    assert len(chat.title) == 60
    assert new_chat(store, "How many?", title="Hens").title == "Hens"
    store.rename(chat.id, "Two\nlines\x07")
    say(store, chat, "Something else", chat.leaf)
    assert store.chat(chat.id).title == "Two lines"


def test_a_blank_question_leaves_the_title_to_the_next(store: Store) -> None:
    chat = new_chat(store, " \x1b ", "36")
    assert chat.title == ""
    say(store, chat, "And now?", chat.leaf)
    assert store.chat(chat.id).title == "And now?"


def test_the_list_has_the_chat_that_was_used_last_first(store: Store, clock: Clock) -> None:
    one, two, three = (new_chat(store, name) for name in ("one", "two", "three"))
    assert [row.title for row in store.chats()] == ["three", "two", "one"]
    clock.now += 5
    question = say(store, one, "more", one.leaf)
    begun = store.begin_answer(one.id, question.id, "", {})
    assert store.chats()[0].updated == 1005.0
    clock.now += 5
    store.finish_answer(begun.id, make_trace([]))
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


def test_what_is_deleted_is_out_of_sight_until_it_is_restored(store: Store) -> None:
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


def test_purge_removes_for_good_what_was_deleted_a_day_ago(store: Store, clock: Clock, path: Path) -> None:
    old, young, kept = (new_chat(store, name, f"an answer to {name}") for name in ("old", "young", "kept"))
    # Answers in the making go as well, and long chats: a cascade along the parents would end at a depth of 1000.
    store.extend_answer(store.begin_answer(old.id, old.leaf or 0, "", {}).id, make_steps(["a"]))
    last = old.leaf
    for number in range(1100):
        last = say(store, old, f"{number}", last).id
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
    assert {table: count(path, table) for table in TABLES} == dict.fromkeys(TABLES, 0)


def test_ids_are_never_given_twice(store: Store) -> None:
    chat = new_chat(store, "question")
    store.delete(chat.id)
    store.purge(0)
    assert new_chat(store, "another").id > chat.id


def test_branches_are_kept_and_walked(store: Store) -> None:
    chat = new_chat(store, "question")
    question = store.path(chat.id)[0]
    first = answer(store, question, "first")
    follow = say(store, chat, "follow", first.id)
    second = answer(store, question, "second")
    assert [message.text for message in store.path(chat.id)] == ["question", "second"]
    assert store.siblings(first) == store.siblings(second) == [first.id, second.id]
    store.select(first.id)
    assert [message.text for message in store.path(chat.id)] == ["question", "first", "follow"]
    edited = say(store, chat, "another question")
    assert store.siblings(edited) == [question.id, edited.id]
    assert [message.text for message in store.path(chat.id)] == ["another question"]
    # Down to the newest of all that follows, which is not where the branch was left.
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
def test_the_tree_is_what_a_plain_one_would_be(shared: Store, moves: list[tuple[str, int]]) -> None:
    chat, other = shared.new_chat(ChatSettings()), new_chat(shared, "neighbour", "untouched")
    parents: dict[int, int | None] = {}
    leaf: int | None = None

    def up(message: int | None) -> list[int]:
        return [] if message is None else [*up(parents[message]), message]

    for move, number in moves:
        known = [None, *parents]
        chosen = known[number % len(known)]
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
            leaf = max(message for message in parents if chosen in up(message))
        assert shared.chat(chat.id).leaf == leaf
        assert [message.id for message in shared.path(chat.id)] == up(leaf)
    for message in shared.messages(chat.id):
        assert message.parent == parents.pop(message.id)
        same = [m.id for m in shared.messages(chat.id) if m.parent == message.parent]
        assert shared.siblings(message) == same
    assert parents == {}
    assert [message.text for message in shared.path(other.id)] == ["neighbour", "untouched"]


def test_prompts_are_the_users_newest_first_without_repetitions(store: Store) -> None:
    new_chat(store, "one", "an answer", "two")
    chat = new_chat(store, "two", "an answer", "")
    say(store, chat, "one")
    assert store.prompts() == ["one", "two", "one"]
    assert store.prompts(2) == ["one", "two"]


def test_small_things_are_remembered(path: Path) -> None:
    with Store(path) as store:
        assert store.get_state("theme") is None
        store.set_state("theme", "dark")
        store.set_state("theme", "nord \ud800")
    with Store(path) as store:
        assert store.get_state("theme") == "nord ?"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a\0b\0", "a\0b\0"),
        ("half \ud83d and \udc00", "half ? and ?"),
        ("x" * 100_000, "x" * 100_000),
        ("👩‍👩‍👧 \u202e \x1b[2J \r\n", "👩‍👩‍👧 \u202e \x1b[2J \r\n"),
        ("", ""),
    ],
)
def test_any_text_is_kept(store: Store, path: Path, text: str, kept: str) -> None:
    chat = store.new_chat(ChatSettings(system=text), title=text)
    question = store.add_user(chat.id, None, text)
    begun = store.begin_answer(chat.id, question.id, text, {"seed": 1, "note": text})
    store.extend_answer(begun.id, make_steps([text]))
    assert store.message(begun.id).text == kept + kept
    store.fail_answer(begun.id, make_trace(make_steps([text, text])), text)
    store.close()
    with Store(path) as again:
        assert again.chat(chat.id).settings.system == kept
        user, assistant = again.path(chat.id)
        assert (user.text, assistant.text, assistant.error) == (kept, kept * 3, kept)
        assert assistant.settings["note"] == kept
        trace = again.trace(assistant.id)
        assert trace is not None
        assert trace.text == kept * 2


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(max_size=5), max_size=5), st.text(max_size=5))
def test_any_answer_is_kept(shared: Store, texts: list[str], prefix: str) -> None:
    chat = new_chat(shared, "question")
    begun = shared.begin_answer(chat.id, chat.leaf or 0, prefix, {})
    trace = make_trace(make_steps(texts))
    shared.extend_answer(begun.id, trace.steps)
    assert shared.message(begun.id).text == prefix + trace.text
    shared.finish_answer(begun.id, trace)
    again = shared.trace(begun.id)
    assert again is not None
    assert again.steps == trace.steps
    assert shared.message(begun.id).text == prefix + trace.text


def test_settings_of_another_version_do_not_keep_a_chat_shut(store: Store, path: Path) -> None:
    chat = new_chat(store, "question")
    with raw(path) as db:
        db.execute(
            "UPDATE chats SET settings = ?",
            ('{"system": "Be brief.", "router": "oracle:3", "temperature": -1, "seed": 5, "new": {}}',),
        )
    assert store.chat(chat.id).settings == ChatSettings(system="Be brief.", seed=5)
    with raw(path) as db:
        db.execute("UPDATE chats SET settings = '[1, '")
    assert store.chat(chat.id).settings == ChatSettings()
