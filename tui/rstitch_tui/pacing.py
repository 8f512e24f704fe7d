"""Decides when to draw an answer and when to collect garbage, so that neither delays generation."""

from __future__ import annotations

import gc
import time

_DRAWING_SHARE = 0.03
"""Largest share of the time of an answer that drawing may take."""
_LONGEST_PAUSE_S = 0.5

_THRESHOLDS = gc.get_threshold()
_YOUNG_ROUNDS = 5
"""Collections of the young generations after which a full collection runs between answers."""


class Pace:
    """Measures the CPU time its thread has used for drawing since an answer started."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Start measuring."""
        self._started = self._drawn = time.monotonic()
        self._cpu_before = time.thread_time()

    def allows(self) -> bool:
        """Whether drawing has not used its share yet, or nothing was drawn for half a second."""
        now = time.monotonic()
        cpu = time.thread_time() - self._cpu_before
        return cpu <= _DRAWING_SHARE * (now - self._started) or now - self._drawn > _LONGEST_PAUSE_S

    def drawn(self) -> None:
        """Record that something was drawn."""
        self._drawn = time.monotonic()


def defer_garbage_collection() -> None:
    """Exempt what is imported from garbage collection and make full collections rare.

    With the default thresholds, a full collection every few hundred tokens stops generation and drawing for 60 ms.
    """
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS[:2], 20 * _YOUNG_ROUNDS)


def restore_garbage_collection() -> None:
    """Undo `defer_garbage_collection`; the process may outlive the app."""
    gc.unfreeze()
    gc.set_threshold(*_THRESHOLDS)


def collect_garbage_between_answers() -> None:
    """Run a full collection if enough garbage may have accumulated."""
    if gc.get_count()[2] >= _YOUNG_ROUNDS:
        gc.collect()
