"""The reward of an answer: correct or wrong, minus a penalty for the latency of a correct one.

Independent of networks and of how answers are generated. The latency is always that of the cost model, not measured: a
reward must not depend on other work on the machine.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rstitch_local.problems import notation
from rstitch_local.problems.answers import final_answer
from rstitch_local.problems.grading import Grader

AUTOMATIC_PENALTY = 0.3
"""Lambda times the LLM's mean latency, if lambda is chosen automatically; 0.2 to 0.4 in the paper."""


def reward(correct: bool, latency_ms: float, latency_penalty: float) -> float:
    """Return R = r_acc - lambda * r_acc * L (R-Stitch+): a wrong answer has 0, however short it is.

    Args:
        correct: r_acc.
        latency_ms: L, of the whole answer.
        latency_penalty: lambda, per millisecond.
    """
    return 1.0 - latency_penalty * latency_ms if correct else 0.0


def automatic_latency_penalty(llm_ms: Sequence[float]) -> float:
    """Return the lambda with which the LLM alone loses `AUTOMATIC_PENALTY` of the reward at its mean latency.

    Args:
        llm_ms: latencies of answers by the LLM alone; not empty.
    """
    return AUTOMATIC_PENALTY / (sum(llm_ms) / len(llm_ms))


def advantages(rewards: NDArray[np.float64], std_floor: float) -> NDArray[np.float64]:
    """Return group-normalized advantages: (R - mean) / max(standard deviation, std_floor), one group per row.

    DAPO has no floor (0 here). In a group of correct answers only the latencies differ, and without a floor their
    differences, however small, weigh as much as correct and wrong in another group.

    Args:
        rewards: float64, shape (groups, answers per group).
        std_floor: 0 or more, in units of reward.

    Returns:
        An array of the same shape; a row of equal rewards is 0.
    """
    centered = rewards - rewards.mean(axis=1, keepdims=True)
    spread = np.maximum(rewards.std(axis=1, keepdims=True), max(std_floor, 1e-12))
    return np.asarray(np.where(_varied(rewards)[:, np.newaxis], centered / spread, 0.0), np.float64)


def informative(rewards: Sequence[float]) -> bool:
    """Return whether the rewards of a group differ (dynamic sampling)."""
    return bool(_varied(np.asarray([rewards], np.float64))[0])


def _varied(rewards: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(np.ptp(rewards, axis=1) > 1e-9, np.bool_)


class AnswerChecker:
    """Decides whether an answer is correct; starts the grading process only if the notation does not decide."""

    def __init__(self) -> None:
        self._grader: Grader | None = None

    def is_correct(self, gold: str, text: str) -> bool:
        """Return whether the answer in a text is equivalent to the gold answer.

        Raises:
            GraderError: the grading process was needed and cannot be started.
        """
        answer = final_answer(text, gold)
        if answer is not None:
            normalized = notation.normal_form(gold)
            if normalized and normalized == notation.normal_form(answer):
                return True
            expected, given = notation.number(gold), notation.number(answer)
            if expected is not None and given is not None and expected.denominator == given.denominator == 1:
                return expected == given
        if self._grader is None:
            self._grader = Grader()
        return bool(self._grader.grade(gold, text).correct)

    def close(self) -> None:
        """End the grading process, if it was started."""
        if self._grader is not None:
            self._grader.close()
            self._grader = None
