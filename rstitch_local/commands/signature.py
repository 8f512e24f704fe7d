"""Groups of options as dataclasses in the signature of a command.

Typer reads one option per parameter. `with_option_groups` lets a command take dataclasses of options instead:

    @with_option_groups
    def bench(file: ProblemsArgument, *, models: Annotated[ModelOptions, Without("parallel")]) -> None: ...

Each field of the dataclass is annotated like a Typer parameter and becomes an option in the place of the group.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache, wraps
from inspect import Parameter, Signature
from typing import Annotated, Any, get_args, get_origin, get_type_hints


class Only:
    """Restrict a group to these fields; the others keep their defaults."""

    def __init__(self, *names: str) -> None:
        self.names = frozenset(names)


class Without:
    """Leave these fields of a group out; they keep their defaults."""

    def __init__(self, *names: str) -> None:
        self.names = frozenset(names)


def with_option_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Expand the dataclass parameters of a command into its Typer signature, and rebuild them for the call.

    Raises:
        ValueError: Only or Without names a field that the group does not have, or two options share a name.
    """
    hints = get_type_hints(command, include_extras=True)
    parameters: list[Parameter] = []
    groups: dict[str, tuple[type, list[str]]] = {}
    for name, parameter in inspect.signature(command).parameters.items():
        group = _group_of(hints[name])
        if group is None:
            # Keyword-only parameters may follow each other in any order, with and without defaults.
            parameters.append(parameter.replace(annotation=hints[name], kind=Parameter.KEYWORD_ONLY))
        else:
            options = _options_of(group, hints[name])
            groups[name] = (group, [option.name for option in options])
            parameters += options

    @wraps(command)
    def call(**values: Any) -> None:
        built = {
            name: group(**{option: values.pop(option) for option in options if option in values})
            for name, (group, options) in groups.items()
        }
        command(**values, **built)

    call.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call


def _group_of(hint: Any) -> type | None:
    kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    return kind if isinstance(kind, type) and is_dataclass(kind) else None


def _options_of(group: type, hint: Any) -> list[Parameter]:
    options = _parameters_of(group)
    for choice in get_args(hint)[1:]:
        if unknown := choice.names - options.keys():
            raise ValueError(f"{group.__name__} has no option {', '.join(sorted(unknown))}.")
        options = {
            name: option for name, option in options.items() if (name in choice.names) == isinstance(choice, Only)
        }
    return list(options.values())


@cache
def _parameters_of(group: type) -> Mapping[str, Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return {
        field.name: Parameter(
            field.name,
            Parameter.KEYWORD_ONLY,
            annotation=hints[field.name],
            default=Parameter.empty if field.default is MISSING else field.default,
        )
        for field in fields(group)
    }
