"""Turns the `router` argument of the Python API into the router of one answer, and guards routers that keep state."""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from typing import TypeAlias
from weakref import WeakValueDictionary

from rstitch_local.decoding.router import Router
from rstitch_local.decoding.trajectory import Trajectory
from rstitch_local.errors import UsageError
from rstitch_local.routing.custom import RouteFunction, RouterFactory, as_router, require_known_requests
from rstitch_local.routing.forms import spec_of
from rstitch_local.routing.spec import router_from_spec

RouterLike: TypeAlias = str | Router | type[Router] | RouterFactory | RouteFunction
"""A router spec, a Router, a Router class or factory (called once per answer), or a function of an Observation."""

_users: WeakValueDictionary[int, Trajectory] = WeakValueDictionary()


@dataclass(frozen=True, slots=True)
class ResolvedRouter:
    """A router and its name.

    Attributes:
        router: the router of one answer.
        name: recorded in the trace: the spec of a built-in router; else the class with its parameters
            ("Doubt(gap=0.5)"), or the name of a function ("my_rules.unsure").
    """

    router: Router
    name: str


def resolve_router(router: RouterLike, *, seed: int = 0) -> ResolvedRouter:
    """Return the router for one answer.

    Args:
        router: a router spec; a Router, used as it is; a Router class or a factory without required parameters, which
            is called for a new router; or a plain function of an Observation that returns a Role or a bool (True:
            the LLM).
        seed: seed of the answer, for the random router and for classes and factories with a parameter `seed`.

    Returns:
        The router and the name to record.

    Raises:
        UsageError: the spec is invalid, the argument is no router, or a `needs_...` attribute is misspelled.
    """
    if isinstance(router, str):
        resolved = ResolvedRouter(router_from_spec(router, seed=seed), str(router))
    else:
        made = as_router(router, seed=seed)
        resolved = ResolvedRouter(made, spec_of(made) or repr(made))
    require_known_requests(resolved.router)
    return resolved


def is_stateless(router: Router) -> bool:
    """Return whether the class of a router declares `stateless = True`; the attribute is not inherited."""
    return bool(vars(type(router)).get("stateless", False))


def claim_router(router: Router, trajectory: Trajectory) -> None:
    """Reserve a router that keeps state for one trajectory, until that ends or is garbage-collected.

    Args:
        router: the trajectory's router.
        trajectory: the trajectory that is about to start.

    Raises:
        UsageError: an unfinished trajectory uses this instance, and its class does not declare `stateless = True`.
    """
    if is_stateless(router):
        return
    user = _users.get(id(router))
    if user is not None and user is not trajectory and user.router is router and user.stop_reason is None:
        raise UsageError(
            "Router in use",
            f"{router!r} serves another unfinished answer and may keep state.",
            f"Pass the class or a factory, which creates one per answer, or set `stateless = True` in "
            f"{type(router).__name__}.",
        )
    _users[id(router)] = trajectory


def set_tau(router: Router, tau: float) -> None:
    """Change the threshold of a router; it applies from the next observation on.

    Args:
        router: a router whose `tau` is not None.
        tau: the new threshold.

    Raises:
        UsageError: the router has no tau, or it is read-only; or the new one is not a number.
    """
    if not isinstance(tau, numbers.Real):
        raise UsageError("Invalid tau", f"tau is {tau!r}, must be a number.")
    if router.tau is None:
        raise UsageError("No tau", f"{router!r} has no tau.", "Use a router with a tau, such as entropy:0.02.")
    try:
        router.tau = tau
    except AttributeError as error:
        raise UsageError("Read-only tau", f"The tau of {router!r} cannot be changed: {error}.") from error
