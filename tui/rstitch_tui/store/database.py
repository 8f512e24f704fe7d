"""One open SQLite file: how it is opened so that several apps can use it at once, and its errors as sentences.

Knows SQLite; nothing of what is kept in the tables.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rstitch_local.errors import StorageError
from rstitch_tui.store.migrations import OTHER_FOLDER, migrate, require_search, version_of

_WAL_BYTES = 4 << 20
_RETRY_S = 0.02

Values = Sequence[Any] | Mapping[str, Any]


class Database:
    """An open database, brought up to date. Used by the thread that opened it.

    Args:
        path: the file; it and its folder are made when they are not there.
        wait_ms: how long to wait for another app's write to end.

    Raises:
        StorageError: the file cannot be read or written, is none of ours, or was written by a newer version.
    """

    def __init__(self, path: Path, *, wait_ms: int = 2000) -> None:
        self.path = path
        with _sentences(path):
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                # What people say to a model is nobody else's business; SQLite's side files take over the mode.
                path.touch(mode=0o600)
            self._connection = sqlite3.connect(path, timeout=wait_ms / 1000, isolation_level=None)
        try:
            with _sentences(path):
                self._prepare(wait_ms / 1000)
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Let go of the file; closing twice does nothing."""
        # The last one out tidies up the side files; where that fails, the next one in does.
        with suppress(sqlite3.Error):
            self._connection.close()

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction: everything in the block is kept, or nothing is. Raises StorageError."""
        connection = self._connection
        with _sentences(self.path):
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                # A full disk may have rolled back already.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def cursor(self, query: str, values: Values = ()) -> Iterator[Iterator[sqlite3.Row]]:
        """The rows of a query, read as they are asked for. Raises StorageError."""
        with _sentences(self.path):
            cursor = self._connection.execute(query, values)
            try:
                yield cursor
            finally:
                cursor.close()

    def rows(self, query: str, values: Values = ()) -> list[sqlite3.Row]:
        """All rows of a query. Raises StorageError."""
        with self.cursor(query, values) as cursor:
            return list(cursor)

    def row(self, query: str, values: Values = ()) -> sqlite3.Row | None:
        """The first row of a query, if there is one. Raises StorageError."""
        with self.cursor(query, values) as cursor:
            return next(cursor, None)

    def shrink(self) -> None:
        """Give free pages back to the disk. Raises StorageError."""
        with _sentences(self.path):
            # As a script: `execute` would stop after the first page.
            self._connection.executescript("PRAGMA incremental_vacuum")

    def _prepare(self, wait_s: float) -> None:
        connection = self._connection
        connection.row_factory = sqlite3.Row
        # First whether it is ours: a stranger's file is left as it is.
        if version_of(connection, self.path) == 0:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        require_search(connection)
        self._write_ahead(time.monotonic() + wait_s)
        # A killed process loses nothing; a power cut may lose the last second, but never more than that.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
        migrate(connection, self.path)
        connection.execute("PRAGMA foreign_keys = ON")

    def _write_ahead(self, deadline: float) -> None:
        """Readers and one writer at the same time; where a file system cannot do that, one after the other."""
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL").fetchone()
                return
            except sqlite3.OperationalError as error:
                # This one change of mode does not wait by itself while another app begins with the same file.
                if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(_RETRY_S)


@contextmanager
def _sentences(path: Path) -> Iterator[None]:
    """Turn what SQLite and the disk complain of into StorageError."""
    try:
        yield
    except sqlite3.Error as error:
        raise _storage_error(path, error) from error
    except OSError as error:
        raise StorageError("Cannot write", f"{path}: {error.strerror or error}.", OTHER_FOLDER) from error


def _code(error: sqlite3.Error) -> int | None:
    """SQLite's error code without its finer distinctions; the binding's own complaints have none."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _storage_error(path: Path, error: sqlite3.Error) -> StorageError:
    match _code(error):
        case sqlite3.SQLITE_NOTADB:
            return StorageError("Not a chat database", f"{path} is no database.", OTHER_FOLDER)
        case sqlite3.SQLITE_CORRUPT:
            return StorageError(
                "Damaged database",
                f"{path}: {error}.",
                "Put a copy of it back, or move it away to begin anew.",
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_AUTH:
            return StorageError(
                "Cannot write", f"{path}: {error}.", "Check who may write there, or set RSTITCH_HOME to another folder."
            )
        case sqlite3.SQLITE_FULL:
            return StorageError("Disk full", f"{path} could not be written.", "Make room and try again.")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StorageError(
                "Database in use", f"Another program keeps {path} locked.", "Close it, or try again in a moment."
            )
    return StorageError("Cannot use the database", f"{path}: {error}.", "Nothing that was saved before is lost.")
