"""The schema of the chat database as an ordered list of SQL scripts, and running the missing ones."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from rstitch_local.errors import StorageError

APPLICATION_ID = 0x52535443
"""Written into the file's header ("RSTC"): databases of other programs are recognized and refused."""

DAMAGED_HINT = "Restore it from a backup, or move it away to start with an empty one."
OTHER_FOLDER_HINT = "Move the file away, or set RSTITCH_HOME to another folder."

# Never change a released script: a database that has run it will not run it again. A test compares the hashes.
#
# Deleting a chat deletes its messages. The reference to a message's parent is checked at the end of the transaction:
# a cascade along the parents would be as deep as the chat is long, and SQLite limits it to 1000.
# `writing` has a row for each unfinished answer, `parts` the steps saved of it so far. `words` is the full-text index,
# with trigrams so that Chinese, Japanese and parts of words are found; its rowid is the id of a message, or the
# negated id of a chat for its title.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE chats (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        title TEXT NOT NULL,
        settings TEXT NOT NULL,
        leaf INTEGER REFERENCES messages (id) DEFERRABLE INITIALLY DEFERRED,
        created REAL NOT NULL,
        updated REAL NOT NULL,
        deleted REAL
    );
    CREATE INDEX chats_by_update ON chats (updated) WHERE deleted IS NULL;
    CREATE INDEX chats_by_leaf ON chats (leaf);

    CREATE TABLE messages (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        chat INTEGER NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
        parent INTEGER REFERENCES messages (id) DEFERRABLE INITIALLY DEFERRED,
        role TEXT NOT NULL CHECK (role IN ('user', 'assistant')),
        created REAL NOT NULL,
        stop TEXT,
        error TEXT NOT NULL DEFAULT '',
        settings TEXT NOT NULL DEFAULT '{}',
        totals TEXT,
        prefix TEXT NOT NULL DEFAULT '',
        text TEXT NOT NULL DEFAULT ''
    );
    CREATE INDEX messages_by_parent ON messages (chat, parent);
    CREATE INDEX messages_below ON messages (parent);

    CREATE TABLE traces (
        message INTEGER PRIMARY KEY REFERENCES messages (id) ON DELETE CASCADE,
        steps BLOB NOT NULL
    );

    CREATE TABLE writing (
        message INTEGER PRIMARY KEY REFERENCES messages (id) ON DELETE CASCADE,
        process INTEGER NOT NULL,
        heartbeat REAL NOT NULL
    );
    CREATE TABLE parts (
        message INTEGER NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        text TEXT NOT NULL,
        steps BLOB NOT NULL,
        PRIMARY KEY (message, number)
    );

    CREATE VIRTUAL TABLE words USING fts5 (chat UNINDEXED, text, tokenize = 'trigram');
    CREATE TRIGGER forget_message AFTER DELETE ON messages BEGIN
        DELETE FROM words WHERE rowid = old.id;
    END;
    CREATE TRIGGER forget_title AFTER DELETE ON chats BEGIN
        DELETE FROM words WHERE rowid = -old.id;
    END;

    CREATE TABLE state (
        key TEXT PRIMARY KEY,
        value TEXT NOT NULL
    );
    """,
)


def require_search(connection: sqlite3.Connection) -> None:
    """Raise StorageError if this Python's SQLite has no full-text search."""
    try:
        connection.execute("CREATE VIRTUAL TABLE temp.probe USING fts5 (text, tokenize = 'trigram')")
        connection.execute("DROP TABLE temp.probe")
    except sqlite3.OperationalError as error:
        raise StorageError(
            "SQLite too old",
            f"SQLite {sqlite3.sqlite_version} of this Python has no FTS5 with the trigram tokenizer: {error}.",
            "Use a Python with SQLite 3.34 or newer, such as the one from python.org or uv.",
        ) from error


def version_of(connection: sqlite3.Connection, path: Path, newest: int = len(MIGRATIONS)) -> int:
    """Return the version of a database, 0 for an empty one, without changing it.

    Raises:
        StorageError: the database belongs to another program or to a newer version of rstitch.
    """
    owner = _number(connection, "application_id")
    version = _number(connection, "user_version")
    if owner != APPLICATION_ID and (owner or version or _tables(connection)):
        raise StorageError("Not a chat database", f"{path} belongs to another program.", OTHER_FOLDER_HINT)
    if version < 0:
        raise StorageError("Damaged database", f"{path} has the version {version}.", DAMAGED_HINT)
    if version > newest:
        raise StorageError(
            "Newer database",
            f"{path} was written by a newer rstitch: its version is {version}, this rstitch supports up to {newest}.",
            "Update rstitch, or set RSTITCH_HOME to another folder.",
        )
    return version


def require_tables(connection: sqlite3.Connection, path: Path, version: int) -> None:
    """Raise StorageError if a database lacks a table or a column of its version; it is not changed."""
    with closing(sqlite3.connect(":memory:")) as expected:
        for script in MIGRATIONS[:version]:
            expected.executescript(script)
        found = _columns(connection)
        missing = [
            f"{table}.{column}"
            for table, columns in _columns(expected).items()
            for column in sorted(columns - found.get(table, set()))
        ]
    if missing:
        raise StorageError("Damaged database", f"{path} lacks {', '.join(missing[:3])}.", DAMAGED_HINT)
    if version == 0 and found:
        raise StorageError("Damaged database", f"{path} has tables, but no version.", DAMAGED_HINT)


def _columns(connection: sqlite3.Connection) -> dict[str, set[str]]:
    tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    query = "SELECT name FROM pragma_table_info(?)"
    return {table: {row[0] for row in connection.execute(query, (table,))} for table in tables}


def migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[str] = MIGRATIONS) -> None:
    """Run the scripts that a database has not run yet, each in a transaction.

    Foreign keys must be off, because a script may have to recreate a table.
    """
    while version_of(connection, path, len(migrations)) < len(migrations):
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Read again: another process may have migrated it before the transaction began.
            version = version_of(connection, path, len(migrations))
            if version < len(migrations):
                for statement in statements(migrations[version]):
                    connection.execute(statement)
                broken = connection.execute("PRAGMA foreign_key_check").fetchone()
                if broken is not None:
                    raise sqlite3.IntegrityError(f"migration {version + 1} leaves dangling references in {broken[0]}")
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {version + 1}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def statements(script: str) -> Iterator[str]:
    """Yield the statements of a script; `executescript` would commit before the first one."""
    statement = ""
    *pieces, rest = script.split(";")
    for piece in pieces:
        statement += f"{piece};"
        # A semicolon may be inside a string, a comment or a trigger.
        if sqlite3.complete_statement(statement):
            yield statement.strip()
            statement = ""
    if (statement + rest).strip():
        raise ValueError(f"unterminated statement: {(statement + rest).strip()}")


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


def _tables(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
