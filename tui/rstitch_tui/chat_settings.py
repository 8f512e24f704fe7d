"""What one chat is run with: pair, router, sampling, system prompt.

Knows the fields and their ranges; nothing of files, widgets or models. Kept as JSON with each chat.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator

from rstitch_local.decoding.sampling import Sampling
from rstitch_local.routing.spec import one_spelling


class ChatSettings(BaseModel):
    """A chat's own settings; None always means: as the pair has it."""

    # A chat of a newer version may say more than this one knows; what it does not know has no effect.
    model_config = ConfigDict(frozen=True, extra="ignore")

    pair: str | None = None
    router: str | None = None
    system: str = ""
    temperature: float | None = Field(default=None, ge=0.0, le=100.0)
    top_p: float | None = Field(default=None, ge=0.0, le=1.0)
    top_k: int | None = Field(default=None, ge=0)
    min_p: float | None = Field(default=None, ge=0.0, le=1.0)
    max_tokens: int | None = Field(default=None, ge=1)
    seed: int = 0
    thinking: bool | None = None
    first: int | None = None
    """Id of the oldest message that is still sent to the models; what is older was dropped from a full context."""

    @field_validator("router")
    @classmethod
    def _names_a_router(cls, spec: str | None) -> str | None:
        if spec is not None:
            one_spelling(spec)
        return spec

    def sampling(self, own: Sampling) -> Sampling:
        """How tokens are drawn: the pair's `own` way, changed where the chat says so."""
        chosen = {name: getattr(self, name) for name in ("temperature", "top_p", "top_k", "min_p")}
        merged = {name: getattr(own, name) if value is None else value for name, value in chosen.items()}
        return Sampling(**merged)
