from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from bench_fakes import QuickGrader, RoutedPair, RouterBehavior, bench_job, quiet
from problem_fakes import write_problems
from rich.console import Console
from tiny_pair import TinyPair

from rstitch_local.decoding.roles import Role
from rstitch_local.engine.machine import cache_bytes
from rstitch_local.errors import InputError, StorageError
from rstitch_local.llama.gguf_check import check_gguf
from rstitch_local.problems.run_folder import RunFolder
from rstitch_local.problems.selection import Selection
from rstitch_local.study.bench import BenchOutcome, compare_routers, folder_name, memory_footprints, run_bench
from rstitch_local.study.bench_progress import BenchProgress


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rstitch_local.study.bench.Grader", QuickGrader)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_problems(tmp_path / "p.jsonl", 6)


def bench(pair: RoutedPair, file: Path, *routers: str, after: int | None = None, **changes: object) -> BenchOutcome:
    """A bench below the file's folder; with `after` it is stopped when so many answers are there."""

    def stop() -> bool:
        return after is not None and len(pair.asked) > after

    return run_bench(bench_job(file, file.parent / "out", **changes), routers, pair.load, quiet(), stop)


def answers(file: Path, router: str) -> list[str]:
    lines = (file.parent / "out" / router / "answers.jsonl").read_text().splitlines()
    return [json.loads(line)["id"] for line in lines]


def test_all_answer_a_problem_before_any_answers_the_next(file: Path) -> None:
    pair = RoutedPair()
    outcome = bench(pair, file, "slm", "entropy:0.1", "llm")
    assert outcome.finished
    assert list(outcome.rows) == ["llm", "slm", "entropy:0.1"]
    rounds = [pair.asked[place : place + 3] for place in range(0, 18, 3)]
    assert len(pair.asked) == 18
    for asked in rounds:
        assert len({question for _, question in asked}) == 1
        assert {router for router, _ in asked} == {"llm", "slm", "entropy:0.1"}
    # Nobody always goes first, and the order is the seed's.
    assert len({asked[0][0] for asked in rounds}) > 1
    other = RoutedPair()
    run_bench(bench_job(file, file.parent / "other", seed=1), ["slm", "entropy:0.1"], other.load, quiet())
    assert [router for router, _ in other.asked] != [router for router, _ in pair.asked]


def test_a_bench_goes_on_where_it_stopped(file: Path) -> None:
    pair = RoutedPair()
    first = bench(pair, file, "slm", after=5)
    assert (first.done, first.total, first.finished) == (5, 12, False)
    # Only what both have answered is compared.
    assert [len(rows) for rows in first.rows.values()] == [2, 2]
    assert len(compare_routers(first)) == 2
    again = RoutedPair()
    second = bench(again, file, "slm")
    assert len(again.asked) == 7
    assert answers(file, "slm") == answers(file, "llm") == [f"q{n}" for n in range(6)]
    assert second.finished
    # The third problem had one answer when it stopped.
    assert second.split == 1
    third = RoutedPair()
    assert bench(third, file, "slm").rows == second.rows
    assert third.asked == []


def test_a_router_that_is_added_later(file: Path) -> None:
    bench(RoutedPair(), file, "slm", selection=Selection(limit=2))
    pair = RoutedPair()
    outcome = bench(pair, file, "entropy:0.1", selection=Selection(limit=2))
    assert {router for router, _ in pair.asked} == {"entropy:0.1"}
    assert (outcome.split, list(outcome.rows)) == (2, ["llm", "entropy:0.1"])
    # More problems, and all routers again: what lies beyond the choice is left as it is.
    assert bench(RoutedPair(), file, "slm", "entropy:0.1", selection=Selection(limit=3)).split == 2


def test_nothing_to_compare_yet(file: Path) -> None:
    outcome = bench(RoutedPair(), file, "slm", after=0)
    assert (outcome.done, compare_routers(outcome)) == (0, [])


def test_an_error_is_wrong_named_and_tried_again(file: Path) -> None:
    broken = RoutedPair({"slm": RouterBehavior(error=InputError("The prompt is too long", "It is."))})
    outcome = bench(broken, file, "slm", selection=Selection(limit=2))
    assert outcome.finished
    _, slm = compare_routers(outcome)
    assert (slm.accuracy, slm.worse, slm.seconds) == (0, 2, None)
    assert slm.failures[0].error == "The prompt is too long: It is."
    assert compare_routers(bench(RoutedPair(), file, "slm", selection=Selection(limit=2)))[1].accuracy == 1


def test_samples_are_interleaved_too(file: Path) -> None:
    pair = RoutedPair()
    outcome = bench(pair, file, "slm", samples=2, selection=Selection(limit=1))
    assert [len(rows) for rows in outcome.rows.values()] == [2, 2]
    assert {router for router, _ in pair.asked[:2]} == {"llm", "slm"}


def test_the_folder_of_another_bench_is_refused_and_left_as_it_is(file: Path) -> None:
    bench(RoutedPair(), file, "slm")
    with pytest.raises(InputError, match="seed: 0 -> 1"):
        bench(RoutedPair(), file, "entropy:0.1", seed=1)
    assert not (file.parent / "out" / "entropy-0.1").exists()
    with RunFolder(file.parent / "out" / "slm"), pytest.raises(StorageError, match="Another rstitch"):
        bench(RoutedPair(), file, "slm")


def test_a_run_of_solve_is_no_bench(file: Path) -> None:
    with RunFolder(file.parent / "out") as run:
        run.begin({}, {})
    with pytest.raises(InputError, match="holds a run of"):
        bench(RoutedPair(), file, "slm")


@pytest.mark.parametrize("text", ["[]", "{", '{"format": 2, "split": [], "loaded": {}}', '{"format": 1, "split": 3}'])
def test_a_broken_bench_file_is_named(file: Path, text: str) -> None:
    (file.parent / "out").mkdir()
    (file.parent / "out" / "bench.json").write_text(text)
    with pytest.raises(InputError, match="not a bench"):
        bench(RoutedPair(), file, "slm")


def test_files_that_hold_nothing(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text("")
    with pytest.raises(InputError, match="contains no problem"):
        bench(RoutedPair(), tmp_path / "p.jsonl", "slm")
    assert not (tmp_path / "out").exists()


def test_folders_have_names_that_files_can_have() -> None:
    assert folder_name("window:8:0.003") == "window-8-0.003"
    assert folder_name("policy:../../x") == f"policy-..-..-x-{folder_name('policy:../../x')[-8:]}"
    assert folder_name("policy:../../x") != folder_name("policy:../..:x")
    assert len(folder_name("policy:" + "x" * 300)) < 60


def test_footprints_are_those_of_the_files(tiny_pair: TinyPair) -> None:
    found = memory_footprints({Role.SLM: tiny_pair.slm, Role.LLM: tiny_pair.llm}, "q8_0")
    per_token = check_gguf(tiny_pair.llm).kv_bytes_per_token
    assert per_token > 0
    assert found[Role.LLM].cell_bytes == cache_bytes(per_token, 1, "q8_0")
    assert found[Role.SLM].file_bytes == tiny_pair.slm.stat().st_size


def test_progress_on_a_terminal_and_in_a_file(file: Path) -> None:
    screen, plain = StringIO(), StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    pair = RoutedPair({"llm": RouterBehavior(ms=300), "slm": RouterBehavior(ms=100, wrong=("1",))})
    run_bench(bench_job(file, file.parent / "out"), ["slm"], pair.load, console)
    assert "slm" in screen.getvalue()
    assert "12/12" in screen.getvalue()
    run_bench(bench_job(file, file.parent / "again"), ["slm"], pair.load, Console(file=plain, width=100))
    lines = plain.getvalue().splitlines()
    assert len(lines) == 12
    assert any(line.endswith("q1, slm: wrong; 8 tokens, 0.1 s") for line in lines)
    with RunFolder(file.parent / "out" / "slm") as slm, RunFolder(file.parent / "out" / "llm") as llm:
        progress = BenchProgress(Console(file=plain), 12, 12, {"llm": llm.answers, "slm": slm.answers})
    block = StringIO()
    Console(file=block, width=100).print(progress._block())
    assert "3.00x" in block.getvalue()
    assert "83.3%" in block.getvalue()
