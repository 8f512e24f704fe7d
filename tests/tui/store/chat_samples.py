"""Steps, traces and chats for the tests of the store, and a clock that stands until it is moved."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.trace.record import Trace
from rstitch_tui.chat_settings import ChatSettings
from rstitch_tui.store import Chat, Message, Store

SETTINGS: dict[str, Any] = {"pair": "demo", "router": "entropy:0.02", "sampling": {"temperature": 0.5, "top_k": 4}}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make_steps(texts: Sequence[str], start: int = 0) -> list[Step]:
    """A step for each text; every third is the LLM's, which took over there."""
    return [
        Step(
            position=position,
            role=Role.LLM if position % 3 == 2 else Role.SLM,
            token=1000 + position,
            text=text,
            entropy=0.001 * (position % 50 + 1) / 3,
            top1=1 - 0.01 * (position % 50),
            evaluated_tokens=1 + position % 3,
            ms=0.1 * (position + 1),
            swap_entropy=0.3 if position % 3 == 2 else None,
        )
        for position, text in enumerate(texts, start)
    ]


def make_trace(steps: Sequence[Step], stop: str | None = "eog", **changes: Any) -> Trace:
    trace = Trace(7, SETTINGS, list(steps), stop=stop, wall_ms=2000.0, ttft_ms=12.5)
    for step in steps:
        trace.tokens[step.role] += 1
    trace.swaps_up = sum(step.swap_entropy is not None for step in steps)
    trace.swaps_down = max(0, trace.swaps_up - 1)
    for name, value in changes.items():
        setattr(trace, name, value)
    return trace


def say(store: Store, chat: Chat, text: str, parent: int | None = None) -> Message:
    return store.add_user(chat.id, parent, text)


def answer(store: Store, question: Message, text: str, prefix: str = "", **changes: Any) -> Message:
    """A finished answer, one step a word."""
    begun = store.begin_answer(question.chat_id, question.id, prefix, {"seed": 7})
    words = [f" {word}" if number else word for number, word in enumerate(text.split(" "))]
    store.finish_answer(begun.id, make_trace(make_steps(words), **changes))
    return store.message(begun.id)


def new_chat(store: Store, *turns: str, title: str = "") -> Chat:
    """A chat with question and answer in turn."""
    chat = store.new_chat(ChatSettings(), title)
    last: Message | None = None
    for turn in turns:
        if last is None or last.role == "assistant":
            last = say(store, chat, turn, last.id if last else None)
        else:
            last = answer(store, last, turn)
    return store.chat(chat.id)


@contextmanager
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    """The database as SQLite sees it."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def count(path: Path, table: str) -> int:
    with raw(path) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
