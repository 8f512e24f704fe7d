"""The record of one generated token."""

from __future__ import annotations

from dataclasses import dataclass

from rstitch_local.decoding.roles import Role


@dataclass(slots=True)
class Step:
    """One token of an answer.

    Attributes:
        position: index in the answer, from 0.
        role: the model that generated it.
        token: its id in that model's vocabulary.
        text: the text it completes: whole characters, and none that may belong to a stop string (these join the text
            of a later step). Often a word, sometimes empty.
        entropy: normalized entropy of the distribution it was drawn from, 0 to 1.
        top1: probability of the most likely token there.
        evaluated_tokens: tokens evaluated since the previous step, by both models.
        ms: time that took, in milliseconds.
        swap_entropy: the SLM's entropy at this position if control passed to the LLM here (speculative decoding: if
            the LLM rejected the draft or there was none); else None.
        margin: top-1 probability minus that of the second most likely token, if the router requested it; else None.
        replaced_bytes: models with different tokenizers: how many bytes at the start of the token stand for text of
            the other model that the token replaced; None for a shared tokenizer and in records of version 0.1.
    """

    position: int
    role: Role
    token: int
    text: str
    entropy: float
    top1: float
    evaluated_tokens: int
    ms: float
    swap_entropy: float | None = None
    margin: float | None = None
    replaced_bytes: int | None = None
