"""Finds one answer to show: in a run folder by id and sample, or in a JSON file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rstitch_local.errors import InputError
from rstitch_local.files import is_folder
from rstitch_local.problems.answer_lines import Answer
from rstitch_local.problems.prompts import Prompt
from rstitch_local.problems.run_folder import ANSWERS_FILE, TRACES_FILE, Key, read_answers, read_header
from rstitch_local.problems.traces import RunTraces
from rstitch_local.sanitize import one_line, shown_list
from rstitch_local.trace.reading import LoadedAnswer, read_answer, similar_ids


def open_answer(path: Path, identifier: str | None = None, sample: int = 0) -> LoadedAnswer:
    """Find one answer.

    Args:
        path: a run folder or a file in it, or a JSON file as for `read_answer`.
        identifier: id of the answer (of a chat: the message); optional if there is only one. In a chat it defaults
            to the last answer of the selected branch.
        sample: number of the answer, for a problem with several.

    Raises:
        InputError: the file is missing, holds no tokens, or has no such answer; the hint lists similar ids.
    """
    if is_folder(path):
        return _from_run(path, identifier, sample)
    if path.name in (ANSWERS_FILE, TRACES_FILE):
        return _from_run(path.parent, identifier, sample)
    return read_answer(path, identifier)


def grading_verdict(answer: Answer) -> tuple[bool | None, str]:
    """Return whether an answer is correct (None without a gold answer), and the verdict in words."""
    if answer["stop"] == "error":
        return answer["correct"], f"error: {one_line(answer.get('error') or 'unknown error', 300)}"
    given = "no answer found" if answer["answer"] is None else f"answered {one_line(answer['answer'])}"
    if answer["correct"] is None:
        return None, f"{given}; no gold answer"
    if answer["correct"]:
        return True, f"correct: {one_line(answer['answer'])}"
    return False, f"wrong: {given}, gold answer {one_line(answer['gold'])}"


def _from_run(folder: Path, identifier: str | None, sample: int) -> LoadedAnswer:
    answers = read_answers(folder)
    traces = RunTraces(folder)
    key = _select_key(folder, list(dict.fromkeys([*answers, *traces.keys])), identifier, sample)
    answer = answers.get(key)
    if answer is not None and not answer["text"] and answer["stop"] == "error":
        raise InputError("No tokens", f"{_title(key)} failed before its first token: {one_line(answer['error'], 300)}")
    if key not in traces:
        raise _missing_tokens(folder, key)
    stored = traces[key]
    if answer is not None and answer["text"] != stored.trace.text:
        # The tokens are of an earlier attempt: a power failure can truncate one file and not the other.
        raise _missing_tokens(folder, key)
    header = read_header(folder) or {"settings": {}}
    template = header["settings"].get("prompt")
    models = header["settings"].get("models")
    correct, verdict = (None, "") if answer is None else grading_verdict(answer)
    return LoadedAnswer(
        title=_title(key),
        trace=stored.trace,
        question=stored.question,
        correct=correct,
        verdict=verdict,
        messages=Prompt("", template).messages(stored.question) if isinstance(template, str) else None,
        models=models if isinstance(models, dict) else {},
    )


def _select_key(folder: Path, keys: Sequence[Key], identifier: str | None, sample: int) -> Key:
    ids = list(dict.fromkeys(key[0] for key in keys))
    if not ids:
        raise InputError("No answers", f"{folder} holds no answers yet.")
    if identifier is None:
        if len(ids) > 1:
            raise InputError("Missing id", f"{folder} holds answers to {len(ids)} problems.", similar_ids(ids))
        identifier = ids[0]
    if identifier not in ids:
        message = f"{folder} has no answer to {one_line(identifier)}."
        raise InputError("Answer not found", message, similar_ids(ids, identifier))
    if (identifier, sample) not in keys:
        samples = shown_list(str(key[1]) for key in keys if key[0] == identifier)
        raise InputError(
            "Sample not found", f"{one_line(identifier)} has no sample {sample}.", f"Available samples: {samples}."
        )
    return identifier, sample


def _missing_tokens(folder: Path, key: Key) -> InputError:
    return InputError(
        "Tokens not stored",
        f"{folder} has the answer {_title(key)} but not its tokens: an older version of rstitch wrote it, or "
        f"{TRACES_FILE} was removed.",
        "Solve the problem again into another folder.",
    )


def _title(key: Key) -> str:
    identifier, sample = key
    return one_line(identifier) + (f", sample {sample}" if sample else "")
