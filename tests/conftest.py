"""Fixtures for all tests: a tiny pair of real GGUF files, and a working Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest
from tiny_pair import TinyPair, write_pair

from rstitch_local import LoadOptions, Pair, load_pair
from rstitch_local.engine.tried_files import FilesOnTrial
from rstitch_local.llama.weights import Weights


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> None:
    """Restore Python's handler: shells start background jobs with Ctrl-C ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def no_trials() -> Iterator[Callable[[FilesOnTrial], bool]]:
    """Load new files without a trial, which takes a second. Yields the replaced method, for tests of trials."""
    were_tried = FilesOnTrial.were_tried
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FilesOnTrial, "were_tried", lambda _files: True)
        yield were_tried


@pytest.fixture(scope="session")
def tiny_pair(tmp_path_factory: pytest.TempPathFactory) -> TinyPair:
    """Two random models that share a tokenizer; each loads in milliseconds."""
    return write_pair(tmp_path_factory.mktemp("tiny_pair"))


@pytest.fixture(scope="module")
def weights(tiny_pair: TinyPair) -> Iterator[Weights]:
    """The large model of the tiny pair."""
    loaded = Weights(tiny_pair.llm)
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def demo() -> Iterator[Pair]:
    """The demo pair, shared by the tests of a module."""
    with load_pair("demo", options=LoadOptions(threads=1)) as loaded:
        yield loaded


@pytest.fixture
def fresh_demo() -> Iterator[Pair]:
    """The demo pair, loaded for one test."""
    with load_pair("demo", options=LoadOptions(threads=1, context=512)) as loaded:
        yield loaded
