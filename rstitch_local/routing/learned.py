"""The router that asks a policy: R-Stitch+.

Knows when a policy is asked and what is done with its answer; the network itself is policy.py.
"""

from __future__ import annotations

import functools
from pathlib import Path

from rstitch_local import builtin
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.router import Observation, Router
from rstitch_local.errors import ModelError
from rstitch_local.routing.policy import Policy
from rstitch_local.routing.policy_file import read_policy

BUILT_IN = "demo"
"""The name of the learned router that ships with the package, for the demo pair."""


class LearnedRouter(Router):
    """Where the SLM's entropy is above `tau_ask` the policy says who writes; below, the SLM does.

    After a token of the LLM control goes back as under Algorithm 1: where the LLM's entropy is at most `tau_ask`.

    Args:
        source: a policy, or the PLACE of `learned:PLACE`. A file is read by `load`, before the router is used, so
            that a spec can be looked at where its file is gone (a chat of last year's).
    """

    stateless = True

    def __init__(self, source: Policy | str) -> None:
        self._place = source if isinstance(source, str) else ""
        self._policy: Policy | None = None
        if isinstance(source, Policy):
            self._take(source)

    @property
    def policy(self) -> Policy:
        """The policy; a router of a file must have been loaded."""
        assert self._policy is not None
        return self._policy

    def __repr__(self) -> str:
        if self._place:
            return f"learned:{self._place}"
        return f"{type(self).__name__}(tau_ask={self._tau_ask:g})"

    def load(self) -> Policy:
        """The policy, read from its file if it was not yet.

        Raises:
            ModelError: as `read_policy`.
        """
        if self._policy is None:
            self._take(policy_at(self._place))
        return self.policy

    def require_slm(self, sha256: str) -> None:
        """Refuse another SLM than the one whose hidden states the policy was trained on.

        Args:
            sha256: of the SLM's file.

        Raises:
            ModelError: it is another one; or as `load`.
        """
        if self.load().facts.slm_sha256 != sha256:
            raise ModelError(
                "Another model's router",
                "This router was learned on the hidden states of another SLM, and would decide by chance here.",
                "Train one for this pair with `rstitch train-router`, or use another --router.",
            )

    def _take(self, policy: Policy) -> None:
        self._policy = policy
        self.needs_hidden = "hidden" in policy.facts.inputs
        self.needs_pending = "pending" in policy.facts.inputs
        self._tau_ask = policy.facts.tau_ask

    def route(self, observation: Observation) -> Role:
        """By entropy, and by the policy where the SLM is unsure."""
        unsure = observation.entropy > self._tau_ask
        if not unsure or observation.role is Role.LLM:
            return Role.LLM if unsure else Role.SLM
        if self.needs_hidden and observation.hidden is None:
            # An answer that goes on: what came of this is known.
            return Role.LLM
        return Role.LLM if self.asks(observation) else Role.SLM

    def asks(self, observation: Observation) -> bool:
        """Whether the policy wants the LLM for the token the SLM is unsure of: the larger of its two outputs."""
        return self.policy.score(self.policy.features(observation)) > 0.0


def policy_path(place: str) -> Path:
    """The file that `learned:PLACE` names: a path, or `demo`."""
    return builtin.ROUTER_FILE if place == BUILT_IN else Path(place).expanduser()


def policy_at(place: str) -> Policy:
    """The policy in the file of `learned:PLACE`, read anew where the file has changed.

    Raises:
        ModelError: as `read_policy`.
    """
    path = policy_path(place)
    try:
        info = path.stat()
    except OSError:
        return read_policy(path)
    return _read_once(path, info.st_mtime_ns, info.st_size)


@functools.lru_cache(maxsize=8)
def _read_once(path: Path, _changed: int, _size: int) -> Policy:
    # Every answer has a router of its own, and all of them one policy.
    return read_policy(path)
