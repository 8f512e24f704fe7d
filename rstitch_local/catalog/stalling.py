"""Limits for a server that stalls: its answers are read by another thread, and the progress of a transfer is watched.

A server that sends a byte now and then keeps every timeout of a socket from expiring. Independent of protocols.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import TypeVar

_Item = TypeVar("_Item")

POLL_S = 0.1
"""Seconds between two polls while nothing arrives."""
_MAX_WAITING = 4
"""Items that the other thread reads ahead."""


class StalledError(Exception):
    """A transfer hardly advances."""


class StallLimit:
    """The least progress of a transfer.

    Args:
        limit_s: seconds in which `least_bytes` have to arrive.
        least_bytes: number of bytes.
    """

    def __init__(self, limit_s: float, least_bytes: int) -> None:
        self._limit_s = limit_s
        self._least_bytes = least_bytes
        self._since = time.monotonic()
        self._start = 0

    def check(self, done: int) -> None:
        """Raise StalledError if too few bytes have arrived; `done` is their number so far, which may fall."""
        now = time.monotonic()
        if not self._start <= done < self._start + self._least_bytes:
            self._since, self._start = now, done
        elif now - self._since > self._limit_s:
            raise StalledError(f"less than {self._least_bytes:,} bytes in {self._limit_s:.0f} s")


def read_apart(source: Callable[[], Generator[_Item, None, None]], on_poll: Callable[[], object]) -> Iterator[_Item]:
    """Yield what a generator yields in another thread.

    Args:
        source: creates the generator. It is closed in the other thread, after its next item if it is waiting for one.
        on_poll: called between items and several times a second while there is none; may raise to end the wait.

    Raises:
        Exception: an error of the generator.
    """
    # Items and, at the end, None or the error of the generator, each in a tuple of their own.
    waiting: queue.Queue[tuple[_Item] | BaseException | None] = queue.Queue(_MAX_WAITING)
    abandoned = threading.Event()

    def put(item: tuple[_Item] | BaseException | None) -> bool:
        while not abandoned.is_set():
            try:
                waiting.put(item, timeout=POLL_S)
            except queue.Full:
                continue
            return True
        return False

    def read() -> None:
        try:
            with closing(source()) as items:
                for item in items:
                    if not put((item,)):
                        return
        except BaseException as error:
            put(error)
        else:
            put(None)

    threading.Thread(target=read, name="rstitch-download", daemon=True).start()
    try:
        while True:
            on_poll()
            try:
                item = waiting.get(timeout=POLL_S)
            except queue.Empty:
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item[0]
    finally:
        abandoned.set()
