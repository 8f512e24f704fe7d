"""The parts reports are made of: headings, tables and pictures in Markdown, and files of numbers.

Knows how texts of strangers are made harmless in Markdown; nothing of what is reported.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import rstitch_local
from rstitch_local.files import write_atomic
from rstitch_local.problems.metrics import wilson
from rstitch_local.sanitize import one_line
from rstitch_local.study.answering import StudyJob

_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~&$:])")


def cell(text: object, length: int = 60) -> str:
    """A stranger's text on one line, with nothing in it that Markdown reads as more than letters."""
    return _MARKDOWN.sub(r"\\\1", one_line(text, length))


def heading(title: str, job: StudyJob) -> str:
    """A report's beginning: what was studied, with what, and how to make it again."""
    chosen, rows = len(job.problems), len(job.problem_file.problems)
    budget = "what the context holds" if job.max_tokens is None else f"{job.max_tokens} tokens"
    lines = [
        f"# {title}",
        f"Pair {cell(job.pair_name)}; {chosen} of the {rows} problems of {cell(job.problem_file.path.name)}; prompt "
        f"{cell(job.prompt.name)}; longest answer {budget}. "
        f"rstitch {rstitch_local.__version__}; models and versions stand in `slm/run.json`.",
    ]
    if job.command:
        # Indented, so that nothing in it is read as Markdown.
        lines.append(f"    {one_line(job.command, 1000)}")
    return "\n\n".join(lines)


def table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def picture(name: str, what: str) -> str:
    """A picture that lies beside the report, as PNG and, by a link, as SVG."""
    return f"![{what}]({name}.png)\n\n[{name}.svg]({name}.svg)"


def share(part: int, whole: int) -> str:
    """`3 of 20 (15.0 %, 5.2 % to 36.0 %)`, with Wilson's 95 % interval."""
    if not whole:
        return "0 of 0"
    low, high = wilson(part / whole, whole)
    return f"{part} of {whole} ({part / whole:.1%}, 95 % interval {low:.1%} to {high:.1%})"


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON; raises StorageError."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows with the same keys as CSV, empty for None; an empty file for no rows; raises StorageError."""
    text = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for row in rows:
        if writer is None:
            writer = csv.DictWriter(text, list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow(row)
    write_text(path, text.getvalue())


def write_text(path: Path, text: str) -> None:
    """Write a whole file, UTF-8; raises StorageError."""
    write_atomic(path, text, what="report")
