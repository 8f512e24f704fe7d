"""From a file and an id to one answer that can be looked at.

Knows the three kinds of files that hold the tokens of answers: a run folder's, a trace that was written as JSON, and
an exported chat. Knows nothing of how an answer is shown.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rstitch_local.errors import InputError
from rstitch_local.problems.prompts import Prompt
from rstitch_local.problems.run_folder import (
    ANSWERS_FILE,
    TRACES_FILE,
    Answer,
    Key,
    read_answers,
    read_header,
)
from rstitch_local.problems.traces import NOT_A_TRACE, RunTraces
from rstitch_local.sanitize import one_line, shown_list
from rstitch_local.trace.record import Trace

CHAT_FORMAT = "rstitch-chat"


@dataclass(frozen=True, slots=True)
class LoadedAnswer:
    """One answer to look at.

    title: its id, and which sample it is; empty of a trace that stands alone.
    question: what was asked, empty where that is not known.
    answer: its line of answers.jsonl, where it has one.
    prefix: the text it was made to begin with; opens_thinking: it begins inside the reasoning.
    messages: the conversation the models read, None where that is not known.
    models: of the run's header: the sha256 of both files, context and kv_type.
    """

    title: str
    trace: Trace
    question: str = ""
    answer: Answer | None = None
    prefix: str = ""
    opens_thinking: bool = False
    messages: list[dict[str, str]] | None = None
    models: Mapping[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> tuple[bool | None, str]:
        """Whether it is right (None without a gold answer), and that in words; ("", None) of what was never graded."""
        row = self.answer
        if row is None:
            return None, ""
        if row["stop"] == "error":
            return row["correct"], f"error: {one_line(row.get('error') or 'not said which', 300)}"
        said = "no answer found" if row["answer"] is None else f"said {one_line(row['answer'])}"
        if row["correct"] is None:
            return None, f"{said}; there is no gold answer"
        if row["correct"]:
            return True, f"right: {one_line(row['answer'])}"
        return False, f"wrong: {said}, gold {one_line(row['gold'])}"


def open_answer(path: Path, identifier: str | None = None, sample: int = 0) -> LoadedAnswer:
    """Find one answer.

    Args:
        path: a run folder or a file in it; a JSON file as `Trace.to_dict` or `rstitch ask --json` gives it; or a chat
            exported as JSON.
        identifier: of the answer (of a chat: the message); may be left out where there is one only. In a chat
            without it the last answer of the branch that is shown is meant.
        sample: which of the answers to a problem.

    Raises:
        InputError: no such file, none that holds tokens, or no such answer in it; names the ids that are close.
    """
    folder = path if path.is_dir() else path.parent
    if path.is_dir() or path.name in (ANSWERS_FILE, TRACES_FILE):
        return _of_run(folder, identifier, sample)
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError("No such file", f"{path} is not there.") from error
    except OSError as error:
        raise InputError("Unreadable file", f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        if path.suffix == ".jsonl":
            raise InputError(
                "Not a run",
                f"{path} holds no tokens; those of a run are in {TRACES_FILE}, beside its {ANSWERS_FILE}.",
                "Name the folder that `rstitch solve` wrote.",
            ) from error
        raise _no_tokens(path) from error
    if isinstance(content, dict) and content.get("format") == CHAT_FORMAT:
        return _of_chat(path, content, identifier)
    return LoadedAnswer("", _trace(path, content))


def _of_run(folder: Path, identifier: str | None, sample: int) -> LoadedAnswer:
    answers = read_answers(folder)
    traces = RunTraces(folder)
    identifier, sample = key = _chosen(folder, list(dict.fromkeys([*answers, *traces.keys])), identifier, sample)
    row = answers.get(key)
    if row is not None and not row["text"] and row["stop"] == "error":
        raise InputError("No tokens", f"{_title(key)} failed before its first token: {one_line(row['error'], 300)}")
    if key not in traces:
        raise _not_kept(folder, key)
    kept = traces[key]
    if row is not None and row["text"] != kept.trace.text:
        # What was kept is of an earlier attempt: a power cut can take the end of one file and not of the other.
        raise _not_kept(folder, key)
    header = read_header(folder) or {"settings": {}}
    settings = header["settings"]
    template = settings.get("prompt")
    models = settings.get("models")
    return LoadedAnswer(
        title=_title(key),
        trace=kept.trace,
        question=kept.question,
        answer=row,
        messages=Prompt("", template).messages(kept.question) if isinstance(template, str) else None,
        models=models if isinstance(models, dict) else {},
    )


def _chosen(folder: Path, keys: Sequence[Key], identifier: str | None, sample: int) -> Key:
    ids = list(dict.fromkeys(key[0] for key in keys))
    if not ids:
        raise InputError("No answers here", f"{folder} holds no answers yet.")
    if identifier is None:
        if len(ids) > 1:
            raise InputError("Which answer?", f"{folder} holds answers to {len(ids)} problems.", _ids(ids))
        identifier = ids[0]
    if identifier not in ids:
        missing = f"{folder} holds no answer to {one_line(identifier)}."
        raise InputError("No such answer", missing, _ids(ids, identifier))
    if (identifier, sample) not in keys:
        samples = shown_list(str(key[1]) for key in keys if key[0] == identifier)
        raise InputError("No such sample", f"{one_line(identifier)} has no sample {sample}.", f"It has: {samples}.")
    return identifier, sample


def _ids(ids: Sequence[str], wanted: str = "") -> str:
    """The ids that look like the one that was wanted, or the first ones."""
    near = [name for name in ids if wanted and wanted in name] or difflib.get_close_matches(wanted, ids, 5, 0.6)
    return f"Close to it: {shown_list(near, 5)}." if near else f"There are: {shown_list(ids)}."


def _not_kept(folder: Path, key: Key) -> InputError:
    return InputError(
        "Tokens not kept",
        f"{folder} has the answer {_title(key)} but not its tokens: it was written by an older rstitch, or its "
        f"{TRACES_FILE} was removed.",
        "Solve the problem again, into another folder, to look at it.",
    )


def _title(key: Key) -> str:
    identifier, sample = key
    return one_line(identifier) + (f", sample {sample}" if sample else "")


def _of_chat(path: Path, chat: Mapping[str, Any], identifier: str | None) -> LoadedAnswer:
    try:
        messages = {str(message["id"]): message for message in chat["messages"]}
        answers = [name for name, message in messages.items() if message["trace"] is not None]
        shown = [str(name) for name in chat["branch"] if str(name) in answers]
        if identifier is None:
            identifier = (shown or answers or [""])[-1]
        if identifier not in answers:
            raise InputError(
                "No such answer", f"{path} holds no answer {one_line(identifier)}.", _ids(answers) if answers else ""
            )
        message = messages[identifier]
        question = messages.get(str(message["parent"]), {}).get("text", "")
        title = one_line(chat["chat"]["title"]) or "Untitled chat"
        prefix = str(message["prefix"])
        record = message["trace"]
    except NOT_A_TRACE as error:
        raise _no_tokens(path) from error
    trace = _trace(path, record)
    return LoadedAnswer(title, trace, str(question), None, prefix, bool(trace.settings.get("opens_thinking")))


def _trace(path: Path, record: object) -> Trace:
    """A trace out of a stranger's JSON."""
    if not isinstance(record, dict):
        raise _no_tokens(path)
    try:
        return Trace.from_dict(record)
    except NOT_A_TRACE as error:
        raise _no_tokens(path) from error


def _no_tokens(path: Path) -> InputError:
    return InputError(
        "No tokens here",
        f"{path} is none of the files that hold the tokens of answers.",
        f"Name the folder `rstitch solve` wrote (or its {ANSWERS_FILE}), what `rstitch ask --json` printed, or a chat "
        "exported as JSON.",
    )
