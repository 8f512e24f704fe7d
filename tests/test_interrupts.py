from __future__ import annotations

import signal
import threading
from contextlib import nullcontext

import pytest

from rstitch_local.interrupts import Interrupt, count_as_ctrl_c


def press_ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def test_the_first_ctrl_c_is_recorded_and_the_second_one_raises() -> None:
    interrupt = Interrupt()
    before = signal.getsignal(signal.SIGINT)
    with interrupt.while_open(nullcontext("resource")) as resource:
        assert resource == "resource"
        assert not interrupt.should_stop()
        press_ctrl_c()
        assert interrupt.should_stop()
        with pytest.raises(KeyboardInterrupt):
            press_ctrl_c()
    assert signal.getsignal(signal.SIGINT) is before


def test_an_ignored_ctrl_c_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        interrupt = Interrupt()
        with interrupt.recorded():
            press_ctrl_c()
        assert not interrupt.should_stop()
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_leave_the_handler_unchanged() -> None:
    before = signal.getsignal(signal.SIGINT)
    handlers: list[object] = []

    def record() -> None:
        with Interrupt().recorded():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=record)
    thread.start()
    thread.join()
    assert handlers == [before]


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="POSIX signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_other_signals_are_recorded_where_they_count_as_ctrl_c(name: str) -> None:
    number = getattr(signal, name)
    before = signal.getsignal(number)
    try:
        signal.signal(number, signal.SIG_DFL)
        with Interrupt().recorded():
            assert signal.getsignal(number) is signal.SIG_DFL
        count_as_ctrl_c()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        interrupt = Interrupt()
        with interrupt.recorded():
            signal.raise_signal(number)
            assert interrupt.should_stop()
            with pytest.raises(KeyboardInterrupt):
                press_ctrl_c()
        signal.signal(number, signal.SIG_IGN)
        count_as_ctrl_c()
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)
