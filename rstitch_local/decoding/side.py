"""One model's view of a conversation, and what it has to evaluate next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.vocabulary import Vocabulary


class EvalRequest(NamedTuple):
    """What to evaluate next.

    Attributes:
        role: the model.
        ids: the tokens to evaluate.
        prompt: how many of the first of them belong to the prompt.
        hidden: whether the hidden state of the last token is needed.
        outputs: how many of the last tokens need their logits.
    """

    role: Role
    ids: Sequence[int]
    prompt: int
    hidden: bool
    outputs: int = 1


class Side:
    """One model's view of the conversation.

    Attributes:
        role: the model.
        ids: the whole conversation in its tokens.
        prompt: length of the prompt.
        cached: how many of `ids` its KV cache holds; always the first ones.
        seen: the largest `cached` so far, or more: tokens stay seen when a cache is evicted and when an answer resumes.
        capacity: tokens the KV cache can hold.
        vocabulary: its vocabulary.
        tokens: number of tokens of the answer that it generated.
    """

    __slots__ = ("cached", "capacity", "ids", "prompt", "role", "seen", "tokens", "vocabulary")

    def __init__(self, role: Role, prompt: Sequence[int], capacity: int, vocabulary: Vocabulary) -> None:
        self.role = role
        self.ids = list(prompt)
        self.prompt = len(prompt)
        self.cached = self.seen = 0
        self.capacity = capacity
        self.vocabulary = vocabulary
        self.tokens = 0
