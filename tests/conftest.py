"""Fixtures for all tests: a tiny pair of real GGUF files, and Ctrl-C at work."""

from __future__ import annotations

import signal

import pytest
from tiny_pair import TinyPair, write_pair


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> None:
    """A shell starts background jobs with Ctrl-C ignored; the tests of it need Python's own way."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def tiny_pair(tmp_path_factory: pytest.TempPathFactory) -> TinyPair:
    """Two random models that share a tokeniser; each loads in milliseconds."""
    return write_pair(tmp_path_factory.mktemp("tiny_pair"))
