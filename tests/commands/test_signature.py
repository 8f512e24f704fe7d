"""Groups of options as dataclasses in the signature of a command, and the groups that commands share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, get_args

import pytest
import typer
from typer.testing import CliRunner, Result

from rstitch_local.commands.options import KV_TYPES, ModelOptions, SamplingOptions
from rstitch_local.commands.signature import Only, Without, with_option_groups
from rstitch_local.decoding.sampling import Sampling
from rstitch_local.engine.choice import PairDefaults
from rstitch_local.engine.options import KvType
from rstitch_local.errors import UsageError

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
    """Print it."""
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
    assert "Print it." in shown
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


def test_cache_types_are_those_of_the_engine() -> None:
    assert get_args(KvType) == KV_TYPES


def test_gpu_layers() -> None:
    layers = {"auto": None, "0": (0, 0), "99,20": (99, 20)}
    assert {text: ModelOptions(gpu_layers=text).load_options().gpu_layers for text in layers} == layers
    for text in ("most", "1,2,3", "-1", "", "1,"):
        with pytest.raises(UsageError, match="Invalid GPU layers"):
            ModelOptions(gpu_layers=text)


def test_sampling_options_replace_those_of_the_pair() -> None:
    defaults = PairDefaults(sampling=Sampling(temperature=0.6, top_k=20))
    assert SamplingOptions().sampling(defaults) == defaults.sampling
    changed = SamplingOptions(temperature=0.0, min_p=0.1).sampling(defaults)
    assert changed == Sampling(temperature=0.0, top_k=20, min_p=0.1)
