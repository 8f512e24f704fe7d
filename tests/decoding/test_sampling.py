from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstitch_local.decoding.sampling import Sampler, Sampling, gumbel_noise, uniform
from rstitch_local.errors import UsageError

FIXED_NOISE = [0.565335, 1.226483, 3.525877]
FIXED_UNIFORM = 0.903663573


def draws(logits: np.ndarray, sampling: Sampling, count: int, seed: int = 0) -> np.ndarray:
    sampler = Sampler(sampling, seed)
    x = logits.astype(np.float32)
    return np.array([sampler.choose(x, position, int(np.argmax(x))) for position in range(count)])


def test_zero_temperature_is_greedy() -> None:
    assert draws(np.array([1.0, 3.0, 2.0]), Sampling(0.0, top_k=1, top_p=0.1), 5).tolist() == [1] * 5


def test_frequencies_match_the_softmax() -> None:
    logits = np.array([0.0, 1.0, 2.0, -1.0])
    for temperature in (0.7, 1.0, 2.0):
        p = np.exp(logits / temperature)
        p /= p.sum()
        counts = np.bincount(draws(logits, Sampling(temperature), 20_000), minlength=4)
        # Five standard errors of a binomial share: fails once in a million if the draws are correct.
        assert np.all(np.abs(counts / 20_000 - p) < 5 * np.sqrt(p * (1 - p) / 20_000))


@pytest.mark.parametrize(
    ("sampling", "possible"),
    [
        (Sampling(1.0, top_k=2), {2, 1}),
        (Sampling(1.0, top_k=1), {2}),
        (Sampling(1.0, top_p=0.6), {2}),
        (Sampling(1.0, top_p=0.7), {2, 1}),
        (Sampling(1.0, top_p=0.0), {2}),
        (Sampling(1.0, min_p=0.3), {2, 1}),
        (Sampling(1.0, min_p=1.0), {2}),
        (Sampling(1.0, top_k=3, top_p=0.99, min_p=0.1), {2, 1, 0}),
        (Sampling(1.0, top_k=99), {0, 1, 2, 3}),
    ],
)
def test_filters_keep_the_expected_tokens(sampling: Sampling, possible: set[int]) -> None:
    # Probabilities 0.087, 0.237, 0.644, 0.032.
    assert set(draws(np.array([0.0, 1.0, 2.0, -1.0]), sampling, 2000).tolist()) == possible


def test_a_draw_depends_only_on_seed_and_position() -> None:
    logits = np.random.default_rng(0).standard_normal(500).astype(np.float32)
    once = Sampler(Sampling(1.0), 3)
    forwards = [once.choose(logits, position, 0) for position in range(50)]
    backwards = [Sampler(Sampling(1.0), 3).choose(logits, position, 0) for position in reversed(range(50))]
    assert forwards == backwards[::-1]
    assert forwards != [Sampler(Sampling(1.0), 4).choose(logits, position, 0) for position in range(50)]


def test_noise_depends_on_the_token_not_on_its_rank() -> None:
    # A filter must not change a draw of a token that passes it.
    logits = np.random.default_rng(1).standard_normal(300).astype(np.float32)
    free = draws(logits, Sampling(1.0), 300)
    passing = set(np.argsort(logits)[-100:].tolist())
    filtered = draws(logits, Sampling(1.0, top_k=100), 300)
    assert all(a == b for a, b in zip(free, filtered, strict=True) if a in passing)


def test_noise_is_standard_gumbel() -> None:
    noise = gumbel_noise(12345, np.arange(200_000))
    assert noise.mean() == pytest.approx(0.5772, abs=0.02)
    assert noise.std() == pytest.approx(np.pi / np.sqrt(6), abs=0.02)


def test_noise_is_the_same_on_every_platform() -> None:
    assert gumbel_noise(1, np.array([0, 1, 2])).round(6).tolist() == FIXED_NOISE
    assert round(uniform(7, 3), 9) == FIXED_UNIFORM


@given(st.integers(-(1 << 70), 1 << 70), st.integers(0, 1 << 40))
def test_uniform_is_inside_the_open_interval(seed: int, position: int) -> None:
    assert 0.0 < uniform(seed, position) < 1.0


@pytest.mark.parametrize(
    "settings", [{"temperature": -0.1}, {"top_k": -1}, {"top_p": 1.1}, {"min_p": -0.2}, {"temperature": float("nan")}]
)
def test_settings_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(settings))):
        Sampling(**settings)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("error")
def test_a_temperature_close_to_zero_is_greedy() -> None:
    assert draws(np.array([1.0, 3.0, 2.0]), Sampling(1e-320), 5).tolist() == [1] * 5


def test_draw_again_and_uniform_are_independent_of_choose() -> None:
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05])).astype(np.float32)
    both = np.zeros((4, 4))
    uniforms = []
    for seed in range(3000):
        sampler = Sampler(Sampling(1.0), seed)
        ids, shares = sampler.distribution(logits)
        first, again = sampler.choose(logits, 5, 0), sampler.draw_again(shares[np.argsort(ids)], 5)
        both[first, again] += 1
        uniforms.append((sampler.uniform(5), first))
    expected = 3000 * np.outer(np.exp(logits), np.exp(logits))
    # A chi square with 15 degrees of freedom exceeds 40 with probability 1/2000.
    assert ((both - expected) ** 2 / expected).sum() < 40
    for token in range(3):
        values = [value for value, first in uniforms if first == token]
        assert 0.45 < np.mean(values) < 0.55
    assert sampler.draw_again(np.array([0.0, 0.0, 2.0]), 9) == 2


def test_the_distribution_contains_what_passes_the_filters() -> None:
    logits = np.log(np.array([0.1, 0.4, 0.2, 0.3])).astype(np.float32)
    ids, shares = Sampler(Sampling(1.0, top_k=3, top_p=0.7), 0).distribution(logits)
    assert dict(zip(ids.tolist(), shares.tolist(), strict=True)) == pytest.approx({1: 4 / 7, 3: 3 / 7}, abs=1e-6)
