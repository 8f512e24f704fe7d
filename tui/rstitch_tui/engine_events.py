"""The messages that the engine thread posts to the app."""

from __future__ import annotations

from dataclasses import dataclass

from textual.message import Message

from rstitch_local.decoding.roles import Role
from rstitch_local.engine.choice import PairChoice
from rstitch_local.engine.loading import LoadOptions
from rstitch_local.errors import RStitchError
from rstitch_tui.answer import Answer


@dataclass(frozen=True)
class LoadedPair:
    """Properties of the loaded pair.

    Attributes:
        choice: name, files and defaults of the pair.
        options: the options it was loaded with.
        context: capacity of each model's KV cache in tokens.
        context_limit: largest context both models were trained on.
        thinking_switch: whether the chat template can switch thinking on and off.
        seconds: how long loading took.
        notice: a warning about the pair to show to the user.
    """

    choice: PairChoice
    options: LoadOptions
    context: dict[Role, int]
    context_limit: int
    thinking_switch: bool
    seconds: float
    notice: str | None = None


class Loading(Message):
    """Progress of loading a model, `share` from 0 to 1; None while its file is tried in another process."""

    def __init__(self, role: Role, share: float | None) -> None:
        super().__init__()
        self.role = role
        self.share = share


class Loaded(Message):
    """A pair has been loaded."""

    def __init__(self, pair: LoadedPair) -> None:
        super().__init__()
        self.pair = pair


class LoadFailed(Message):
    """Loading a pair failed or was cancelled; no pair is loaded."""

    def __init__(self, choice: PairChoice, error: RStitchError) -> None:
        super().__init__()
        self.choice = choice
        self.error = error


class Unloaded(Message):
    """The pair has been unloaded."""


class AnswerEnded(Message):
    """Generation of an answer has ended; see `answer.trace` and `answer.error`."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer
