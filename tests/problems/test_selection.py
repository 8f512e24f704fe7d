from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstitch_local.errors import InputError, UsageError
from rstitch_local.problems.prompts import prompt_of
from rstitch_local.problems.reading import Problem
from rstitch_local.problems.selection import Selection

PROBLEMS = [Problem(f"p{n}", "q", None, n + 1) for n in range(10)]


def _ids(selection: Selection) -> list[str]:
    return [problem.id for problem in selection.of(PROBLEMS)]


def test_selected_ids_keep_the_order_of_the_file() -> None:
    assert _ids(Selection.parse("p4, p1,p4", None, None)) == ["p1", "p4"]


def test_unknown_ids_are_named() -> None:
    with pytest.raises(InputError, match="id x, y"):
        Selection.parse("p1,x,y", None, None).of(PROBLEMS)


@given(st.integers(1, 12), st.integers(1, 7))
def test_the_shards_partition_the_limited_problems(limit: int, shards: int) -> None:
    parts = [_ids(Selection.parse(None, limit, f"{place}/{shards}")) for place in range(1, shards + 1)]
    assert sorted(name for part in parts for name in part) == sorted(_ids(Selection(limit=limit)))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("shard", ["0/4", "5/4", "1", "a/b", "-1/4", "1/0"])
def test_invalid_shards_are_refused(shard: str) -> None:
    with pytest.raises(UsageError, match="shard="):
        Selection.parse(None, None, shard)


def test_an_empty_list_of_ids_is_refused() -> None:
    with pytest.raises(UsageError, match="ids="):
        Selection.parse(" ,", None, None)


def test_prompts() -> None:
    braces = "Is {x} in {question}?"
    assert prompt_of(None).messages("1+1?") == [
        {
            "role": "user",
            "content": "1+1?\nPlease reason step by step, and put your final answer within \\boxed{}.",
        }
    ]
    assert prompt_of("plain").messages(braces)[0]["content"] == braces
    assert prompt_of("Be brief.").messages("1+1?")[0]["content"] == "1+1?\nBe brief."
    assert prompt_of("Q: {question} A:").messages(braces)[0]["content"] == f"Q: {braces} A:"
    assert prompt_of("plain", "Think for 9 tokens.").messages("1+1?")[0]["content"] == "1+1?\nThink for 9 tokens."
    with pytest.raises(UsageError, match="prompt="):
        prompt_of(" ")
