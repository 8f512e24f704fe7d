"""Trace: totals, round trip through JSON, records, and the view in a notebook."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.llama.batch import Usage
from rstitch_local.trace import record as record_module
from rstitch_local.trace.record import Trace

counts = st.lists(st.integers(0, 10_000), min_size=3, max_size=3)
fractions = st.floats(0, 1)
steps = st.builds(
    Step,
    position=st.integers(0, 9999),
    role=st.sampled_from(Role),
    token=st.integers(0, 200_000),
    text=st.text(max_size=4),
    entropy=fractions,
    top1=fractions,
    evaluated_tokens=st.integers(0, 99),
    ms=st.floats(0, 1e5),
    swap_entropy=st.none() | fractions,
    replaced_bytes=st.none() | st.integers(0, 9),
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
    taus=st.lists(st.tuples(st.integers(0, 9999), fractions), max_size=2),
    stop=st.sampled_from([None, "eog", "length", "interrupted", "error"]),
    wall_ms=st.floats(0, 1e7),
    ttft_ms=st.none() | st.floats(0, 1e7),
)


@given(traces)
def test_a_trace_is_equal_after_a_round_trip(trace: Trace) -> None:
    record = json.loads(json.dumps(trace.to_dict()))
    again = Trace.from_dict(record)
    assert again.to_dict() == record == trace.to_dict()
    assert again.text == trace.text == "".join(step.text for step in trace.steps)
    assert again.steps == trace.steps
    assert all(isinstance(step.role, Role) for step in again.steps)
    assert again.llm_share == trace.llm_share
    assert again.catch_up_tokens == trace.catch_up_tokens


def test_totals() -> None:
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


def test_an_empty_trace_has_totals_of_zero() -> None:
    trace = Trace(seed=0)
    assert (trace.llm_share, trace.tokens_per_second, trace.text, trace.totals()["ttft_ms"]) == (0.0, 0.0, "", None)


@given(traces)
def test_a_trace_as_columns_differs_only_by_rounding(trace: Trace) -> None:
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
def test_records_have_the_same_keys_and_types(trace: Trace, sizes_known: bool) -> None:
    if sizes_known:
        trace.settings = {"vocabulary": {"slm": 1000, "llm": 2000}}
    records = trace.to_records()
    assert len(records) == len(trace.steps)
    for record, step in zip(records, trace.steps, strict=True):
        assert list(record) == list(RECORD_KEYS)
        for name, value in record.items():
            # Plain types, for data frames and JSON.
            assert value is None or type(value) is RECORD_KEYS[name]
        assert record["role"] in ("slm", "llm")
        assert (record["entropy_nats"] is not None) == sizes_known
        assert (record["swap_entropy_nats"] is not None) == (sizes_known and step.swap_entropy is not None)
    json.dumps(records, allow_nan=False)


def test_records_have_swaps_and_nats() -> None:
    roles = (Role.SLM, Role.LLM, Role.LLM, Role.SLM, Role.LLM)
    steps = [
        Step(position, role, position, "x", 0.5, 0.9, 1, 1.0, 0.25 if position in (1, 4) else None)
        for position, role in enumerate(roles)
    ]
    trace = Trace(1, {"vocabulary": {"slm": 100, "llm": 1000}}, steps)
    records = trace.to_records()
    assert [record["swap"] for record in records] == ["", "up", "", "down", "up"]
    assert records[0]["entropy_nats"] == pytest.approx(0.5 * math.log(100))
    assert records[1]["entropy_nats"] == pytest.approx(0.5 * math.log(1000))
    assert records[1]["swap_entropy_nats"] == pytest.approx(0.25 * math.log(100))


@pytest.mark.parametrize("sizes", [None, 5, {}, {"slm": "100"}, {"slm": 1}, {"llm": 100}])
def test_nats_need_the_size_of_the_vocabulary(sizes: Any) -> None:
    assert Trace(1, {"vocabulary": sizes}).nats(Role.SLM, 0.5) is None
    assert Trace(1, {"vocabulary": {"slm": 100}}).nats(Role.SLM, None) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(traces, st.data())
def test_an_edited_record_is_read_or_refused(trace: Trace, data: st.DataObject) -> None:
    record = json.loads(json.dumps(trace.to_columns() if data.draw(st.booleans()) else trace.to_dict()))
    container = record
    while isinstance(container, dict) and container:
        key = data.draw(st.sampled_from(sorted(container)))
        if not isinstance(container[key], dict) or data.draw(st.booleans()):
            container[key] = data.draw(json_values)
            break
        container = container[key]
    try:
        again = Trace.from_dict(record)
    except ValueError:
        return
    # A trace that was read can be shown and added up.
    assert again.llm_share >= 0 or again.tokens
    json.dumps([again.to_records(), again.totals()])
    assert again._repr_html_().startswith('<div class="rstitch">')


def test_the_repr_has_the_main_numbers() -> None:
    trace = Trace(3, {"router": "entropy:0.02"}, tokens={Role.SLM: 6, Role.LLM: 2}, swaps_up=2, stop="eog")
    assert repr(trace) == (
        "<Trace: 8 tokens (6 SLM, 2 LLM), swaps to the LLM: 2, router='entropy:0.02', seed=3, stop='eog'>"
    )


def test_a_record_without_a_key_is_refused_by_its_name() -> None:
    record = Trace(1).to_dict()
    del record["steps"]
    with pytest.raises(ValueError, match="not a trace: the key 'steps' is missing"):
        Trace.from_dict(record)


def test_the_acceptance_rate_is_that_of_speculative_decoding() -> None:
    roles = [Role.SLM, Role.SLM, Role.LLM, Role.LLM, Role.SLM]
    steps = [Step(position, role, 1, "a", 0.0, 1.0, 1, 1.0) for position, role in enumerate(roles)]
    counts = {role: roles.count(role) for role in Role}
    # Three rounds; two drafts accepted, one rejected, one accepted.
    trace = Trace(0, {"router": "spec:2"}, steps, tokens=counts, stop="eog")
    trace.usage[Role.LLM].tokens = [9, 5, 1]
    assert trace.acceptance_rate == 3 / 4
    assert Trace(0, {"router": "entropy:0.1"}, steps, tokens=counts).acceptance_rate is None
    assert Trace(0, {"router": "spec:2"}).acceptance_rate is None
    trace.resumed_tokens = 2
    assert trace.acceptance_rate is None


def test_the_record_does_not_import_the_page() -> None:
    source = Path(record_module.__file__).read_text(encoding="utf-8")
    assert "trace.page" not in source
