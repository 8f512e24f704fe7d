from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from chat_samples import new_chat, open_sqlite

from rstitch_local.errors import StorageError
from rstitch_tui.store import Store, migrations
from rstitch_tui.store.migrations import MIGRATIONS, migrate, statements

# The hash of each released migration. Add a line with a new migration; never change one.
RELEASED = ["af570461f463433de8538da91214640d097e64030f5e26b5c290d3552f117ce0"]


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


def test_released_migrations_are_never_changed() -> None:
    hashes = [hashlib.sha256(script.encode()).hexdigest() for script in MIGRATIONS]
    assert hashes == RELEASED


def test_a_new_database_has_the_newest_version_and_the_application_id(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "down" / "chats.db"
    Store(path).close()
    with open_sqlite(path) as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS)
        assert db.execute("PRAGMA application_id").fetchone()[0] == migrations.APPLICATION_ID
        assert db.execute("PRAGMA auto_vacuum").fetchone()[0] == 2
        assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS) + 1))
def test_a_database_of_any_earlier_version_can_be_opened(tmp_path: Path, version: int) -> None:
    path = tmp_path / "chats.db"
    db = _open(path)
    migrate(db, path, MIGRATIONS[:version])
    db.execute("INSERT INTO chats (title, settings, created, updated) VALUES ('old', '{\"seed\": 3}', 1, 2)")
    db.execute("INSERT INTO messages (chat, role, created, text) VALUES (1, 'user', 1, 'hello')")
    db.execute("UPDATE chats SET leaf = 1")
    db.close()
    with Store(path) as store:
        assert [message.text for message in store.path(1)] == ["hello"]
        assert store.chat(1).settings.seed == 3
    with open_sqlite(path) as after:
        assert after.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS)


LATER = (
    "ALTER TABLE chats ADD COLUMN color TEXT NOT NULL DEFAULT 'none';",
    "UPDATE chats SET color = 'blue; and green'; CREATE TABLE extra (id INTEGER);",
)


def test_later_migrations_keep_what_version_1_has(tmp_path: Path) -> None:
    path = tmp_path / "chats.db"
    with Store(path) as store:
        new_chat(store, "question", "an answer")
    db = _open(path)
    migrate(db, path, (*MIGRATIONS[:1], *LATER))
    assert db.execute("PRAGMA user_version").fetchone()[0] == 3
    assert db.execute("SELECT title, color FROM chats").fetchall() == [("question", "blue; and green")]
    assert db.execute("SELECT text FROM messages ORDER BY id").fetchall() == [("question",), ("an answer",)]
    db.close()


@pytest.mark.parametrize(
    "broken",
    [
        "CREATE TABLE extra (id INTEGER); INSERT INTO nowhere VALUES (1);",
        # The statements are valid, but leave a dangling reference.
        "CREATE TABLE extra (id INTEGER); UPDATE messages SET parent = 99 WHERE role = 'assistant';",
    ],
)
def test_a_migration_that_fails_changes_nothing(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "chats.db"
    with Store(path) as store:
        new_chat(store, "question", "an answer")
    db = _open(path)
    with pytest.raises(sqlite3.Error):
        migrate(db, path, (*MIGRATIONS[:1], LATER[0], broken))
    # The migration before it is kept.
    assert db.execute("PRAGMA user_version").fetchone()[0] == 2
    assert not db.in_transaction
    assert db.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'extra'").fetchone()[0] == 0
    assert db.execute("SELECT parent FROM messages ORDER BY id").fetchall() == [(None,), (1,)]
    db.close()


def test_a_newer_database_is_refused_and_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "chats.db"
    Store(path).close()
    with open_sqlite(path) as db:
        db.execute("PRAGMA journal_mode = DELETE")
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    before = path.read_bytes()
    with pytest.raises(StorageError, match=f"its version is {len(MIGRATIONS) + 1}") as raised:
        Store(path)
    assert raised.value.title == "Newer database"
    assert "Update rstitch" in raised.value.hint
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["chats.db"]


def test_the_database_of_another_program_is_refused_and_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "chats.db"
    with open_sqlite(path) as db:
        db.execute("CREATE TABLE birds (name TEXT)")
    before = path.read_bytes()
    with pytest.raises(StorageError, match="another program"):
        Store(path)
    assert path.read_bytes() == before


def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    path = tmp_path / "chats.db"
    path.touch()
    with Store(path) as store:
        assert store.chats() == []


class _NoSearch(sqlite3.Connection):
    def execute(self, sql: str, *rest: Any) -> sqlite3.Cursor:
        if "fts5" in sql:
            raise sqlite3.OperationalError("no such module: fts5")
        return super().execute(sql, *rest)


def test_an_sqlite_without_full_text_search_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **options: connect(*args, factory=_NoSearch, **options))
    with pytest.raises(StorageError, match="no such module: fts5") as raised:
        Store(tmp_path / "chats.db")
    assert sqlite3.sqlite_version in raised.value.message
    assert raised.value.hint


def test_scripts_are_split_into_statements() -> None:
    trigger = "CREATE TRIGGER t AFTER DELETE ON a BEGIN\n DELETE FROM b;\n DELETE FROM c;\nEND;"
    script = f"CREATE TABLE a (x TEXT DEFAULT ';'); {trigger}\n\n-- that was all; or was it\nDELETE FROM a;\n"
    assert list(statements(script)) == [
        "CREATE TABLE a (x TEXT DEFAULT ';');",
        trigger,
        "-- that was all; or was it\nDELETE FROM a;",
    ]
    with pytest.raises(ValueError, match="unterminated"):
        list(statements("DELETE FROM a"))
