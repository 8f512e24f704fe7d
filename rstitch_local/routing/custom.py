"""Routers written by the user: instances, classes, factories and plain functions, all turned into a Router."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Sequence
from typing import TypeAlias, cast

from rstitch_local.decoding.router import Observation, Router, RouteResult
from rstitch_local.errors import UsageError

RouteFunction: TypeAlias = Callable[[Observation], RouteResult]
"""A rule as a plain function; True stands for the LLM, False for the SLM."""
RouterFactory: TypeAlias = Callable[..., Router | RouteFunction]
"""Returns a router, or a plain function, for one answer. It receives `seed=` if it has a parameter of that name."""

_HINT = "Pass a router spec, a Router, a Router class, a factory without arguments, or a function of an Observation."
_REQUESTS = [name for name in Router.__annotations__ if name.startswith("needs_")]


class FunctionRouter(Router):
    """A plain function `Observation -> Role | bool` as a router.

    The function may carry the attributes of a Router, which request fields of the observation:

        def unsure(observation: Observation) -> bool:
            return observation.margin is not None and observation.margin < 0.2

        unsure.needs_margin = True
        pair.ask("What is 17 * 23?", router=unsure)

    The function is assumed to keep no state between calls: write a Router class, or a factory, for one that does.
    Type checkers accept the attributes on a Router class only.

    Args:
        function: the rule.

    Raises:
        UsageError: an attribute `needs_...` of the function that no router has.
    """

    stateless = True

    def __init__(self, function: RouteFunction) -> None:
        require_known_requests(function)
        self._function = function
        for name in ("start", *_REQUESTS):
            if hasattr(function, name):
                setattr(self, name, getattr(function, name))

    def route(self, observation: Observation) -> RouteResult:
        """Return the function's result."""
        return self._function(observation)

    def __repr__(self) -> str:
        return name_of(self._function)


def as_router(value: object, *, seed: int = 0) -> Router:
    """Return the router that a caller means by an instance, a class, a factory or a plain function.

    Args:
        value: a Router; a Router class or a function without required parameters except `seed`, which is called;
            or a function of one parameter, the Observation.
        seed: passed to a class or a factory that has a parameter `seed`.

    Raises:
        UsageError: `value` is none of these, or a factory returned something else.
    """
    if isinstance(value, Router):
        return value
    if not callable(value) or (isinstance(value, type) and not issubclass(value, Router)):
        hint = "Derive its class from Router." if hasattr(value, "route") else _HINT
        raise UsageError("Invalid router", f"{_described(value)} is not a router.", hint)
    required = required_parameters(value)
    if required and isinstance(value, type):
        raise UsageError(
            "Router needs arguments",
            f"{name_of(value)} cannot be created without {', '.join(required)}.",
            f"Pass an instance, or a factory such as `lambda: {value.__name__}(...)`.",
        )
    if len(required) > 1:
        raise UsageError(
            "Invalid router", f"{name_of(value)} has {len(required)} required parameters: {', '.join(required)}.", _HINT
        )
    return FunctionRouter(cast(RouteFunction, value)) if required else call_factory(value, seed=seed)


def call_factory(factory: Callable[..., object], arguments: Sequence[str] = (), *, seed: int = 0) -> Router:
    """Call a router class or factory and check what it returns.

    Args:
        factory: called with the arguments; also with `seed=seed` if it has a parameter of that name.
        arguments: positional arguments, as text.
        seed: seed of the answer.

    Raises:
        UsageError: it returned neither a Router nor a function of one parameter.
    """
    made = factory(*arguments, seed=seed) if _accepts_seed(factory) else factory(*arguments)
    if isinstance(made, Router):
        return made
    if callable(made) and not isinstance(made, type) and len(required_parameters(made)) == 1:
        return FunctionRouter(made)
    raise UsageError(
        "Invalid router factory",
        f"{name_of(factory)} returned {_described(made)}.",
        "Return a Router, or a function of an Observation.",
    )


def required_parameters(function: Callable[..., object]) -> list[str]:
    """Return the names of the parameters without a default, `seed` excepted.

    Raises:
        UsageError: the signature cannot be read (some functions written in C).
    """
    return [
        parameter.name
        for parameter in _signature(function).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and parameter.name != "seed"
    ]


def require_known_requests(owner: object) -> None:
    """Refuse a misspelled attribute `needs_...`, which would request nothing.

    Args:
        owner: a router or a plain function.

    Raises:
        UsageError: with the nearest valid name.
    """
    for name in dir(owner):
        if name.startswith("needs_") and name not in _REQUESTS:
            near = difflib.get_close_matches(name, _REQUESTS, n=1) or [", ".join(_REQUESTS)]
            raise UsageError("Unknown request", f"A router has no attribute {name}.", f"Use {near[0]}.")


def name_of(function: object) -> str:
    """Return `module.qualname` of a function or class, with the arguments of a partial and the class of an instance."""
    if isinstance(function, functools.partial):
        arguments = [*map(repr, function.args), *(f"{name}={value!r}" for name, value in function.keywords.items())]
        return f"{name_of(function.func)}({', '.join(arguments)})"
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"


def _signature(function: Callable[..., object]) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except (ValueError, TypeError) as error:
        raise UsageError("Invalid router", f"The parameters of {name_of(function)} are unknown: {error}.") from error


def _accepts_seed(function: Callable[..., object]) -> bool:
    return "seed" in _signature(function).parameters


def _described(value: object) -> str:
    text = repr(value)
    return f"{text[:80]} ({type(value).__name__})"
