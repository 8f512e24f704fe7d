"""Files of a run folder that are no files, and files with random damage; for attack_runs.py."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from attacks import MEMORY_BYTES, Ended, Tally, escaped, limited, run

from rstitch_local.problems.answer_lookup import open_answer
from rstitch_local.problems.grading import Grader
from rstitch_local.problems.metrics import summary
from rstitch_local.problems.progress import summary_text
from rstitch_local.problems.regrading import regrade
from rstitch_local.problems.run_folder import ANSWERS_FILE, RUN_FILE, TRACES_FILE, RunFolder, read_answers
from rstitch_local.problems.traces import RunTraces
from rstitch_local.trace.page.answer import answer_page

ROOT = Path(__file__).resolve().parent.parent
PROBLEMS = ROOT / "examples" / "word_problems.jsonl"
FILES = (RUN_FILE, ANSWERS_FILE, TRACES_FILE, "run.lock")
# Values that a number, a text or an object of a record is replaced by.
VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    10**400,
    1e308,
    "x",
    "\x1b[31m",
    "\ud800",
    [],
    {},
    [[]],
    {"slm": "x"},
    "9" * 5000,
)


def solved(folder: Path, home: Path) -> Ended:
    """Solve, or resume, four problems in a folder."""
    return run(["solve", PROBLEMS, "--pair", "demo", "--parallel", "8", "--limit", "4", "--out", folder], home)


def odd_files(work: Path, _rng: random.Random, _count: int, _life_s: float) -> Tally:
    """Put directories, pipes, devices and links in the place of the files of a complete run."""
    tally = Tally("directories, pipes, devices and links in place of files")
    complete = work / "complete"
    assert solved(complete, work / "home").code == 0

    def directory(path: Path) -> None:
        path.mkdir()

    def pipe(path: Path) -> None:
        os.mkfifo(path)

    def zeros(path: Path) -> None:
        path.symlink_to("/dev/zero")

    def full(path: Path) -> None:
        path.symlink_to("/dev/full")

    def loop(path: Path) -> None:
        path.symlink_to(path.name)

    def nowhere(path: Path) -> None:
        path.symlink_to("missing/missing")

    def moved(path: Path) -> None:
        target = path.with_name(f"real-{path.name}")
        shutil.copy(complete / path.name, target)
        path.symlink_to(target)

    for name in FILES:
        for place in (directory, pipe, zeros, full, loop, nowhere, moved):
            folder = work / f"odd-{place.__name__}-{name}"
            shutil.copytree(complete, folder)
            (folder / name).unlink()
            place(folder / name)
            commands: list[list[str | Path]] = [
                ["solve", PROBLEMS, "--pair", "demo", "--parallel", "8", "--limit", "6", "--out", folder],
                ["grade", folder],
                ["trace", folder, "demo-02"],
            ]
            for command in commands:
                ended = run(command, work / "home", preexec_fn=limited(resource.RLIMIT_AS, MEMORY_BYTES))
                tally.record(f"{place.__name__} as {name}, {command[0]}", ended.fault())
    return tally


def damaged_files(work: Path, rng: random.Random, count: int, _life_s: float) -> Tally:
    """Damage one file of a complete run, by bytes or by values, and read the folder in every way."""
    tally = Tally("damaged files read in every way")
    complete = work / "undamaged"
    assert solved(complete, work / "home").code == 0
    originals = {name: (complete / name).read_bytes() for name in FILES if (complete / name).exists()}
    folder = work / "damaged"
    with Grader() as grader:
        for number in range(count):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            name = rng.choice((RUN_FILE, ANSWERS_FILE, ANSWERS_FILE, TRACES_FILE))
            damage = rng.choice((bytes_changed, cut, value_changed, value_changed, line_doubled))
            for other, data in originals.items():
                (folder / other).write_bytes(damage(data, rng) if other == name else data)
            before = (folder / ANSWERS_FILE).read_bytes()
            fault = next(filter(None, (escaped(reader) for reader in readers(folder, grader, number))), None)
            tally.record(f"{damage.__name__} of {name} ({number})", fault, lost_lines(folder, before))
    return tally


def readers(folder: Path, grader: Grader, number: int) -> list[Callable[[], object]]:
    """Return everything that reads a run folder."""

    def resumed() -> None:
        with RunFolder(folder) as opened:
            header = opened.header()
            assert header is not None
            opened.begin(header["settings"], {"created": "now"})
            opened.update_information({"loaded": {}})
            opened.done()
            summary_text({**summary(opened.answers), "malformed_rows": 0})

    def graded() -> None:
        if number % 20 == 0:
            with RunFolder(folder, create=False) as opened:
                regrade(opened, grader)
                summary_text(summary(opened.answers))

    def shown() -> None:
        answer_page(open_answer(folder, "demo-02"))

    return [lambda: read_answers(folder), lambda: list(RunTraces(folder)), shown, resumed, graded]


def lost_lines(folder: Path, before: bytes) -> str | None:
    """Return whether a complete line of answers.jsonl is gone from the folder."""
    kept = b"".join(path.read_bytes() for path in folder.glob("answers*"))
    lost = [line for line in before.split(b"\n")[:-1] if line.strip(b"\0 \r") and line not in kept]
    # Regrading writes the same answers again.
    lost = [line for line in lost if not _regraded(line, kept)]
    return f"{len(lost)} lines lost: {lost[0][:80]!r}" if lost else None


def _regraded(line: bytes, kept: bytes) -> bool:
    with suppress(ValueError, TypeError, KeyError):
        wanted = json.loads(line)
        for other in kept.splitlines():
            with suppress(ValueError):
                row = json.loads(other)
                if isinstance(row, dict) and all(row.get(key) == wanted[key] for key in ("id", "sample", "text")):
                    return True
    return False


def bytes_changed(data: bytes, rng: random.Random) -> bytes:
    """Replace, insert or remove a few random bytes."""
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(changed))
        changed[at : at + rng.choice((0, 1, 1, 8))] = rng.choice(
            (b"", b"\0", b"\xff", b"\n", b"{", b'"', b"\x1b", b"}")
        )
    return bytes(changed)


def cut(data: bytes, rng: random.Random) -> bytes:
    """Cut the end off, and sometimes add zeros or another end."""
    return data[: rng.randrange(len(data))] + rng.choice((b"", b"", b"\0" * 100, b"\n", b"foreign\n", b"foreign"))


def value_changed(data: bytes, rng: random.Random) -> bytes:
    """Replace one value of one record."""
    if data.startswith(b"{\n"):
        record = json.loads(data)
        _replace(record, rng)
        return json.dumps(record, indent=2).encode()
    lines = data.splitlines()
    at = rng.randrange(len(lines))
    record = json.loads(lines[at])
    _replace(record, rng)
    lines[at] = json.dumps(record).encode()
    return b"\n".join(lines) + b"\n"


def _replace(record: Any, rng: random.Random) -> None:
    key = rng.choice(list(record)) if isinstance(record, dict) else rng.randrange(len(record))
    if isinstance(record[key], dict | list) and record[key] and rng.random() < 0.8:
        _replace(record[key], rng)
    elif isinstance(record, dict) and rng.random() < 0.2:
        del record[key]
    else:
        record[key] = rng.choice(VALUES)


def line_doubled(data: bytes, rng: random.Random) -> bytes:
    """Repeat or reorder lines."""
    lines = data.splitlines(keepends=True)
    lines.insert(rng.randrange(len(lines)), rng.choice(lines))
    return b"".join(lines)
