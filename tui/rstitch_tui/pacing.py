"""When an answer in the making may be drawn: never so often that drawing holds up the thread that writes it.

Knows clocks; nothing of what is drawn.
"""

from __future__ import annotations

import gc
import time

_SHARE = 0.03
"""Of the time an answer takes, at most this goes into drawing it."""
_LONGEST_PAUSE_S = 0.5

_THRESHOLDS = gc.get_threshold()
_YOUNG_ROUNDS = 5
"""Rounds of the garbage collector among young objects after which all are looked through, when nothing is written."""


class Pace:
    """Measures what its thread, which draws, has computed since an answer began."""

    def __init__(self) -> None:
        self._began = self._drawn = time.monotonic()
        self._used_before = time.thread_time()

    def begin(self) -> None:
        """An answer begins now."""
        self._began = self._drawn = time.monotonic()
        self._used_before = time.thread_time()

    def allows(self) -> bool:
        """Whether drawing has not had its share yet, or nothing was drawn for half a second."""
        now = time.monotonic()
        used = time.thread_time() - self._used_before
        return used <= _SHARE * (now - self._began) or now - self._drawn > _LONGEST_PAUSE_S

    def drawn(self) -> None:
        """Something was drawn."""
        self._drawn = time.monotonic()


def keep_garbage_for_pauses() -> None:
    """Have the garbage collector leave answers alone.

    What is imported by now stays for good. Left to itself the collector would look through all of it every few hundred
    tokens, for 60 ms in which nothing is written and nothing is drawn; and through all later objects, for 30 ms.
    """
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS[:2], 20 * _YOUNG_ROUNDS)


def let_garbage_go() -> None:
    """Have it work as always: the app has ended, but maybe not the process."""
    gc.unfreeze()
    gc.set_threshold(*_THRESHOLDS)


def tidy() -> None:
    """Collect garbage now, between answers, if much has come together; in the midst of one it would hold it up."""
    if gc.get_count()[2] >= _YOUNG_ROUNDS:
        gc.collect()
