"""The table of thinking formats: whose is which, where a prompt leaves off, and one spelled as another."""

from __future__ import annotations

import pytest

from rstitch_local.decoding.thinking import (
    FORMATS,
    closed_format,
    convert_tags,
    format_of,
    opened_format,
    strip_thinking,
)

THINK, MISTRAL, _, CHANNELS = FORMATS


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_a_model_is_known_by_its_tokens(form: object) -> None:
    (known,) = [each for each in FORMATS if each is form]
    tokens = [token.encode() for token in known.tokens]
    assert format_of([b"a", *tokens, b"z"]) is known
    assert format_of([b"a", *tokens[1:]]) is None
    assert format_of([]) is None


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_where_a_prompt_leaves_off(form: object) -> None:
    (known,) = [each for each in FORMATS if each is form]
    assert opened_format(f"You:{known.open}\n") is known
    assert closed_format(f"You:{known.open}\n{known.close}\n\n") is known
    assert opened_format(f"You:{known.open} so") is closed_format("You:") is None
    assert strip_thinking(f"{known.open}3{known.close}4") == "4"


def test_one_is_spelled_as_another() -> None:
    said = f"{THINK.open}two{THINK.close}4"
    for form in FORMATS:
        assert convert_tags(said, form) == f"{form.open}two{form.close}4"
        assert convert_tags(convert_tags(said, form), THINK) == said
    assert convert_tags(said, None) == said
    assert convert_tags(CHANNELS.no_thinking + "4", MISTRAL) == "4"
    assert convert_tags("no marks", CHANNELS) == "no marks"


def test_marks_of_one_token_have_no_inside() -> None:
    assert [form.has_multi_token_tags for form in FORMATS] == [False, False, False, True]
