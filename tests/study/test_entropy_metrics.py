from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstitch_local.study.entropy_metrics import Figures, figures_of, trailing_means
from rstitch_local.study.entropy_study import StudyRun
from rstitch_local.study.harmful_token import Harm, Probe


def line(identifier: str, correct: bool | None, entropies: list[float], **changes: Any) -> dict[str, Any]:
    """A line of answers.jsonl whose every token the LLM agrees to, but where `changes` says otherwise."""
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


def study(rows: list[dict[str, Any]], harms: dict[str, Harm] | None = None, **changes: Any) -> Figures:
    """Figures with ln V = 2, so that 0.05 normalised is 0.1 nats."""
    known = {"probed": {}, "failed": {}, "continuations": (0, 0), "log_vocabulary": 2.0, "tau": 0.02, **changes}
    return figures_of(StudyRun(rows=rows, harms=harms or {}, **known))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(1, 16))
def test_trailing_means(values: list[float], window: int) -> None:
    expected = [np.mean(values[max(0, i - window + 1) : i + 1]) for i in range(len(values))]
    assert trailing_means(np.asarray(values), window) == pytest.approx(expected, abs=1e-12)


def test_tokens_in_both_units() -> None:
    figures = study([line("a", True, [0.0, 0.05, 0.051, 1.0]), line("e", None, [0.5], stop="error")])
    assert (figures.tokens, figures.sure_share) == (4, 0.5)
    assert figures.mean_nats == pytest.approx(2 * 1.101 / 4)
    assert sum(one.tokens for one in figures.bins) == 4
    assert (figures.bins[0].tokens, figures.bins[-1].tokens) == (1, 1)
    assert figures.bins[0].low == pytest.approx(1e-6)
    assert figures.bins[-1].high == pytest.approx(2.0)
    assert all(b.low == pytest.approx(a.high) for a, b in zip(figures.bins, figures.bins[1:], strict=False))
    assert figures.answers == {"problems": 2, "right": 1, "wrong": 0, "ungraded": 0, "cut_off": 0, "errors": 1}


def test_right_against_wrong() -> None:
    rows = [line(f"r{i}", True, [0.01 * i, 0.0]) for i in (1, 2, 3)]
    rows += [line("w1", False, [0.1, 0.1]), line("w2", False, [0.3], stop="length"), line("n", None, [0.9])]
    figures = study(rows)
    assert figures.compared.right == pytest.approx([0.01, 0.02, 0.03])
    assert figures.compared.wrong == pytest.approx([0.2, 0.6])
    assert figures.compared.test is not None
    assert figures.compared.test.p == pytest.approx(2 / 10)
    assert figures.compared.area == (1.0, None)
    assert figures.compared_uncut is not None
    assert figures.compared_uncut.wrong == pytest.approx([0.2])
    assert study(rows[:4]).compared_uncut is None


def test_windows_before_the_harmful_token_and_elsewhere() -> None:
    # In nats: 0.2 0.4 0.6 0.8 1.0, and the fourth is harmful.
    row = line("w", False, [0.1, 0.2, 0.3, 0.4, 0.5], agrees=[True, True, True, False, True])
    figures = study([row], {"w": Harm("found", 3, 4)})
    assert figures.own.harmful == pytest.approx((0.8, None))
    assert figures.own.other is not None
    assert figures.own.other.mean == pytest.approx((0.2 + 0.4 + 0.6 + 1.0) / 4)
    one, two, three = figures.windows[:3]
    assert one.harmful is not None
    assert one.other is not None
    assert one.difference is not None
    assert one.harmful.mean == pytest.approx(0.6)
    # Before the second and third token; the window of the fifth is the harmful token itself.
    assert one.other.mean == pytest.approx((0.2 + 0.4) / 2)
    assert one.difference.mean == pytest.approx(0.3)
    assert two.harmful is not None
    assert two.harmful.mean == pytest.approx(0.5)
    # Where there are fewer tokens before it than the window has, those there are.
    assert three.harmful is not None
    assert three.other is not None
    assert three.harmful.mean == pytest.approx(0.4)
    assert three.other.mean == pytest.approx((0.2 + 0.3) / 2)


def test_a_first_token_has_nothing_before_it() -> None:
    figures = study([line("w", False, [0.5, 0.1, 0.1])], {"w": Harm("found", 0, 3)})
    assert figures.own.harmful is not None
    assert all(window.harmful is None for window in figures.windows)


def test_prediction_leaves_out_what_comes_after_the_harmful_token() -> None:
    right = line("r", True, [0.1, 0.2])
    agrees = [False, True, False, True]
    wrong = line("w", False, [0.05, 0.1, 0.3, 0.9], agrees=agrees)
    figures = study([right, wrong], {"w": Harm("found", 2, 3)})
    assert figures.harm_areas[0] == (1.0, None)
    # The windows of two that end with the harmful token and with the right answer's tokens: 0.2; 0.1 and 0.15.
    assert figures.harm_areas[1] == (1.0, None)
    assert figures.harm_among_disagreements == (1.0, None)
    disagreement = figures.disagreement_areas[0]
    assert disagreement is not None
    # 0.05 beats none of 0.1 0.2 0.1 0.9, 0.3 beats three.
    assert disagreement.area == pytest.approx(3 / 8)
    assert figures.agreement == pytest.approx(4 / 6)


def test_among_disagreements_there_is_no_token_the_llm_agrees_with() -> None:
    right = line("r", True, [0.6, 0.9])
    wrong = line("w", False, [0.05, 0.7, 0.3, 0.9], agrees=[False, True, False, True])
    figures = study([right, wrong], {"w": Harm("found", 2, 3)})
    assert figures.harm_areas[0] != (1.0, None)
    assert figures.harm_among_disagreements == (1.0, None)


def test_thresholds() -> None:
    wrong = line("w", False, [0.01, 0.02, 0.03, 0.2], agrees=[True, False, False, True])
    figures = study([wrong], {"w": Harm("found", 2, 3)}, tau=0.0201)
    found = {one.tau: (one.asked, one.disagreements, one.harmful) for one in figures.thresholds}
    # Strictly above, as the router has it.
    assert found[0.02] == (0.5, 0.5, 1.0)
    assert found[0.03] == (0.25, 0.0, 0.0)
    assert 0.0201 in found
    assert figures.thresholds[0].nats == pytest.approx(0.002)


def test_outcomes_and_probes() -> None:
    rows = [line(name, False, [0.1, 0.2]) for name in "abcd"]
    harms = {"a": Harm("found", 1, 2), "b": Harm("llm_wrong", None, 1), "c": Harm("recovered", None, 2)}
    probed = {"a": [Probe(1, True, True), Probe(5, False, False)], "x": [Probe(7, False, True)]}
    figures = study(rows, harms, probed=probed, failed={"d": "Broken logits: x"})
    assert figures.outcomes == {"found": 1, "llm_wrong": 1, "llm_cut_off": 0, "recovered": 1, "failed": 1}
    assert figures.probes == {"before": (1, 0), "after": (2, 1)}
    assert [(one["id"], one["before"], one["token"], one["after"]) for one in figures.harmful] == [("a", "a", "b", "")]


def test_nothing_at_all() -> None:
    figures = study([line("e", None, [], stop="error")])
    assert (figures.tokens, figures.mean_nats, figures.sure_share) == (0, None, None)
    assert figures.compared.test is None
    assert figures.harm_areas == [None] * 16
    assert not math.isnan(figures.thresholds[0].asked)
