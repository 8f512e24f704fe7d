from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from chat_samples import Clock, answer, ask, make_steps, make_trace, new_chat, open_sqlite, row_count

from rstitch_local.decoding.roles import Role
from rstitch_local.errors import StorageError
from rstitch_tui.chat_settings import ChatSettings
from rstitch_tui.store import Message, Store
from rstitch_tui.store.steps import unpack


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


def test_each_save_while_streaming_contains_only_the_new_steps(store: Store, path: Path) -> None:
    chat = new_chat(store, "question")
    unfinished = store.begin_answer(chat.id, chat.leaf or 0, "p", {})
    steps = make_steps([f" {number}" for number in range(900)])
    for start in range(0, 900, 30):
        store.extend_answer(unfinished.id, steps[start : start + 30])
    store.extend_answer(unfinished.id, [])
    with open_sqlite(path) as db:
        parts = db.execute("SELECT text, steps FROM parts ORDER BY number").fetchall()
        text = db.execute("SELECT text FROM messages WHERE id = ?", (unfinished.id,)).fetchone()[0]
    assert text == ""
    assert [unpack([blob]) for _, blob in parts] == [steps[start : start + 30] for start in range(0, 900, 30)]
    assert "p" + "".join(text for text, _ in parts) == store.message(unfinished.id).text
    trace = store.trace(unfinished.id)
    assert trace is not None
    assert (trace.steps, trace.stop) == (steps, None)
    store.finish_answer(unfinished.id, make_trace(steps))
    assert (row_count(path, "parts"), row_count(path, "writing"), row_count(path, "traces")) == (0, 0, 1)


def test_a_failed_answer_keeps_its_text_and_the_error(store: Store) -> None:
    chat = new_chat(store, "question")
    unfinished = store.begin_answer(chat.id, chat.leaf or 0, "", {"seed": 4})
    store.extend_answer(unfinished.id, make_steps(["half", " an"]))
    store.fail_answer(
        unfinished.id, make_trace(make_steps(["half", " an", " answer"]), stop=None), "NaN in the logits."
    )
    message = store.message(unfinished.id)
    assert (message.text, message.stop, message.error) == ("half an answer", "error", "NaN in the logits.")
    trace = store.trace(unfinished.id)
    assert trace is not None
    assert trace.stop == "error"
    # Without a trace, the steps saved before are kept.
    unfinished = store.begin_answer(chat.id, chat.leaf or 0, "", {"seed": 4})
    store.extend_answer(unfinished.id, make_steps(["half", " an"]))
    store.fail_answer(unfinished.id, None, "The model is gone.")
    message = store.message(unfinished.id)
    assert (message.text, message.error) == ("half an", "The model is gone.")
    trace = store.trace(unfinished.id)
    assert trace is not None
    assert (trace.seed, len(trace.steps)) == (4, 2)


def test_an_answer_without_a_stop_reason_counts_as_interrupted(store: Store) -> None:
    chat = new_chat(store, "question")
    unfinished = store.begin_answer(chat.id, chat.leaf or 0, "", {})
    store.finish_answer(unfinished.id, make_trace([], stop=None))
    message = store.message(unfinished.id)
    assert message.stop == "interrupted"
    assert message.totals is not None
    assert message.totals["stop"] == "interrupted"
    with pytest.raises(StorageError, match="not being generated here"):
        store.extend_answer(unfinished.id, make_steps(["late"]))


def test_an_answer_without_heartbeats_is_finished_and_reopened_by_the_next_save(
    store: Store, path: Path, clock: Clock
) -> None:
    chat = new_chat(store, "question")
    unfinished = store.begin_answer(chat.id, chat.leaf or 0, "Well,", {"seed": 4})
    steps = make_steps([" one", " two", " three", " four"])
    store.extend_answer(unfinished.id, steps[:2])
    with Store(path, clock=clock) as other:
        clock.now += 4
        assert other.path(chat.id)[-1].unfinished
        assert other.path(chat.id)[-1].text == "Well, one two"
        store.extend_answer(unfinished.id, [])
        clock.now += 4
        assert other.path(chat.id)[-1].unfinished
        clock.now += 2
        # The process that generates it does not consider it abandoned.
        assert store.path(chat.id)[-1].unfinished
        message = other.path(chat.id)[-1]
        assert (message.text, message.stop) == ("Well, one two", "interrupted")
        trace = other.trace(unfinished.id)
        assert trace is not None
        assert (trace.seed, trace.steps, trace.stop) == (4, steps[:2], "interrupted")
        assert [row.id for row in other.chats("two")] == [chat.id]
        store.extend_answer(unfinished.id, steps[2:3])
        assert (other.message(unfinished.id).text, other.message(unfinished.id).stop) == ("Well, one two three", None)
        store.finish_answer(unfinished.id, make_trace(steps))
        assert other.message(unfinished.id).text == "Well, one two three four"
        assert [row.id for row in other.chats("four")] == [chat.id]


def test_a_clock_set_back_does_not_keep_an_abandoned_answer_open(store: Store, path: Path, clock: Clock) -> None:
    chat = new_chat(store, "question")
    store.begin_answer(chat.id, chat.leaf or 0, "", {})
    clock.now -= 3600
    with Store(path, clock=clock) as other:
        assert other.path(chat.id)[-1].stop == "interrupted"


def test_an_answer_of_a_process_that_ended_is_finished_immediately(store: Store, path: Path, clock: Clock) -> None:
    chat = new_chat(store, "question")
    unfinished = store.begin_answer(chat.id, chat.leaf or 0, "", {})
    store.extend_answer(unfinished.id, make_steps(["a", "b", "c", "d"]))
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    with open_sqlite(path) as db:
        db.execute("UPDATE writing SET process = ?", (process.pid,))
    with Store(path, clock=clock) as other:
        message = other.message(unfinished.id)
        assert (message.text, message.stop) == ("abcd", "interrupted")
        trace = other.trace(unfinished.id)
        assert trace is not None
        assert trace.tokens == {Role.SLM: 3, Role.LLM: 1}
        assert (trace.swaps_up, trace.swaps_down) == (1, 1)
        assert trace.wall_ms == pytest.approx(1.0)


def test_the_text_is_kept_if_the_steps_are_damaged(store: Store, path: Path, clock: Clock) -> None:
    chat = new_chat(store, "question")
    unfinished = store.begin_answer(chat.id, chat.leaf or 0, "", {})
    store.extend_answer(unfinished.id, make_steps(["some", " text"]))
    with open_sqlite(path) as db:
        db.execute("UPDATE parts SET steps = x'00'")
    with pytest.raises(StorageError, match="cannot be read"):
        store.trace(unfinished.id)
    clock.now += 60
    with Store(path, clock=clock) as other:
        assert other.message(unfinished.id).text == "some text"
        with open_sqlite(path) as db:
            db.execute("UPDATE messages SET totals = '{}'")
        with pytest.raises(StorageError, match="totals"):
            other.trace(unfinished.id)


STREAMING = """
import sys
from pathlib import Path
from chat_samples import make_steps, new_chat
from rstitch_tui.store import Store

store = Store(Path(sys.argv[1]))
chat = new_chat(store, "question")
unfinished = store.begin_answer(chat.id, chat.leaf, "", {"seed": 11})
for number in range(100_000):
    store.extend_answer(unfinished.id, make_steps([f" {number}"], number))
    print(number, flush=True)
"""
ADDING_CHATS = """
import sys
from pathlib import Path
from chat_samples import new_chat
from rstitch_tui.store import Store

with Store(Path(sys.argv[1])) as store:
    for number in range(40):
        new_chat(store, f"{sys.argv[2]} {number}", "an answer of some words")
"""


def _child(script: str, *arguments: str) -> subprocess.Popen[str]:
    search = [str(Path(__file__).parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, search))}
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, text=True, env=environment
    )


def test_a_killed_process_loses_no_saved_steps(path: Path) -> None:
    child = _child(STREAMING, str(path))
    assert child.stdout is not None
    for line in child.stdout:
        if int(line) >= 25:
            child.kill()
            break
    lines = child.stdout.read().split()
    child.stdout.close()
    child.wait()
    last = int(lines[-1]) if lines else 25
    with Store(path) as store:
        (row,) = store.chats()
        message = store.path(row.id)[-1]
        trace = store.trace(message.id)
        assert trace is not None
        # It may have been killed between saving a step and printing its number.
        assert len(trace.steps) in (last + 1, last + 2)
        assert trace.steps == make_steps([f" {number}" for number in range(len(trace.steps))])
        assert (message.text, message.stop, trace.seed) == (trace.text, "interrupted", 11)
        assert store.purge() == 0
    with open_sqlite(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def test_several_processes_create_and_use_one_database_at_the_same_time(path: Path) -> None:
    children = [_child(ADDING_CHATS, str(path), name) for name in ("left", "right")]
    for child in children:
        assert child.stdout is not None
        child.stdout.close()
    with Store(path) as store:
        for number in range(40):
            new_chat(store, f"here {number}", "an answer of some words")
        assert [child.wait() for child in children] == [0, 0]
        rows = store.chats()
        expected = {f"{name} {number}" for name in ("left", "right", "here") for number in range(40)}
        assert {row.title for row in rows} == expected
        assert len(rows) == len(expected) == len(store.chats("some words"))
        assert all(row.messages == 2 for row in rows)
    with open_sqlite(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []


def test_the_file_does_not_grow_when_chats_are_added_and_purged(path: Path) -> None:
    sizes = []
    with Store(path) as store:
        new_chat(store, "kept", "forever")
        for cycle in range(4):
            chat = store.new_chat(ChatSettings())
            last: Message | None = None
            for turn in range(200):
                text = " ".join(f"word{number * (cycle + 3) % 997}" for number in range(turn, turn + 40))
                last = answer(store, ask(store, chat, text, last.id if last else None), text)
            with open_sqlite(path) as db:
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            full = path.stat().st_size
            store.delete(chat.id)
            store.purge(0)
            with open_sqlite(path) as db:
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            sizes.append(path.stat().st_size)
            assert full > 5 * sizes[-1]
    assert max(sizes) < sizes[0] + 50_000
    print(f"after each 200 turns, purged: {sizes} bytes; before the last purge {full}")
