from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from problem_fakes import CountingObserver, FakePair, right_reply, write_problems
from rich.console import Console

from rstitch_local.decoding.sampling import Sampling
from rstitch_local.engine.pair import Pair
from rstitch_local.errors import EngineError, InputError, RStitchError, StorageError
from rstitch_local.problems.grading import Grader
from rstitch_local.problems.progress import ConsoleProgress
from rstitch_local.problems.prompts import prompt_of
from rstitch_local.problems.reading import Problem
from rstitch_local.problems.run_folder import RunFolder, read_header
from rstitch_local.problems.runner import Job, Outcome, run_job
from rstitch_local.problems.selection import Selection
from rstitch_local.problems.solving import solve_tasks
from rstitch_local.problems.tasks import Settings, seed_of, tasks_of

SETTINGS = Settings("entropy:0.02", Sampling(), prompt_of("plain"))


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader() as grader:
        yield grader


def _job(tmp_path: Path, count: int = 3, **changes: Any) -> Job:
    file = tmp_path / "problems.jsonl"
    if not file.exists():
        write_problems(file, count)
    return replace(Job(file, tmp_path / "run", SETTINGS, {"slm": "a", "llm": "b"}, "fake"), **changes)


def _run(job: Job, pair: FakePair, should_stop: Callable[[], bool] = lambda: False) -> tuple[Outcome, str]:
    screen = io.StringIO()
    outcome = run_job(job, lambda _: pair.as_pair(), ConsoleProgress(Console(file=screen, width=200)), should_stop)
    return outcome, screen.getvalue()


def _lines(job: Job) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (job.out / "answers.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_run_from_file_to_summary(tmp_path: Path) -> None:
    pair = FakePair(lambda question: right_reply(question) if "2 + 1" not in question else "It is 7.")
    outcome, shown = _run(_job(tmp_path), pair)
    assert outcome.finished
    assert (outcome.summary["correct"], outcome.summary["problems"], outcome.summary["malformed_rows"]) == (
        2,
        3,
        0,
    )
    first, _, last = _lines(_job(tmp_path))
    assert list(first) == [
        *(
            "id",
            "sample",
            "answer",
            "gold",
            "correct",
            "text",
            "stop",
            "seed",
            "tokens",
            "swaps",
            "evaluated",
        ),
        *("ms", "wall_ms", "busy_ms", "ttft_ms", "error"),
    ]
    assert (first["id"], first["answer"], first["gold"], first["correct"]) == ("q0", "1", "1", True)
    assert (last["answer"], last["correct"], last["stop"], last["error"]) == ("7", False, "eog", None)
    assert "3/3  q2: 7 is wrong, gold 3; 8 tokens, 25% LLM" in shown
    header = json.loads((tmp_path / "run" / "run.json").read_text())
    assert header["settings"]["router"] == "entropy:0.02"
    assert header["settings"]["grader"]["name"] == "math-verify"
    assert len(header["settings"]["problems_sha256"]) == 64
    assert header["information"]["loaded"] == {"pair": "fake"}


def test_a_finished_run_does_not_load_the_pair(tmp_path: Path) -> None:
    first, _ = _run(_job(tmp_path), FakePair(right_reply))

    def never(_answers: int) -> Pair:
        raise AssertionError("the models were loaded")

    again = run_job(_job(tmp_path), never)
    assert again.summary == first.summary
    assert again.finished


def test_a_stopped_run_keeps_finished_answers_and_resumes(tmp_path: Path) -> None:
    pair = FakePair(right_reply)
    # Stopped during the second problem: it was started, and must not be written.
    outcome, _ = _run(_job(tmp_path), pair, should_stop=lambda: len(pair.asked) == 2)
    assert (outcome.done, outcome.total, outcome.finished) == (1, 3, False)
    assert [line["id"] for line in _lines(_job(tmp_path))] == ["q0"]
    rest = FakePair(right_reply)
    outcome, _ = _run(_job(tmp_path), rest)
    assert outcome.finished
    assert [line["id"] for line in _lines(_job(tmp_path))] == ["q0", "q1", "q2"]
    assert len(rest.asked) == 2


def test_seeds_do_not_depend_on_other_problems(tmp_path: Path) -> None:
    _run(_job(tmp_path, samples=2), FakePair(right_reply))
    alone = _job(tmp_path, samples=2, out=tmp_path / "alone", selection=Selection(ids=("q1",)))
    _run(alone, FakePair(right_reply))
    seeds = {(line["id"], line["sample"]): line["seed"] for line in _lines(_job(tmp_path))}
    assert {(line["id"], line["sample"]): line["seed"] for line in _lines(alone)} == {
        key: seeds[key] for key in (("q1", 0), ("q1", 1))
    }
    assert len(set(seeds.values())) == 6


def test_seeds_are_the_same_on_every_system() -> None:
    assert seed_of(0, "q1", 0) == 6208036371450588062
    assert seed_of(-1, "é", 3) < 2**63


def test_tasks_are_ordered_by_problem_then_sample() -> None:
    problems = [Problem("a", "", None, 1), Problem("b", "", None, 2)]
    assert [task.key for task in tasks_of(problems, 2, 0, {("a", 1)})] == [("a", 0), ("b", 0), ("b", 1)]


@pytest.mark.parametrize("at_start", [True, False])
def test_a_failed_problem_is_written_with_its_error_and_retried(tmp_path: Path, at_start: bool) -> None:
    failure = EngineError("Broken logits", "The SLM gave NaN at position 7.")
    pair = FakePair(lambda q: failure if "What is 1 " in q else right_reply(q), fails_at_start=at_start)
    outcome, shown = _run(_job(tmp_path), pair)
    assert outcome.finished
    failed = _lines(_job(tmp_path))[1]
    assert (failed["stop"], failed["correct"], failed["answer"], failed["gold"]) == (
        "error",
        False,
        None,
        "2",
    )
    assert failed["error"] == "Broken logits: The SLM gave NaN at position 7."
    assert failed["text"] == ("" if at_start else "half a thou")
    assert outcome.summary["errors"] == 1
    assert outcome.summary["accuracy"] == pytest.approx(2 / 3)
    assert "error (Broken logits" in shown
    again = FakePair(right_reply)
    outcome, _ = _run(_job(tmp_path), again)
    assert [asked["question"] for asked in again.asked] == ["What is 1 + 1?"]
    assert (outcome.summary["errors"], outcome.summary["accuracy"]) == (0, 1.0)


def test_concurrent_answers_are_written_in_the_order_in_which_they_end(tmp_path: Path) -> None:
    pair = FakePair(lambda q: right_reply(q) if "What is 0 " not in q else "Long " * 30 + right_reply(q), slots=4)
    outcome, _ = _run(_job(tmp_path, count=9), pair)
    assert (outcome.finished, outcome.summary["correct"], pair.max_active) == (True, 9, 4)
    lines = _lines(_job(tmp_path))
    assert {line["id"] for line in lines} == {f"q{n}" for n in range(9)}
    # q0 was started first and took longest.
    assert lines[-1]["id"] == "q0"


def test_stopping_concurrent_answers_keeps_finished_ones(tmp_path: Path) -> None:
    pair = FakePair(right_reply, slots=3)
    outcome, _ = _run(_job(tmp_path, count=7), pair, should_stop=lambda: len(pair.asked) > 3)
    assert 0 < outcome.done < 7
    assert len(_lines(_job(tmp_path, count=7))) == outcome.done
    rest = FakePair(right_reply, slots=2)
    outcome, _ = _run(_job(tmp_path, count=7), rest)
    assert outcome.finished
    assert sorted(line["id"] for line in _lines(_job(tmp_path))) == [f"q{n}" for n in range(7)]


def test_a_failure_of_llama_cpp_fails_only_answers_in_progress(tmp_path: Path) -> None:
    pair = FakePair(right_reply, slots=2, breaks_at=6)
    outcome, _ = _run(_job(tmp_path, count=6), pair)
    assert outcome.finished
    failed = [line for line in _lines(_job(tmp_path)) if line["stop"] == "error"]
    assert [line["error"] for line in failed] == ["llama.cpp failed: It returned -3."] * 2
    assert outcome.summary["correct"] == 4
    outcome, _ = _run(_job(tmp_path), FakePair(right_reply))
    assert (outcome.summary["correct"], outcome.summary["errors"]) == (6, 0)


def test_a_prompt_longer_than_the_context_fails_one_problem(tmp_path: Path) -> None:
    failure = InputError("The prompt is too long", "It has 900 tokens; the SLM's context holds 512.")
    pair = FakePair(lambda q: failure if "What is 0 " in q else right_reply(q), fails_at_start=True)
    outcome, _ = _run(_job(tmp_path), pair)
    assert outcome.summary["stops"] == {"eog": 2, "error": 1}


def test_other_exceptions_are_not_recorded_as_answers(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        _run(_job(tmp_path), FakePair(lambda _: ZeroDivisionError()))


def test_a_full_disk_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_folder: RunFolder, _answer: dict[str, Any]) -> None:
        raise StorageError("Disk full", "No room.")

    monkeypatch.setattr(RunFolder, "append", full)
    pair = FakePair(right_reply)
    with pytest.raises(StorageError):
        _run(_job(tmp_path), pair)


def test_malformed_rows_are_reported_and_skipped(tmp_path: Path) -> None:
    write_problems(tmp_path / "problems.jsonl", 2)
    with (tmp_path / "problems.jsonl").open("a") as file:
        file.write("[bold]{\n" * 12)
    outcome, shown = _run(_job(tmp_path), FakePair(right_reply))
    assert "problems.jsonl, line 3 is skipped: it is not JSON" in shown
    assert "2 more rows are skipped" in shown
    assert outcome.summary["malformed_rows"] == 12
    with pytest.raises(InputError, match="line 3"):
        _run(_job(tmp_path, strict=True), FakePair(right_reply))


def test_samples_can_be_added_later(tmp_path: Path) -> None:
    _run(_job(tmp_path), FakePair(right_reply))
    more = FakePair(right_reply)
    outcome, _ = _run(_job(tmp_path, samples=3), more)
    assert len(more.asked) == 6
    assert outcome.summary["samples"] == 9
    assert outcome.summary["pass_at"] == {"1": 1.0, "2": 1.0, "3": 1.0}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"settings": replace(SETTINGS, router="slm")}, "router: entropy:0.02 -> slm"),
        ({"settings": replace(SETTINGS, prompt=prompt_of("math"))}, "prompt: "),
        ({"settings": replace(SETTINGS, max_tokens=9)}, "max_tokens: none -> 9"),
        ({"settings": replace(SETTINGS, stop=("\n\n",))}, "stop: none -> "),
        (
            {"settings": replace(SETTINGS, sampling=Sampling(temperature=1.0))},
            "sampling.temperature: 0.0 -> 1.0",
        ),
        ({"seed": 1}, "seed: 0 -> 1"),
        ({"model_settings": {"slm": "c", "llm": "b"}}, "models.slm: a -> c"),
    ],
)
def test_a_folder_with_other_settings_is_refused(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    _run(_job(tmp_path), FakePair(right_reply))
    pair = FakePair(right_reply)
    with pytest.raises(InputError, match=named):
        _run(_job(tmp_path, **change), pair)
    assert not pair.asked


def test_stop_strings_reach_the_pair_and_run_json_only_if_there_are_any(tmp_path: Path) -> None:
    _run(_job(tmp_path), without := FakePair(right_reply))
    with_stop = _job(tmp_path, out=tmp_path / "stop", settings=replace(SETTINGS, stop=("\n\n", "END")))
    _run(with_stop, pair := FakePair(right_reply))
    assert {asked["stop"] for asked in without.asked} == {()}
    assert {asked["stop"] for asked in pair.asked} == {("\n\n", "END")}
    first, second = (read_header(folder) for folder in (tmp_path / "run", tmp_path / "stop"))
    assert first is not None
    assert second is not None
    assert "stop" not in first["settings"]
    assert second["settings"] == {**first["settings"], "stop": ["\n\n", "END"]}
    _run(with_stop, FakePair(right_reply))


def test_another_problem_file_is_refused(tmp_path: Path) -> None:
    _run(_job(tmp_path), FakePair(right_reply))
    write_problems(tmp_path / "problems.jsonl", 4)
    with pytest.raises(InputError, match="problems_sha256"):
        _run(_job(tmp_path), FakePair(right_reply))


def test_an_empty_selection_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No problems selected"):
        _run(_job(tmp_path, count=1, selection=Selection(shard=(2, 2))), FakePair(right_reply))


def test_the_observer_receives_steps_and_answers(tmp_path: Path, grader: Grader) -> None:
    observer = CountingObserver()
    tasks = tasks_of([Problem("q0", "What is 0 + 1?", "1", 1)], 2, 0)
    with RunFolder(tmp_path) as folder:
        assert solve_tasks(FakePair(right_reply).as_pair(), tasks, SETTINGS, grader, folder, observer) == 2
    assert observer.answered == [("q0", 0), ("q0", 1)]
    assert observer.steps == 2 * len(right_reply("What is 0 + 1?").split(" "))


def test_errors_are_rstitch_errors() -> None:
    # The error of an answer has the same text as on the command line.
    assert issubclass(EngineError, RStitchError)


KILLED = """
import pathlib, sys, time
sys.path[:0] = [sys.argv[3], sys.argv[3] + "/problems"]
from problem_fakes import FakePair, right_reply
from test_solving import _job
from rstitch_local.problems.runner import run_job

folder, hang_at = pathlib.Path(sys.argv[1]), sys.argv[2]
answers = folder / "run" / "answers.jsonl"

def reply(question):
    if f"What is {hang_at} " in question:
        # Answers are graded and written in another thread.
        while not answers.exists() or answers.read_bytes().count(b"\\n") < int(hang_at):
            time.sleep(0.01)
        (folder / "hanging").touch()
        time.sleep(600)
    return right_reply(question)

run_job(_job(folder), lambda _: FakePair(reply))
"""


def test_a_killed_run_can_be_resumed(tmp_path: Path) -> None:
    job = _job(tmp_path, count=8)
    for hang_at in (2, 4):
        (tmp_path / "hanging").unlink(missing_ok=True)
        arguments = [sys.executable, "-c", KILLED, str(tmp_path), str(hang_at), str(Path(__file__).parent.parent)]
        with subprocess.Popen(arguments) as process:
            _wait_for((tmp_path / "hanging").exists, process)
            process.kill()
        # A partial line, as a crash leaves it.
        with (job.out / "answers.jsonl").open("ab") as file:
            file.write(b'{"id": "q' + str(hang_at).encode() + b'", "sample": 0, "ans')
    outcome, _ = _run(job, pair := FakePair(right_reply))
    assert outcome.finished
    assert [line["id"] for line in _lines(job)] == [f"q{n}" for n in range(8)]
    assert len(pair.asked) == 4


def _wait_for(happened: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    while not happened():
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.01)
