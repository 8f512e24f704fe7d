"""The two models of a pair."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """A model of a pair: the small one (SLM) or the large one (LLM)."""

    SLM = "slm"
    LLM = "llm"

    @property
    def other(self) -> Role:
        """The other model of the pair."""
        return Role.LLM if self is Role.SLM else Role.SLM
