"""Router specs: `entropy:0.02`, `learned:demo`, `python:package.module:factory` and the like, parsed and normalized.

Only `router_from_spec` and `usable_spec` create a router; the other functions read the text and import nothing.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence

from rstitch_local import paths
from rstitch_local.decoding.router import Router
from rstitch_local.errors import UsageError
from rstitch_local.routing.forms import FORMS, TAU, Form
from rstitch_local.routing.learned import BUILT_IN, LearnedRouter, policy_path
from rstitch_local.routing.registry import PYTHON, PYTHON_FORM, custom_names, custom_router, custom_spec
from rstitch_local.sanitize import one_line

DEFAULT_SPEC = "entropy:0.02"
LEARNED = "learned"
"""The name of the router whose spec contains the path of a file: `learned:PATH`, or `learned:demo`."""
# Longer than any path.
_MAX_CHARACTERS = 8192


def router_from_spec(spec: str, *, seed: int = 0) -> Router:
    """Create the router that a spec describes.

    Args:
        spec: a name and its numbers, as in `FORMS` (a bare `entropy` has tau 0.02); `learned:PATH`; a name given to
            `register_router`; or `python:package.module:factory`.
        seed: for the random router, and for factories with a parameter `seed`.

    Raises:
        UsageError: no such router (the hint has the nearest spec); a number is missing, superfluous or out of range;
            or a custom router cannot be created.
    """
    place = _learned(spec)
    if place is not None:
        return LearnedRouter(place)
    custom = custom_spec(spec)
    if custom is not None:
        return custom_router(custom, seed=seed)
    form, numbers = _parse(spec)
    return form.router(numbers, seed)


def one_spelling(spec: str) -> str:
    """Return the normal form of a spec, so that `entropy:.020` can resume a run of `entropy:0.02`.

    Raises:
        UsageError: the spec is invalid; custom routers are not imported.
    """
    place = _learned(spec)
    if place is not None:
        return f"{LEARNED}:{place}"
    custom = custom_spec(spec)
    if custom is not None:
        return custom
    form, numbers = _parse(spec)
    return ":".join((form.name, *(repr(number) for number in numbers)))


def usable_spec(spec: str) -> str:
    """Return the normal form of a spec after checking that its router can be created.

    Raises:
        UsageError: as `router_from_spec`.
        ModelError: a learned router's file is missing or broken.
    """
    router = router_from_spec(spec)
    if isinstance(router, LearnedRouter):
        router.load()
    return one_spelling(spec)


def absolute_spec(spec: str) -> str:
    """Return a spec that is valid in any working directory: the path of a learned router is made absolute.

    Raises:
        UsageError: the spec is invalid.
    """
    place = _learned(spec)
    # Not Path.resolve, which raises an error for a link to itself.
    return spec if place is None or place == BUILT_IN else f"{LEARNED}:{os.path.realpath(policy_path(place))}"


def tau_of_spec(spec: str) -> float | None:
    """Return the tau in a spec; None if its router has none, or is learned or custom.

    Raises:
        UsageError: the spec is invalid; custom routers are not imported.
    """
    if _learned(spec) is not None or custom_spec(spec) is not None:
        return None
    form, numbers = _parse(spec)
    return numbers[-1] if form.has_tau else None


def with_tau(spec: str, tau: float) -> str:
    """Return the same rule with another tau, or the entropy rule with it if the rule has none (see `tau_of_spec`).

    Raises:
        UsageError: the spec is invalid.
    """
    if tau_of_spec(spec) is None:
        return f"entropy:{tau:g}"
    return f"{one_spelling(spec).rpartition(':')[0]}:{tau:g}"


def _learned(spec: str) -> str | None:
    """Return the text after `learned:`, which may contain colons; None for other routers."""
    if len(spec) > _MAX_CHARACTERS:
        raise UsageError("Unknown router", f"{_quoted(spec)} has more than {_MAX_CHARACTERS:,} characters.")
    name, colon, place = spec.strip().partition(":")
    if name != LEARNED:
        return None
    reason = paths.reason_against(place)
    if reason is not None:
        raise UsageError("Invalid router spec", f"The path of {_quoted(spec)} {reason}.")
    if not (colon and place.strip()):
        raise UsageError(
            "Unknown router",
            f"{_quoted(spec)} names no file.",
            f"Use {LEARNED}:PATH, or {LEARNED}:{BUILT_IN} with the demo pair.",
        )
    return place.strip()


def _quoted(spec: str) -> str:
    return f"'{one_line(spec)}'"


def _parse(spec: str) -> tuple[Form, list[float]]:
    """Return the form and the numbers of a built-in router's spec."""
    spec = spec.strip()
    name, *texts = (DEFAULT_SPEC if spec == "entropy" else spec).split(":")
    form = FORMS.get(name)
    if form is None:
        raise UsageError("Unknown router", f"{_quoted(spec)} is not a router.", _correction(name, texts))
    try:
        return form, form.parse(texts)
    except ValueError as error:
        example = f", for example {form.nearest(texts)}" if form.numbers else ""
        raise UsageError("Unknown router", f"{_quoted(spec)} {error}.", f"Use {form.spelling}{example}.") from None


def _correction(name: str, texts: Sequence[str]) -> str:
    """Return a hint with the nearest valid spec, or with all forms if none is near."""
    if TAU.parse(name) is not None:
        return f"Did you mean {FORMS['entropy'].nearest([name])}?"
    name = name.strip()
    near = difflib.get_close_matches(name, custom_names(), n=1)
    if near and near[0] == PYTHON:
        return f"Did you mean {PYTHON_FORM}?"
    if near:
        return f"Did you mean {one_line(':'.join((near[0], *texts)))}?"
    name = name.lower()
    if difflib.get_close_matches(name, [LEARNED], n=1):
        return f"Did you mean {LEARNED}:{one_line(':'.join(texts)) or BUILT_IN}?"
    near = difflib.get_close_matches(name, FORMS, n=1) or [each for each in FORMS if name and each.startswith(name)]
    return f"Did you mean {FORMS[near[0]].nearest(texts)}?" if near else f"Use {', '.join(_spellings())}."


def _spellings() -> list[str]:
    registered = [name for name in custom_names() if name != PYTHON]
    built_in = [form.spelling for form in FORMS.values()]
    return [*built_in, *registered, f"{LEARNED}:PATH", f"{LEARNED}:{BUILT_IN} or {PYTHON_FORM}"]
