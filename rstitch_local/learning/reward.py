"""What an answer is worth: right or wrong, and what its milliseconds cost where it is right.

Pure functions of numbers and texts, and the quick half of grading; knows nothing of networks or of how answers come
about. Latency is always a cost model's, never the clock's: a reward must not depend on what else the machine does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rstitch_local.decoding.thinking import strip_thinking
from rstitch_local.problems import notation
from rstitch_local.problems.answers import last_boxed
from rstitch_local.problems.grading import Grader

AUTO_SHARE = 0.3
"""Lambda times the LLM's mean latency where lambda is chosen automatically; 0.2 to 0.4 in the paper."""


def reward(right: bool, latency_ms: float, latency_penalty: float) -> float:
    """R = r_acc - lambda * r_acc * L (R-Stitch+): only right answers pay for their time, so short and wrong is 0.

    Args:
        right: r_acc.
        latency_ms: L, of the whole answer.
        latency_penalty: lambda, a millisecond's.
    """
    return 1.0 - latency_penalty * latency_ms if right else 0.0


def price_of(llm_ms: Sequence[float]) -> float:
    """The lambda at which the LLM alone pays `AUTO_SHARE` of a right answer for its mean latency.

    Args:
        llm_ms: latencies of answers by the LLM alone; not empty.
    """
    return AUTO_SHARE / (sum(llm_ms) / len(llm_ms))


def advantages(rewards: NDArray[np.float64], floor: float) -> NDArray[np.float64]:
    """Group-normalised advantages: (R - mean) / max(standard deviation, floor), each row a group of its own.

    DAPO has no floor (0 here). In a group that is right throughout only latencies differ, and without a floor their
    differences, however small, weigh as much as right and wrong elsewhere.

    Args:
        rewards: float64, shape (groups, answers a group).
        floor: 0 or more, in units of reward.

    Returns:
        The same shape; a row whose rewards are all equal is 0.
    """
    centred = rewards - rewards.mean(axis=1, keepdims=True)
    spread = np.maximum(rewards.std(axis=1, keepdims=True), max(floor, 1e-12))
    return np.asarray(np.where(_varied(rewards)[:, np.newaxis], centred / spread, 0.0), np.float64)


def _varied(rewards: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(np.ptp(rewards, axis=1) > 1e-9, np.bool_)


def informative(rewards: Sequence[float]) -> bool:
    """Whether a group says anything: not all of its rewards are equal (dynamic sampling)."""
    return bool(_varied(np.asarray([rewards], np.float64))[0])


class AnswerChecker:
    """Says whether a text is right; starts the grading process only where spelling and plain numbers do not decide."""

    def __init__(self) -> None:
        self._grader: Grader | None = None

    def right(self, gold: str, text: str) -> bool:
        """Whether the text's answer is as good as the gold one.

        Raises:
            GraderError: the grading process was needed and cannot be started.
        """
        answer = last_boxed(strip_thinking(text))
        if answer is not None:
            spelled = notation.normal_form(gold)
            if spelled and spelled == notation.normal_form(answer):
                return True
            wanted, given = notation.number(gold), notation.number(answer)
            if wanted is not None and given is not None and wanted.denominator == given.denominator == 1:
                return wanted == given
        if self._grader is None:
            self._grader = Grader()
        return bool(self._grader.grade(gold, text).correct)

    def close(self) -> None:
        """End the grading process, if there is one."""
        if self._grader is not None:
            self._grader.close()
            self._grader = None
