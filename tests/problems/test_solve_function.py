"""`rstitch_local.solve` with the demo pair."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rstitch_local import (
    EntropyRouter,
    InputError,
    LoadOptions,
    Observation,
    Pair,
    Role,
    Router,
    UsageError,
    load_pair,
    solve,
)
from rstitch_local.problems.run_folder import read_header

EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "word_problems.jsonl"
PROBLEMS = [json.loads(line) for line in EXAMPLES.read_text(encoding="utf-8").splitlines()[:3]]


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with load_pair("demo", options=LoadOptions(sequences=2)) as pair:
        yield pair


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path / "home"))


class Uncertain(Router):
    """Counts its observations, so it cannot serve two answers."""

    def __init__(self, tau: float = 0.05) -> None:
        self.threshold = tau
        self._observations = 0

    def route(self, observation: Observation) -> Role:
        self._observations += 1
        return Role.LLM if observation.entropy > self.threshold else Role.SLM


def uncertain(observation: Observation) -> bool:
    return observation.entropy > 0.05


def test_rows_in_and_graded_answers_out(pair: Pair) -> None:
    result = solve(PROBLEMS, pair, router="llm")
    assert [answer.id for answer in result.answers] == [str(problem["id"]) for problem in PROBLEMS]
    assert [answer.gold for answer in result.answers] == [str(problem["answer"]) for problem in PROBLEMS]
    assert [answer.question for answer in result.answers] == [problem["question"] for problem in PROBLEMS]
    assert (result.finished, result.total, result.bad_rows) == (True, 3, [])
    assert result.accuracy == sum(bool(answer.correct) for answer in result.answers) / 3
    assert result.interval is not None
    assert result.interval[0] <= result.accuracy <= result.interval[1]
    assert result.summary["llm_share"] == 1.0
    assert all(answer.llm_share == 1.0 and answer.tokens > 0 and answer.seconds > 0 for answer in result.answers)
    assert pair.status.active == 0
    pair.require_open()


def test_a_file_and_the_name_of_a_pair() -> None:
    result = solve(EXAMPLES, "demo", router="slm", limit=2, parallel=1)
    again = solve(str(EXAMPLES), "demo", router="slm", limit=2, parallel=1)
    assert [answer.text for answer in result.answers] == [answer.text for answer in again.answers]
    assert result.summary["llm_share"] == 0.0


def test_records_have_one_shape(pair: Pair) -> None:
    records = solve([*PROBLEMS[:1], {"id": "open", "question": "Why?"}], pair, max_tokens=4).to_records()
    assert [set(record) for record in records] == [set(records[0])] * 2
    assert records[1]["gold"] is None
    assert records[1]["correct"] is None
    assert records[1]["stop"] == "length"
    json.dumps(records)


def test_samples_sampling_and_pass_at_k(pair: Pair) -> None:
    result = solve(PROBLEMS[:2], pair, samples=2, temperature=1.0, seed=5)
    assert [(answer.id, answer.sample) for answer in result.answers] == [
        (str(problem["id"]), sample) for problem in PROBLEMS[:2] for sample in range(2)
    ]
    assert set(result.summary["pass_at"]) == {"1", "2"}
    header = read_header(result.folder)
    assert header is not None
    assert header["settings"]["sampling"]["temperature"] == 1.0
    assert header["settings"]["seed"] == 5


def test_identical_samples_cause_a_warning(pair: Pair) -> None:
    with pytest.warns(UserWarning, match="all 2 samples"):
        solve(PROBLEMS[:1], pair, samples=2, temperature=0)


def test_a_folder_is_resumed(pair: Pair, tmp_path: Path) -> None:
    first = solve(PROBLEMS, pair, out=tmp_path / "run", limit=2)
    lines = (tmp_path / "run" / "answers.jsonl").read_bytes()
    second = solve(PROBLEMS, pair, out=str(tmp_path / "run"))
    assert len(second.answers) == 3
    assert [answer.text for answer in second.answers[:2]] == [answer.text for answer in first.answers]
    assert (tmp_path / "run" / "answers.jsonl").read_bytes().startswith(lines)
    # A smaller selection returns its own answers only.
    assert [answer.id for answer in solve(PROBLEMS, pair, out=tmp_path / "run", ids=[PROBLEMS[2]["id"]]).answers] == [
        str(PROBLEMS[2]["id"])
    ]
    with pytest.raises(InputError, match="seed: 0 -> 1"):
        solve(PROBLEMS, pair, out=tmp_path / "run", seed=1)


def test_the_command_and_the_function_share_run_folders(pair: Pair, tmp_path: Path) -> None:
    arguments = ["solve", str(EXAMPLES), "--out", str(tmp_path / "run"), "--pair", "demo", "--limit", "1"]
    subprocess.run([sys.executable, "-m", "rstitch_local", *arguments], check=True, capture_output=True)
    result = solve(EXAMPLES, pair, out=tmp_path / "run", limit=2)
    assert len(result.answers) == 2
    assert len((tmp_path / "run" / "answers.jsonl").read_text(encoding="utf-8").splitlines()) == 2


def test_traces(pair: Pair) -> None:
    result = solve(PROBLEMS[:1], pair, router="entropy:0.05")
    trace = result.trace(PROBLEMS[0]["id"])
    assert trace.text == result.answers[0].text
    assert sum(trace.tokens.values()) == result.answers[0].tokens
    with pytest.raises(InputError, match="sample 1"):
        result.trace(PROBLEMS[0]["id"], sample=1)


def test_answers_come_with_their_traces(pair: Pair) -> None:
    result = solve(PROBLEMS, pair, router="entropy:0.005")
    found = list(result.traces())
    assert [answer for answer, _ in found] == list(result.answers)
    assert [trace.text for _, trace in found] == [answer.text for answer in result.answers]


class Table:
    """Like a data frame: iterating yields the names of the columns."""

    def to_dict(self, orient: str) -> list[dict[str, Any]]:
        return PROBLEMS if orient == "records" else []

    def __iter__(self) -> Iterator[Any]:
        return iter(PROBLEMS[0])


def test_problems_are_mappings(pair: Pair) -> None:
    table = Table()
    with pytest.raises(UsageError, match=r'type Table\. Pass a list of mappings: `problems\.to_dict\("records"\)`'):
        solve(table, pair)
    assert len(solve(table.to_dict("records"), pair, router="slm").answers) == len(PROBLEMS)
    questions: Any = ["What is 1 + 1?"]
    with pytest.raises(InputError, match="list of problems, row 1: it is not a mapping with a question"):
        solve(questions, pair)


def test_a_temporary_folder_is_deleted_with_the_result(pair: Pair) -> None:
    result = solve(PROBLEMS[:1], pair, max_tokens=2)
    folder = result.folder
    assert folder.is_dir()
    del result
    gc.collect()
    assert not folder.exists()


@pytest.mark.parametrize(
    ("router", "name"),
    [
        (uncertain, f"{__name__}.uncertain"),
        (Uncertain, "Uncertain(threshold=0.05)"),
        (lambda: Uncertain(0.2), "Uncertain(threshold=0.2)"),
        (EntropyRouter(0.05), "entropy:0.05"),
    ],
)
def test_routers_from_python(pair: Pair, router: Any, name: str) -> None:
    result = solve(PROBLEMS[:2], pair, router=router)
    header = read_header(result.folder)
    assert header is not None
    assert header["settings"]["router"] == name
    assert {result.trace(problem["id"]).settings["router"] for problem in PROBLEMS[:2]} == {name}
    assert not result.summary["errors"]


def test_a_custom_rule_equals_the_built_in_one(pair: Pair) -> None:
    texts = [
        [answer.text for answer in solve(PROBLEMS, pair, router=router).answers]
        for router in ("entropy:0.05", uncertain, Uncertain)
    ]
    assert texts[0] == texts[1] == texts[2]


def test_a_router_that_keeps_state_is_refused(pair: Pair) -> None:
    with pytest.raises(UsageError, match="Router keeps state"):
        solve(PROBLEMS, pair, router=Uncertain())


def test_a_router_that_fails_causes_a_warning(pair: Pair) -> None:
    def broken(_observation: Observation) -> bool:
        raise ZeroDivisionError

    with pytest.warns(UserWarning, match=r"2 answers ended in an error.*ZeroDivisionError"):
        result = solve(PROBLEMS[:2], pair, router=broken)
    assert [answer.stop for answer in result.answers] == ["error", "error"]
    assert result.accuracy == 0.0


def test_stop_strings_end_answers(pair: Pair) -> None:
    text = solve(PROBLEMS[:1], pair, router="llm").answers[0].text
    stop = text.split()[3]
    result = solve(PROBLEMS[:1], pair, router="llm", stop=stop)
    assert result.answers[0].stop == "stop"
    assert result.answers[0].text == text[: text.index(stop)]


def test_unusual_fields_and_bad_rows(pair: Pair) -> None:
    rows = [{"q": PROBLEMS[0]["question"], "target": PROBLEMS[0]["answer"]}, {"q": ""}]
    result = solve(rows, pair, fields={"question": "q", "answer": "target"}, max_tokens=2)
    assert [answer.gold for answer in result.answers] == [str(PROBLEMS[0]["answer"])]
    assert [row.line for row in result.bad_rows] == [2]
    assert result.summary["malformed_rows"] == 1
    with pytest.raises(InputError, match="row 2"):
        solve(rows, pair, fields={"question": "q"}, strict=True)


def test_missing_gold_answers_are_warned_of(pair: Pair) -> None:
    rows = [{"question": PROBLEMS[0]["question"], "reply": {"final": PROBLEMS[0]["answer"]}}]
    with pytest.warns(
        UserWarning, match=r"No problem has a gold answer.*reply\.final.*fields=dict\(answer=NAME\)"
    ) as seen:
        assert solve(rows, pair, max_tokens=2).answers[0].gold is None
    assert seen[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solve([{"question": "What is 1 + 1?"}], pair, max_tokens=2)
        solve(rows, pair, fields={"answer": "reply.final"}, max_tokens=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"samples": 0}, "samples is 0"),
        ({"limit": -1}, "limit is -1"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"parallel": 0}, "parallel is 0"),
        ({"stop": ["END", ""]}, "stop contains an empty string"),
        ({"shard": "5/4"}, "shard="),
        ({"fields": {"colour": "q"}}, "fields="),
        ({"router": "entropi:0.1"}, "Did you mean"),
        ({"options": LoadOptions()}, "load_pair"),
    ],
)
def test_invalid_arguments(pair: Pair, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        solve(PROBLEMS, pair, **arguments)


def test_progress_is_written_to_stderr(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    solve(PROBLEMS[:1], pair, max_tokens=2)
    assert capsys.readouterr() == ("", "")
    solve(PROBLEMS[:1], pair, max_tokens=2, progress=True)
    output = capsys.readouterr()
    assert output.out == ""
    assert "1/1" in output.err


INTERRUPTED = """
import os, signal, sys, warnings
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from problem_fakes import FakePair, right_reply
from rstitch_local.engine.choice import PairDefaults
from rstitch_local.problems import api, pair_source

class Interrupting(FakePair):
    name, defaults = "fake", PairDefaults(prompt="plain")

    def run_all(self, runs, *, should_stop):
        for run, step in super().run_all(runs, should_stop=should_stop):
            if len(self.asked) == 3:
                os.kill(os.getpid(), signal.SIGINT)
            yield run, step

pair = Interrupting(right_reply)
source = pair_source.PairSource("fake", pair.defaults, {}, pair, None, None)
api.PairSource.of = lambda *_arguments: source
pair_source.PairSource.open = lambda *_arguments, **_options: pair
rows = [{"id": n, "question": f"What is {n} + 1?", "answer": n + 1} for n in range(5)]
with warnings.catch_warnings(record=True) as caught:
    result = api.solve(rows)
print([answer.id for answer in result.answers], result.finished, result.accuracy)
print(caught[0].message)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT to itself")
def test_ctrl_c_returns_the_finished_answers() -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(Path(__file__).parent.parent)],
        capture_output=True, text=True, check=False, env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    )  # fmt: skip
    assert process.stdout.splitlines() == [
        "['0', '1'] False 1.0",
        "Interrupted after 2 of 5 answers.",
    ], process.stderr
