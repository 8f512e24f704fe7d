from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from chat_samples import Clock, answer, ask, make_steps, make_trace, new_chat
from markdown_it import MarkdownIt

from rstitch_local.trace.record import Trace
from rstitch_tui.chat_settings import ChatSettings
from rstitch_tui.store import Chat, Store, export


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "chats.db", clock=Clock()) as opened:
        yield opened


def _headings(markdown: str) -> list[str]:
    tokens = MarkdownIt("commonmark").parse(markdown)
    return [tokens[index + 1].content for index, token in enumerate(tokens) if token.type == "heading_open"]


def _markdown(store: Store, chat: Chat) -> str:
    return export.to_markdown(store.chat(chat.id), store.path(chat.id))


def test_markdown_has_settings_messages_and_metrics(store: Store) -> None:
    chat = store.new_chat(
        ChatSettings(pair="a|b", router="entropy:0.01", system="Be brief.", top_k=4), "Hens_and *eggs*"
    )
    question = ask(store, chat, "How \x1bmany?")
    answer(store, question, "not this one")
    answer(store, question, "one two three four")
    text = _markdown(store, chat)
    assert _headings(text) == [r"Hens\_and \*eggs\*", "System prompt", "You", "Answer"]
    assert "| pair | a\\|b |\n| router | entropy:0.01 |" in text
    assert "| top k | 4 |" in text
    assert "\n\nBe brief.\n\n" in text
    assert "\n\nHow many?\n\n" in text
    assert "\n\none two three four\n\n" in text
    assert "not this one" not in text
    assert "> LLM share 25.0 %, tokens 4 (SLM 3, LLM 1), speed 2.0 tok/s, swaps 1 up, 0 down" in text
    assert "pair demo, router entropy:0.02, temperature 0.5" in text
    assert "seed 7; finished." in text
    assert "<details>" not in text


def test_markdown_folds_the_thinking(store: Store) -> None:
    chat = new_chat(store, "question")
    question = store.path(chat.id)[0]
    answer(store, question, "<think>\nlet me </details> see\n</think>\n\nIt is 4.")
    text = _markdown(store, chat)
    assert "<details>\n<summary>Thinking</summary>\n\nlet me &lt;/details> see\n\n</details>\n\nIt is 4.\n" in text
    unfinished = store.begin_answer(chat.id, question.id, "", {"opens_thinking": True})
    store.finish_answer(unfinished.id, make_trace(make_steps(["all of it is", " thinking"]), stop="length"))
    text = _markdown(store, chat)
    assert "\n\nall of it is thinking\n\n</details>\n\n> LLM" in text
    assert "truncated" in text


@pytest.mark.parametrize(
    "unfinished",
    [
        "```python\nprint(1)",
        "text\n~~~~ js\n~~~\n# no heading",
        "<think>\n```\ncode",
        "````\n```\nstill code",
        "```a`b`\n# one\n```",
    ],
)
def test_an_open_code_block_does_not_swallow_the_next_turn(store: Store, unfinished: str) -> None:
    chat = new_chat(store, unfinished, unfinished, "next", "last")
    headings = _headings(_markdown(store, chat))
    assert [heading for heading in headings if heading in ("You", "Answer")] == ["You", "Answer", "You", "Answer"]
    assert "no heading" not in headings


def test_markdown_marks_unfinished_and_failed_answers(store: Store) -> None:
    chat = new_chat(store, "question")
    unfinished = store.begin_answer(chat.id, chat.leaf or 0, "", {})
    store.extend_answer(unfinished.id, make_steps(["half", " of it"]))
    text = _markdown(store, chat)
    assert "\n\nhalf of it\n\n> Still being generated.\n" in text
    store.fail_answer(unfinished.id, None, "NaN in the *logits*\x1b[31m.")
    text = _markdown(store, chat)
    assert "> **Error:** NaN in the \\*logits\\*\\[31m." in text
    assert "failed." in text
    assert "\x1b" not in text


def test_markdown_of_an_empty_chat(store: Store) -> None:
    assert _headings(_markdown(store, store.new_chat(ChatSettings()))) == ["Untitled chat"]


def test_json_has_everything(store: Store) -> None:
    chat = new_chat(store, "question", "first answer")
    question = store.path(chat.id)[0]
    other = answer(store, question, "second one", prefix="the ")
    store.select(store.siblings(other)[0])
    settings = ChatSettings(pair="demo", system="Be brief.")
    store.set_settings(chat.id, settings)
    content = json.loads(export.to_json(store.chat(chat.id), store))
    assert (content["format"], content["version"]) == ("rstitch-chat", 1)
    assert content["chat"] == {
        "id": chat.id, "title": "question", "created": 1000.0, "updated": 1000.0,
        "settings": settings.model_dump(mode="json"),
    }  # fmt: skip
    assert ChatSettings.model_validate(content["chat"]["settings"]) == settings
    first = store.siblings(other)[0]
    assert content["branch"] == [question.id, first]
    user, one, two = content["messages"]
    assert user == {
        "id": question.id, "parent": None, "role": "user", "created": 1000.0, "prefix": "", "text": "question",
        "stop": None, "error": "", "trace": None,
    }  # fmt: skip
    assert (one["id"], one["parent"], one["text"]) == (first, question.id, "first answer")
    assert (two["id"], two["parent"], two["prefix"], two["text"]) == (other.id, question.id, "the ", "the second one")
    trace = store.trace(other.id)
    assert trace is not None
    assert Trace.from_dict(two["trace"]) == trace


def test_an_infinite_tau_is_a_string_in_json(store: Store) -> None:
    chat = new_chat(store, "question")
    answer(store, store.path(chat.id)[0], "words", taus=[(0, math.inf), (1, 0.5)])
    text = export.to_json(store.chat(chat.id), store)
    (_, exported) = json.loads(text, parse_constant=pytest.fail)["messages"]
    assert exported["trace"]["taus"] == [[0, "inf"], [1, 0.5]]
