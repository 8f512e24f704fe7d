"""The interface between a trajectory and a router: what a router observes, and what it returns.

The routing rules are in `rstitch_local.routing`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from rstitch_local.decoding.roles import Role
from rstitch_local.errors import EngineError, RStitchError

RouteResult: TypeAlias = Role | bool | np.bool_
"""What a router returns; True stands for the LLM, False for the SLM."""

_LONGEST_REPR = 80
_UNREQUESTED = (
    "An observation's field is None unless the router requests it with needs_hidden, needs_margin, needs_pending, "
    "needs_top_k or needs_step_start; some are also None while an answer is resumed (see `Router`)."
)


@dataclass(slots=True)
class Observation:
    """One evaluation as a router sees it.

    Fields that default to None are filled in only if the router requests them (see `Router`).

    Attributes:
        role: the model that was evaluated.
        position: index of the next token in the answer, from 0.
        entropy: normalized entropy of that model's next-token distribution, 0 to 1.
        top1: probability of its most likely token; NaN for an SLM evaluation that is replayed from an earlier answer.
        hidden: the SLM's hidden state, float32 of shape (n_embd,). Always None for the LLM. A view of llama.cpp's
            memory, valid until `route` returns: copy it to keep it.
        margin: top-1 probability minus that of the second most likely token.
        pending: number of tokens the other model has not evaluated yet: the catch-up that a swap costs.
        token: the most likely token, an id in the vocabulary of `role` (`Pair.token_text` returns its text); None if
            the evaluation is replayed.
        top_k_ids: ids of the k most likely tokens, int64 of shape (k,) or less, most likely first.
        top_k_logits: their raw logits, float32 of shape (k,).
        step_start: whether a step of the answer begins here: this is the first position, or the text before it ends
            with a new line or the end of a sentence, white space aside.
    """

    role: Role
    position: int
    entropy: float
    top1: float
    hidden: NDArray[np.float32] | None = None
    margin: float | None = None
    pending: int | None = None
    token: int | None = None
    top_k_ids: NDArray[np.int64] | None = None
    top_k_logits: NDArray[np.float32] | None = None
    step_start: bool | None = None


class Router(ABC):
    """Decides which model generates the next token. Subclass it and implement `route`.

    After an evaluation of the SLM, `route` returns the model that generates the token at `observation.position`.
    After an evaluation of the LLM the LLM's token is kept, and `route` returns the model for the position after it.

    A router may keep state between calls; one instance then serves one answer at a time. When an answer resumes an
    earlier one, a new router is first shown the earlier observations in order (replayed): their roles, positions and
    entropies are exact, but `hidden`, `pending`, `token` and the top-k fields are None, and so is `margin` for an SLM
    evaluation that passed control.

    The class attributes below request fields of the observation; what no router requests is not computed.

    The trace records the class and its public instance attributes: `Doubt(gap=1.0)`. Let the names of attributes that
    hold state begin with `_`.

    Example:
        class Doubt(Router):
            needs_top_k = 2

            def __init__(self, gap: float = 1.0) -> None:
                self.gap = gap

            def route(self, observation: Observation) -> Role:
                logits = observation.top_k_logits
                unsure = logits is not None and logits[0] - logits[1] < self.gap
                return Role.LLM if unsure else Role.SLM
    """

    start: Role = Role.SLM
    """The model that is evaluated first."""
    tau: float | None = None
    """The threshold, for a router with one that may be changed while an answer is generated; else None."""
    stateless: bool = False
    """Whether one instance may serve several answers at the same time. Not inherited: each class declares it."""
    needs_hidden: bool = False
    """Request `Observation.hidden`."""
    needs_margin: bool = False
    """Request `Observation.margin`; steps then record it too."""
    needs_pending: bool = False
    """Request `Observation.pending`."""
    needs_top_k: int = 0
    """Request `Observation.top_k_ids` and `top_k_logits` for this many tokens."""
    needs_step_start: bool = False
    """Request `Observation.step_start`."""

    @abstractmethod
    def route(self, observation: Observation) -> RouteResult:
        """Return the model that generates next; True stands for the LLM, False for the SLM."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={_short(v)}' for k, v in self._parameters().items())})"

    def _parameters(self) -> dict[str, object]:
        """Return the public instance attributes, without those that request fields."""
        return {
            name: value
            for name, value in getattr(self, "__dict__", {}).items()
            if not name.startswith(("_", "needs_")) and name != "stateless"
        }


def query(router: Router, observation: Observation) -> Role:
    """Call a router and check its result.

    Args:
        router: the router.
        observation: passed to `router.route`.

    Returns:
        The model that generates next.

    Raises:
        EngineError: the router raised an exception, or returned anything but a Role or a bool; names the router, the
            position, and the exception or the value.
    """
    try:
        chosen = router.route(observation)
    except RStitchError:
        raise
    except Exception as error:
        raise EngineError(
            "Router failed",
            f"{router!r} raised {type(error).__name__} at position {observation.position}: {error}.",
            _UNREQUESTED if "NoneType" in str(error) else "",
        ) from error
    if isinstance(chosen, Role):
        return chosen
    if isinstance(chosen, bool | np.bool_):
        return Role.LLM if chosen else Role.SLM
    raise EngineError(
        "Invalid router result",
        f"{router!r} returned {_short(chosen)} at position {observation.position}.",
        "Return Role.SLM, Role.LLM or a bool (True for the LLM).",
    )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_REPR else f"{text[: _LONGEST_REPR - 3]}..."
