"""Groups of options as dataclasses in the signature of a command."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner, Result

from rstitch_local.commands.signature import Only, Without, with_option_groups

received: list[Any] = []


@dataclass(frozen=True)
class Options:
    count: Annotated[int, typer.Option("--number", min=1, help="How many.")] = 1
    words: Annotated[list[str] | None, typer.Option("--word")] = None
    needed: Annotated[str, typer.Option("--needed")] = "a"


@dataclass(frozen=True)
class Required:
    name: Annotated[str, typer.Option("--name")]


@with_option_groups
def whole(first: Annotated[str, typer.Argument()], *, options: Options, flag: bool = False) -> None:
    """Say it."""
    received.append((first, options, flag))


@with_option_groups
def parts(*, required: Required, options: Annotated[Options, Without("words", "needed")]) -> None:
    received.append((required, options))


@with_option_groups
def one(*, options: Annotated[Options, Only("words")]) -> None:
    received.append(options)


def invoke(command: Any, *arguments: str) -> Result:
    app = typer.Typer()
    app.command()(command)
    received.clear()
    return CliRunner().invoke(app, list(arguments))


def test_options_are_collected_into_the_dataclass() -> None:
    result = invoke(whole, "x", "--number", "3", "--word", "a", "--word", "b", "--flag")
    assert result.exit_code == 0, result.output
    assert received == [("x", Options(3, ["a", "b"], "a"), True)]


def test_defaults_are_those_of_the_dataclass() -> None:
    assert invoke(whole, "x").exit_code == 0
    assert received == [("x", Options(), False)]


def test_help_shows_the_options_in_the_place_of_the_group() -> None:
    shown = invoke(whole, "--help").output
    assert "Say it." in shown
    assert "How many." in shown
    assert shown.index("--number") < shown.index("--word") < shown.index("--needed") < shown.index("--flag")


def test_limits_and_required_options_hold() -> None:
    assert invoke(whole, "x", "--number", "0").exit_code == 2
    assert invoke(parts).exit_code == 2
    assert invoke(parts, "--name", "n").exit_code == 0
    assert received == [(Required("n"), Options())]


def test_only_and_without_leave_options_out() -> None:
    assert invoke(parts, "--name", "n", "--word", "a").exit_code == 2
    assert invoke(one, "--number", "2").exit_code == 2
    assert invoke(one, "--word", "a").exit_code == 0
    assert received == [Options(words=["a"])]


def test_a_command_can_be_called_without_typer() -> None:
    received.clear()
    whole(first="y", count=2)
    one()
    assert received == [("y", Options(2), False), Options()]


def test_mistakes_in_a_signature_are_found_at_import() -> None:
    def unknown(options: Annotated[Options, Without("wrods")]) -> None: ...

    def twice(words: list[str], options: Options) -> None: ...

    with pytest.raises(ValueError, match="Options has no option wrods"):
        with_option_groups(unknown)
    with pytest.raises(ValueError, match="words"):
        with_option_groups(twice)
