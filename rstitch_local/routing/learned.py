"""The router of R-Stitch+: a policy decides where the SLM's entropy is high.

The network is in policy.py, its file in policy_file.py.
"""

from __future__ import annotations

import functools
from pathlib import Path

from rstitch_local import builtin, paths
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.router import Observation, Router
from rstitch_local.errors import ModelError
from rstitch_local.routing.policy import Policy
from rstitch_local.routing.policy_file import read_policy

BUILT_IN = "demo"
"""The name of the learned router that is part of the package, for the demo pair."""


class LearnedRouter(Router):
    """Where the SLM's entropy is above `tau_ask` the policy chooses the model, elsewhere the SLM generates.

    After a token of the LLM, control returns as in Algorithm 1: where the LLM's entropy is at most `tau_ask`.

    Args:
        source: a policy, or the NAME of `learned:NAME` (a path, or "demo"). A file is read by `load`, which is called
            before the router is used; so a spec can be parsed after its file was deleted.
    """

    stateless = True

    def __init__(self, source: Policy | str) -> None:
        self._name = source if isinstance(source, str) else ""
        self._policy: Policy | None = None
        if isinstance(source, Policy):
            self._use(source)

    @property
    def policy(self) -> Policy:
        """The policy. Call `load` first if the router was created from a name."""
        assert self._policy is not None
        return self._policy

    def __repr__(self) -> str:
        return f"learned:{self._name}" if self._name else f"{type(self).__name__}(tau_ask={self._tau_ask:g})"

    def load(self) -> Policy:
        """Return the policy; read it from its file on the first call.

        Raises:
            ModelError: as `read_policy`.
        """
        if self._policy is None:
            self._use(load_policy(self._name))
        return self.policy

    def require_slm(self, sha256: str) -> None:
        """Refuse an SLM other than the one whose hidden states the policy was trained on.

        Args:
            sha256: checksum of the SLM's file.

        Raises:
            ModelError: it is another SLM; or as `load`.
        """
        if self.load().metadata.slm_sha256 != sha256:
            raise ModelError(
                "Router of another model",
                "This router was trained on the hidden states of another SLM; its decisions would be random here.",
                "Train one for this pair with `rstitch train-router`, or use another router.",
            )

    def _use(self, policy: Policy) -> None:
        self._policy = policy
        self.needs_hidden = "hidden" in policy.metadata.inputs
        self.needs_pending = "pending" in policy.metadata.inputs
        self._tau_ask = policy.metadata.tau_ask

    def route(self, observation: Observation) -> Role:
        """Return the SLM at low entropy; at high entropy decide by the policy, or stay with the LLM."""
        if observation.entropy <= self._tau_ask:
            return Role.SLM
        if observation.role is Role.LLM:
            return Role.LLM
        if self.needs_hidden and observation.hidden is None:
            # A replayed evaluation: it is only replayed if control passed to the LLM.
            return Role.LLM
        return Role.LLM if self.calls_llm(observation) else Role.SLM

    def calls_llm(self, observation: Observation) -> bool:
        """Return whether the policy calls the LLM at a position where the SLM's entropy is above `tau_ask`."""
        return self.policy.score(self.policy.features(observation)) > 0.0


def policy_path(name: str) -> Path:
    """Return the file of `learned:NAME`: a path, or that of the built-in router."""
    return builtin.ROUTER_FILE if name == BUILT_IN else paths.expanded(name)


def load_policy(name: str) -> Policy:
    """Return the policy of `learned:NAME`; the file is read again only if it has changed.

    Args:
        name: a path, or "demo".

    Raises:
        ModelError: as `read_policy`.
    """
    path = policy_path(name)
    try:
        info = path.stat()
    except (OSError, ValueError):
        return read_policy(path)  # raises the error for users
    return _read_cached(path, info.st_mtime_ns, info.st_size)


@functools.lru_cache(maxsize=8)
def _read_cached(path: Path, _changed: int, _size: int) -> Policy:
    # Every answer has a router of its own; they share one policy.
    return read_policy(path)
