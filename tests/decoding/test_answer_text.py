"""The text of an answer: whole characters, held-back text, stop strings, beginnings of steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from foreign import run, toy_vocabulary, trajectory_of
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scripted import ScriptedModel, make_trajectory, run_to_end, scripted_vocabulary
from test_speculative import Models
from test_speculative import make as make_speculative
from test_speculative import run as run_speculative

from rstitch_local.decoding.answer_text import AnswerText, StopStrings, ends_step
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.errors import UsageError

# Few letters, so that matches, near matches and overlaps are frequent; é and 漢 span several bytes.
letters = st.text("ab\né漢", max_size=14)
stops = st.lists(st.text("ab\né漢", min_size=1, max_size=4), max_size=3)
cuts = st.lists(st.integers(0, 40), max_size=12)


def cut_at_first(text: str, strings: Sequence[str]) -> tuple[str, bool]:
    """The text before the match that ends first, the longest of them; and whether there is one."""
    for end in range(1, len(text) + 1):
        matches = [string for string in strings if text[:end].endswith(string)]
        if matches:
            return text[: end - max(map(len, matches))], True
    return text, False


def pieces_of(data: bytes, places: Sequence[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place for place in places if place <= len(data))})
    return [data[start:end] for start, end in pairwise(edges)] or [b""]


@settings(max_examples=500)
@given(text=letters, strings=stops, places=cuts)
def test_text_is_cut_at_the_first_match_however_it_is_split(text: str, strings: list[str], places: list[int]) -> None:
    answer = AnswerText(strings)
    expected, matched = cut_at_first(text, strings)
    shown = ""
    pieces = pieces_of(text.encode(), places)
    for index, piece in enumerate(pieces):
        shown += answer.add(piece, final=index == len(pieces) - 1)
        assert expected.startswith(shown)
        if answer.stopped:
            break
    assert shown == expected
    assert answer.stopped is matched


@given(text=letters, strings=stops, places=cuts)
def test_only_a_possible_match_is_held_back(text: str, strings: list[str], places: list[int]) -> None:
    stop = StopStrings(strings)
    fed = shown = ""
    for piece in (each.decode("utf-8", "replace") for each in pieces_of(text.encode(), places)):
        fed += piece
        shown += stop.feed(piece)
        if stop.matched:
            assert stop.held == stop.feed("more") == stop.release() == ""
            return
        assert shown + stop.held == fed
        assert not stop.held or any(string.startswith(stop.held) for string in strings)
    assert stop.release() == fed[len(shown) :]
    assert stop.held == ""


def test_a_single_string_is_one_stop_string() -> None:
    stop = StopStrings("ab")
    assert (stop.feed("xa"), stop.feed("by"), stop.matched) == ("x", "", True)


@pytest.mark.parametrize("strings", [[""], ["a", ""], [3], [None]])
def test_empty_stop_strings_are_refused(strings: list[str]) -> None:
    with pytest.raises(UsageError, match="Invalid stop string"):
        StopStrings(strings)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One.", True),
        ("One. ", True),
        ('He said "no." ', True),
        ("Is it?", True),
        ("It is **so!**", True),
        ("x = 1\n", True),
        ("x = 1\n   ", True),
        ("到了。", True),
        ("wait…", True),
        ("3.", False),
        ("It is 3. ", True),
        ("3.1", False),
        ("so", False),
        ("so, ", False),
        ("", False),
    ],
)
def test_the_end_of_a_sentence_or_line_begins_a_step(text: str, expected: bool) -> None:
    assert ends_step(text) is expected


def test_no_step_begins_inside_a_character() -> None:
    answer = AnswerText()
    answer.add(b"So.\n", final=False)
    assert answer.starts_step
    answer.add("é".encode()[:1], final=False)
    assert not answer.starts_step


MODELS = {role: ScriptedModel(30, f"{role}9", 6.0) for role in Role}


def texts(steps: Sequence[Step]) -> str:
    return "".join(step.text for step in steps)


scenes = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 999),
        "start": st.integers(0, 200),
        "length": st.integers(1, 6),
        "where": st.floats(0, 1),
        "router": st.sampled_from(["entropy:0.4", "slm", "random:0.5"]),
    }
)


def check(
    generate: Callable[[Sequence[str], Sequence[Step]], tuple[str | None, list[Step], list[Step]]],
    start: int,
    length: int,
    where: float,
) -> None:
    """An answer with a stop string out of its own text ends there, also if it is resumed at any step."""
    reason, _, whole = generate((), ())
    text = texts(whole)
    stop = [text[start % max(1, len(text)) :][:length] or "never", "never"]
    expected, matched = cut_at_first(text, stop)
    ended, _, steps = generate(stop, ())
    assert texts(steps) == expected
    assert ended == ("stop" if matched else reason)
    assert [(step.role, step.token) for step in steps] == [(step.role, step.token) for step in whole[: len(steps)]]
    shown = ""
    for step in steps:
        shown += step.text
        assert expected.startswith(shown)
    earlier = steps[: int(where * (len(steps) - 1))]
    again, resumed, rest = generate(stop, earlier)
    assert again == ended
    assert [*resumed, *rest] == [
        replace(step, evaluated_tokens=new.evaluated_tokens, ms=new.ms)
        for step, new in zip(steps, [*resumed, *rest], strict=True)
    ]


@settings(deadline=None, max_examples=100)
@given(scene=scenes)
def test_a_trajectory_ends_at_a_stop_string(scene: dict[str, object]) -> None:
    def generate(stop: Sequence[str], resume: Sequence[Step]) -> tuple[str | None, list[Step], list[Step]]:
        trajectory = make_trajectory(
            [1], 30, router=str(scene["router"]), seed=int(str(scene["seed"])), stop=stop, resume_steps=resume
        )
        steps = run_to_end(trajectory, MODELS)
        return trajectory.stop_reason, trajectory.resumed, steps

    check(generate, *(scene[name] for name in ("start", "length", "where")))  # type: ignore[arg-type]


@settings(deadline=None, max_examples=150)
@given(
    scene=scenes,
    names=st.tuples(*[st.sampled_from(["bytes", "words", "parts"])] * 2),
    temperature=st.sampled_from([0.0, 0.8]),
)
def test_a_foreign_trajectory_ends_at_a_stop_string(
    scene: dict[str, object], names: tuple[str, str], temperature: float
) -> None:
    def generate(stop: Sequence[str], resume: Sequence[Step]) -> tuple[str | None, list[Step], list[Step]]:
        trajectory, models = trajectory_of(
            names,
            seed=int(str(scene["seed"])),
            router="entropy:0.4",
            temperature=temperature,
            stop=stop,
            resume_steps=resume,
        )
        steps: list[Step] = []
        run(trajectory, models, steps)
        return trajectory.stop_reason, trajectory.resumed, steps

    check(generate, *(scene[name] for name in ("start", "length", "where")))  # type: ignore[arg-type]


@settings(deadline=None, max_examples=100)
@given(scene=scenes, temperature=st.sampled_from([0.0, 1.0]))
def test_speculative_decoding_ends_at_a_stop_string(scene: dict[str, object], temperature: float) -> None:
    models: Models = {role: model.logits for role, model in MODELS.items()}

    def generate(stop: Sequence[str], resume: Sequence[Step]) -> tuple[str | None, list[Step], list[Step]]:
        trajectory = make_speculative(
            30, "spec:4", temperature=temperature, seed=int(str(scene["seed"])), stop=stop, resume_steps=resume
        )
        steps = run_speculative(trajectory, models)
        return trajectory.stop_reason, trajectory.resumed, steps

    check(generate, *(scene[name] for name in ("start", "length", "where")))  # type: ignore[arg-type]


def one_hot(token: int, n_vocab: int = 30) -> NDArray[np.float32]:
    return np.asarray(np.eye(n_vocab)[token] * 30, np.float32)


def test_held_back_text_is_released_when_the_answer_is_interrupted() -> None:
    texts_of = scripted_vocabulary(30, 0).texts
    trajectory = make_trajectory([1], 30, router="slm", stop=[(texts_of[4] + texts_of[5]).decode()])
    first, second = trajectory.advance(one_hot(3)), trajectory.advance(one_hot(4))
    assert first is not None
    assert second is not None
    assert (first.text, second.text) == ("d3", "")
    trajectory.stop("interrupted")
    assert (first.text, second.text) == ("d3", "e4")


def test_an_answer_that_ended_at_a_stop_string_ends_there_when_it_is_resumed() -> None:
    trajectory = make_trajectory([1], 30, router="slm", stop=["e4"])
    steps = [trajectory.advance(one_hot(token)) for token in (3, 4)]
    earlier = [step for step in steps if step is not None]
    assert (texts(earlier), trajectory.stop_reason) == ("d3", "stop")
    again = make_trajectory([1], 30, router="slm", stop=["e4"], resume_steps=earlier)
    assert (again.stop_reason, texts(again.resumed)) == ("stop", "d3")
    # Without the stop string the answer continues, with all of its text.
    further = make_trajectory([1], 30, router="slm", resume_steps=earlier)
    assert (further.stop_reason, texts(further.resumed)) == (None, "d3e4")


def test_the_other_model_reads_the_text_that_is_held_back() -> None:
    vocabularies = {Role.SLM: toy_vocabulary([b"ab"]), Role.LLM: toy_vocabulary([b"ab"], first=5)}
    ids = {role: vocabulary.texts.index(b"ab") for role, vocabulary in vocabularies.items()}
    trajectory, _ = trajectory_of(vocabularies=vocabularies, router="entropy:0.5", stop=["abc"], healing=frozenset())
    step = trajectory.advance(one_hot(ids[Role.SLM], 258))
    assert step is not None
    assert step.text == ""
    assert trajectory.advance(np.zeros(258, np.float32)) is None
    assert trajectory.ids(Role.LLM)[2:] == [ids[Role.LLM]]
