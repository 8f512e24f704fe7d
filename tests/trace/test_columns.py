"""Steps as columns: round trip to the documented precision, size, and invalid columns."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.trace.columns import pack, unpack
from rstitch_local.trace.record import Trace

fractions = st.floats(0, 1)
step_lists = st.lists(
    st.builds(
        Step,
        position=st.just(0),
        role=st.sampled_from(Role),
        token=st.integers(0, 200_000),
        text=st.text(max_size=4),
        entropy=fractions,
        top1=fractions,
        evaluated_tokens=st.integers(0, 9999),
        ms=st.floats(0, 1e6),
        swap_entropy=st.none() | fractions,
    ),
    max_size=6,
)


def through_json(columns: dict[str, Any]) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(json.dumps(columns, allow_nan=False, ensure_ascii=False).encode().decode())
    return read


@given(step_lists)
def test_packed_steps_are_unpacked(steps: list[Step]) -> None:
    for position, step in enumerate(steps):
        step.position = position
    again = unpack(through_json(pack(steps)), "".join(step.text for step in steps))
    assert len(again) == len(steps)
    for one, two in zip(steps, again, strict=True):
        exact = ("position", "role", "token", "text", "evaluated_tokens")
        assert [getattr(one, name) for name in exact] == [getattr(two, name) for name in exact]
        assert isinstance(two.role, Role)
        # Half of the fifth digit of numbers that begin with 1; denormal floats have fewer digits.
        assert two.entropy == pytest.approx(one.entropy, rel=5e-5, abs=1e-300)
        assert two.top1 == pytest.approx(one.top1, rel=5e-5, abs=1e-300)
        assert two.ms == pytest.approx(one.ms, rel=5e-4, abs=1e-300)
        assert (two.swap_entropy is None) == (one.swap_entropy is None)
        assert two.swap_entropy is None or two.swap_entropy == pytest.approx(one.swap_entropy, rel=5e-5, abs=1e-300)
    # Rounding is idempotent.
    assert unpack(through_json(pack(again)), "".join(step.text for step in again)) == again


def test_replaced_bytes_are_stored_only_for_different_tokenizers() -> None:
    steps = [Step(i, Role.SLM, 1, "a", 0.5, 0.5, 1, 1.0, replaced_bytes=count) for i, count in enumerate((0, 3, 0))]
    columns = through_json(pack(steps))
    assert columns["replaced_bytes"] == [[1, 3]]
    assert unpack(columns, "aaa") == steps
    assert "replaced_bytes" not in pack([Step(0, Role.SLM, 1, "a", 0.5, 0.5, 1, 1.0)])


def test_500_tokens_take_less_than_25_kb() -> None:
    rng = np.random.default_rng(1)
    steps = [
        Step(
            position=position,
            role=Role.LLM if rng.random() < 0.2 else Role.SLM,
            token=int(rng.integers(152_000)),
            text=" word",
            entropy=float(10 ** rng.uniform(-7, 0)),
            top1=float(rng.random()),
            evaluated_tokens=int(rng.integers(1, 30)),
            ms=float(rng.uniform(10, 100)),
            swap_entropy=float(rng.random()) if rng.random() < 0.1 else None,
        )
        for position in range(500)
    ]
    trace = Trace(1, {"router": "entropy:0.02"}, steps, stop="eog")
    size = len(json.dumps(trace.to_columns(), separators=(",", ":")))
    assert size < 25_000
    assert size < len(json.dumps(trace.to_dict(), separators=(",", ":"))) / 3


INVALID = [
    {"length": [1, 1, 1]},
    {"length": [3, -1]},
    {"length": ["a", "b"]},
    {"length": None},
    {"role": "SX"},
    {"role": "S"},
    {"token": [1]},
    {"token": [1, None]},
    {"entropy": [0.1, "x"]},
    {"unsure": [[0]]},
    {"unsure": 5},
    {"ms": {}},
]


@pytest.mark.parametrize("change", INVALID)
def test_invalid_columns_are_refused(change: dict[str, Any]) -> None:
    steps = [Step(0, Role.SLM, 1, "a", 0.1, 0.9, 1, 1.0), Step(1, Role.LLM, 2, "b", 0.2, 0.8, 2, 2.0, 0.3)]
    columns = pack(steps)
    assert unpack(columns, "ab") == steps
    with pytest.raises((ValueError, TypeError, KeyError)):
        unpack({**columns, **change}, "ab")
    with pytest.raises(KeyError):
        unpack({name: column for name, column in columns.items() if name not in change}, "ab")
    with pytest.raises(ValueError, match="text"):
        unpack(columns, "abc")
