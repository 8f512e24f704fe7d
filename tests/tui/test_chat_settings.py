"""The settings of a chat as JSON, and stop strings as text."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from rstitch_local.errors import UsageError
from rstitch_tui.chat_settings import (
    ChatSettings,
    stop_strings_as_arguments,
    stop_strings_as_lines,
    stop_strings_from_arguments,
    stop_strings_from_lines,
)

STRINGS = ("Q:", "\n\n", " two words ", "\\boxed", "\\n", '"', "auto")


def test_settings_of_version_0_1_have_no_stop_strings() -> None:
    assert ChatSettings.model_validate_json('{"router": "entropy:0.02", "seed": 3}').stop == ()


def test_settings_of_a_newer_version() -> None:
    assert ChatSettings.model_validate({"seed": 3, "mood": "good"}).seed == 3
    with pytest.raises(UsageError):
        ChatSettings(router="entropy:x")


def test_stop_strings_survive_json() -> None:
    settings = ChatSettings(stop=STRINGS)
    assert ChatSettings.model_validate_json(settings.model_dump_json()) == settings


def test_empty_stop_string_is_refused() -> None:
    with pytest.raises(ValidationError, match="cannot be empty"):
        ChatSettings(stop=("Q:", ""))


def test_stop_strings_as_lines() -> None:
    assert stop_strings_as_lines(("Q:", "\n\n")) == "Q:\n\\n\\n"
    assert stop_strings_from_lines(stop_strings_as_lines(STRINGS)) == STRINGS
    assert stop_strings_from_lines("") == ()
    assert stop_strings_from_lines("\nQ:\n\n") == ("Q:",)


@pytest.mark.parametrize(
    ("text", "strings"),
    [
        ("Q:", ("Q:",)),
        (r'Q: "two words" \n\n', ("Q:", "two words", "\n\n")),
        (r'"a\nb" \boxed \\n', ("a\nb", "\\boxed", "\\n")),
        ("#1 ''", ("#1",)),
        ("", ()),
    ],
)
def test_stop_strings_from_arguments(text: str, strings: tuple[str, ...]) -> None:
    assert stop_strings_from_arguments(text) == strings


def test_unclosed_quotation_mark() -> None:
    with pytest.raises(UsageError, match="Unclosed quotation mark"):
        stop_strings_from_arguments('"Q:')


def test_stop_strings_as_arguments() -> None:
    assert stop_strings_as_arguments(("Q:", "\n")) == r'"Q:" "\n"'
