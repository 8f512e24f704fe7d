"""Attack the chat database: random damage, wrong values, missing tables, foreign files, locks and full disks.

    python scripts/attack_chats.py --seed 1 --count 1000

Every case opens a database and does everything that the chat does with it: list, search, read, export, write. The
rules: only StorageError is raised, a file that cannot be read is unchanged, and messages that SQLite itself could read
before are still there afterwards.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path

from attacks import Tally, conclude, escaped, limited, workplace

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.errors import StorageError
from rstitch_local.trace.record import Trace
from rstitch_tui.chat_settings import ChatSettings
from rstitch_tui.store import Store
from rstitch_tui.store.export import to_html, to_json, to_markdown

TABLES = ("chats", "messages", "traces", "writing", "parts", "words", "state")
VALUES: tuple[object, ...] = (
    None, b"\xff\x00blob", 2**62, -(2**62), 1e300, float("inf"), "text", "", "[]", '{"seed": 1e999}', "9" * 5000,
    "[" * 10_000, "\x00", 0, '{"tokens": {"slm": "x"}, "wall_ms": ' + "9" * 400 + "}",
)  # fmt: skip
STEPS = [Step(n, Role.LLM if n % 3 == 2 else Role.SLM, n, f" word{n}", 0.1, 0.9, 1, 1.0) for n in range(20)]


def fill(path: Path, chats: int = 4) -> None:
    """Write a database with a few chats, one of them with an answer that is not finished."""
    with Store(path) as store:
        for number in range(chats):
            chat = store.new_chat(ChatSettings(system=f"system {number}"), f"chat {number}")
            question = store.add_user(chat.id, None, f"question {number} " + "x" * 300)
            answer = store.begin_answer(chat.id, question.id, "", {"seed": 7})
            store.extend_answer(answer.id, STEPS)
            if number:
                trace = Trace(7, {"pair": "demo"}, list(STEPS), stop="eog")
                store.finish_answer(answer.id, trace)
        store.set_state("open", "1")


def actions(store: Store) -> Iterator[Callable[[], object]]:
    """Yield everything that the chat does with an open database."""
    yield store.chats
    yield lambda: store.chats("question")
    yield lambda: store.chats("qu")
    yield store.prompts
    yield lambda: store.get_state("open")
    for number in range(1, 5):
        yield lambda number=number: exported(store, number)  # type: ignore[misc]
    for number in range(1, 9):
        yield lambda number=number: store.trace(number)  # type: ignore[misc]
        yield lambda number=number: store.siblings(store.message(number))  # type: ignore[misc]
    yield lambda: store.select(1)
    yield lambda: store.rename(2, "renamed")
    yield lambda: store.set_settings(2, ChatSettings())
    yield lambda: store.add_user(1, 1, "more")
    yield lambda: store.begin_answer(2, 3, "", {})
    yield lambda: store.delete(4)
    yield lambda: store.restore(4)
    yield store.purge
    yield lambda: store.set_state("open", "2")
    yield lambda: store.new_chat(ChatSettings(), "new")


def exported(store: Store, number: int) -> None:
    """Read a chat and export it in all formats."""
    chat = store.chat(number)
    branch = store.path(number)
    to_markdown(chat, branch)
    for question, answer in pairwise(branch):
        trace = store.trace(answer.id)
        if trace is not None:
            to_html(chat, question, answer, trace)
    to_json(chat, store)


def used(path: Path) -> tuple[str | None, bool]:
    """Open a database and do everything with it; return the exception that escapes, and whether it opened."""
    try:
        store = Store(path, wait_ms=50)
    except StorageError:
        return None, False
    except Exception as error:
        return f"open: {type(error).__name__}: {error}"[:200], False
    with store:
        faults = [fault for action in actions(store) if (fault := escaped(action))]
    return (faults[0] if faults else None), True


def readable(path: Path) -> set[object]:
    """Return the texts of the messages that SQLite can read."""
    with suppress(sqlite3.Error, UnicodeDecodeError), closing(sqlite3.connect(path)) as connection:
        connection.text_factory = bytes
        return {row[0] for row in connection.execute("SELECT text FROM messages WHERE role = 'user'")}
    return set()


def checked(path: Path) -> str | None:
    """Use a database, and return what is wrong afterwards."""
    data, before = path.read_bytes(), readable(path)
    fault, opened = used(path)
    if not opened and path.read_bytes() != data:
        return fault or "refused and changed"
    if before - readable(path):
        return fault or "messages are lost"
    return fault


def damaged(work: Path, rng: random.Random, count: int) -> Tally:
    """Change random bytes and pages of the file, or cut it."""
    tally = Tally("damaged bytes, pages and ends of the file")
    fill(work / "good.db")
    good = (work / "good.db").read_bytes()
    for number in range(count):
        data = bytearray(good)
        kind = rng.choice(("bytes", "page", "cut", "swap"))
        if kind == "bytes":
            for _ in range(rng.randrange(1, 30)):
                data[rng.randrange(len(data) if rng.random() < 0.8 else 200)] = rng.randrange(256)
        elif kind == "cut":
            del data[rng.randrange(len(data)) :]
        else:
            one, other = (rng.randrange(len(data) // 4096) * 4096 for _ in range(2))
            data[one : one + 4096] = data[other : other + 4096] if kind == "swap" else rng.randbytes(4096)
        path = work / f"damaged-{number}.db"
        path.write_bytes(data)
        tally.record(f"{kind} {number}", checked(path))
        remove(path)
    return tally


def remove(path: Path) -> None:
    """Remove a database with its side files."""
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


def values(work: Path, rng: random.Random, count: int) -> Tally:
    """Put values of other types into random columns of random rows."""
    tally = Tally("wrong values in columns")
    fill(work / "values.db")
    for number in range(count):
        path = work / f"values-{number}.db"
        shutil.copy(work / "values.db", path)
        table = rng.choice([name for name in TABLES if name != "words"])
        with closing(sqlite3.connect(path, isolation_level=None)) as connection, suppress(sqlite3.Error):
            connection.execute("PRAGMA ignore_check_constraints = ON")
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            column, value = rng.choice(columns), rng.choice(VALUES)
            where = "" if rng.random() < 0.5 else " WHERE rowid = (SELECT min(rowid) FROM " + table + ")"
            connection.execute(f"UPDATE OR IGNORE {table} SET {column} = ?{where}", (value,))
            tally.record(f"{table}.{column} = {value!r:.40} ({number})", used(path)[0])
        remove(path)
    return tally


def schemas(work: Path, _rng: random.Random, _count: int) -> Tally:
    """Remove and rename tables and columns, and change the versions."""
    tally = Tally("missing tables and columns, other versions")
    fill(work / "schema.db")
    statements = [f"DROP TABLE {table}" for table in TABLES]
    with closing(sqlite3.connect(work / "schema.db")) as connection:
        for table in TABLES:
            for row in connection.execute(f"PRAGMA table_info({table})"):
                statements.append(f"ALTER TABLE {table} RENAME COLUMN {row[1]} TO other")
                statements.append(f"ALTER TABLE {table} DROP COLUMN {row[1]}")
    statements += [f"PRAGMA user_version = {version}" for version in (-1, 0, 2, 99)]
    statements += ["PRAGMA application_id = 1", "DROP TRIGGER forget_message", "DROP INDEX messages_by_parent"]
    for statement in statements:
        path = work / "schema-case.db"
        shutil.copy(work / "schema.db", path)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            try:
                connection.execute("PRAGMA foreign_keys = OFF")
                connection.execute(statement)
            except sqlite3.Error:
                continue
        tally.record(statement, checked(path))
        remove(path)
    return tally


def foreign(work: Path, rng: random.Random, _count: int) -> Tally:
    """Put other files, folders, pipes and links in the place of the database; files must stay as they are."""
    tally = Tally("foreign files")
    other = work / "other.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE messages (id INTEGER, body TEXT)")
        connection.commit()
    contents = {
        "text": b"my diary\n" * 500, "short": b"x", "random": rng.randbytes(20_000), "zeros": b"\0" * 8192,
        "another program": other.read_bytes(), "header only": other.read_bytes()[:100], "PNG": b"\x89PNG\r\n" * 999,
    }  # fmt: skip
    for name, data in contents.items():
        path = work / f"foreign {name}.db"
        path.write_bytes(data)
        fault = used(path)[0]
        tally.record(name, fault, None if path.read_bytes() == data else "changed")
    others: dict[str, Callable[[Path], object]] = {
        "folder": Path.mkdir, "pipe": os.mkfifo, "loop": lambda path: path.symlink_to(path.name),
        "endless": lambda path: path.symlink_to("/dev/zero"), "full": lambda path: path.symlink_to("/dev/full"),
        "nowhere": lambda path: path.symlink_to("missing/file"),
    }  # fmt: skip
    for name, place in others.items():
        path = work / f"foreign {name}.db"
        place(path)
        tally.record(name, in_process(path))
    return tally


def in_process(path: Path, limit: Callable[[], None] | None = None) -> str | None:
    """Use a database in another process, which may hang."""
    code = "import sys, pathlib; from attack_chats import used; print(used(pathlib.Path(sys.argv[1]))[0] or '')"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path])}
    try:
        command = [sys.executable, "-c", code, str(path)]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=20, env=environment, preexec_fn=limit, check=False
        )
    except subprocess.TimeoutExpired:
        return "hung for 20 s"
    return done.stdout.strip() or (done.stderr.strip()[-200:] if done.returncode else None)


def places(work: Path, rng: random.Random, count: int) -> Tally:
    """Lock the database, damage its side files, and fill the disk while it is written."""
    tally = Tally("locks, side files, full disks")
    good = work / "place.db"
    fill(good)
    for mode in ("IMMEDIATE", "EXCLUSIVE"):
        with closing(sqlite3.connect(good, isolation_level=None)) as connection:
            connection.execute(f"BEGIN {mode}")
            tally.record(f"locked, {mode}", used(good)[0])
    for suffix in ("-wal", "-shm", "-journal"):
        for content in (b"", b"garbage" * 1000, rng.randbytes(40_000)):
            path = work / "side.db"
            shutil.copy(good, path)
            path.with_name(path.name + suffix).write_bytes(content)
            before = readable(good)
            fault = used(path)[0]
            tally.record(f"{suffix} of {len(content)} bytes", fault, "lost" if before - readable(path) else None)
            remove(path)
    for number in range(max(5, count // 50)):
        path = work / f"full-{number}.db"
        shutil.copy(good, path)
        before, size = readable(path), rng.randrange(1000, 2 * good.stat().st_size)
        fault = in_process(path, limited(resource.RLIMIT_FSIZE, size))
        tally.record(f"files of at most {size} bytes", fault, "lost" if before - readable(path) else None)
        remove(path)
    return tally


def main() -> None:
    """Run the groups and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=1000, help="Random cases of each kind.")
    options = parser.parse_args()
    tallies = {}
    with workplace() as work:
        for group in (damaged, values, schemas, foreign, places):
            name = group.__name__
            (work / name).mkdir()
            tallies[name] = group(work / name, random.Random(f"{options.seed} {name}"), options.count)
    conclude(tallies, options.seed)


if __name__ == "__main__":
    main()
