from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import entropy_reference, seen_reference

from rstitch_local.decoding.entropy import EntropyMeter, margin
from rstitch_local.decoding.routers import Role
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
