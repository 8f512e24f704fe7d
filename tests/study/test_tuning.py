from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest
from bench_fakes import QuickGrader, RoutedPair, RouterBehavior, bench_job
from problem_fakes import write_problems

from rstitch_local.errors import InputError
from rstitch_local.routing.spec import router_from_spec
from rstitch_local.study.tuning import CANDIDATES, Constraint, Tuning, is_reporting, tune
from rstitch_local.study.tuning_report import tuning_findings, write_tuning

COUNT = 60
NUMBERS = [str(n) for n in range(COUNT)]
CHOOSING = [n for n in NUMBERS if not is_reporting(f"q{n}")]
ONE_POINT = Constraint("loss", 0.01)
ROUTERS = ["entropy:0.01", "entropy:0.1", "slm", "entropy:0.3"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rstitch_local.study.bench.Grader", QuickGrader)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_problems(tmp_path / "p.jsonl", COUNT)


def new_pair() -> RoutedPair:
    """Four routers: the faster, the less accurate. `slm` fails at once, `entropy:0.3` late in the choosing part."""
    return RoutedPair(
        {
            "llm": RouterBehavior(ms=400, slm=0, llm=8),
            "slm": RouterBehavior(ms=50, slm=8, llm=0, wrong=NUMBERS),
            "entropy:0.3": RouterBehavior(ms=80, slm=7, llm=1, wrong=CHOOSING[-4:]),
            "entropy:0.1": RouterBehavior(ms=120, slm=6, llm=2),
            "entropy:0.01": RouterBehavior(ms=300, slm=4, llm=4),
        }
    )


def tune_pair(
    file: Path, pair: RoutedPair, constraint: Constraint = ONE_POINT, stop_after: int | None = None
) -> Tuning:
    return tune(
        bench_job(file, file.parent / "out"), ROUTERS, constraint, pair.load, None,
        lambda: stop_after is not None and len(pair.asked) > stop_after,
    )  # fmt: skip


def test_the_fastest_router_within_the_constraint_is_measured_on_other_problems(file: Path) -> None:
    pair = new_pair()
    tuning = tune_pair(file, pair)
    assert (tuning.chosen, tuning.nearest, tuning.finished) == ("entropy:0.1", None, True)
    assert tuning.choosing == len(CHOOSING)
    assert tuning.reporting == COUNT - len(CHOOSING)
    assert [result.router for result in tuning.reported] == ["llm", "entropy:0.1"]
    assert tuning.reported[1].problems == tuning.reporting
    assert tuning.reported[1].speed_up == pytest.approx(400 / 120)
    assert {row["id"] for row in (tuning.report.rows["llm"] if tuning.report else [])} == {
        f"q{n}" for n in NUMBERS if n not in CHOOSING
    }
    # The hopeless router did not run beyond the first quarter, nor did the slower one.
    screened = max(8, len(CHOOSING) // 4)
    counts = {router: sum(asked == router for asked, _ in pair.asked) for router in [*ROUTERS, "llm"]}
    assert counts["slm"] == counts["entropy:0.01"] == screened
    assert counts["entropy:0.3"] == len(CHOOSING)
    assert counts["entropy:0.1"] == counts["llm"] == COUNT
    findings = tuning_findings(tuning, ONE_POINT)
    assert findings[0].startswith("Chosen router: entropy:0.1 (accuracy at most 1 point below the LLM alone)")
    assert "It satisfies the constraint there too." in findings[1]
    write_tuning(file.parent, findings, tuning, ONE_POINT)
    record = json.loads((file.parent / "tune.json").read_text())
    assert record["chosen"] == "entropy:0.1"
    assert record["wish"] == {"kind": "loss", "limit": 0.01}
    assert list(record) == [
        "wish", "chosen", "nearest", "finished", "plain_words", "problems", "reported", "tested", "scouted",
    ]  # fmt: skip
    assert (file.parent / "report.md").read_text().startswith("# Tuning\n\nChosen router: entropy:0.1")


def test_an_interrupted_tuning_resumes(file: Path) -> None:
    first = new_pair()
    interrupted = tune_pair(file, first, stop_after=50)
    assert (interrupted.finished, interrupted.chosen) == (False, None)
    assert tuning_findings(interrupted, ONE_POINT) == []
    second = new_pair()
    resumed = tune_pair(file, second)
    uninterrupted_pair = new_pair()
    other = write_problems(file.parent / "other.jsonl", COUNT)
    uninterrupted = tune(bench_job(other, file.parent / "again"), ROUTERS, ONE_POINT, uninterrupted_pair.load)
    assert resumed.chosen == uninterrupted.chosen
    assert len(first.asked) - 1 + len(second.asked) == len(uninterrupted_pair.asked)
    assert tune_pair(file, again := new_pair()).chosen == resumed.chosen
    assert again.asked == []


@pytest.mark.parametrize(
    ("kind", "limit", "chosen"),
    [
        ("share", 0.3, "entropy:0.1"),  # shares of 1/8 and 2/8 are within the limit, the second is more accurate
        ("share", 0.2, "entropy:0.3"),
        ("share", 1.0, "entropy:0.1"),  # as accurate as the LLM alone, and faster
        ("time", 100, "entropy:0.3"),
        ("time", 10, None),
        ("loss", 0.5, "entropy:0.3"),
    ],
)
def test_other_constraints(
    file: Path, kind: Literal["loss", "share", "time"], limit: float, chosen: str | None
) -> None:
    constraint = Constraint(kind, limit)
    tuning = tune_pair(file, new_pair(), constraint)
    assert tuning.chosen == chosen
    if chosen is None:
        assert tuning.nearest is not None
        assert tuning.nearest.router == "slm"
        findings = tuning_findings(tuning, constraint)
        assert findings[0] == "No router satisfies the constraint (at most 10 ms per problem)."
        assert "Nearest to the constraint is slm with 50 ms per problem" in findings[1]


def test_the_llm_alone_is_chosen_if_no_router_satisfies_the_constraint(file: Path) -> None:
    pair = new_pair()
    for router in ROUTERS:
        pair.behaviors[router] = RouterBehavior(
            ms=100, wrong=[*CHOOSING[-6:], *CHOOSING[:2]] if router != "entropy:0.3" else CHOOSING[:1]
        )
    tuning = tune_pair(file, pair)
    assert tuning.chosen == "llm"
    assert tuning.nearest is not None
    assert tuning.nearest.router == "entropy:0.3"
    findings = tuning_findings(tuning, ONE_POINT)
    assert findings[0].startswith("The LLM alone is the best choice")
    assert "Nearest to the constraint is entropy:0.3" in findings[1]


def test_routers_slower_than_the_llm_alone_only_run_in_the_screening(file: Path) -> None:
    pair = new_pair()
    pair.behaviors |= {router: RouterBehavior(ms=500) for router in ROUTERS}
    tuning = tune_pair(file, pair)
    assert tuning.chosen == "llm"
    assert sum(router == "slm" for router, _ in pair.asked) == max(8, len(CHOOSING) // 4)


def test_findings_name_a_constraint_that_fails_on_the_reporting_part(file: Path) -> None:
    pair = new_pair()
    pair.behaviors["entropy:0.1"] = RouterBehavior(ms=120, wrong=[n for n in NUMBERS if n not in CHOOSING][:9])
    findings = tuning_findings(tune_pair(file, pair), ONE_POINT)
    assert "It does NOT satisfy the constraint there." in findings[1]


def test_too_few_problems_and_missing_gold_answers(tmp_path: Path) -> None:
    file = write_problems(tmp_path / "p.jsonl", 1)
    with pytest.raises(InputError, match="Use 40 problems or more"):
        tune_pair(file, new_pair())
    file.write_text("".join(json.dumps({"id": n, "question": "?"}) + "\n" for n in range(20)))
    with pytest.raises(InputError, match="No gold answers"):
        tune_pair(file, new_pair())


def test_the_split_is_even_and_deterministic() -> None:
    reporting = sum(is_reporting(str(n)) for n in range(1000))
    assert 450 < reporting < 550
    assert [is_reporting(f"q{n}") for n in range(4)] == [is_reporting(f"q{n}") for n in range(4)]


@pytest.mark.parametrize("spec", CANDIDATES)
def test_every_candidate_is_a_valid_spec(spec: str) -> None:
    router_from_spec(spec)
