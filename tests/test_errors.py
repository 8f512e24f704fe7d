"""Errors name command-line options on the command line and Python arguments in a traceback."""

from __future__ import annotations

import ast
import copy
import inspect
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import rstitch_local
from rstitch_local.engine.options import LoadOptions
from rstitch_local.errors import (
    PYTHON_ARGUMENTS,
    EngineError,
    RStitchError,
    StorageError,
    UsageError,
    with_python_arguments,
)

PACKAGE = Path(rstitch_local.__file__).parent
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
_COMMAND = re.compile(r"`(?:rstitch|pip) [^`]*`")


def test_traceback_names_python_arguments_and_the_command_line_its_options() -> None:
    error = EngineError("Cache full", "No space for --max-tokens more.", "Use a larger --context, or `--kv-type q8_0`.")
    assert error.hint == "Use a larger --context, or `--kv-type q8_0`."
    assert str(error) == (
        "Cache full: No space for max_tokens=... more. "
        'Use a larger LoadOptions(context=...), or `LoadOptions(kv_type="q8_0")`.'
    )
    assert str(StorageError("Title", "Message.")) == "Title: Message."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Use `--max-tokens 200`.", "Use `max_tokens=200`."),
        ("Use `--pair NAME` (or --slm).", "Use `name=NAME` (or slm=...)."),
        ("`--field question=NAME`", "`fields=dict(question=NAME)`"),
        ("`--shard 1/4`", '`shard="1/4"`'),
        ("See `rstitch pull --pair x`, `pip install --out x`.", "See `rstitch pull --pair x`, `pip install --out x`."),
        ("a--out b --outer x--router --unknown", "a--out b --outer x--router --unknown"),
    ],
)
def test_replacement_of_options(text: str, expected: str) -> None:
    assert with_python_arguments(text) == expected


def test_errors_can_be_copied_and_pickled() -> None:
    error = UsageError("Title", "Message.", "Hint.")
    for other in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (type(other), other.title, other.message, other.hint) == (UsageError, "Title", "Message.", "Hint.")


def _error_names() -> set[str]:
    def below(kind: type[RStitchError]) -> Iterator[str]:
        yield kind.__name__
        for child in kind.__subclasses__():
            yield from below(child)

    # Defined beside their only users.
    return {*below(RStitchError), "SourceError", "GraderError"}


def _texts(node: ast.AST, values: dict[str, list[ast.expr]]) -> Iterator[str]:
    """All strings in an expression, and in what is assigned to the names it uses."""
    for child in ast.walk(node):
        if isinstance(child, ast.Constant) and isinstance(child.value, str):
            yield child.value
        elif isinstance(child, ast.Name):
            for value in values.get(child.id, ()):
                yield from _texts(value, {})


def options_in_errors(source: str) -> set[str]:
    """The command-line options in the arguments of all errors that a module creates."""
    tree, names = ast.parse(source), _error_names()
    values: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    values.setdefault(target.id, []).append(node.value)
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names
    ]
    texts = [_COMMAND.sub("", text) for call in calls for argument in call.args for text in _texts(argument, values)]
    return {option for text in texts for option in _OPTION.findall(text)}


def test_collector_finds_options_in_literals_and_variables() -> None:
    source = (
        '_HINT = "Use --one."\n'
        "def f(x):\n"
        '    hint = f"--two {x}" if x else "`rstitch solve --none`"\n'
        '    raise UsageError("T", _HINT, hint)\n'
        'def g():\n    raise ModelError("T", "M", "--three")\n'
        'print("--other")\n'
    )
    assert options_in_errors(source) == {"--one", "--two", "--three"}


def test_every_option_in_an_error_has_a_python_argument() -> None:
    unknown = {
        str(path.relative_to(PACKAGE)): missing
        for path in PACKAGE.rglob("*.py")
        if "commands" not in path.parts
        and (missing := options_in_errors(path.read_text(encoding="utf-8")) - PYTHON_ARGUMENTS.keys())
    }
    assert unknown == {}


def test_python_arguments_exist() -> None:
    functions = (rstitch_local.load_pair, rstitch_local.solve, rstitch_local.bench, rstitch_local.Pair.ask)
    parameters = {name for function in functions for name in inspect.signature(function).parameters}
    # Only errors of the training have this option; it imports torch.
    parameters.add("resume")
    for option, argument in PYTHON_ARGUMENTS.items():
        name, _, _ = argument.removeprefix("LoadOptions(").partition("=")
        expected = LoadOptions.__dataclass_fields__ if argument.startswith("LoadOptions(") else parameters
        assert name in expected, option


def test_long_values_in_a_message_lose_their_middle() -> None:
    error = UsageError("Title", f"/path: unknown key {'x' * 100_000}; known keys: tau.", "Use tau.\n" * 1000)
    assert error.message.startswith("/path: unknown key xxx")
    assert error.message.endswith("x; known keys: tau.")
    assert len(error.message) == 600
    assert error.hint == "\n".join(["Use tau."] * 12)


def test_a_message_has_no_control_characters() -> None:
    error = UsageError("Ti\x07tle", "\x1b[31mone\ntwo\x9b\ud800", "\u202ehint")
    assert (error.title, error.message, error.hint) == ("Title", "[31mone\ntwo", "hint")
    assert str(error) == "Title: [31mone\ntwo hint"
