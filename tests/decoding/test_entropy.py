from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scripted import entropy_reference, seen_reference

from rstitch_local.decoding import entropy
from rstitch_local.decoding.entropy import EntropyMeter, margin, require_finite
from rstitch_local.decoding.roles import Role
from rstitch_local.errors import EngineError


@settings(deadline=None)
@given(n_vocab=st.integers(2, 3000), spread=st.floats(0, 60), shift=st.floats(-500, 500), seed=st.integers(0, 999))
def test_entropy_and_top1_match_the_reference(n_vocab: int, spread: float, shift: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = (rng.standard_normal(n_vocab) * spread + shift).astype(np.float32)
    measured = EntropyMeter(n_vocab).measure(logits)
    assert measured.entropy == pytest.approx(entropy_reference(logits), abs=2e-6)
    x = logits.astype(np.float64)
    assert measured.top1 == pytest.approx(1 / np.exp(x - x.max()).sum(), rel=1e-5)
    assert measured.token == int(np.argmax(logits))


@settings(deadline=None)
@given(n_vocab=st.integers(1, 300), spread=st.floats(0, 60), shift=st.floats(-500, 500), seed=st.integers(0, 999))
def test_the_margin_matches_the_reference(n_vocab: int, spread: float, shift: float, seed: int) -> None:
    logits = (np.random.default_rng(seed).standard_normal(n_vocab) * spread + shift).astype(np.float32)
    logits.flags.writeable = False
    measured = EntropyMeter(n_vocab).measure(logits)
    assert margin(logits, measured.token, measured.top1) == pytest.approx(
        seen_reference(Role.SLM, 0, logits).margin, abs=1e-6
    )


@pytest.mark.parametrize(
    ("logits", "expected"), [([3.0, 3.0, 0.0], 0.0), ([5.0], 1.0), ([99.0, 0.0], 1.0), ([0.0, 99.0], 1.0)]
)
def test_margins_of_extreme_distributions(logits: list[float], expected: float) -> None:
    values = np.array(logits, np.float32)
    measured = EntropyMeter(len(values)).measure(values)
    assert margin(values, measured.token, measured.top1) == expected


def test_entropies_of_known_distributions() -> None:
    meter = EntropyMeter(4)
    assert meter.measure(np.zeros(4, np.float32)) == (0, 1.0, 0.25)
    # Two equal, two impossible: ln 2 / ln 4.
    assert meter.measure(np.array([50, 50, -50, -50], np.float32)).entropy == pytest.approx(0.5)
    certain = meter.measure(np.array([0, 0, 99, 0], np.float32))
    assert (certain.token, certain.top1) == (2, 1.0)
    assert certain.entropy < 1e-9


def test_a_large_vocabulary_is_measured_exactly() -> None:
    logits = (np.random.default_rng(0).standard_normal(151_936) * 3).astype(np.float32)
    logits[7] = 24
    measured = EntropyMeter(len(logits)).measure(logits)
    assert measured.entropy == pytest.approx(entropy_reference(logits), rel=1e-3, abs=1e-7)


def test_logits_are_not_modified() -> None:
    logits = np.arange(10, dtype=np.float32)
    logits.flags.writeable = False
    EntropyMeter(10).measure(logits)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("index", [0, 3, 9])
def test_a_logit_that_is_not_finite_is_named(value: float, index: int) -> None:
    logits = np.zeros(10, np.float32)
    logits[index] = value
    with pytest.raises(EngineError, match=f"token {index}"):
        EntropyMeter(10).measure(logits)


def test_a_vocabulary_of_one_token_has_no_entropy() -> None:
    assert EntropyMeter(1).measure(np.zeros(1, np.float32)) == (0, 0.0, 1.0)


def rows_of(seed: int, rows: int, n_vocab: int, spread: float) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    scales = spread * rng.random((rows, 1))
    return np.asarray(rng.standard_normal((rows, n_vocab)) * scales + 50 * rng.random((rows, 1)), np.float32)


# Rows measured together are rounded once more, to single precision, than rows measured one by one.
TOGETHER = 1e-6


@settings(deadline=None)
@given(
    rows=st.integers(0, 40),
    n_vocab=st.integers(1, 3000),
    block=st.integers(1, 1 << 15),
    spread=st.floats(0, 60),
    seed=st.integers(0, 999),
)
def test_rows_are_measured_as_if_alone(rows: int, n_vocab: int, block: int, spread: float, seed: int) -> None:
    logits = rows_of(seed, rows, n_vocab, spread)
    with pytest.MonkeyPatch.context() as monkeypatch:
        # Any number of rows per block; the last block may be incomplete.
        monkeypatch.setattr(entropy, "_BLOCK", block)
        together = EntropyMeter(n_vocab).measure_rows(logits)
    meter = EntropyMeter(n_vocab)
    alone = [meter.measure(row) for row in logits]
    assert len(together) == rows
    for grouped, single in zip(together, alone, strict=True):
        assert grouped.token == single.token
        assert grouped.entropy == pytest.approx(single.entropy, abs=TOGETHER)
        assert grouped.top1 == pytest.approx(single.top1, rel=TOGETHER)
        assert 0.0 <= grouped.entropy <= 1.0
        assert [type(value) for value in grouped] == [int, float, float]


@settings(deadline=None)
@given(
    rows=st.integers(1, 12),
    n_vocab=st.integers(2, 200),
    block=st.integers(1, 1000),
    broken=st.dictionaries(st.integers(0, 11), st.sampled_from([np.nan, np.inf, -np.inf]), max_size=4),
    seed=st.integers(0, 999),
)
def test_a_broken_row_does_not_affect_the_others(
    rows: int, n_vocab: int, block: int, broken: dict[int, float], seed: int
) -> None:
    logits = rows_of(seed, rows, n_vocab, 5.0)
    whole = logits.copy()
    for row, value in broken.items():
        if row < rows:
            logits[row, (7 * row + seed) % n_vocab] = value
    with pytest.MonkeyPatch.context() as monkeypatch, warnings.catch_warnings():
        # No numpy warnings on the terminal.
        warnings.simplefilter("error")
        monkeypatch.setattr(entropy, "_BLOCK", block)
        meter = EntropyMeter(n_vocab)
        measured = meter.measure_rows(logits)
        expected = meter.measure_rows(whole)
        # Buffers that held a broken row do not affect later measurements.
        assert meter.measure_rows(whole) == expected
    for row, (row_measured, row_expected) in enumerate(zip(measured, expected, strict=True)):
        if row in broken:
            assert math.isnan(row_measured.entropy)
            with pytest.raises(EngineError, match=f"token {(7 * row + seed) % n_vocab} "):
                require_finite(row_measured, logits[row])
        else:
            assert row_measured == row_expected
            require_finite(row_measured, logits[row])


def test_rows_are_not_modified_and_may_be_a_view() -> None:
    logits = rows_of(1, 6, 50, 3.0)
    view = logits[::2]
    view.flags.writeable = False
    expected = [EntropyMeter(50).measure(row) for row in view]
    before = logits.copy()
    for grouped, single in zip(EntropyMeter(50).measure_rows(view), expected, strict=True):
        assert grouped == pytest.approx(single, abs=TOGETHER)
    assert np.array_equal(before, logits)
