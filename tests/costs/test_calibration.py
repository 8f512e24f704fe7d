"""Measuring a pair: what is measured, that known costs are found, the time limit, cancellation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tiny_pair import TinyPair

from rstitch_local.costs import calibration
from rstitch_local.costs.calibration import calibrate, measure
from rstitch_local.costs.fitting import Formula
from rstitch_local.costs.store import load_calibration
from rstitch_local.decoding.roles import Role
from rstitch_local.engine.loading import LoadOptions, load_pair
from rstitch_local.engine.pair import Pair
from rstitch_local.errors import CancelledError, EngineError, InputError
from rstitch_local.llama.batch import BatchSlice
from rstitch_local.llama.context import Context, Decoded


@pytest.fixture(scope="module")
def pair(tiny_pair: TinyPair) -> Iterator[Pair]:
    with open_pair(tiny_pair) as loaded:
        yield loaded


def open_pair(files: TinyPair, **options: Any) -> Pair:
    return load_pair(slm=files.slm, llm=files.llm, options=LoadOptions(**options))


def test_all_batch_sizes_and_depths_are_measured(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "_MAX_REPEATS", 3)
    shares: list[float] = []
    latency = measure(pair, seconds=30, progress=shares.append)
    for role in Role:
        model, context = latency.of(role), pair.contexts[role]
        assert model.table is not None
        assert model.n_batch == context.n_batch == 64
        assert model.table.batches == (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 63, 64)
        # The context holds 512 tokens, and the last batch starts after 448.
        assert model.table.depths == (0, 448)
        assert all(ms > 0 for row in model.table.costs for ms in row)
        assert model.formula_error is not None
        assert model.table_error is not None
        assert model.outside_ms > 0
        assert context.length() == 0
    assert shares == sorted(shares)
    assert 0 <= shares[0] <= shares[-1] <= 1
    # The pair can generate again.
    assert sum(1 for _ in pair.ask("Well?", max_tokens=5)) == 5


def test_known_costs_are_found(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "_MAX_REPEATS", 2)
    known = Formula(prefill=(1e-3, 0, 0.5, 2), decode=(1e-3, 3))
    decode = Context.decode

    def timed(self: Context, slices: Sequence[BatchSlice], **options: Any) -> Decoded:
        length, count = self.length(), len(slices[0].ids)
        return decode(self, slices, **options)._replace(ns=[round(known.ms(count, length) * 1e6)])

    monkeypatch.setattr(Context, "decode", timed)
    latency = measure(pair, seconds=30)
    for role in Role:
        model = latency.of(role)
        assert model.formula.prefill == pytest.approx(known.prefill, rel=1e-3, abs=1e-4)
        assert model.ms(20, 200) == pytest.approx(known.ms(20, 200), rel=1e-2)
        assert model.ms(1, 200) == pytest.approx(known.ms(1, 200), rel=1e-2)
        assert model.error is not None
        assert model.error < 0.01


def test_without_time_the_minimum_is_measured(pair: Pair) -> None:
    latency = measure(pair, seconds=1e-6)
    assert latency.slm.table is not None
    assert latency.slm.table.depths == (0, 256)


def test_small_contexts(tiny_pair: TinyPair) -> None:
    with open_pair(tiny_pair, context=200) as small:
        assert measure(small, seconds=1e-6).llm.table is not None
    with open_pair(tiny_pair, context=32) as tiny, pytest.raises(InputError, match="too long"):
        measure(tiny, seconds=1e-6)


def test_measuring_can_be_cancelled(pair: Pair) -> None:
    polls = 0

    def should_stop() -> bool:
        nonlocal polls
        polls += 1
        return polls > 30

    with pytest.raises(CancelledError):
        measure(pair, should_stop=should_stop)
    assert polls == 31
    assert [context.length() for context in pair.contexts.values()] == [0, 0]


def test_a_busy_pair_is_refused(pair: Pair) -> None:
    steps = iter(pair.ask("Well?", max_tokens=5))
    next(steps)
    cached = [list(context.tokens()) for context in pair.contexts.values()]
    with pytest.raises(EngineError, match="busy"):
        measure(pair)
    assert [list(context.tokens()) for context in pair.contexts.values()] == cached
    steps.close()


def test_calibrate_measures_and_stores(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path))
    shares: list[float] = []
    calibration = calibrate(pair, seconds=1e-6, progress=shares.append)
    assert load_calibration(pair) == calibration
    assert calibration.latency.slm.table is not None
    assert shares
    before = calibration.path.read_bytes()
    with pytest.raises(CancelledError):
        calibrate(pair, should_stop=lambda: True)
    assert calibration.path.read_bytes() == before
