from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest
from bench_fakes import QuickGrader, RoutedPair, Way, bench_job, quiet
from problem_fakes import write_problems

from rstitch_local.errors import InputError
from rstitch_local.routing.spec import router_from_spec
from rstitch_local.study.tuning import CANDIDATES, Constraint, Tuning, is_reporting, tune
from rstitch_local.study.tuning_report import findings, write_tuning

COUNT = 60
NUMBERS = [str(n) for n in range(COUNT)]
CHOOSING = [n for n in NUMBERS if not is_reporting(f"q{n}")]
POINT = Constraint("loss", 0.01)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rstitch_local.study.bench.Grader", QuickGrader)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_problems(tmp_path / "p.jsonl", COUNT)


def pair() -> RoutedPair:
    """Four routers: the faster, the less right; the fastest is hopeless at once, the next fails late."""
    return RoutedPair(
        {
            "llm": Way(ms=400, slm=0, llm=8),
            "slm": Way(ms=50, slm=8, llm=0, wrong=NUMBERS),
            "entropy:0.3": Way(ms=80, slm=7, llm=1, wrong=CHOOSING[-4:]),
            "entropy:0.1": Way(ms=120, slm=6, llm=2),
            "entropy:0.01": Way(ms=300, slm=4, llm=4),
        }
    )


ROUTERS = ["entropy:0.01", "entropy:0.1", "slm", "entropy:0.3"]


def tuned(file: Path, own: RoutedPair, wish: Constraint = POINT, after: int | None = None) -> Tuning:
    return tune(
        bench_job(file, file.parent / "out"), ROUTERS, wish, own.load, quiet(),
        lambda: after is not None and len(own.asked) > after,
    )  # fmt: skip


def test_the_fastest_within_the_wish_and_its_figures_on_other_problems(file: Path) -> None:
    own = pair()
    found = tuned(file, own)
    assert (found.chosen, found.nearest, found.finished) == ("entropy:0.1", None, True)
    assert found.choosing == len(CHOOSING)
    assert found.reporting == COUNT - len(CHOOSING)
    assert [figures.router for figures in found.reported] == ["llm", "entropy:0.1"]
    assert found.reported[1].problems == found.reporting
    assert found.reported[1].speed_up == pytest.approx(400 / 120)
    assert {row["id"] for row in (found.report.rows["llm"] if found.report else [])} == {
        f"q{n}" for n in NUMBERS if n not in CHOOSING
    }
    # The hopeless one was not run beyond the first quarter, the slower one not at all after it.
    scouted = max(8, len(CHOOSING) // 4)
    counts = {router: sum(asked == router for asked, _ in own.asked) for router in [*ROUTERS, "llm"]}
    assert counts["slm"] == counts["entropy:0.01"] == scouted
    assert counts["entropy:0.3"] == len(CHOOSING)
    assert counts["entropy:0.1"] == counts["llm"] == COUNT
    words = findings(found, POINT)
    assert words[0].startswith("entropy:0.1 is chosen (at most 1 point less right than the LLM alone)")
    assert "It keeps to the wish there as well." in words[1]
    write_tuning(file.parent, words, found, POINT)
    record = json.loads((file.parent / "tune.json").read_text())
    assert record["chosen"] == "entropy:0.1"
    assert (file.parent / "report.md").read_text().startswith("# Tuning\n\nentropy:0.1 is chosen")


def test_a_tuning_goes_on_where_it_stopped(file: Path) -> None:
    first = pair()
    half = tuned(file, first, after=50)
    assert (half.finished, half.chosen) == (False, None)
    assert findings(half, POINT) == []
    second = pair()
    whole = tuned(file, second)
    straight = pair()
    other = write_problems(file.parent / "other.jsonl", COUNT)
    wanted = tune(bench_job(other, file.parent / "again"), ROUTERS, POINT, straight.load, quiet())
    assert whole.chosen == wanted.chosen
    assert len(first.asked) - 1 + len(second.asked) == len(straight.asked)
    assert tuned(file, again := pair()).chosen == whole.chosen
    assert again.asked == []


@pytest.mark.parametrize(
    ("kind", "limit", "chosen"),
    [
        ("share", 0.3, "entropy:0.1"),  # 1/8 and 2/8 are within it, and the second has more right
        ("share", 0.2, "entropy:0.3"),
        ("share", 1.0, "entropy:0.1"),  # as right as the LLM alone, and faster
        ("time", 100, "entropy:0.3"),
        ("time", 10, None),
        ("loss", 0.5, "entropy:0.3"),
    ],
)
def test_other_wishes(file: Path, kind: Literal["loss", "share", "time"], limit: float, chosen: str | None) -> None:
    wish = Constraint(kind, limit)
    found = tuned(file, pair(), wish)
    assert found.chosen == chosen
    if chosen is None:
        assert found.nearest is not None
        assert found.nearest.router == "slm"
        words = findings(found, wish)
        assert words[0] == "Nothing keeps to the wish (at most 10 ms a problem)."
        assert "slm comes nearest of the routers, with 50 ms a problem" in words[1]


def test_the_llm_alone_is_best_where_no_router_keeps_to_the_wish(file: Path) -> None:
    own = pair()
    for router in ROUTERS:
        own.ways[router] = Way(
            ms=100, wrong=[*CHOOSING[-6:], *CHOOSING[:2]] if router != "entropy:0.3" else CHOOSING[:1]
        )
    found = tuned(file, own)
    assert found.chosen == "llm"
    assert found.nearest is not None
    assert found.nearest.router == "entropy:0.3"
    words = findings(found, POINT)
    assert words[0].startswith("The LLM alone is the best choice")
    assert "entropy:0.3 comes nearest" in words[1]


def test_slower_routers_are_not_run_further(file: Path) -> None:
    own = pair()
    own.ways |= {router: Way(ms=500) for router in ROUTERS}
    found = tuned(file, own)
    assert found.chosen == "llm"
    assert sum(router == "slm" for router, _ in own.asked) == max(8, len(CHOOSING) // 4)


def test_what_fails_on_the_other_part_is_said(file: Path) -> None:
    own = pair()
    own.ways["entropy:0.1"] = Way(ms=120, wrong=[n for n in NUMBERS if n not in CHOOSING][:9])
    words = findings(tuned(file, own), POINT)
    assert "There it does NOT keep to the wish." in words[1]


def test_a_part_without_problems(tmp_path: Path) -> None:
    file = write_problems(tmp_path / "p.jsonl", 1)
    with pytest.raises(InputError, match="Tune on 40 problems or more"):
        tuned(file, pair())
    file.write_text("".join(json.dumps({"id": n, "question": "?"}) + "\n" for n in range(20)))
    with pytest.raises(InputError, match="No gold answers"):
        tuned(file, pair())


def test_parts_are_even_and_stay() -> None:
    reporting = sum(is_reporting(str(n)) for n in range(1000))
    assert 450 < reporting < 550
    assert [is_reporting(f"q{n}") for n in range(4)] == [is_reporting(f"q{n}") for n in range(4)]


@pytest.mark.parametrize("spec", CANDIDATES)
def test_every_candidate_is_a_router(spec: str) -> None:
    router_from_spec(spec)
