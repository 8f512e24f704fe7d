"""`rstitch_local.bench` with the demo pair."""

from __future__ import annotations

import csv
import gc
import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from rstitch_local import (
    BenchResult,
    EntropyRouter,
    InputError,
    LoadOptions,
    Observation,
    Pair,
    Role,
    Router,
    UsageError,
    bench,
    load_pair,
    solve,
)
from rstitch_local.problems.run_folder import read_header
from rstitch_local.study.api import named_routers

EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "word_problems.jsonl"
PROBLEMS = [json.loads(line) for line in EXAMPLES.read_text(encoding="utf-8").splitlines()[:3]]


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with load_pair("demo", options=LoadOptions(threads=1)) as pair:
        yield pair


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path / "home"))


class Counting(Router):
    """Uses the LLM at every n-th token; keeps state, so every answer needs a new one."""

    def __init__(self, period: int = 4) -> None:
        self.period = period
        self._observations = 0

    def route(self, observation: Observation) -> Role:  # noqa: ARG002
        self._observations += 1
        return Role.LLM if self._observations % self.period == 0 else Role.SLM


def uncertain(observation: Observation) -> bool:
    return observation.entropy > 0.005


@pytest.fixture(scope="module")
def result(pair: Pair) -> BenchResult:
    """All kinds of routers on three problems; the SLM alone is wrong on two of them."""
    return bench(PROBLEMS, pair, routers=["slm", EntropyRouter(0.005), Counting, uncertain])


def test_metrics_of_every_kind_of_router(result: BenchResult) -> None:
    assert result.finished
    assert result.names == ["llm", "slm", "entropy:0.005", "Counting(period=4)", f"{__name__}.uncertain"]
    assert [metrics.router for metrics in result.routers] == result.names
    llm, slm = result["llm"], result["slm"]
    assert (llm.accuracy, llm.llm_share, llm.speed_up, llm.p) == (1.0, 1.0, 1.0, None)
    assert (slm.llm_share, slm.swaps_up, slm.better, slm.worse, slm.p) == (0.0, 0.0, 0, 2, 0.5)
    assert slm.accuracy == pytest.approx(1 / 3)
    assert slm.interval is not None
    assert slm.interval[0] < 1 / 3 < slm.interval[1]
    assert slm.loss == pytest.approx(2 / 3)
    assert slm.speed_up is not None
    assert slm.speed_up_interval is not None
    assert slm.seconds is not None
    assert slm.memory_bytes is not None
    assert llm.memory_bytes is not None
    # The function and the built-in router have the same rule.
    function, built_in = result.routers[4], result["entropy:0.005"]
    assert function.tokens == built_in.tokens
    assert function.llm_share == built_in.llm_share
    assert result.routers[3].llm_share is not None
    assert 0.1 < result.routers[3].llm_share < 0.5


def test_records_are_flat_and_the_report_is_markdown(result: BenchResult) -> None:
    records = result.to_records()
    assert [record["router"] for record in records] == result.names
    assert records[1]["accuracy"] == result["slm"].accuracy
    assert records[1]["interval_low"] == (result["slm"].interval or (None,))[0]
    assert all(not isinstance(value, dict | list | tuple) for record in records for value in record.values())
    report = result.report()
    assert report.startswith("# Bench\n\nBest: ")
    assert "| `slm` | 33.3% (6 to 79) | 0 / 2 |" in report
    assert "Only 3 problems" in report
    assert result.findings[0] in report.replace("\\", "")
    assert repr(result).startswith("<BenchResult: llm 100.0% 1.00x, slm 33.3%")


def test_answers_and_traces(result: BenchResult) -> None:
    answers = result.answers("slm")
    assert [answer.id for answer in answers] == [problem["id"] for problem in PROBLEMS]
    assert [answer.question for answer in answers] == [problem["question"] for problem in PROBLEMS]
    assert [answer.correct for answer in answers].count(True) == 1
    trace = result.trace("entropy:0.005", PROBLEMS[0]["id"])
    assert trace.swaps_up > 0
    assert trace.settings["router"] == "entropy:0.005"
    with pytest.raises(InputError, match="No such answer"):
        result.trace("slm", "none")
    for call in (result.answers, result.__getitem__, lambda name: result.trace(name, "x")):
        with pytest.raises(UsageError, match="no router 'entropy:9'"):
            call("entropy:9")


def test_answers_equal_those_of_solve(result: BenchResult, pair: Pair) -> None:
    solved = solve(PROBLEMS, pair, router=uncertain, parallel=1)
    assert [answer.text for answer in solved.answers] == [answer.text for answer in result.answers(result.names[4])]


@pytest.mark.skipif(find_spec("matplotlib") is None, reason="needs matplotlib: install '.[study]'")
def test_plots(result: BenchResult, tmp_path: Path) -> None:
    assert len(result.plot(tmp_path)) == 6


def test_a_folder_is_resumed_and_receives_the_report(pair: Pair, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = bench(EXAMPLES, pair, routers=["slm"], limit=2, out=out)
    modified = (out / "slm" / "answers.jsonl").stat().st_mtime_ns
    second = bench(EXAMPLES, pair, routers=["slm", uncertain], limit=2, out=out)
    assert (out / "slm" / "answers.jsonl").stat().st_mtime_ns == modified
    assert second["slm"] == first["slm"]
    assert second.outcome.split == 2
    assert (out / "report.md").read_text(encoding="utf-8") == second.report()
    with (out / "figures.csv").open(encoding="utf-8", newline="") as lines:
        assert [row["router"] for row in csv.DictReader(lines)] == second.names
    assert json.loads((out / "figures.json").read_text(encoding="utf-8"))["routers"][1]["router"] == "slm"
    with pytest.raises(InputError, match="max_tokens: none -> 5"):
        bench(EXAMPLES, pair, routers=["slm"], limit=2, out=out, max_tokens=5)


def test_a_mapping_names_the_routers(pair: Pair, tmp_path: Path) -> None:
    routers = {"strict": lambda observation: observation.entropy > 0.5, "always: LLM": lambda _: True}
    result = bench(PROBLEMS[:1], pair, routers=routers, out=tmp_path / "out", max_tokens=8)
    assert result.names == ["llm", "strict", "always: LLM"]
    assert result["always: LLM"].llm_share == 1.0
    header = read_header(tmp_path / "out" / "strict")
    assert header is not None
    assert "<lambda>" in header["settings"]["router"]


def test_the_default_routers_and_the_name_of_a_pair() -> None:
    options = LoadOptions(threads=1)
    result = bench(EXAMPLES, "demo", limit=1, max_tokens=6, samples=2, temperature=0.5, options=options)
    assert result.names == ["llm", "slm", "entropy:0.005"]
    assert [metrics.answers for metrics in result.routers] == [2, 2, 2]
    with pytest.warns(UserWarning, match="At temperature 0 all 2 samples"):
        bench(PROBLEMS[:1], "demo", routers="slm", max_tokens=2, samples=2, options=options)


def test_cached_prompts_are_not_reused_with_several_sequences() -> None:
    with load_pair("demo", options=LoadOptions(sequences=2, threads=1)) as pair:
        result = bench(PROBLEMS[:1], pair, routers=["slm"], max_tokens=4)
        prompt = len(pair.render([{"role": "user", "content": PROBLEMS[0]["question"]}], Role.LLM))
    evaluated = result.outcome.rows["llm"][0]["evaluated"]["llm"]
    assert evaluated["prompt"] >= prompt


def test_progress_is_shown_on_stderr(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    bench(PROBLEMS[:1], pair, routers=["slm"], max_tokens=4, progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "2/2" in captured.err
    bench(PROBLEMS[:1], pair, routers=["slm"], max_tokens=4)
    assert capsys.readouterr().err == ""


def test_errors_are_warned_about_and_counted(pair: Pair) -> None:
    problems = [PROBLEMS[0], {"id": "long", "question": "word " * 5000, "answer": "1"}]
    with pytest.warns(UserWarning, match="2 answers ended in an error. The first one: Prompt too long"):
        result = bench(problems, pair, routers=["slm"], max_tokens=4)
    assert [failure.id for failure in result["slm"].failures] == ["long"]


def test_skipped_rows_are_listed(pair: Pair) -> None:
    result = bench([*PROBLEMS[:1], {"id": "x"}], pair, routers=["slm"], max_tokens=2)
    assert len(result.bad_rows) == 1


def test_an_interrupted_bench_returns_what_is_complete(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def should_stop(_self: object) -> bool:
        nonlocal calls
        calls += 1
        return calls > 3

    monkeypatch.setattr("rstitch_local.interrupts.Interrupt.should_stop", should_stop)
    with pytest.warns(UserWarning, match="Interrupted after 0 of 2 answers"):
        result = bench(PROBLEMS[:1], pair, routers=["slm"])
    assert (result.routers, result.to_records(), result.finished) == ([], [], False)
    assert "No problem was answered by all routers." in result.report()
    assert "stopped after 0 of 2 answers" in repr(result)


def test_a_temporary_folder_is_deleted_with_the_result(pair: Pair) -> None:
    result = bench(PROBLEMS[:1], pair, routers=["slm"], max_tokens=2)
    folder = result.folder
    assert folder.is_dir()
    del result
    gc.collect()
    assert not folder.exists()


def test_invalid_arguments() -> None:
    with pytest.raises(UsageError, match="samples is 0"):
        bench(PROBLEMS, "demo", samples=0)
    with pytest.raises(UsageError, match="entropi"):
        bench(PROBLEMS, "demo", routers=["entropi:0.1"])
    with pytest.raises(UsageError, match="may keep state"):
        bench(PROBLEMS, "demo", routers=[Counting()])
    with pytest.raises(InputError, match="Unknown ids"):
        bench(PROBLEMS, "demo", ids=["none"])


def test_names_of_routers() -> None:
    assert list(named_routers("slm")) == ["slm"]
    assert list(named_routers(["entropy:.10", "entropy:0.1", "llm"])) == ["entropy:0.1"]
    assert list(named_routers(uncertain)) == [f"{__name__}.uncertain"]
    assert list(named_routers({"a": "slm", "b": uncertain})) == ["a", "b"]
    with pytest.raises(UsageError, match="Two routers are named"):
        named_routers([lambda _: True, lambda _: False])
    with pytest.raises(UsageError, match='"llm" is the name of the LLM alone'):
        named_routers({"llm": "slm"})
    with pytest.raises(UsageError, match="need the same folder"):
        named_routers({"a:b": "slm", "A-b": uncertain})
