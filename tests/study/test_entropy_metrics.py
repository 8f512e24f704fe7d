from __future__ import annotations

import math
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstitch_local.study.entropy_metrics import EntropyMetrics, entropy_metrics
from rstitch_local.study.entropy_study import StudyRun
from rstitch_local.study.harmful_token import HarmSearch, Probe
from rstitch_local.study.token_windows import trailing_means

pytestmark = pytest.mark.skipif(find_spec("scipy") is None, reason="needs scipy: install '.[study]'")


def answer(identifier: str, correct: bool | None, entropies: list[float], **changes: Any) -> dict[str, Any]:
    """Return a row of answers.jsonl in which the LLM agrees with every token, unless `changes` says otherwise."""
    return {
        "id": identifier,
        "correct": correct,
        "stop": "eog",
        "entropies": entropies,
        "answer_tokens": list(range(len(entropies))),
        "pieces": [chr(97 + i) for i in range(len(entropies))],
        "agrees": [True] * len(entropies),
        **changes,
    }


def metrics_of(
    rows: list[dict[str, Any]], harms: dict[str, HarmSearch] | None = None, **changes: Any
) -> EntropyMetrics:
    """Compute metrics with ln V = 2, so that 0.05 normalized is 0.1 nats."""
    fields = {"probed": {}, "failed": {}, "continuations": (0, 0), "log_vocabulary": 2.0, "tau": 0.02, **changes}
    return entropy_metrics(StudyRun(rows=rows, harms=harms or {}, **fields))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(1, 16))
def test_trailing_means(values: list[float], window: int) -> None:
    expected = [np.mean(values[max(0, i - window + 1) : i + 1]) for i in range(len(values))]
    assert trailing_means(np.asarray(values), window) == pytest.approx(expected, abs=1e-12)


def test_token_counts_and_bins() -> None:
    metrics = metrics_of([answer("a", True, [0.0, 0.05, 0.051, 1.0]), answer("e", None, [0.5], stop="error")])
    assert (metrics.tokens, metrics.low_entropy_share) == (4, 0.5)
    assert metrics.mean_nats == pytest.approx(2 * 1.101 / 4)
    assert sum(one.tokens for one in metrics.bins) == 4
    assert (metrics.bins[0].tokens, metrics.bins[-1].tokens) == (1, 1)
    assert metrics.bins[0].low == pytest.approx(1e-6)
    assert metrics.bins[-1].high == pytest.approx(2.0)
    assert all(b.low == pytest.approx(a.high) for a, b in zip(metrics.bins, metrics.bins[1:], strict=False))
    assert metrics.answers == {"problems": 2, "right": 1, "wrong": 0, "ungraded": 0, "cut_off": 0, "errors": 1}


def test_right_against_wrong_answers() -> None:
    rows = [answer(f"r{i}", True, [0.01 * i, 0.0]) for i in (1, 2, 3)]
    rows += [answer("w1", False, [0.1, 0.1]), answer("w2", False, [0.3], stop="length"), answer("n", None, [0.9])]
    metrics = metrics_of(rows)
    assert metrics.comparison.right == pytest.approx([0.01, 0.02, 0.03])
    assert metrics.comparison.wrong == pytest.approx([0.2, 0.6])
    assert metrics.comparison.test is not None
    assert metrics.comparison.test.p == pytest.approx(2 / 10)
    assert metrics.comparison.area == (1.0, None)
    assert metrics.comparison_uncut is not None
    assert metrics.comparison_uncut.wrong == pytest.approx([0.2])
    assert metrics_of(rows[:4]).comparison_uncut is None


def test_windows_before_the_harmful_token_and_before_others() -> None:
    # In nats: 0.2 0.4 0.6 0.8 1.0; the fourth token is harmful.
    row = answer("w", False, [0.1, 0.2, 0.3, 0.4, 0.5], agrees=[True, True, True, False, True])
    metrics = metrics_of([row], {"w": HarmSearch("found", 3, 4)})
    assert metrics.at_token.harmful == pytest.approx((0.8, None))
    assert metrics.at_token.other is not None
    assert metrics.at_token.other.mean == pytest.approx((0.2 + 0.4 + 0.6 + 1.0) / 4)
    one, two, three = metrics.windows[:3]
    assert one.harmful is not None
    assert one.other is not None
    assert one.difference is not None
    assert one.harmful.mean == pytest.approx(0.6)
    # Windows before the second and third token; that of the fifth is the harmful token itself.
    assert one.other.mean == pytest.approx((0.2 + 0.4) / 2)
    assert one.difference.mean == pytest.approx(0.3)
    assert two.harmful is not None
    assert two.harmful.mean == pytest.approx(0.5)
    # A window is shorter if there are not enough tokens before it.
    assert three.harmful is not None
    assert three.other is not None
    assert three.harmful.mean == pytest.approx(0.4)
    assert three.other.mean == pytest.approx((0.2 + 0.3) / 2)


def test_a_harmful_first_token_has_no_windows() -> None:
    metrics = metrics_of([answer("w", False, [0.5, 0.1, 0.1])], {"w": HarmSearch("found", 0, 3)})
    assert metrics.at_token.harmful is not None
    assert all(window.harmful is None for window in metrics.windows)


def test_tokens_after_the_harmful_token_are_excluded_from_roc_areas() -> None:
    right = answer("r", True, [0.1, 0.2])
    agrees = [False, True, False, True]
    wrong = answer("w", False, [0.05, 0.1, 0.3, 0.9], agrees=agrees)
    metrics = metrics_of([right, wrong], {"w": HarmSearch("found", 2, 3)})
    assert metrics.harm_areas[0] == (1.0, None)
    # Windows of two tokens that end at the harmful token (0.2) and at the right answer's tokens (0.1 and 0.15).
    assert metrics.harm_areas[1] == (1.0, None)
    assert metrics.harm_among_disagreements == (1.0, None)
    disagreement = metrics.disagreement_areas[0]
    assert disagreement is not None
    # 0.05 is above none of 0.1 0.2 0.1 0.9, 0.3 is above three.
    assert disagreement.area == pytest.approx(3 / 8)
    assert metrics.agreement == pytest.approx(4 / 6)


def test_the_area_among_disagreements_excludes_other_tokens() -> None:
    right = answer("r", True, [0.6, 0.9])
    wrong = answer("w", False, [0.05, 0.7, 0.3, 0.9], agrees=[False, True, False, True])
    metrics = metrics_of([right, wrong], {"w": HarmSearch("found", 2, 3)})
    assert metrics.harm_areas[0] != (1.0, None)
    assert metrics.harm_among_disagreements == (1.0, None)


def test_shares_above_thresholds() -> None:
    wrong = answer("w", False, [0.01, 0.02, 0.03, 0.2], agrees=[True, False, False, True])
    metrics = metrics_of([wrong], {"w": HarmSearch("found", 2, 3)}, tau=0.0201)
    shares = {one.tau: (one.share_above, one.disagreements, one.harmful) for one in metrics.thresholds}
    # Strictly above, like the entropy router.
    assert shares[0.02] == (0.5, 0.5, 1.0)
    assert shares[0.03] == (0.25, 0.0, 0.0)
    assert 0.0201 in shares
    assert metrics.thresholds[0].nats == pytest.approx(0.002)


def test_outcomes_and_probes() -> None:
    rows = [answer(name, False, [0.1, 0.2]) for name in "abcd"]
    harms = {
        "a": HarmSearch("found", 1, 2),
        "b": HarmSearch("llm_wrong", None, 1),
        "c": HarmSearch("recovered", None, 2),
    }
    probed = {"a": [Probe(1, True, True), Probe(5, False, False)], "x": [Probe(7, False, True)]}
    metrics = metrics_of(rows, harms, probed=probed, failed={"d": "Broken logits: x"})
    assert metrics.outcomes == {"found": 1, "llm_wrong": 1, "llm_cut_off": 0, "recovered": 1, "failed": 1}
    assert metrics.probes == {"before": (1, 0), "after": (2, 1)}
    assert [(one["id"], one["before"], one["token"], one["after"]) for one in metrics.harmful] == [("a", "a", "b", "")]


def test_metrics_without_tokens() -> None:
    metrics = metrics_of([answer("e", None, [], stop="error")])
    assert (metrics.tokens, metrics.mean_nats, metrics.low_entropy_share) == (0, None, None)
    assert metrics.comparison.test is None
    assert metrics.harm_areas == [None] * 16
    assert not math.isnan(metrics.thresholds[0].share_above)


def test_the_dictionary_has_the_names_of_entropy_json() -> None:
    record = metrics_of([answer("a", True, [0.1, 0.2])]).to_dict()
    assert list(record) == [
        "log_vocabulary", "tau", "answers", "tokens", "mean_nats", "quartiles_nats", "sure_share", "agreement", "bins",
        "compared", "compared_uncut", "outcomes", "continuations", "own", "windows", "harm_areas",
        "harm_among_disagreements", "disagreement_areas", "thresholds", "probes", "harmful",
    ]  # fmt: skip
    assert list(record["bins"][0]) == ["low", "high", "tokens", "read", "disagreed"]
    assert list(record["thresholds"][0]) == ["tau", "nats", "asked", "disagreements", "harmful"]
    assert list(record["own"]) == list(record["windows"][0]) == ["window", "harmful", "other", "difference"]
    assert list(record["compared"]) == ["right", "wrong", "test", "area"]
