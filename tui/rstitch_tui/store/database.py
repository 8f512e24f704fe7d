"""An open SQLite file that several processes can use at the same time; errors of SQLite become StorageErrors.

Independent of the tables in the database.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rstitch_local.errors import StorageError
from rstitch_local.files import is_special
from rstitch_tui.store.migrations import (
    DAMAGED_HINT,
    OTHER_FOLDER_HINT,
    migrate,
    require_search,
    require_tables,
    version_of,
)

_WAL_BYTES = 4 << 20
_RETRY_S = 0.02
_SIGNATURE = b"SQLite format 3\0"

Values = Sequence[Any] | Mapping[str, Any]


class Database:
    """An open database, migrated to the newest version. Use it only in the thread that opened it.

    Args:
        path: the file; created with its folder if missing.
        wait_ms: how long to wait for a write of another process.

    Raises:
        StorageError: the file cannot be read or written, belongs to another program, or is of a newer version.
    """

    def __init__(self, path: Path, *, wait_ms: int = 2000) -> None:
        self.path = path
        with _storage_errors(path):
            _require_database(path)
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                # Chats are private. SQLite's side files get the same mode.
                path.touch(mode=0o600)
            self._connection = sqlite3.connect(path, timeout=wait_ms / 1000, isolation_level=None)
        try:
            with _storage_errors(path):
                self._prepare(wait_ms / 1000)
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the file; closing it twice does nothing."""
        # The last connection to close merges the side files; if that fails, the next one to open does.
        with suppress(sqlite3.Error):
            self._connection.close()

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Run the block as one transaction, rolled back by an exception. Raises StorageError."""
        connection = self._connection
        with _storage_errors(self.path):
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                # SQLite may have rolled back already, for example when the disk was full.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def cursor(self, query: str, values: Values = ()) -> Iterator[Iterator[sqlite3.Row]]:
        """Yield an iterator over the rows of a query, read one by one. Raises StorageError."""
        with _storage_errors(self.path):
            cursor = self._connection.execute(query, values)
            try:
                yield cursor
            finally:
                cursor.close()

    def rows(self, query: str, values: Values = ()) -> list[sqlite3.Row]:
        """Return all rows of a query. Raises StorageError."""
        with self.cursor(query, values) as cursor:
            return list(cursor)

    def row(self, query: str, values: Values = ()) -> sqlite3.Row | None:
        """Return the first row of a query, or None. Raises StorageError."""
        with self.cursor(query, values) as cursor:
            return next(cursor, None)

    def shrink(self) -> None:
        """Return free pages to the file system. Raises StorageError."""
        with _storage_errors(self.path):
            # `execute` would stop after the first page.
            self._connection.executescript("PRAGMA incremental_vacuum")

    def _prepare(self, wait_s: float) -> None:
        connection = self._connection
        connection.row_factory = sqlite3.Row
        # Check the owner first: the file of another program must not be changed.
        version = version_of(connection, self.path)
        require_tables(connection, self.path, version)
        if version == 0:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        require_search(connection)
        self._enable_wal(time.monotonic() + wait_s)
        # A killed process loses nothing. A power failure may lose the last second, and never damages the file.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
        migrate(connection, self.path)
        connection.execute("PRAGMA foreign_keys = ON")

    def _enable_wal(self, deadline: float) -> None:
        """Allow readers during a write; a file system that does not support this keeps the default mode."""
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL").fetchone()
                return
            except sqlite3.OperationalError as error:
                # SQLite's own timeout does not apply while another process opens the same new file.
                if _primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(_RETRY_S)


@contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    """Convert errors of SQLite and of the file system to StorageError."""
    try:
        yield
    except sqlite3.Error as error:
        raise _storage_error(path, error) from error
    except UnicodeDecodeError as error:
        # SQLite's message quotes a schema that is damaged.
        raise _damaged(path, "its texts are not UTF-8") from error
    except OSError as error:
        raise StorageError("Cannot write database", f"{path}: {error.strerror or error}.", OTHER_FOLDER_HINT) from error


def _require_database(path: Path) -> None:
    """Raise StorageError for a file that is not of SQLite, which takes one of a few bytes for an empty database."""
    if is_special(path):
        raise StorageError("Not a chat database", f"{path} is a pipe or a device.", OTHER_FOLDER_HINT)
    if not path.is_file():
        return
    with path.open("rb") as file:
        start = file.read(len(_SIGNATURE))
    if start not in (b"", _SIGNATURE):
        raise StorageError("Not a chat database", f"{path} is not a database.", OTHER_FOLDER_HINT)


def _damaged(path: Path, reason: str) -> StorageError:
    return StorageError("Damaged database", f"{path}: {reason}.", DAMAGED_HINT)


def _primary_code(error: sqlite3.Error) -> int | None:
    """Return SQLite's primary result code; None for errors raised by Python's binding."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _storage_error(path: Path, error: sqlite3.Error) -> StorageError:
    match _primary_code(error):
        case sqlite3.SQLITE_NOTADB:
            return StorageError("Not a chat database", f"{path} is not a database.", OTHER_FOLDER_HINT)
        case sqlite3.SQLITE_CORRUPT:
            return _damaged(path, str(error))
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_AUTH:
            return StorageError(
                "Cannot write database",
                f"{path}: {error}.",
                "Check its permissions, or set RSTITCH_HOME to another folder.",
            )
        case sqlite3.SQLITE_FULL:
            return StorageError("Disk full", f"{path} could not be written.", "Free some space and try again.")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StorageError(
                "Database in use", f"Another program has locked {path}.", "Close it, or try again in a moment."
            )
    return StorageError("Cannot use database", f"{path}: {error}.", "Chats saved before are not affected.")
