"""Traces in run folders: stored, resumed, repaired and read."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from problem_fakes import FakePair, right_reply, row, write_problems

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.sampling import Sampling
from rstitch_local.decoding.step import Step
from rstitch_local.errors import EngineError, InputError, StorageError
from rstitch_local.problems.grading import Grader
from rstitch_local.problems.prompts import prompt_of
from rstitch_local.problems.reading import read_problems
from rstitch_local.problems.run_folder import RunFolder, read_answers
from rstitch_local.problems.solving import solve_tasks
from rstitch_local.problems.tasks import Settings, tasks_of
from rstitch_local.problems.traces import RunTraces
from rstitch_local.trace.record import Trace


def trace_of(text: str) -> Trace:
    steps = [Step(place, Role.SLM, place, letter, 0.1, 0.9, 1, 1.0) for place, letter in enumerate(text)]
    return Trace(3, {"router": "slm"}, steps, tokens={Role.SLM: len(text), Role.LLM: 0}, stop="eog")


def keep(path: Path, *kept: tuple[str, int, str]) -> None:
    with RunFolder(path) as folder:
        folder.begin({}, {"created": "then"})
        for identifier, sample, text in kept:
            folder.append_trace((identifier, sample), f"What is {identifier}?", trace_of(text).to_columns())


def texts(path: Path) -> dict[tuple[str, int], str]:
    return {(kept.id, kept.sample): kept.trace.text for kept in RunTraces(path)}


def test_traces_can_be_read_while_the_run_is_in_progress(tmp_path: Path) -> None:
    odd = "é\u2028\u0000🐔\n"
    with RunFolder(tmp_path) as folder:
        folder.begin({}, {})
        folder.append_trace(("a", 0), "What is a?", trace_of(odd).to_columns())
        folder.append_trace(("b", 1), "What is b?", trace_of("second").to_columns())
        kept = RunTraces(tmp_path)
        assert kept.keys == [("a", 0), ("b", 1)]
        assert ("a", 1) not in kept
        first = kept["a", 0]
        assert (first.id, first.sample, first.question) == ("a", 0, "What is a?")
        assert first.trace.to_dict() == trace_of(odd).to_dict()
    assert kept.damaged == 0
    with pytest.raises(KeyError):
        kept["c", 0]


def test_the_last_trace_of_a_retried_answer_counts(tmp_path: Path) -> None:
    keep(tmp_path, ("a", 0, "first"), ("b", 0, "other"))
    keep(tmp_path, ("a", 0, "second"))
    assert texts(tmp_path) == {("a", 0): "second", ("b", 0): "other"}
    assert RunTraces(tmp_path).keys == [("a", 0), ("b", 0)]


def test_traces_are_added_to_a_folder_without_traces(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as folder:
        folder.begin({}, {"created": "then"})
        folder.append(row("a", True))
    assert RunTraces(tmp_path).keys == []
    keep(tmp_path, ("b", 0, "new"))
    assert texts(tmp_path) == {("b", 0): "new"}


@pytest.mark.parametrize("cut", [1, 2, 40, 200])
def test_a_partial_line_is_skipped_and_removed_when_the_folder_is_opened(tmp_path: Path, cut: int) -> None:
    keep(tmp_path, ("a", 0, "first"), ("b", 0, "second"))
    file = tmp_path / "traces.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[:-cut])
    # With cut == 1 only the line end is missing: readers still see the trace, writers remove it.
    assert list(texts(tmp_path)) == [("a", 0), ("b", 0)][: 2 if cut == 1 else 1]
    assert RunTraces(tmp_path).damaged == 0
    keep(tmp_path, ("c", 0, "third"))
    assert file.read_bytes().startswith(whole[: whole.index(b"\n") + 1])
    assert texts(tmp_path) == {("a", 0): "first", ("c", 0): "third"}


@pytest.mark.parametrize(
    "line",
    [
        b"", b"{", b"[]", b'"x"', b"\xff\xfe", b"\x00" * 9, b"[" * 100_000, b'{"id": "x", "sample": 0}',
        b'{"id": 5, "sample": 0, "steps": {}}', b'{"id": "x", "sample": "0", "steps": {}}',
    ],
)  # fmt: skip
def test_a_damaged_line_does_not_affect_others(tmp_path: Path, line: bytes) -> None:
    keep(tmp_path, ("a", 0, "first"), ("b", 0, "second"))
    file = tmp_path / "traces.jsonl"
    first, second, _ = file.read_bytes().split(b"\n")
    file.write_bytes(b"\n".join([first, line, second, b""]))
    assert texts(tmp_path) == {("a", 0): "first", ("b", 0): "second"}
    assert RunTraces(tmp_path).damaged == 1


def test_a_trace_that_does_not_match_its_text_is_refused_on_access(tmp_path: Path) -> None:
    keep(tmp_path, ("a", 0, "first"), ("b", 0, "second"))
    file = tmp_path / "traces.jsonl"
    file.write_bytes(file.read_bytes().replace(b'"text":"first"', b'"text":"fir"'))
    kept = RunTraces(tmp_path)
    assert kept["b", 0].trace.text == "second"
    with pytest.raises(InputError, match=r"The trace of a in .* is damaged"):
        kept["a", 0]
    file.write_bytes(b"\n")
    with pytest.raises(InputError, match="has changed"):
        kept["b", 0]


def test_a_folder_instead_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "traces.jsonl").mkdir()
    with pytest.raises(InputError, match=r"traces\.jsonl cannot be read"):
        RunTraces(tmp_path)


def test_files_of_other_programs_are_unchanged(tmp_path: Path) -> None:
    file = tmp_path / "traces.jsonl"
    file.write_bytes(b"my own notes")
    with pytest.raises(InputError, match=r"contains traces.jsonl but no run.json"):
        RunFolder(tmp_path)
    assert file.read_bytes() == b"my own notes"


def test_a_full_disk_leaves_the_file_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(tmp_path, ("a", 0, "first"))
    before = (tmp_path / "traces.jsonl").read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with RunFolder(tmp_path) as folder, pytest.raises(StorageError, match="Disk full"):
        folder.append_trace(("b", 0), "?", trace_of("second").to_columns())
    assert (tmp_path / "traces.jsonl").read_bytes() == before


def _solve(path: Path, pair: FakePair, problems: Path) -> None:
    settings = Settings("entropy:0.02", Sampling(), prompt_of("plain"))
    with RunFolder(path) as folder, Grader() as grader:
        folder.begin({}, {})
        tasks = tasks_of(read_problems(problems).problems, 1, 0, folder.done())
        solve_tasks(pair.as_pair(), tasks, settings, grader, folder)


def test_solving_stores_traces_of_answers_and_failures(tmp_path: Path) -> None:
    problems = write_problems(tmp_path / "p.jsonl", 3)

    def reply(question: str) -> str | EngineError:
        return EngineError("Broken logits", "NaN.") if " 1 + 1" in question else right_reply(question)

    _solve(tmp_path / "run", FakePair(reply), problems)
    kept = [json.loads(line) for line in (tmp_path / "run" / "traces.jsonl").read_text().splitlines()]
    assert [(line["id"], line["text"]) for line in kept] == [
        ("q0", "We add one. \\boxed{1} "), ("q1", "half a thou"), ("q2", "We add one. \\boxed{3} "),
    ]  # fmt: skip
    assert kept[0]["question"] == "What is 0 + 1?"
    # The next run only retries the failure.
    _solve(tmp_path / "run", FakePair(right_reply), problems)
    answers = read_answers(tmp_path / "run")
    again = [json.loads(line) for line in (tmp_path / "run" / "traces.jsonl").read_text().splitlines()]
    assert [line["id"] for line in again] == ["q0", "q1", "q2", "q1"]
    assert {line["id"]: line["text"] for line in again} == {key[0]: answer["text"] for key, answer in answers.items()}


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import problem_fakes, test_traces
from rstitch_local.problems.run_folder import RunFolder

append = RunFolder.append

def killed_before_second_answer(self, answer):
    if answer["id"] == "q1":
        os.kill(os.getpid(), signal.SIGKILL)
    append(self, answer)

RunFolder.append = killed_before_second_answer
test_traces._solve(Path(sys.argv[2]), problem_fakes.FakePair(problem_fakes.right_reply), Path(sys.argv[3]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_run_killed_between_trace_and_answer_can_be_resumed(tmp_path: Path) -> None:
    problems = write_problems(tmp_path / "p.jsonl", 3)
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here.parent), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(here), str(tmp_path / "run"), str(problems)], env=environment, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert list(read_answers(tmp_path / "run")) == [("q0", 0)]
    assert RunTraces(tmp_path / "run").keys == [("q0", 0), ("q1", 0)]
    _solve(tmp_path / "run", FakePair(right_reply), problems)
    kept = RunTraces(tmp_path / "run").keys
    assert kept == [("q0", 0), ("q1", 0), ("q2", 0)] == list(read_answers(tmp_path / "run"))


@pytest.mark.parametrize("content", [b"", b"{", b'{"id": "x"}\n'])
def test_answers_are_read_without_a_lock_and_partial_lines_skipped(tmp_path: Path, content: bytes) -> None:
    with RunFolder(tmp_path) as folder:
        folder.begin({}, {})
        folder.append(row("a", False))
        folder.append(row("a", True))
        file = tmp_path / "answers.jsonl"
        file.write_bytes(file.read_bytes() + content)
        before: dict[str, Any] = {"bytes": file.read_bytes()}
        assert {key: answer["correct"] for key, answer in read_answers(tmp_path).items()} == {("a", 0): True}
        assert file.read_bytes() == before["bytes"]


def test_a_folder_without_answers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"contains no answers\.jsonl"):
        read_answers(tmp_path)
