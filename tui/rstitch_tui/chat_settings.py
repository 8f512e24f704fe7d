"""The settings of one chat, stored as JSON with the chat."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator

from rstitch_local.decoding.sampling import Sampling
from rstitch_local.routing.spec import one_spelling


class ChatSettings(BaseModel):
    """Settings of a chat; None stands for the pair's default.

    Attributes:
        first: id of the oldest message that is still sent to the models; older ones were dropped from a full context.
    """

    # Fields of newer versions are ignored.
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

    @field_validator("router")
    @classmethod
    def _check_router(cls, spec: str | None) -> str | None:
        if spec is not None:
            one_spelling(spec)
        return spec

    def sampling(self, defaults: Sampling) -> Sampling:
        """Return the pair's sampling with the settings of this chat applied."""
        chosen = {name: getattr(self, name) for name in ("temperature", "top_p", "top_k", "min_p")}
        merged = {name: getattr(defaults, name) if value is None else value for name, value in chosen.items()}
        return Sampling(**merged)
