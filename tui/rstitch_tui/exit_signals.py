"""Quits the chat in an orderly way when its process gets a signal or loses its terminal."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress

_HANG_UP_S = 2.0
"""Seconds after which the process exits when quitting hangs because the terminal is gone."""


def quit_on_signals(request_quit: Callable[[], object]) -> None:
    """Call `request_quit` in the running event loop on SIGTERM, SIGINT and SIGHUP."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        # Event loops on Windows have no signal handlers.
        with suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, request_quit)

    def hang_up(*_signal: object) -> None:
        # Without a terminal Textual may block forever while drawing; everything saved so far is kept.
        end = threading.Timer(_HANG_UP_S, os._exit, [128 + 1])
        end.daemon = True
        end.start()
        loop.call_soon_threadsafe(request_quit)

    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, hang_up)
