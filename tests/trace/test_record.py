"""Trace: its sums, and that it is the same after having been written and read."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.llama.batch import Usage
from rstitch_local.trace.record import Trace

counts = st.lists(st.integers(0, 10_000), min_size=3, max_size=3)
shares = st.floats(0, 1)
steps = st.builds(
    Step,
    position=st.integers(0, 9999),
    role=st.sampled_from(Role),
    token=st.integers(0, 200_000),
    text=st.text(max_size=4),
    entropy=shares,
    top1=shares,
    evaluated_tokens=st.integers(0, 99),
    ms=st.floats(0, 1e5),
    swap_entropy=st.none() | shares,
)
traces = st.builds(
    Trace,
    seed=st.integers(),
    settings=st.fixed_dictionaries({"router": st.text(max_size=8), "max_tokens": st.none() | st.integers(1, 99)}),
    steps=st.lists(steps, max_size=5),
    usage=st.fixed_dictionaries({role: st.builds(Usage, counts, counts) for role in Role}),
    tokens=st.fixed_dictionaries({role: st.integers(0, 999) for role in Role}),
    swaps_up=st.integers(0, 99),
    swaps_down=st.integers(0, 99),
    resumed_tokens=st.integers(0, 9),
    taus=st.lists(st.tuples(st.integers(0, 9999), shares), max_size=2),
    stop=st.sampled_from([None, "eog", "length", "interrupted", "error"]),
    wall_ms=st.floats(0, 1e7),
    ttft_ms=st.none() | st.floats(0, 1e7),
)


@given(traces)
def test_a_trace_survives_writing_and_reading(trace: Trace) -> None:
    record = json.loads(json.dumps(trace.to_dict()))
    again = Trace.from_dict(record)
    assert again.to_dict() == record == trace.to_dict()
    assert again.text == trace.text == "".join(step.text for step in trace.steps)
    assert again.steps == trace.steps
    assert all(isinstance(step.role, Role) for step in again.steps)
    assert again.llm_share == trace.llm_share
    assert again.catch_up_tokens == trace.catch_up_tokens


def test_sums() -> None:
    trace = Trace(
        seed=3,
        tokens={Role.SLM: 6, Role.LLM: 2},
        usage={
            Role.SLM: Usage([10, 2, 5], [4_000_000, 1_000_000, 3_000_000]),
            Role.LLM: Usage([11, 7, 1], [9_000_000, 5_000_000, 500_400]),
        },
        swaps_up=2,
        swaps_down=1,
        resumed_tokens=2,
        taus=[(4, 0.05)],
        stop="eog",
        wall_ms=40.0,
        busy_ms=12.5,
        ttft_ms=5.25,
    )
    assert trace.llm_share == 0.25
    assert trace.catch_up_tokens == 9
    assert round(trace.model_ms, 3) == 22.5
    assert trace.tokens_per_second == 150
    assert trace.totals() == {
        "stop": "eog",
        "seed": 3,
        "tokens": {"slm": 6, "llm": 2},
        "swaps": {"up": 2, "down": 1},
        "evaluated": {
            "slm": {"prompt": 10, "catch_up": 2, "decode": 5},
            "llm": {"prompt": 11, "catch_up": 7, "decode": 1},
        },
        "ms": {
            "slm": {"prompt": 4.0, "catch_up": 1.0, "decode": 3.0},
            "llm": {"prompt": 9.0, "catch_up": 5.0, "decode": 0.5},
        },
        "wall_ms": 40.0,
        "busy_ms": 12.5,
        "ttft_ms": 5.25,
        "kept": 2,
        "taus": [[4, 0.05]],
    }


def test_an_empty_trace_has_no_division_by_nothing() -> None:
    trace = Trace(seed=0)
    assert (trace.llm_share, trace.tokens_per_second, trace.text, trace.totals()["ttft_ms"]) == (0.0, 0.0, "", None)


@given(traces)
def test_a_trace_by_columns_is_the_same_but_for_rounding(trace: Trace) -> None:
    for position, step in enumerate(trace.steps):
        step.position = position
    record = json.loads(json.dumps(trace.to_columns()))
    again = Trace.from_dict(record)
    assert again.totals() == trace.totals()
    assert (again.text, again.settings) == (trace.text, trace.settings)
    assert [(step.role, step.token) for step in again.steps] == [(step.role, step.token) for step in trace.steps]
    assert again.to_columns() == record


RECORD_KEYS = {
    "position": int, "role": str, "token": int, "text": str, "entropy": float, "entropy_nats": float, "top1": float,
    "swap_entropy": float, "swap_entropy_nats": float, "margin": float, "evaluated_tokens": int,
    "ms": float, "swap": str,
}  # fmt: skip


@given(traces, st.booleans())
def test_records_are_rows_of_one_table(trace: Trace, sizes_known: bool) -> None:
    if sizes_known:
        trace.settings = {"vocabulary": {"slm": 1000, "llm": 2000}}
    records = trace.to_records()
    assert len(records) == len(trace.steps)
    for record, step in zip(records, trace.steps, strict=True):
        assert list(record) == list(RECORD_KEYS)
        for name, value in record.items():
            # What a data frame can hold, and JSON too.
            assert value is None or type(value) is RECORD_KEYS[name]
        assert record["role"] in ("slm", "llm")
        assert (record["entropy_nats"] is not None) == sizes_known
        assert (record["swap_entropy_nats"] is not None) == (sizes_known and step.swap_entropy is not None)
    json.dumps(records, allow_nan=False)


def test_records_name_the_swaps_and_the_nats() -> None:
    roles = (Role.SLM, Role.LLM, Role.LLM, Role.SLM, Role.LLM)
    steps_made = [
        Step(place, role, place, "x", 0.5, 0.9, 1, 1.0, 0.25 if place in (1, 4) else None)
        for place, role in enumerate(roles)
    ]
    trace = Trace(1, {"vocabulary": {"slm": 100, "llm": 1000}}, steps_made)
    records = trace.to_records()
    assert [record["swap"] for record in records] == ["", "up", "", "down", "up"]
    assert records[0]["entropy_nats"] == pytest.approx(0.5 * math.log(100))
    assert records[1]["entropy_nats"] == pytest.approx(0.5 * math.log(1000))
    assert records[1]["swap_entropy_nats"] == pytest.approx(0.25 * math.log(100))


@pytest.mark.parametrize("sizes", [None, 5, {}, {"slm": "100"}, {"slm": 1}, {"llm": 100}])
def test_without_the_size_of_the_vocabulary_there_are_no_nats(sizes: Any) -> None:
    assert Trace(1, {"vocabulary": sizes}).nats(Role.SLM, 0.5) is None
    assert Trace(1, {"vocabulary": {"slm": 100}}).nats(Role.SLM, None) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(traces, st.data())
def test_a_record_that_somebody_has_been_at_is_read_or_refused(trace: Trace, data: st.DataObject) -> None:
    record = json.loads(json.dumps(trace.to_columns() if data.draw(st.booleans()) else trace.to_dict()))
    place = record
    while isinstance(place, dict) and place:
        key = data.draw(st.sampled_from(sorted(place)))
        if not isinstance(place[key], dict) or data.draw(st.booleans()):
            place[key] = data.draw(json_values)
            break
        place = place[key]
    try:
        again = Trace.from_dict(record)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return
    # Whatever was read can be shown and added up.
    assert again.llm_share >= 0 or again.tokens
    json.dumps([again.to_records(), again.totals()])
    assert again._repr_html_().startswith('<div class="rstitch">')
