from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.decoding.thinking import split_thinking, thinking_steps


def steps_of(*texts: str) -> list[Step]:
    return [Step(i, Role.SLM, i, text, 0.1, 0.9, 1, 1.0) for i, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ("", "")),
        ("Four.", ("", "Four.")),
        ("  Four.\n", ("", "  Four.\n")),
        ("<think>two and two</think>Four.", ("two and two", "Four.")),
        ("\n <think>\ntwo\n</think>\n\nFour.\n", ("two", "Four.\n")),
        ("[THINK]two[/THINK]Four.", ("two", "Four.")),
        (
            "<|channel|>analysis<|message|>two<|end|><|start|>assistant<|channel|>final<|message|>Four.",
            ("two", "Four."),
        ),
        ("<|channel|>analysis<|message|>two and", ("two and", "")),
        ("<|channel|>final<|message|>Four.", ("", "Four.")),
        ("<|channel|>", ("", "")),
        ("<|begin_of_thought|>two<|end_of_thought|>Four.", ("two", "Four.")),
        ("<think>\n\n</think>\n\nFour.", ("", "Four.")),
        ("<think>two and", ("two and", "")),
        ("<think>", ("", "")),
        ("<think>a</thi", ("a</thi", "")),
        # The two models of a pair may use different tags.
        ("<think>two[/THINK]Four.", ("two", "Four.")),
        ("<think>a</think>b</think>c", ("a", "b</think>c")),
        # If the template opened the reasoning, the answer has only the closing tag.
        ("two and two\n</think>\n\nFour.", ("two and two", "Four.")),
        ("</think>Four.", ("", "Four.")),
        ("Reasoning goes <think>here</think>, you see.", ("", "Reasoning goes <think>here</think>, you see.")),
        ("It ends with `</think>` always.", ("", "It ends with `</think>` always.")),
        ("```\n</think>\n```", ("", "```\n</think>\n```")),
        ("<thinking>is no tag", ("", "<thinking>is no tag")),
        ("<table>", ("", "<table>")),
    ],
)
def test_thinking_is_split_from_the_answer(text: str, parts: tuple[str, str]) -> None:
    assert split_thinking(text) == parts


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ("", "")),
        ("two and", ("two and", "")),
        ("<", ("<", "")),
        ("two and two\n</think>\n\nFour.", ("two and two", "Four.")),
        ("I write `</think>` now", ("I write `", "` now")),
        ("<think>opened twice</think>Four.", ("opened twice", "Four.")),
    ],
)
def test_thinking_that_the_template_opened_is_split(text: str, parts: tuple[str, str]) -> None:
    assert split_thinking(text, opened=True) == parts


@pytest.mark.parametrize("tag", ["<think>", "[THINK]", "<|begin_of_thought|>"])
def test_an_incomplete_tag_is_not_shown_as_an_answer(tag: str) -> None:
    for end in range(1, len(tag) + 1):
        assert split_thinking("\n" + tag[:end]) == ("", "")


def test_an_incomplete_tag_of_a_finished_answer_is_text() -> None:
    assert split_thinking("<", finished=True) == ("", "<")
    assert split_thinking("<think>", finished=True) == ("", "")


@pytest.mark.parametrize(
    ("texts", "opened", "count"),
    [
        ([], False, 0),
        ([], True, 0),
        (["Fo", "ur"], False, 0),
        (["a", "b"], True, 2),
        (["<think>", "a", "b", "</think>", "\n\n", "Four"], False, 4),
        (["<", "think", ">", "a", "</", "think", ">", "F"], False, 7),
        (["a", "</think>", "F"], True, 2),
        (["a", "</think>", "F"], False, 2),
        # A token that completes the tag and begins the answer, and tokens that complete no character.
        (["<think>", "", "é", "</think", ">\n", "", "F"], False, 5),
        (["<think>", "a"], False, 2),
        (["<thi"], False, 0),
    ],
)
def test_thinking_steps_counts_steps(texts: list[str], opened: bool, count: int) -> None:
    assert thinking_steps(steps_of(*texts), opened) == count


PIECES = st.lists(st.sampled_from(["<think>", "</think>", "</", "think>", "`", "a", " ", "\n", "<", ""]), max_size=12)


@given(PIECES, st.booleans())
def test_thinking_steps_agrees_with_split_thinking(texts: list[str], opened: bool) -> None:
    count = thinking_steps(steps_of(*texts), opened)
    whole, head = "".join(texts), "".join(texts[:count])
    thinking, answer = split_thinking(whole, opened, finished=True)
    if count == 0:
        assert (thinking, answer) == ("", whole)
    else:
        # The counted steps contain all the thinking; one step fewer would not contain its closing tag.
        assert thinking in head
        assert whole.endswith(answer)
        assert len(answer) <= len(whole) - len("".join(texts[: count - 1]))


@given(PIECES, st.booleans())
def test_more_text_only_extends_an_answer_that_has_started(texts: list[str], opened: bool) -> None:
    text = "<think>" + "".join(texts)
    thinking, answer = split_thinking(text, opened)
    if answer:
        assert split_thinking(text + "</think>more", opened) == (thinking, answer + "</think>more")
