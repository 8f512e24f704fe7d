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
def test_it_is_the_formula(n_vocab: int, spread: float, shift: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = (rng.standard_normal(n_vocab) * spread + shift).astype(np.float32)
    measured = EntropyMeter(n_vocab).measure(logits)
    assert measured.entropy == pytest.approx(entropy_reference(logits), abs=2e-6)
    x = logits.astype(np.float64)
    assert measured.top1 == pytest.approx(1 / np.exp(x - x.max()).sum(), rel=1e-5)
    assert measured.token == int(np.argmax(logits))


@settings(deadline=None)
@given(n_vocab=st.integers(1, 300), spread=st.floats(0, 60), shift=st.floats(-500, 500), seed=st.integers(0, 999))
def test_the_margin_is_the_first_less_the_second(n_vocab: int, spread: float, shift: float, seed: int) -> None:
    logits = (np.random.default_rng(seed).standard_normal(n_vocab) * spread + shift).astype(np.float32)
    logits.flags.writeable = False
    measured = EntropyMeter(n_vocab).measure(logits)
    assert margin(logits, measured.token, measured.top1) == pytest.approx(
        seen_reference(Role.SLM, 0, logits).margin, abs=1e-6
    )


@pytest.mark.parametrize(
    ("logits", "expected"), [([3.0, 3.0, 0.0], 0.0), ([5.0], 1.0), ([99.0, 0.0], 1.0), ([0.0, 99.0], 1.0)]
)
def test_margins_at_the_edges(logits: list[float], expected: float) -> None:
    values = np.array(logits, np.float32)
    measured = EntropyMeter(len(values)).measure(values)
    assert margin(values, measured.token, measured.top1) == expected


def test_known_values() -> None:
    meter = EntropyMeter(4)
    assert meter.measure(np.zeros(4, np.float32)) == (0, 1.0, 0.25)
    # Two equal, two impossible: ln 2 / ln 4.
    assert meter.measure(np.array([50, 50, -50, -50], np.float32)).entropy == pytest.approx(0.5)
    sure = meter.measure(np.array([0, 0, 99, 0], np.float32))
    assert (sure.token, sure.top1) == (2, 1.0)
    assert sure.entropy < 1e-9


def test_a_real_vocabulary_is_as_exact() -> None:
    logits = (np.random.default_rng(0).standard_normal(151_936) * 3).astype(np.float32)
    logits[7] = 24
    measured = EntropyMeter(len(logits)).measure(logits)
    assert measured.entropy == pytest.approx(entropy_reference(logits), rel=1e-3, abs=1e-7)


def test_logits_are_left_alone() -> None:
    logits = np.arange(10, dtype=np.float32)
    logits.flags.writeable = False
    EntropyMeter(10).measure(logits)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 3, 9])
def test_what_is_not_finite_is_named(value: float, place: int) -> None:
    logits = np.zeros(10, np.float32)
    logits[place] = value
    with pytest.raises(EngineError, match=f"token {place}"):
        EntropyMeter(10).measure(logits)


def test_a_vocabulary_of_one_is_sure() -> None:
    assert EntropyMeter(1).measure(np.zeros(1, np.float32)) == (0, 0.0, 1.0)


def rows_of(seed: int, rows: int, n_vocab: int, spread: float) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    scales = spread * rng.random((rows, 1))
    return np.asarray(rng.standard_normal((rows, n_vocab)) * scales + 50 * rng.random((rows, 1)), np.float32)


# Rows that are measured together round once more than one by one, in single precision.
TOGETHER = 1e-6


@settings(deadline=None)
@given(
    rows=st.integers(0, 40),
    n_vocab=st.integers(1, 3000),
    block=st.integers(1, 1 << 15),
    spread=st.floats(0, 60),
    seed=st.integers(0, 999),
)
def test_rows_are_measured_as_each_alone(rows: int, n_vocab: int, block: int, spread: float, seed: int) -> None:
    logits = rows_of(seed, rows, n_vocab, spread)
    with pytest.MonkeyPatch.context() as monkeypatch:
        # However many rows make a block, and whether or not the last block is a whole one.
        monkeypatch.setattr(entropy, "_BLOCK", block)
        together = EntropyMeter(n_vocab).measure_rows(logits)
    meter = EntropyMeter(n_vocab)
    alone = [meter.measure(row) for row in logits]
    assert len(together) == rows
    for own, single in zip(together, alone, strict=True):
        assert own.token == single.token
        assert own.entropy == pytest.approx(single.entropy, abs=TOGETHER)
        assert own.top1 == pytest.approx(single.top1, rel=TOGETHER)
        assert 0.0 <= own.entropy <= 1.0
        assert [type(value) for value in own] == [int, float, float]


@settings(deadline=None)
@given(
    rows=st.integers(1, 12),
    n_vocab=st.integers(2, 200),
    block=st.integers(1, 1000),
    broken=st.dictionaries(st.integers(0, 11), st.sampled_from([np.nan, np.inf, -np.inf]), max_size=4),
    seed=st.integers(0, 999),
)
def test_a_broken_row_leaves_the_others_alone(
    rows: int, n_vocab: int, block: int, broken: dict[int, float], seed: int
) -> None:
    logits = rows_of(seed, rows, n_vocab, 5.0)
    whole = logits.copy()
    for row, value in broken.items():
        if row < rows:
            logits[row, (7 * row + seed) % n_vocab] = value
    with pytest.MonkeyPatch.context() as monkeypatch, warnings.catch_warnings():
        # Nobody at a terminal wants to read of an invalid multiplication either.
        warnings.simplefilter("error")
        monkeypatch.setattr(entropy, "_BLOCK", block)
        meter = EntropyMeter(n_vocab)
        found = meter.measure_rows(logits)
        expected = meter.measure_rows(whole)
        # What a broken row left behind does not come back either.
        assert meter.measure_rows(whole) == expected
    for row, (own, wanted) in enumerate(zip(found, expected, strict=True)):
        if row in broken:
            assert math.isnan(own.entropy)
            with pytest.raises(EngineError, match=f"token {(7 * row + seed) % n_vocab} "):
                require_finite(own, logits[row])
        else:
            assert own == wanted
            require_finite(own, logits[row])


def test_rows_are_left_alone_and_may_be_a_view() -> None:
    logits = rows_of(1, 6, 50, 3.0)
    view = logits[::2]
    view.flags.writeable = False
    expected = [EntropyMeter(50).measure(row) for row in view]
    before = logits.copy()
    for own, single in zip(EntropyMeter(50).measure_rows(view), expected, strict=True):
        assert own == pytest.approx(single, abs=TOGETHER)
    assert np.array_equal(before, logits)
