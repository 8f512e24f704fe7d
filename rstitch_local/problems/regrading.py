"""Grading of a run folder again, with its gold answers or with those of a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from rstitch_local.errors import InputError
from rstitch_local.problems.answer_lines import Answer
from rstitch_local.problems.gold_file import GoldFile, read_gold
from rstitch_local.problems.grading import Grader, grader_identity
from rstitch_local.problems.reading import Fields
from rstitch_local.problems.run_folder import RunFolder
from rstitch_local.problems.traces import RunTraces
from rstitch_local.sanitize import one_line, shown_list


def gold_for(folder: RunFolder, fields: Fields, path: Path | None = None) -> GoldFile:
    """Read the gold answers for a run.

    Args:
        folder: the run folder.
        fields: names of the fields, as in `read_gold`.
        path: the file; None for the problem file of the run, where it was when it was solved.

    Raises:
        InputError: the problem file is not there any more or has changed, or as in `read_gold`; no id of the file is
            one of the run; or an id belongs to another question.
    """
    header = folder.header() or {"settings": {}, "information": {}}
    settings = header["settings"]
    gold_file = read_gold(path or _problem_file(folder.path, header["information"]), fields, settings)
    is_own = gold_file.sha256 == settings.get("problems_sha256")
    if path is None and not is_own:
        raise _no_gold_file(f"{gold_file.path} has changed since it was solved")
    ids = dict.fromkeys(answer["id"] for answer in folder.answers)
    if not any(answer.id in ids for answer in gold_file.answers):
        raise InputError(
            "Other problems",
            f"No id of {gold_file.path} is one of {folder.path}. The file has {shown_list(_ids(gold_file), 4)}; the "
            f"run has {shown_list(ids, 4)}.",
            "Name the field with the id: `--field id=NAME`.",
        )
    if not is_own:
        _require_same_questions(folder.path, gold_file)
    return gold_file


def regrade(
    folder: RunFolder,
    grader: Grader,
    on_line: Callable[[int], None] | None = None,
    gold_file: GoldFile | None = None,
) -> int:
    """Grade every answer of a run folder again and rewrite the file; return how many verdicts changed.

    Args:
        folder: the run folder.
        grader: compares the answers with the gold answers.
        on_line: called with the number of each line, from 1, before it is graded.
        gold_file: gold answers that replace those of the run; answers that have none there keep theirs.

    Raises:
        StorageError: the folder cannot be written; it is unchanged.
        GraderError: the grading process does not start.
    """
    golds = {answer.id: answer.gold for answer in gold_file.answers if answer.gold is not None} if gold_file else {}
    changed = line = 0

    def regraded(row: Answer) -> Answer:
        nonlocal changed, line
        line += 1
        if on_line is not None:
            on_line(line)
        new = _regraded(row, golds.get(row["id"], row["gold"]), grader)
        changed += new["correct"] != row["correct"]
        return new

    folder.rewrite(regraded)
    if gold_file is not None:
        _note_gold_file(folder, gold_file)
    folder.change_setting("grader", grader_identity())
    return changed


def _regraded(row: Answer, gold: str | None, grader: Grader) -> Answer:
    if row["stop"] == "error":
        # A failed task counts as wrong.
        return {**row, "gold": gold, "correct": None if gold is None else False}
    verdict = grader.grade(gold, row["text"])
    graded = {"answer": verdict.answer, "gold": gold, "correct": verdict.correct, "error": verdict.note or None}
    return {**row, **graded}


def _note_gold_file(folder: RunFolder, gold_file: GoldFile) -> None:
    settings = (folder.header() or {"settings": {}})["settings"]
    if gold_file.sha256 == settings.get("problems_sha256"):
        # The run can be resumed with the same fields.
        folder.change_setting("fields", asdict(gold_file.fields))
        return
    note = {"file": gold_file.path.name, "sha256": gold_file.sha256, "fields": asdict(gold_file.fields)}
    folder.update_information({"gold": note})


def _problem_file(folder: Path, information: Mapping[str, object]) -> Path:
    problems = information.get("problems")
    path = problems.get("path") if isinstance(problems, Mapping) else None
    if not isinstance(path, str) or "\0" in path:
        raise _no_gold_file(f"{folder} does not say where its problem file is")
    if not Path(path).is_file():
        raise _no_gold_file(f"The problem file of {folder} is not at {one_line(path)} any more")
    return Path(path)


def _no_gold_file(reason: str) -> InputError:
    return InputError(
        "No gold answers", f"{reason}.", "Name the file: `rstitch grade DIR --gold FILE --field answer=NAME`."
    )


def _require_same_questions(folder: Path, gold_file: GoldFile) -> None:
    """Raise InputError if an id of the file belongs to another question of the run, or if that cannot be known."""
    answers = {answer.id: answer for answer in gold_file.answers}
    if not gold_file.has_ids and all(answer.question is None for answer in answers.values()):
        raise InputError(
            "No ids",
            f"{gold_file.path} has neither ids nor questions, and is not the problem file of {folder}.",
            "Name the field with the id: `--field id=NAME`.",
        )
    traces = RunTraces(folder)
    for key in traces.keys:
        answer = answers.get(key[0])
        if answer is None or answer.question is None:
            continue
        if answer.question.split() != traces.question(key).split():
            raise InputError(
                "Other problems",
                f"{gold_file.path}, {gold_file.unit} {answer.line}: the id {one_line(answer.id)} belongs to another "
                f"question in {folder}.",
                "Name the field with the id: `--field id=NAME`.",
            )


def _ids(gold_file: GoldFile) -> list[str]:
    return [answer.id for answer in gold_file.answers]
