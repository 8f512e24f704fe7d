from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from bench_fakes import QuickGrader, RoutedPair, RouterBehavior, bench_job
from problem_fakes import write_problems
from rich.console import Console
from tiny_pair import TinyPair

from rstitch_local.decoding.roles import Role
from rstitch_local.engine.machine import cache_bytes
from rstitch_local.errors import InputError, StorageError
from rstitch_local.llama.gguf_check import check_gguf
from rstitch_local.problems.answer_lines import Answer
from rstitch_local.problems.reading import ProblemFile
from rstitch_local.problems.run_folder import RunFolder
from rstitch_local.problems.selection import Selection
from rstitch_local.problems.tasks import Task
from rstitch_local.study.bench import BenchOutcome, compare_routers, folder_name, memory_footprints, run_bench
from rstitch_local.study.bench_observer import BenchObserver, BenchStart
from rstitch_local.study.bench_progress import ConsoleBenchProgress, _Display


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rstitch_local.study.bench.Grader", QuickGrader)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_problems(tmp_path / "p.jsonl", 6)


def bench(
    pair: RoutedPair, file: Path, *routers: str, stop_after: int | None = None, **changes: object
) -> BenchOutcome:
    """Run a bench in the folder of the file; with `stop_after` it stops after that number of answers."""

    def should_stop() -> bool:
        return stop_after is not None and len(pair.asked) > stop_after

    job = bench_job(file, file.parent / "out", **changes)
    return run_bench(job, routers, pair.load, should_stop=should_stop)


def answered_ids(file: Path, router: str) -> list[str]:
    lines = (file.parent / "out" / router / "answers.jsonl").read_text().splitlines()
    return [json.loads(line)["id"] for line in lines]


def test_all_routers_answer_a_problem_before_any_answers_the_next(file: Path) -> None:
    pair = RoutedPair()
    outcome = bench(pair, file, "slm", "entropy:0.1", "llm")
    assert outcome.finished
    assert list(outcome.rows) == ["llm", "slm", "entropy:0.1"]
    rounds = [pair.asked[start : start + 3] for start in range(0, 18, 3)]
    assert len(pair.asked) == 18
    for asked in rounds:
        assert len({question for _, question in asked}) == 1
        assert {router for router, _ in asked} == {"llm", "slm", "entropy:0.1"}
    # The first router varies, and the order depends on the seed.
    assert len({asked[0][0] for asked in rounds}) > 1
    other = RoutedPair()
    run_bench(bench_job(file, file.parent / "other", seed=1), ["slm", "entropy:0.1"], other.load)
    assert [router for router, _ in other.asked] != [router for router, _ in pair.asked]


def test_an_interrupted_bench_resumes(file: Path) -> None:
    pair = RoutedPair()
    first = bench(pair, file, "slm", stop_after=5)
    assert (first.done, first.total, first.finished) == (5, 12, False)
    # Only problems that both routers have answered are compared.
    assert [len(rows) for rows in first.rows.values()] == [2, 2]
    assert len(compare_routers(first)) == 2
    again = RoutedPair()
    second = bench(again, file, "slm")
    assert len(again.asked) == 7
    assert answered_ids(file, "slm") == answered_ids(file, "llm") == [f"q{n}" for n in range(6)]
    assert second.finished
    # The third problem had one of its two answers.
    assert second.split == 1
    third = RoutedPair()
    assert bench(third, file, "slm").rows == second.rows
    assert third.asked == []


def test_routers_and_problems_can_be_added(file: Path) -> None:
    bench(RoutedPair(), file, "slm", selection=Selection(limit=2))
    pair = RoutedPair()
    outcome = bench(pair, file, "entropy:0.1", selection=Selection(limit=2))
    assert {router for router, _ in pair.asked} == {"entropy:0.1"}
    assert (outcome.split, list(outcome.rows)) == (2, ["llm", "entropy:0.1"])
    assert bench(RoutedPair(), file, "slm", selection=Selection(limit=3)).split == 2


def test_a_bench_without_answers_has_no_results(file: Path) -> None:
    outcome = bench(RoutedPair(), file, "slm", stop_after=0)
    assert (outcome.done, compare_routers(outcome)) == (0, [])


def test_an_error_counts_as_wrong_and_is_retried(file: Path) -> None:
    broken = RoutedPair({"slm": RouterBehavior(error=InputError("Prompt too long", "It has 9 tokens."))})
    outcome = bench(broken, file, "slm", selection=Selection(limit=2))
    assert outcome.finished
    _, slm = compare_routers(outcome)
    assert (slm.accuracy, slm.worse, slm.seconds) == (0, 2, None)
    assert slm.failures[0].error == "Prompt too long: It has 9 tokens."
    assert compare_routers(bench(RoutedPair(), file, "slm", selection=Selection(limit=2)))[1].accuracy == 1


def test_samples_are_interleaved(file: Path) -> None:
    pair = RoutedPair()
    outcome = bench(pair, file, "slm", samples=2, selection=Selection(limit=1))
    assert [len(rows) for rows in outcome.rows.values()] == [2, 2]
    assert {router for router, _ in pair.asked[:2]} == {"llm", "slm"}


def test_a_folder_with_other_settings_is_refused_and_unchanged(file: Path) -> None:
    bench(RoutedPair(), file, "slm")
    with pytest.raises(InputError, match="seed: 0 -> 1"):
        bench(RoutedPair(), file, "entropy:0.1", seed=1)
    assert not (file.parent / "out" / "entropy-0.1").exists()
    with RunFolder(file.parent / "out" / "slm"), pytest.raises(StorageError):
        bench(RoutedPair(), file, "slm")


def test_the_folder_of_a_solve_run_is_refused(file: Path) -> None:
    with RunFolder(file.parent / "out") as run:
        run.begin({}, {})
    with pytest.raises(InputError, match="holds a run of"):
        bench(RoutedPair(), file, "slm")


@pytest.mark.parametrize("text", ["[]", "{", '{"format": 2, "split": [], "loaded": {}}', '{"format": 1, "split": 3}'])
def test_an_unreadable_bench_file_is_named(file: Path, text: str) -> None:
    (file.parent / "out").mkdir()
    (file.parent / "out" / "bench.json").write_text(text)
    with pytest.raises(InputError, match=r"Unreadable bench: .*bench\.json"):
        bench(RoutedPair(), file, "slm")


def test_an_empty_problem_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text("")
    with pytest.raises(InputError):
        bench(RoutedPair(), tmp_path / "p.jsonl", "slm")
    assert not (tmp_path / "out").exists()


def test_folder_names_are_valid_file_names() -> None:
    assert folder_name("window:8:0.003") == "window-8-0.003"
    assert folder_name("policy:../../x") == f"policy-..-..-x-{folder_name('policy:../../x')[-8:]}"
    assert folder_name("policy:../../x") != folder_name("policy:../..:x")
    assert len(folder_name("policy:" + "x" * 300)) < 60


def test_memory_footprints_are_read_from_the_files(tiny_pair: TinyPair) -> None:
    footprints = memory_footprints({Role.SLM: tiny_pair.slm, Role.LLM: tiny_pair.llm}, "q8_0")
    per_token = check_gguf(tiny_pair.llm).kv_bytes_per_token
    assert per_token > 0
    assert footprints[Role.LLM].cell_bytes == cache_bytes(per_token, 1, "q8_0")
    assert footprints[Role.SLM].file_bytes == tiny_pair.slm.stat().st_size


class RecordingObserver(BenchObserver):
    def __init__(self) -> None:
        self.events: list[str] = []

    def on_problem_file(self, problem_file: ProblemFile) -> None:
        self.events.append(f"read, {len(problem_file.bad_rows)} bad")

    def on_start(self, start: BenchStart) -> None:
        self.events.append(f"start {start.done}/{start.total} {','.join(start.answers)}")

    def on_task(self, router: str, task: Task) -> None:
        self.events.append(f"task {router} {task.problem.id}")

    def on_step(self, router: str, step: object) -> None:  # noqa: ARG002
        self.events.append(f"step {router}")

    def on_answer(self, router: str, task: Task, answer: Answer) -> None:
        self.events.append(f"answer {router} {task.problem.id} {answer['correct']}")

    def on_end(self) -> None:
        self.events.append("end")


def test_the_observer_receives_all_events_with_the_router(file: Path) -> None:
    file.write_text(file.read_text() + "not JSON\n")
    pair, observer = RoutedPair({"slm": RouterBehavior(wrong=("0",))}), RecordingObserver()
    job = bench_job(file, file.parent / "out", selection=Selection(limit=1))
    run_bench(job, ["slm"], pair.load, observer)
    first, second = (router for router, _ in pair.asked)
    assert observer.events == [
        "read, 1 bad",
        "start 0/2 llm,slm",
        *(f"task {first} q0", f"step {first}", f"answer {first} q0 {first == 'llm'}"),
        *(f"task {second} q0", f"step {second}", f"answer {second} q0 {second == 'llm'}"),
        "end",
    ]
    again = RecordingObserver()
    run_bench(job, ["slm"], pair.load, again)
    assert again.events == ["read, 1 bad"]


def test_the_observer_is_told_of_the_end_after_an_error(file: Path) -> None:
    class FailingObserver(RecordingObserver):
        def on_step(self, router: str, step: object) -> None:  # noqa: ARG002
            raise KeyboardInterrupt

    observer = FailingObserver()
    with pytest.raises(KeyboardInterrupt):
        run_bench(bench_job(file, file.parent / "out"), ["slm"], RoutedPair().load, observer)
    assert [event.split()[0] for event in observer.events] == ["read,", "start", "task", "end"]


def test_progress_on_a_terminal_and_in_a_file(file: Path) -> None:
    screen, plain = StringIO(), StringIO()
    terminal = ConsoleBenchProgress(Console(file=screen, force_terminal=True, width=100))
    pair = RoutedPair({"llm": RouterBehavior(ms=300), "slm": RouterBehavior(ms=100, wrong=("1",))})
    run_bench(bench_job(file, file.parent / "out"), ["slm"], pair.load, terminal)
    assert "slm" in screen.getvalue()
    assert "12/12" in screen.getvalue()
    lines_only = ConsoleBenchProgress(Console(file=plain, width=100))
    run_bench(bench_job(file, file.parent / "again"), ["slm"], pair.load, lines_only)
    lines = plain.getvalue().splitlines()
    assert len(lines) == 12
    assert any(line.endswith("q1, slm: wrong; 8 tokens, 100 ms") for line in lines)
    with RunFolder(file.parent / "out" / "slm") as slm, RunFolder(file.parent / "out" / "llm") as llm:
        start = BenchStart(12, 12, {"llm": llm.answers, "slm": slm.answers})
    block = StringIO()
    Console(file=block, width=100).print(_Display(Console(file=plain), start).render())
    assert "3.00x" in block.getvalue()
    assert "83.3%" in block.getvalue()
