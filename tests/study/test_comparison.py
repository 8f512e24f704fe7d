from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from problem_fakes import row, write_problems
from tiny_pair import TinyPair

from rstitch_local.decoding.routers import Role
from rstitch_local.engine.pair import LoadOptions, Pair, load_pair
from rstitch_local.problems.metrics import summary
from rstitch_local.problems.prompts import prompt_of
from rstitch_local.study.comparison import RouterFigures, compare_routers, cost_table, table


@contextmanager
def opened(tiny_pair: TinyPair) -> Iterator[Pair]:
    with load_pair(slm=tiny_pair.slm, llm=tiny_pair.llm, options=LoadOptions(context=256, threads=1)) as pair:
        yield pair


def test_a_comparison_goes_on_where_it_stopped(tiny_pair: TinyPair, tmp_path: Path) -> None:
    problems = write_problems(tmp_path / "p.jsonl", 3)
    with opened(tiny_pair) as pair:

        def compare(*routers: str) -> list[RouterFigures]:
            return compare_routers(
                pair, problems, tmp_path / "out", routers, prompt=prompt_of("plain"), limit=2, max_tokens=8
            )

        first = compare("slm", "llm")
        assert [len(figures.rows) for figures in first] == [2, 2]
        again = compare("llm", "entropy:0.5")
        assert again[0].rows == first[1].rows
    assert first[0].ms_per_token(Role.LLM, "decode") is None
    assert (first[1].ms_per_token(Role.LLM, "decode") or 0) > 0
    assert 0 < first[0].outside_share < 1
    text = table([*first, again[1]])
    assert [line.split("|")[1].strip() for line in text.splitlines()[2:]] == ["slm", "llm", "entropy:0.5"]
    assert "| 1.00x |" in text.splitlines()[3]
    assert len(cost_table(first).splitlines()) == 4


def test_figures_by_hand() -> None:
    slow = [row("a", True, wall_ms=100.0), row("b", False, wall_ms=300.0)]
    fast = [row("a", True, wall_ms=50.0), row("b", True, wall_ms=150.0)]
    one, other = (RouterFigures(name, summary(rows), rows) for name, rows in (("llm", slow), ("slm", fast)))
    assert other.speed_up_over(one) == pytest.approx(2.0)
    # Each row says 6 kinds of 1.5 ms, so 9 of its 100 and 300 ms were inside.
    assert one.outside_share == pytest.approx(1 - 18 / 400)
    assert one.ms_per_token(Role.SLM, "catch_up") == pytest.approx(1.5)
