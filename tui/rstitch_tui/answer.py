"""A request for an answer, and the answer while the engine thread generates it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.sampling import Sampling
from rstitch_local.decoding.step import Step
from rstitch_local.engine.run import Run
from rstitch_local.errors import PromptTooLongError, RStitchError
from rstitch_local.trace.record import Trace

Turn = dict[str, str]
"""A message of the prompt: "role" and "content"."""


@dataclass(frozen=True)
class Request:
    """What to answer and how; the fields are the arguments of `Pair.chat`."""

    messages: Sequence[Turn]
    router: str | None = None
    sampling: Sampling | None = None
    seed: int = 0
    max_tokens: int | None = None
    stop: Sequence[str] = ()
    thinking: bool | None = None
    prefix: str = ""
    resume_steps: Sequence[Step] = ()


@dataclass(eq=False)
class Answer:
    """An answer shared by the app, which reads it, and the engine thread, which generates it.

    Attributes:
        request: the request.
        trace: the record; None before generation has started.
        error: why generation failed.
        ended: True once no more steps follow.
        llm_alone_ms: estimated time the LLM alone would have taken.
    """

    request: Request
    trace: Trace | None = None
    error: RStitchError | None = None
    ended: bool = False
    llm_alone_ms: float | None = None
    _new_steps: deque[Step] = field(default_factory=deque)
    _stop: threading.Event = field(default_factory=threading.Event)
    _run: Run | None = None
    _capacity: dict[Role, int] = field(default_factory=dict)
    _prompt_tokens: dict[Role, int] = field(default_factory=dict)

    def stop(self) -> None:
        """Stop after the current evaluation; the text so far is kept."""
        self._stop.set()

    @property
    def stop_requested(self) -> bool:
        return self._stop.is_set()

    @property
    def tau(self) -> float | None:
        """The threshold in effect; None before generation starts and for routers without a threshold."""
        return self._run.tau if self._run is not None else None

    @tau.setter
    def tau(self, value: float) -> None:
        """Change the threshold from the next token on; no effect before generation and without a threshold."""
        if self.tau is not None and self._run is not None:
            self._run.tau = value

    @property
    def context_used(self) -> Mapping[Role, tuple[int, int]]:
        """Tokens in each model's KV cache, or of a prompt that was too long, and its capacity; else empty."""
        if isinstance(self.error, PromptTooLongError):
            return {Role[name]: counts for name, counts in self.error.used.items()}
        if self._run is None:
            return {}
        return {role: (self._run.trajectory.cached(role), self._capacity[role]) for role in Role}

    @property
    def prompt_progress(self) -> tuple[Role, int, int] | None:
        """The model that is evaluating its prompt, the tokens of the prompt it has in its cache, and their total.

        None before generation starts and while the active model has its whole prompt.
        """
        if self._run is None:
            return None
        role = self._run.trajectory.active
        cached, total = self._run.trajectory.cached(role), self._prompt_tokens[role]
        return (role, cached, total) if cached < total else None

    @property
    def context_full(self) -> bool:
        """Whether generation ended because a KV cache is full."""
        full = any(used >= capacity for used, capacity in self.context_used.values())
        return self.trace is not None and self.trace.stop == "length" and full

    @property
    def prompt_too_long(self) -> bool:
        """Whether generation could not start because the prompt exceeds the context."""
        return isinstance(self.error, PromptTooLongError)

    @property
    def llm_length(self) -> int:
        """Tokens of the conversation including the answer, in the LLM's tokenization."""
        return len(self._run.trajectory.ids(Role.LLM)) if self._run is not None else 0

    def start(self, run: Run, capacity: dict[Role, int]) -> None:
        """Set the run that generates the answer. Called by the engine thread."""
        self._prompt_tokens = {role: len(run.trajectory.ids(role)) for role in Role}
        self.trace, self._run, self._capacity = run.trace, run, capacity

    def add_step(self, step: Step) -> None:
        """Add a generated step. Called by the engine thread."""
        self._new_steps.append(step)

    def take_steps(self) -> list[Step]:
        """Return the steps generated since the last call."""
        taken: list[Step] = []
        while self._new_steps:
            taken.append(self._new_steps.popleft())
        return taken
