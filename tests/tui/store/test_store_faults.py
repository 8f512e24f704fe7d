from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from chat_samples import Clock, make_trace, new_chat, open_sqlite

from rstitch_local.errors import StorageError
from rstitch_tui.store import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chats.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store(path, clock=Clock()) as opened:
        yield opened


@pytest.mark.parametrize(
    "action",
    [
        lambda store: store.chat(99),
        lambda store: store.rename(99, "x"),
        lambda store: store.delete(99),
        lambda store: store.message(99),
        lambda store: store.select(99),
        lambda store: store.trace(99),
        lambda store: store.add_user(99, None, "x"),
        lambda store: store.add_user(1, 99, "x"),
        lambda store: store.begin_answer(99, 1, "", {}),
        lambda store: store.finish_answer(99, make_trace([])),
        lambda store: store.finish_answer(1, make_trace([])),
    ],
)
def test_a_missing_chat_or_message_is_a_storage_error(store: Store, action: Callable[[Store], object]) -> None:
    new_chat(store, "question")
    before = store.chats()
    with pytest.raises(StorageError, match=r"There is no (chat|message) \d+"):
        action(store)
    assert store.chats() == before
    assert store.path(99) == []


def test_a_parent_in_another_chat_is_refused(store: Store) -> None:
    stranger, chat = new_chat(store, "question"), new_chat(store, "another")
    with pytest.raises(StorageError, match="no message"):
        store.add_user(chat.id, stranger.leaf, "text")
    assert [message.text for message in store.path(chat.id)] == ["another"]


def test_a_file_that_is_not_a_database_is_not_changed(path: Path) -> None:
    path.write_bytes(b"my diary\n" * 1000)
    with pytest.raises(StorageError, match="is not a database") as raised:
        Store(path)
    assert raised.value.title == "Not a chat database"
    assert path.read_bytes() == b"my diary\n" * 1000


def test_a_path_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageError, match="file") as raised:
        Store(tmp_path / "file" / "chats.db")
    assert raised.value.title == "Cannot write database"
    with pytest.raises(StorageError, match="unable to open") as raised:
        Store(tmp_path)
    assert raised.value.title == "Cannot write database"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_reported(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StorageError, match="Permission denied"):
            Store(tmp_path / "chats.db")
    finally:
        tmp_path.chmod(0o700)


def _failed_write(store: Store, pragma: str) -> StorageError:
    """Return the error of a write after a pragma that simulates a fault of the disk; check that nothing is written."""
    chat = new_chat(store, "question")
    store._database.rows(pragma)
    with pytest.raises(StorageError) as raised:
        store.add_user(chat.id, None, "x" * 1_000_000)
    assert [message.text for message in store.path(chat.id)] == ["question"]
    return raised.value


def test_a_full_disk_is_a_storage_error_and_the_write_is_rolled_back(store: Store) -> None:
    error = _failed_write(store, "PRAGMA max_page_count = 60")
    assert error.title == "Disk full"
    store._database.rows("PRAGMA max_page_count = 1000000")
    assert new_chat(store, "after").title == "after"


def test_a_read_only_disk_is_a_storage_error(store: Store) -> None:
    assert _failed_write(store, "PRAGMA query_only = ON").title == "Cannot write database"


def test_a_locked_database_is_a_storage_error_and_can_be_read(path: Path) -> None:
    with Store(path, wait_ms=20) as store, open_sqlite(path) as db:
        chat = new_chat(store, "question")
        db.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError) as raised:
            store.rename(chat.id, "other")
        assert raised.value.title == "Database in use"
        assert [row.title for row in store.chats()] == ["question"]
        db.execute("ROLLBACK")
        store.rename(chat.id, "other")
        assert store.chat(chat.id).title == "other"


def test_opening_a_locked_database_is_a_storage_error(path: Path) -> None:
    Store(path).close()
    with open_sqlite(path) as db:
        db.execute("PRAGMA journal_mode = DELETE")
        db.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StorageError, match="locked"):
            Store(path, wait_ms=50)


class _BusyAtFirst(sqlite3.Connection):
    """Another process opens the same new file: SQLite's own timeout does not apply here."""

    refusals = 0

    def execute(self, sql: str, *rest: Any) -> sqlite3.Cursor:
        if "journal_mode = WAL" in sql and self.refusals:
            type(self).refusals -= 1
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY_RECOVERY
            raise error
        return super().execute(sql, *rest)


def test_two_processes_can_open_a_new_database_at_the_same_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **options: connect(*args, factory=_BusyAtFirst, **options))
    monkeypatch.setattr(_BusyAtFirst, "refusals", 2)
    with Store(path) as store:
        assert store.chats() == []
    monkeypatch.setattr(_BusyAtFirst, "refusals", 1_000_000)
    with pytest.raises(StorageError) as raised:
        Store(path, wait_ms=1)
    assert raised.value.title == "Database in use"


def test_a_damaged_database_is_a_storage_error(path: Path) -> None:
    with Store(path) as store:
        chat = new_chat(store, *(f"turn {number} " + "x" * 2000 for number in range(20)))
    data = bytearray(path.read_bytes())
    data[8192:] = b"\xff" * (len(data) - 8192)
    path.write_bytes(data)
    with pytest.raises(StorageError) as raised, Store(path) as store:
        store.path(chat.id)
    assert raised.value.title == "Damaged database"


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
def test_the_files_are_private_to_the_user(store: Store, path: Path) -> None:
    new_chat(store, "question")
    assert {file.name: file.stat().st_mode & 0o077 for file in path.parent.iterdir()} == dict.fromkeys(
        ("chats.db", "chats.db-wal", "chats.db-shm"), 0
    )


def test_using_a_closed_store_is_a_storage_error(path: Path) -> None:
    store = Store(path)
    store.close()
    store.close()
    with pytest.raises(StorageError, match="closed"):
        store.chats()


def test_an_exception_in_a_write_rolls_it_back(store: Store) -> None:
    chat = new_chat(store, "question")
    with suppress(ZeroDivisionError), store._database.write() as db:
        db.execute("UPDATE chats SET title = 'half'")
        _ = 1 / 0
    assert store.chat(chat.id) == chat
    store.rename(chat.id, "whole")
    assert store.chat(chat.id).title == "whole"
