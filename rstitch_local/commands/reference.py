"""The help of all commands as one Markdown page, for the documentation.

    python -m rstitch_local.commands.reference [FILE]

Without FILE the page is printed. It is built from the signatures of the commands, so it does not depend on the width
of the terminal or on the version of Typer.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args, get_origin

import typer
from typer.models import ArgumentInfo, CommandInfo, OptionInfo

from rstitch_local.commands.main import app
from rstitch_local.files import write_atomic

_TYPES = {int: "integer", float: "number", str: "text", Path: "path"}
_OPTIONS = "Options"


class Parameter(NamedTuple):
    """One argument or option of a command; `limits` are its minimum and maximum, None for none."""

    names: tuple[str, ...]
    kind: type
    required: bool
    default: Any
    panel: str | None
    metavar: str | None
    limits: tuple[float | None, float | None]
    help: str

    @property
    def is_argument(self) -> bool:
        """Whether it is an argument, not an option."""
        return not self.names[0].startswith("-")

    def default_text(self) -> str:
        """Return the default as `--help` shows it."""
        if self.required:
            return "required"
        return "" if self.default is None or isinstance(self.default, bool) else str(self.default)

    def value_text(self) -> str:
        """Return the placeholder or the type of the value, with its limits; empty for a flag."""
        if self.kind is bool or self.is_argument:
            return ""
        low, high = self.limits
        words = [self.metavar or _TYPES[self.kind]]
        if low is not None and high is not None:
            words.append(f"{low:g} to {high:g}" if high < 1e6 else f"at least {low:g}")
        elif low is not None:
            words.append(f"at least {low:g}")
        return ", ".join(words)


def cli_reference() -> str:
    """Return the Markdown page."""
    lines = ["# Command line", "", str(app.info.help), "", str(app.info.epilog), ""]
    lines += ["`rstitch --version` prints the version, and `rstitch COMMAND --help` the help of a command.", ""]
    for registered in app.registered_commands:
        lines += _command_section("rstitch", registered)
    for included in app.registered_groups:
        assert included.typer_instance is not None
        lines += _group_sections(included.typer_instance)
    return "\n".join(lines)


def _group_sections(group: typer.Typer) -> Iterator[str]:
    """The sections of a group of commands and of its commands."""
    name = f"rstitch {group.info.name}"
    registered_callback = group.registered_callback
    callback = None if registered_callback is None else registered_callback.callback
    parameters = [] if callback is None else list(_parameters(callback))
    yield from _section(name, str(group.info.help), parameters, "[OPTIONS]" if parameters else "COMMAND [OPTIONS]")
    for registered in group.registered_commands:
        yield from _command_section(name, registered)


def _command_section(prefix: str, registered: CommandInfo) -> Iterator[str]:
    command = registered.callback
    assert command is not None
    name = registered.name or command.__name__.replace("_", "-")
    return _section(f"{prefix} {name}", inspect.cleandoc(command.__doc__ or ""), list(_parameters(command)))


def _section(name: str, description: str, parameters: list[Parameter], more: str = "[OPTIONS]") -> Iterator[str]:
    """The description, the usage, and a table of options per panel."""
    arguments = [each for each in parameters if each.is_argument]
    usage = [name]
    usage += [each.names[0] if each.required else f"[{each.names[0].strip('[]')}]" for each in arguments]
    usage += [f"{each.names[0]} {each.metavar}" for each in parameters if each.required and not each.is_argument]
    yield from (f"## {name}", "", description, "", "```text", " ".join([*usage, more]), "```", "")
    if arguments:
        yield from ("| Argument | Description |", "|---|---|")
        yield from (_row(f"`{each.names[0].strip('[]')}`", each.help) for each in arguments)
        yield ""
    options = [each for each in parameters if not each.is_argument]
    for panel in _panels(options):
        yield from (f"**{panel or _OPTIONS}**", "", "| Option | Value | Default | Description |", "|---|---|---|---|")
        for each in options:
            if each.panel == panel:
                names = ", ".join(f"`{option}`" for option in each.names)
                yield _row(names, each.value_text(), each.default_text(), each.help)
        yield ""


def _panels(options: list[Parameter]) -> list[str | None]:
    """Return the panels in the order of `--help`: options without a panel first."""
    panels = list(dict.fromkeys(each.panel for each in options))
    return sorted(panels, key=lambda panel: panel is not None)


def _row(*cells: str) -> str:
    """Return a table row. A vertical bar in a cell would end it."""
    return "| " + " | ".join(cell.replace("|", "&#124;") for cell in cells) + " |"


def _parameters(command: Callable[..., Any]) -> Iterator[Parameter]:
    for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
        if get_origin(parameter.annotation) is not Annotated:
            continue
        kind, info, *_ = get_args(parameter.annotation)
        if isinstance(info, OptionInfo | ArgumentInfo):
            yield _parameter(name, parameter, _value_type(kind), info)


def _value_type(kind: Any) -> type:
    """Return the type of a single value: `int` of `int | None`, `str` of `list[str] | None`."""
    while arguments := [each for each in get_args(kind) if each is not type(None)]:
        kind = arguments[0]
    assert isinstance(kind, type)
    return kind


def _parameter(name: str, parameter: inspect.Parameter, kind: type, info: OptionInfo | ArgumentInfo) -> Parameter:
    required = parameter.default is parameter.empty
    default = info.show_default if isinstance(info.show_default, str) else parameter.default
    if isinstance(info, ArgumentInfo):
        repeated = "..." if get_origin(get_args(parameter.annotation)[0]) is list else ""
        names: tuple[str, ...] = ((info.metavar or name.upper()) + repeated,)
    else:
        # In Annotated, Typer stores the first name in `default`.
        names = (str(info.default), *(info.param_decls or ()))
    return Parameter(
        names=names,
        kind=kind,
        required=required,
        default=default,
        panel=info.rich_help_panel,
        metavar=info.metavar,
        limits=(info.min, info.max),
        help=info.help or "",
    )


def main() -> None:
    """Write the page to the file named on the command line, or to stdout."""
    page = cli_reference()
    if len(sys.argv) > 1:
        write_atomic(Path(sys.argv[1]), page)
    else:
        sys.stdout.write(page)


if __name__ == "__main__":
    main()
