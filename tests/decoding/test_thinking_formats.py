"""Thinking formats: recognized by tokens, recognized at the end of a prompt, converted into each other."""

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
def test_a_format_is_recognized_by_its_tokens(form: object) -> None:
    (known,) = [each for each in FORMATS if each is form]
    tokens = [token.encode() for token in known.tokens]
    assert format_of([b"a", *tokens, b"z"]) is known
    assert format_of([b"a", *tokens[1:]]) is None
    assert format_of([]) is None


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_the_tag_at_the_end_of_a_prompt_is_recognized(form: object) -> None:
    (known,) = [each for each in FORMATS if each is form]
    assert opened_format(f"You:{known.open}\n") is known
    assert closed_format(f"You:{known.open}\n{known.close}\n\n") is known
    assert opened_format(f"You:{known.open} so") is closed_format("You:") is None
    assert strip_thinking(f"{known.open}3{known.close}4") == "4"


def test_tags_are_converted() -> None:
    text = f"{THINK.open}two{THINK.close}4"
    for form in FORMATS:
        assert convert_tags(text, form) == f"{form.open}two{form.close}4"
        assert convert_tags(convert_tags(text, form), THINK) == text
    assert convert_tags(text, None) == text
    assert convert_tags(CHANNELS.no_thinking + "4", MISTRAL) == "4"
    assert convert_tags("no tags", CHANNELS) == "no tags"


def test_only_channels_have_tags_of_several_tokens() -> None:
    assert [form.has_multi_token_tags for form in FORMATS] == [False, False, False, True]
