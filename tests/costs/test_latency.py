"""The cost model: non-negative least squares, interpolation in the table, costs of whole answers."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstitch_local.costs.evaluations import Evaluation
from rstitch_local.costs.fitting import Formula, Sample, Table, medians, nnls
from rstitch_local.costs.latency import ModelLatency, PairLatency
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.llama.batch import Usage
from rstitch_local.trace.record import Trace

SIZES = (1, 2, 3, 4, 6, 8, 16, 64)
DEPTHS = (0, 512, 1024)


@pytest.mark.parametrize(
    ("matrix", "target", "x"),
    [
        ([[1, 0], [0, 1]], [3, 4], [3, 4]),
        # The unconstrained solution is (3, -4); without the second column the first is 3.
        ([[1, 0], [0, 1]], [3, -4], [3, 0]),
        ([[1, 0], [0, 1]], [-3, -4], [0, 0]),
        # Correlated columns: the unconstrained solution is (-1, 2), the best one without the first (0, 1.4).
        ([[1, 1], [1, 2]], [1, 3], [0, 1.4]),
        ([[0, 2], [0, 2]], [4, 4], [0, 2]),
    ],
)
def test_non_negative_least_squares(matrix: list[list[float]], target: list[float], x: list[float]) -> None:
    assert nnls(np.array(matrix, float), np.array(target, float)) == pytest.approx(x)


@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 8))
def test_the_solution_is_optimal(seed: int, columns: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(rows, columns)) * 10.0 ** rng.integers(-4, 5, size=columns)
    target = rng.normal(size=rows)
    x = nnls(matrix, target)
    assert (x >= 0).all()
    # The Karush-Kuhn-Tucker conditions.
    gradient = matrix.T @ (matrix @ x - target) / np.maximum(np.linalg.norm(matrix, axis=0), 1e-300)
    assert (gradient >= -1e-7).all()
    assert np.abs(gradient[x > 0]).max(initial=0.0) < 1e-7


def grid(ms: Any) -> list[Sample]:
    return [Sample(n, k, ms(n, k)) for n, k in itertools.product(SIZES, DEPTHS)]


def test_known_coefficients_are_fitted() -> None:
    known = Formula(prefill=(2e-5, 3e-3, 1.5, 7.0), decode=(4e-3, 11.0))
    found = Formula.fit(grid(known.ms))
    assert found.prefill == pytest.approx(known.prefill, rel=1e-6)
    assert found.decode == pytest.approx(known.decode, rel=1e-6)
    assert found.ms(10, 100) == pytest.approx(2e-5 * 1000 + 3e-3 * 100 + 1.5 * 10 + 7)
    assert found.ms(1, 100) == pytest.approx(4e-3 * 100 + 11)
    assert found.ms(1.25, 100) == pytest.approx(0.75 * found.ms(1, 100) + 0.25 * found.ms(2, 100))


def test_the_fit_minimizes_relative_errors() -> None:
    cells = [Sample(1, 0, 1.0), Sample(1, 0, 1.0), Sample(1, 0, 4.0), Sample(2, 0, 1.0), Sample(4, 0, 1.0)]
    d = Formula.fit(cells).decode[1]
    # sum (d / t - 1)^2 has its minimum at sum(1/t) / sum(1/t^2).
    assert d == pytest.approx((1 + 1 + 0.25) / (1 + 1 + 1 / 16))


def test_a_cost_that_falls_with_depth_gives_a_slope_of_zero() -> None:
    samples = grid(lambda n, k: 5.0 + n - k / 1000)
    found = Formula.fit(samples)
    assert found.prefill[0] == found.decode[0] == 0


def test_fitting_needs_single_tokens_and_batches() -> None:
    with pytest.raises(ValueError, match="both"):
        Formula.fit([Sample(1, 0, 1.0)])


@given(st.floats(1, 64), st.floats(0, 1024))
def test_the_table_is_bilinear_between_its_points(n: float, k: float) -> None:
    def plane(n: float, k: float) -> float:
        return 3 + 2 * n + 0.01 * k + 0.002 * n * k

    assert Table.fit(grid(plane)).ms(n, k) == pytest.approx(plane(n, k))


def test_the_table_has_its_points_and_extrapolates() -> None:
    bumpy = {(n, k): 1.0 + (7 * i) % 5 + k / 100 for i, (n, k) in enumerate(itertools.product(SIZES, DEPTHS))}
    table = Table.fit(grid(lambda n, k: bumpy[n, k]))
    for (n, k), ms in bumpy.items():
        assert table.ms(n, k) == pytest.approx(ms)
    assert table.ms(1, 99_999) == table.ms(1, 1024)
    slope = (table.ms(64, 0) - table.ms(16, 0)) / 48
    assert table.ms(80, 0) == pytest.approx(max(0.0, table.ms(64, 0) + 16 * slope))


def test_missing_sizes_at_a_depth_are_interpolated() -> None:
    samples = [Sample(n, 0, {1: 5.0, 2: 9.0, 3: 6.0, 5: 20.0}[n]) for n in (1, 2, 3, 5)]
    samples += [Sample(1, 100, 6.0), Sample(5, 100, 25.0)]
    table = Table.fit(samples)
    # The depth adds 1 ms for one token and 5 ms for five, so 2 ms for two, whatever two tokens cost.
    assert [table.ms(n, 100) for n in (1, 2, 3, 5)] == pytest.approx([6, 11, 9, 25])
    assert table.ms(2, 50) == pytest.approx(10)


def test_each_cell_has_its_median() -> None:
    assert medians([Sample(1, 0, 3.0), Sample(2, 0, 1.0), Sample(1, 0, 90.0), Sample(1, 0, 4.0)]) == [
        Sample(1, 0, 4.0), Sample(2, 0, 1.0),
    ]  # fmt: skip


def linear(c: float, d: float, n_batch: int = 64, **more: Any) -> ModelLatency:
    """c ms per token of a batch plus d per batch; a single token costs c + d."""
    return ModelLatency(n_batch=n_batch, formula=Formula(prefill=(0, 0, c, d), decode=(0, c + d)), **more)


def test_long_evaluations_are_split_into_chunks() -> None:
    model = ModelLatency(n_batch=10, formula=Formula(prefill=(1, 0, 0, 0), decode=(1, 0)))
    # 10 after 5, 10 after 15, 1 after 25: each costs tokens times cached tokens.
    assert model.ms(21, 5) == pytest.approx(10 * 5 + 10 * 15 + 1 * 25)
    assert model.ms(20, 5) == pytest.approx(10 * 5 + 10 * 15)
    assert model.turn_ms(20, 5) == model.ms(20, 5)
    assert linear(1, 2, outside_ms=0.5).turn_ms(3, 0) == pytest.approx(5.5)


def test_the_better_predictor_is_used() -> None:
    def steps(n: int, k: int) -> float:
        return 10.0 * -(-n // 4) + k / 100

    def line(n: int, k: int) -> float:
        return 5.0 + n + k / 100

    unseen = [Sample(n, 256, steps(n, 256)) for n in (3, 6, 16)]
    stepped = ModelLatency.fit(grid(steps), unseen, n_batch=64)
    assert stepped.uses_table
    assert stepped.table_error is not None
    assert stepped.formula_error is not None
    assert stepped.error == stepped.table_error < 0.001 < stepped.formula_error
    assert stepped.ms(6, 256) == pytest.approx(steps(6, 256))
    # The table has noise, the formula does not.
    noisy = grid(lambda n, k: line(n, k) * (1.3 if n == 6 else 1.0))
    smooth = ModelLatency.fit(noisy, [Sample(n, 300, line(n, 300)) for n in (5, 6, 7)], n_batch=64)
    assert not smooth.uses_table
    assert smooth.error == smooth.formula_error
    assert smooth.ms(6, 300) == smooth.formula.ms(6, 300)
    # Without held-out samples the table is used.
    alone = ModelLatency.fit(grid(steps), [], n_batch=64)
    assert alone.uses_table
    assert alone.error is None
    assert not linear(1, 1).uses_table


def test_beyond_the_last_depth_the_slope_is_the_formulas() -> None:
    model = ModelLatency.fit(grid(lambda n, k: 5 + n + n * k / 1000), [], n_batch=64)
    assert model.ms(4, 3000) == pytest.approx(5 + 4 + 4 * 3, rel=1e-3)
    assert model.ms(1, 3000) == pytest.approx(5 + 1 + 3, rel=1e-3)


@given(st.integers(0, 1500), st.integers(0, 1500), st.booleans())
def test_consecutive_single_tokens(count: int, n_kv: int, by_table: bool) -> None:
    fitted = ModelLatency.fit(grid(lambda n, k: 5 + n + (k / 100) ** 2), [], n_batch=64, outside_ms=0.3)
    model = fitted if by_table else fitted.model_copy(update={"table": None})
    assert model.decodes_ms(count, n_kv) == pytest.approx(sum(model.turn_ms(1, n_kv + i) for i in range(count)))


PAIR = PairLatency(slm=linear(1, 2, outside_ms=0.5), llm=linear(10, 20, n_batch=8, outside_ms=0.25))


def answer(slm: int, llm: int, prompts: tuple[int, int], resumed_tokens: int = 0) -> Trace:
    steps = [Step(i, Role.SLM if i < slm else Role.LLM, 0, "", 0.0, 1.0, 1, 0.0) for i in range(slm + llm)]
    usage = {role: Usage([count, 0, 0]) for role, count in zip(Role, prompts, strict=True)}
    return Trace(0, steps=steps, usage=usage, tokens={Role.SLM: slm, Role.LLM: llm}, resumed_tokens=resumed_tokens)


def test_the_time_of_one_model_alone() -> None:
    # A prompt of 6 in one batch, then three more tokens one at a time.
    llm = (6 * 10 + 20) + 3 * 30 + 4 * 0.25
    assert PAIR.alone_ms(Role.LLM, 6, 4) == pytest.approx(llm)
    assert PAIR.llm_alone_ms(answer(1, 3, (6, 6))) == pytest.approx(llm)
    # The LLM was never used: its prompt counts as long as the SLM's.
    slm_only = answer(4, 0, (6, 0))
    assert PAIR.llm_alone_ms(slm_only) == pytest.approx(llm)
    assert PAIR.llm_alone_ms(slm_only.totals()) == pytest.approx(llm)
    assert PAIR.llm_alone_seconds([slm_only, slm_only.totals()]) == pytest.approx(2 * llm / 1e3)
    assert PAIR.slm_alone_ms(slm_only) == pytest.approx((6 + 2) + 3 * 3 + 4 * 0.5)
    # Two resumed tokens are evaluated with the prompt: 8 in one batch.
    assert PAIR.llm_alone_ms(answer(4, 0, (6, 0), resumed_tokens=2)) == pytest.approx(8 * 10 + 20 + 30 + 2 * 0.25)
    assert PAIR.alone_ms(Role.LLM, 6, 0) == 0
    deep = PairLatency(slm=PAIR.slm, llm=ModelLatency(n_batch=8, formula=Formula(prefill=(0, 0, 1, 0), decode=(1, 0))))
    assert deep.alone_ms(Role.LLM, 6, 3, cached_tokens=100) == pytest.approx(6 + 106 + 107)


def test_an_answer_costs_the_sum_of_its_evaluations() -> None:
    evaluated = [Evaluation(Role.SLM, 6, 0, 6), Evaluation(Role.LLM, 9, 0, 6), Evaluation(Role.LLM, 1, 9)]
    # 9 tokens of the LLM are a batch of 8 and a single token.
    assert PAIR.sum_ms(evaluated) == pytest.approx((8 + 0.5) + (8 * 10 + 20 + 30 + 0.25) + (30 + 0.25))
    usage = {Role.SLM: Usage([6, 0, 3]), Role.LLM: Usage()}
    steps = [Step(i, Role.SLM, 0, "", 0.0, 1.0, 6 if i == 0 else 1, 0.0) for i in range(4)]
    trace = Trace(0, steps=steps, usage=usage, tokens={Role.SLM: 4, Role.LLM: 0})
    assert PAIR.predict_ms(trace) == PAIR.predict_ms(trace.totals()) == pytest.approx(8 + 3 * 3 + 4 * 0.5)


def test_round_trip_through_json() -> None:
    fitted = ModelLatency.fit(grid(lambda n, k: 1 + n + k / 7), [Sample(5, 20, 8.0)], n_batch=64, outside_ms=0.1)
    latency = PairLatency(slm=fitted, llm=PAIR.llm)
    assert PairLatency.from_dict(json.loads(json.dumps(latency.to_dict()))) == latency


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("slm", "n_batch"), 0),
        (("slm", "formula", "decode"), [1.0]),
        (("slm", "formula", "decode"), [1.0, -1.0]),
        (("slm", "formula", "decode"), [1.0, float("nan")]),
        (("slm", "outside_ms"), float("inf")),
        (("slm", "table", "batches"), [1, 1]),
        (("slm", "table", "depths"), []),
        (("slm", "table", "costs"), [[1.0], [2.0, 3.0]]),
        (("llm",), None),
        (("more",), 1),
    ],
)
def test_invalid_records_are_refused(path: tuple[str, ...], value: Any) -> None:
    table = Table(batches=(1, 2), depths=(0,), costs=((1.0,), (2.0,)))
    record = PairLatency(slm=linear(1, 1, table=table), llm=linear(1, 1)).to_dict()
    PairLatency.from_dict(record)
    container = record
    for name in path[:-1]:
        container = container[name]
    container[path[-1]] = value
    with pytest.raises(ValueError, match=path[-1]):
        PairLatency.from_dict(record)
