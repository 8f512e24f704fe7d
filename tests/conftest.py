"""Fixtures for all tests: a tiny pair of real GGUF files."""

from __future__ import annotations

import pytest
from tiny_pair import TinyPair, write_pair


@pytest.fixture(scope="session")
def tiny_pair(tmp_path_factory: pytest.TempPathFactory) -> TinyPair:
    """Two random models that share a tokeniser; each loads in milliseconds."""
    return write_pair(tmp_path_factory.mktemp("tiny_pair"))
