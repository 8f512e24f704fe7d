"""Reads one answer from a JSON file: a trace, or a chat exported as JSON.

Answers in run folders are found by `problems/answer_lookup.py`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rstitch_local.errors import InputError
from rstitch_local.files import INVALID_RECORD, read_json
from rstitch_local.sanitize import one_line, shown_list
from rstitch_local.trace.record import Trace

CHAT_FORMAT = "rstitch-chat"
# A chat has about 300 bytes per token, and Python takes ten times the size of a file for its values.
_MAX_BYTES = 1 << 26


@dataclass(frozen=True, slots=True)
class LoadedAnswer:
    """One answer to show.

    title: id and sample of the answer, or the title of the chat; "" for a trace by itself.
    question: "" if it is not known.
    correct: None if the answer was not graded, or has no gold answer.
    verdict: the result of grading in words; "" for an answer that was not graded.
    prefix: the given start of the answer; opens_thinking: the answer starts inside the reasoning.
    messages: the conversation before the answer; None if it is not known.
    models: of an answer in a run folder: the sha256 of both files, context and kv_type.
    """

    title: str
    trace: Trace
    question: str = ""
    correct: bool | None = None
    verdict: str = ""
    prefix: str = ""
    opens_thinking: bool = False
    messages: list[dict[str, str]] | None = None
    models: Mapping[str, Any] = field(default_factory=dict)


def read_answer(path: Path, identifier: str | None = None) -> LoadedAnswer:
    """Read one answer from a JSON file.

    Args:
        path: a file written by `Trace.to_dict`, `Trace.to_columns` or `rstitch ask --json`, or an exported chat.
        identifier: id of a message of the chat; if None, the last answer of the selected branch.

    Raises:
        InputError: the file is missing, holds no tokens, or has no such answer; the hint lists similar ids.
    """
    try:
        content = read_json(path, _MAX_BYTES)
    except FileNotFoundError as error:
        raise InputError("File not found", f"{path} does not exist.") from error
    except OSError as error:
        raise InputError("Unreadable file", f"{path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise no_tokens(path) from error
    if isinstance(content, dict) and content.get("format") == CHAT_FORMAT:
        return _from_chat(path, content, identifier)
    return LoadedAnswer("", _trace(path, content))


def similar_ids(ids: Sequence[str], identifier: str = "") -> str:
    """Return a hint with the ids similar to `identifier`, or with the first ids."""
    near = [name for name in ids if identifier and identifier in name] or difflib.get_close_matches(
        identifier, ids, 5, 0.6
    )
    return f"Similar ids: {shown_list(near, 5)}." if near else f"Available ids: {shown_list(ids)}."


def no_tokens(path: Path) -> InputError:
    """Return the error for a file that is neither a trace nor a chat."""
    return InputError(
        "No tokens found",
        f"{path} is not a file with the tokens of an answer.",
        "Use the folder of a run, the output of `rstitch ask --json`, or a chat exported as JSON.",
    )


def _from_chat(path: Path, chat: Mapping[str, Any], identifier: str | None) -> LoadedAnswer:
    try:
        messages = {str(message["id"]): message for message in chat["messages"]}
        answers = [name for name, message in messages.items() if message["trace"] is not None]
        branch = [str(name) for name in chat["branch"] if str(name) in answers]
        if identifier is None:
            identifier = (branch or answers or [""])[-1]
        if identifier not in answers:
            raise InputError(
                "Answer not found",
                f"{path} has no answer {one_line(identifier)}.",
                similar_ids(answers) if answers else "",
            )
        message = messages[identifier]
        question = messages.get(str(message["parent"]), {}).get("text", "")
        title = one_line(chat["chat"]["title"]) or "Untitled chat"
        prefix = str(message["prefix"])
        record = message["trace"]
    except INVALID_RECORD as error:
        raise no_tokens(path) from error
    trace = _trace(path, record)
    return LoadedAnswer(
        title, trace, str(question), prefix=prefix, opens_thinking=bool(trace.settings.get("opens_thinking"))
    )


def _trace(path: Path, record: object) -> Trace:
    if not isinstance(record, dict):
        raise no_tokens(path)
    try:
        return Trace.from_dict(record)
    except ValueError as error:
        raise no_tokens(path) from error
