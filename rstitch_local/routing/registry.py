"""Custom router specs: names registered from Python, and `python:package.module:factory`.

Routers are created here; no spec is imported or called before that (`custom_spec` only checks the syntax).
"""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

from rstitch_local.decoding.router import Router
from rstitch_local.errors import RStitchError, UsageError
from rstitch_local.routing.custom import RouterFactory, as_router, call_factory, name_of
from rstitch_local.routing.forms import FORMS
from rstitch_local.sanitize import one_line

PYTHON = "python"
"""The name of specs that import a factory."""
PYTHON_FORM = f"{PYTHON}:package.module:factory"
_RESERVED = {*FORMS, PYTHON, "learned"}
_NAME = re.compile(r"[A-Za-z_][\w-]*")
_registered: dict[str, RouterFactory] = {}


def register_router(name: str, factory: RouterFactory) -> None:
    """Make `name` and `name:ARGS` valid router specs in this process.

    `name:3:0.5` calls `factory("3", "0.5")`: what follows the name is split at colons and passed as strings, which
    the factory converts. A factory with a parameter `seed` also receives `seed=`, the seed of the answer. It is
    called once per answer, so its routers may keep state. An existing registration of the name is replaced.

    Example:
        register_router("doubt", lambda gap="1.0": Doubt(float(gap)))
        pair.ask("What is 17 * 23?", router="doubt:0.5")

    Args:
        name: letters, digits, `_` and `-`, beginning with a letter or `_`; not that of a built-in router.
        factory: a Router class, or a callable that returns a Router or a function of an Observation.

    Raises:
        UsageError: the name is invalid or built in, or the factory cannot be called.
    """
    if not _NAME.fullmatch(name):
        raise UsageError("Invalid router name", f"'{name}' cannot be the name of a router.", "Use letters and digits.")
    if name in _RESERVED:
        raise UsageError("Invalid router name", f"'{name}' is a built-in router.", "Choose another name.")
    if not callable(factory):
        raise UsageError("Invalid router factory", f"{factory!r} cannot be called.", "Pass a Router class or function.")
    _registered[name] = factory


def unregister_router(name: str) -> None:
    """Undo `register_router`; no error if the name is not registered.

    Args:
        name: the registered name.
    """
    _registered.pop(name, None)


def custom_names() -> list[str]:
    """Return the registered names and `python`."""
    return [*_registered, PYTHON]


def custom_spec(spec: str) -> str | None:
    """Return the spec of a custom router without white space around its parts; None if the router is not custom.

    Raises:
        UsageError: the syntax of a `python:` spec is wrong.
    """
    parts = [part.strip() for part in spec.split(":")]
    if parts[0] == PYTHON:
        valid = len(parts) > 2 and all(map(str.isidentifier, (*parts[1].split("."), parts[2])))
        if not valid:
            shown = one_line(spec)
            raise UsageError("Invalid router spec", f"'{shown}' names no factory.", f"Use {PYTHON_FORM}.")
    elif parts[0] not in _registered:
        return None
    return ":".join(parts)


def custom_router(spec: str, *, seed: int = 0) -> Router:
    """Create the router of a spec that `custom_spec` recognizes.

    Args:
        spec: the spec.
        seed: passed to factories with a parameter `seed`.

    Raises:
        UsageError: the module cannot be imported, has no such attribute, the factory raised an exception, or what it
            returned is not a router.
    """
    name, *arguments = spec.split(":")
    source, factory = spec, _registered.get(name)
    try:
        if factory is not None:
            return call_factory(factory, arguments, seed=seed)
        module, attribute, *arguments = arguments
        found = _imported(module, attribute)
        source = f"{module}.{attribute}"
        if isinstance(found, Router):
            raise UsageError(
                "Invalid router factory",
                f"{source} is a router, which several answers would share.",
                "Name its class, or a function that returns a router.",
            )
        if arguments and callable(found):
            return call_factory(found, arguments, seed=seed)
        return as_router(found, seed=seed)
    except RStitchError:
        raise
    except (Exception, SystemExit) as error:
        called = one_line(source if factory is None else f"{source} ({name_of(factory)})")
        message = f"{called} raised {type(error).__name__}: {one_line(error, 200)}."
        raise UsageError("Router factory failed", message) from error


def _imported(module: str, attribute: str) -> object:
    """Import an attribute; modules in the current directory are found as well."""
    directory = str(Path.cwd())
    if not {"", directory}.intersection(sys.path):
        sys.path.append(directory)
    try:
        loaded = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        # A script calls sys.exit where it is imported.
        raise UsageError(
            "Cannot import router",
            f"Importing {one_line(module)} raised {type(error).__name__}: {one_line(error, 200)}.",
            "Run from the folder that contains it, install it, or set PYTHONPATH.",
        ) from error
    try:
        return getattr(loaded, attribute)
    except AttributeError:
        raise UsageError(
            "Unknown router factory",
            f"{module} ({getattr(loaded, '__file__', None) or 'no file'}) has no attribute {one_line(attribute)}.",
            f"Use {PYTHON_FORM}.",
        ) from None
