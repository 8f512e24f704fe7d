"""Two tokenisers that share nothing: what one model reads of the other's text, and when it may."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from foreign import BODIES, run, said, toy_vocabulary, trajectory_of
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scripted import ScriptedModel, algorithm_1

from rstitch_local.decoding.foreign import ForeignBridge, bridge_between, tokenize_continuation
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.router import Observation
from rstitch_local.decoding.step import Step
from rstitch_local.decoding.thinking import FORMATS
from rstitch_local.decoding.vocabulary import Bridge, Vocabulary
from rstitch_local.routing.rules import FixedRouter

OTHER = {Role.SLM: Role.LLM, Role.LLM: Role.SLM}
TEXTS = [
    "👩‍🚀 flies",
    "e\u0301 and é",
    "漢字かな",
    "for i in range(3):\n\tx += 1",
    "$\\frac{1}{2}$",
    "\ufffd",
    "\x00",
    "",
]
bodies = st.tuples(st.sampled_from(sorted(BODIES)), st.sampled_from(sorted(BODIES)))


def bridge_of(slm: str, llm: str) -> ForeignBridge:
    return ForeignBridge({Role.SLM: toy_vocabulary(BODIES[slm]), Role.LLM: toy_vocabulary(BODIES[llm], first=7)})


def text_of(ids: Sequence[int], vocabulary: Vocabulary) -> str:
    # What a model wrote itself may be bytes that are no text; they are shown, and read by the other, as such.
    return b"".join(map(vocabulary.piece, ids)).decode("utf-8", "replace")


@settings(deadline=None)
@given(
    names=bodies,
    text=st.text() | st.sampled_from(TEXTS) | st.text("the wor", max_size=20),
    reader=st.sampled_from(Role),
)
@example(("words", "bytes"), "👩‍🚀", Role.LLM)
def test_any_text_comes_back(names: tuple[str, str], text: str, reader: Role) -> None:
    bridge = bridge_of(*names)
    vocabulary = bridge.vocabularies[reader]
    ids = bridge.retokenize(text, reader)
    assert text_of(ids, vocabulary) == text
    assert all(0 <= token < len(vocabulary.texts) for token in ids)


def test_a_tokeniser_that_begins_with_a_space_adds_none() -> None:
    plain = toy_vocabulary(BODIES["words"])
    # SentencePiece: whatever it is given, a space comes first, also before the line end it is given to keep it apart.
    spaced = replace(plain, tokenize=lambda text: plain.tokenize(" " + text))
    for text in ("ld is", " the", "\n", "a"):
        assert text_of(tokenize_continuation(text, spaced), plain) == text


def test_one_that_changes_letters_reads_them_changed() -> None:
    plain = toy_vocabulary(BODIES["words"])
    lower = replace(plain, tokenize=lambda text: plain.tokenize(text.lower()))
    assert text_of(tokenize_continuation("The", lower), plain) == "the"


def test_the_same_words_under_other_ids_are_foreign() -> None:
    same = toy_vocabulary(BODIES["words"])
    assert isinstance(bridge_between(same, toy_vocabulary(BODIES["words"])), Bridge)
    found = bridge_between(same, toy_vocabulary(BODIES["words"], first=1), frozenset({Role.SLM}))
    assert isinstance(found, ForeignBridge)
    assert found.healing == {Role.SLM}


scenes = st.fixed_dictionaries(
    {
        "names": bodies,
        "seed": st.integers(0, 9999),
        "spread": st.floats(2, 30),
        "router": st.sampled_from(
            ["entropy:0.1", "entropy:0.3", "entropy:0.6", "one:0.4", "window:3:0.5", "random:0.5", "margin:0.3"]
        ),
        "temperature": st.sampled_from([0.0, 0.8]),
        "max_tokens": st.integers(1, 30),
    }
)


@settings(deadline=None, max_examples=150)
@given(scene=scenes, n_batch=st.integers(1, 9))
def test_both_models_read_the_text_that_is_shown(scene: dict[str, object], n_batch: int) -> None:
    checked = 0

    def check(role: Role) -> None:
        nonlocal checked
        # Whoever gets control has read all that was said, as whole characters.
        checked += 1
        assert text_of(trajectory.ids(role)[2:], trajectory.vocabulary(role)) == "".join(step.text for step in steps)

    trajectory, models = trajectory_of(**scene)  # type: ignore[arg-type]
    steps: list[Step] = []
    run(trajectory, models, steps, n_batch=n_batch, on_swap=check)
    for role in Role:
        vocabulary = trajectory.vocabulary(role)
        assert all(0 <= token < len(vocabulary.texts) for token in trajectory.ids(role))
    assert [step.position for step in steps] == list(range(len(steps)))
    for step in steps:
        assert 0 <= step.entropy <= 1
    assert (trajectory.swaps_up > 0) <= (checked > 0)
    # The batches an evaluation comes in change nothing.
    again, models = trajectory_of(**scene)  # type: ignore[arg-type]
    whole: list[Step] = []
    run(again, models, whole)
    assert said(whole) == said(steps)
    assert again.stop_reason == trajectory.stop_reason


@settings(deadline=None, max_examples=150)
@given(scene=scenes, where=st.floats(0, 1))
def test_an_answer_that_goes_on_is_the_one_that_never_stopped(scene: dict[str, object], where: float) -> None:
    trajectory, models = trajectory_of(**scene)  # type: ignore[arg-type]
    steps: list[Step] = []
    run(trajectory, models, steps)
    kept = steps[: int(where * (len(steps) - 1))]
    again, models = trajectory_of(**scene, resume_steps=kept)  # type: ignore[arg-type]
    assert again.resumed == kept
    rest: list[Step] = []
    run(again, models, rest)
    assert said([*kept, *rest]) == said(steps)
    assert (again.swaps_up, again.swaps_down) == (trajectory.swaps_up, trajectory.swaps_down)
    assert again.stop_reason == trajectory.stop_reason
    for role in Role:
        assert list(again.ids(role)) == list(trajectory.ids(role))


@pytest.mark.parametrize("names", [("words", "bytes"), ("parts", "bytes"), ("bytes", "words")])
@pytest.mark.parametrize("router", ["entropy:0.1", "entropy:0.5"])
def test_it_goes_on_from_every_place_the_tokens_it_was_at(names: tuple[str, str], router: str) -> None:
    for seed in range(8):
        trajectory, models = trajectory_of(names, seed=seed, spread=6.0, router=router)
        steps: list[Step] = []
        run(trajectory, models, steps)
        for kept in range(1, len(steps)):
            again, models = trajectory_of(names, seed=seed, spread=6.0, router=router, resume_steps=steps[:kept])
            rest: list[Step] = []
            run(again, models, rest)
            assert said([*steps[:kept], *rest]) == said(steps)
            assert [list(again.ids(role)) for role in Role] == [list(trajectory.ids(role)) for role in Role]


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 9999), tau=st.floats(0, 1), spread=st.floats(0.5, 20))
def test_letters_under_other_ids_are_algorithm_1(seed: int, tau: float, spread: float) -> None:
    # Where each token is one letter there is one way to read a text, and nothing to tell foreign from shared.
    letters = [b"a", b"b", b"c", b"d", b"e", b"f"]
    order = np.random.default_rng(seed).permutation(7)
    place = {int(token): index for index, token in enumerate(order)}
    names = [*letters, b"<end>"]
    vocabularies = {
        Role.SLM: _letters(names, end=6),
        Role.LLM: _letters([names[token] for token in order], end=place[6]),
    }
    plain = {role: ScriptedModel(7, f"{role}{seed}", spread) for role in Role}
    expected, reason = algorithm_1([0, 1], plain, tau=tau, end=6, max_tokens=30)
    models: dict[Role, Callable[[Sequence[int]], np.ndarray]] = {
        Role.SLM: plain[Role.SLM].logits,
        Role.LLM: lambda ids: plain[Role.LLM].logits([int(order[token]) for token in ids])[order],
    }
    trajectory, _ = trajectory_of(
        vocabularies=vocabularies, prompts={Role.SLM: [0, 1], Role.LLM: [place[0], place[1]]}, router=f"entropy:{tau!r}"
    )
    steps: list[Step] = []
    run(trajectory, models, steps)
    own = [(s.role, s.token if s.role is Role.SLM else int(order[s.token])) for s in steps]
    assert (own, trajectory.stop_reason) == (expected, reason)


def _letters(names: list[bytes], end: int) -> Vocabulary:
    return Vocabulary(
        texts=names,
        end_of_turn=end,
        is_special=lambda token: token == end,
        is_eog=lambda token: token == end,
        piece=lambda token: b"" if token == end else names[token],
        tokenize=lambda text: [names.index(letter.encode()) for letter in text if letter.encode() in names],
    )


SLM_WORDS = [b" wor", b"ld", b" the", b" then", b"12"]
LLM_WORDS = [b" world", b" wor", b" the", b" then", b"ld", b"12", b" worlds"]


def longer(
    row: dict[str, float], tail: str, read: str, slm: list[bytes] = SLM_WORDS, llm: list[bytes] = LLM_WORDS
) -> list[str]:
    """What the LLM could write in the place of what it read, by its logits there."""
    bridge = ForeignBridge({Role.SLM: toy_vocabulary(slm), Role.LLM: toy_vocabulary(llm, first=3)})
    vocabulary = bridge.vocabularies[Role.LLM]
    logits = np.full(len(vocabulary.texts), -5.0, np.float32)
    for text, value in row.items():
        logits[vocabulary.texts.index(text.encode())] = value
    ids = bridge.retokenize(read, Role.LLM)
    return [vocabulary.texts[t].decode() for t in bridge.continuations(logits, ids, tail, Role.LLM)]


def test_a_word_cut_by_the_others_tokens_may_go_on() -> None:
    assert longer({" world": 4, " worlds": 3, " wor": 1}, "Hello wor", " wor") == [" world", " worlds"]


def test_a_word_the_other_could_have_written_whole_ended_there() -> None:
    # The SLM has " then", and wrote " the".
    assert longer({" then": 9, " the": 0}, "Say the", " the") == []


def test_what_is_far_less_likely_is_left_alone() -> None:
    assert longer({" world": -4, " worlds": -5, " wor": 4}, "Hello wor", " wor") == []


def test_several_tokens_may_be_one_that_is_not_whole() -> None:
    # The LLM reads " ", "w" and "o" where the SLM has written one token.
    assert longer({" world": 4, " ": 1}, "Hello wo", " wo", [b" wo", b"rld"], [b" world"]) == [" world"]
    assert longer({" world": 4, " ": 1}, "Hello wo", " wo", [b" world"], [b" world"]) == []


def test_a_longer_token_takes_the_place_of_the_one_read() -> None:
    vocabularies = {Role.SLM: toy_vocabulary(SLM_WORDS), Role.LLM: toy_vocabulary(LLM_WORDS, first=3)}
    names = {role: [text.decode("latin-1") for text in vocabularies[role].texts] for role in Role}

    def model(role: Role, rows: dict[str, str]) -> Callable[[Sequence[int]], np.ndarray]:
        def logits(ids: Sequence[int]) -> np.ndarray:
            text = "".join(names[role][token] for token in ids[2:])
            row = np.zeros(len(names[role]), np.float32)
            if rows.get(text):
                row[names[role].index(rows[text])] = 30
            return row

        return logits

    models = {
        Role.SLM: model(Role.SLM, {"": " wor", " world": "<end>"}),
        Role.LLM: model(Role.LLM, {"": " world", " wor": "12", " world": "<end>"}),
    }
    trajectory, _ = trajectory_of(vocabularies=vocabularies, router="entropy:0.5")
    steps: list[Step] = []
    dropped = run(trajectory, models, steps)
    # After " wor" the LLM would have said "12"; in its place it says " world".
    assert [(step.role, step.text) for step in steps] == [(Role.SLM, " wor"), (Role.LLM, "ld"), (Role.SLM, "")]
    assert steps[1].token == names[Role.LLM].index(" world")
    assert steps[1].swap_entropy is not None
    assert dropped == 1
    assert trajectory.stop_reason == "eog"
    # A model that cannot forget reads it as it stands.
    trajectory, _ = trajectory_of(vocabularies=vocabularies, router="entropy:0.5", healing=frozenset(), max_tokens=2)
    steps = []
    assert run(trajectory, models, steps) == 0
    assert [step.text for step in steps] == [" wor", "12"]


def test_longer_tokens_do_take_places_in_made_up_answers() -> None:
    dropped = 0
    for seed in range(60):
        trajectory, models = trajectory_of(
            names=("bytes", "words"), seed=seed, spread=6.0, router="entropy:0.5", max_tokens=30
        )
        dropped += run(trajectory, models, [])
    assert dropped > 5


def test_control_stays_inside_a_character() -> None:
    euro = "€".encode()
    vocabularies = {role: toy_vocabulary([], first=first) for role, first in zip(Role, (0, 5), strict=True)}

    def logits(ids: Sequence[int]) -> np.ndarray:
        # Unsure of everything, and yet each byte of the character follows the one before.
        row = np.zeros(len(vocabularies[Role.SLM].texts), np.float32)
        place = next((i for i, byte in enumerate(euro) if ids[-1] == byte), -1)
        row[euro[place + 1 if place + 1 < len(euro) else 0]] = 0.5
        return row

    trajectory, _ = trajectory_of(vocabularies=vocabularies, router="entropy:0.01", max_tokens=8, start=euro[0])
    # The first byte is the LLM's, and so are the others, though the SLM is asked for as little as the LLM is sure.
    trajectory.router.start = Role.SLM
    steps: list[Step] = []
    shift = {Role.SLM: logits, Role.LLM: lambda ids: np.roll(logits([token - 5 for token in ids]), 5)}
    run(trajectory, shift, steps)
    whole = ""
    for before, step in itertools.pairwise(steps):
        whole += before.text
        if before.role is not step.role:
            assert (
                b"".join(vocabularies[s.role].piece(s.token) for s in steps[: step.position]).decode("utf-8") == whole
            )


def test_speech_of_channels_is_read_as_thinking() -> None:
    harmony = next(each for each in FORMATS if each.no_thinking)
    slm = toy_vocabulary(BODIES["words"], specials=["<think>", "</think>"])
    llm = toy_vocabulary(BODIES["bytes"], specials=list(harmony.tokens))
    bridge = ForeignBridge({Role.SLM: slm, Role.LLM: llm})
    text = f"{harmony.open}two{harmony.close}4"
    assert text_of(bridge.retokenize(text, Role.SLM), slm) == "<think>two</think>4"
    assert text_of(bridge.retokenize("<think>two</think>4", Role.LLM), llm) == text
    assert slm.texts.index(b"<think>") in bridge.retokenize(text, Role.SLM)
    assert bridge.inside_tag("so<|end|><|start|>assistant", Role.LLM)
    assert not bridge.inside_tag(text, Role.LLM)
    assert not bridge.inside_tag("<thi", Role.SLM)


def test_speech_without_marks_is_read_as_letters() -> None:
    slm = toy_vocabulary(BODIES["words"], specials=["<think>", "</think>"])
    llm = toy_vocabulary(BODIES["bytes"])
    bridge = ForeignBridge({Role.SLM: slm, Role.LLM: llm})
    assert text_of(bridge.retokenize("<think>two", Role.LLM), llm) == "<think>two"


@pytest.mark.parametrize("capacity", [3, 5, 9])
def test_a_full_context_ends_the_answer(capacity: int) -> None:
    trajectory, models = trajectory_of(
        names=("words", "bytes"), seed=3, spread=9.0, router="entropy:0.5", max_tokens=99, capacity=capacity
    )
    run(trajectory, models, [])
    assert trajectory.stop_reason == "length"
    assert all(trajectory.cached(role) <= capacity for role in Role)


def test_the_other_model_can_be_told_to_go_on_from_part_of_a_character() -> None:
    euro = Step(0, Role.SLM, 0xE2, "", 0.1, 0.9, 1, 1.0)
    again, models = trajectory_of(names=("bytes", "bytes"), router="llm", max_tokens=4, resume_steps=[euro])
    steps: list[Step] = []
    run(again, models, steps)
    assert {step.role for step in steps} == {Role.LLM}
    # What was no character yet is gone, for both.
    assert text_of(again.ids(Role.LLM)[2:], again.vocabulary(Role.LLM)) == "".join(step.text for step in steps)


def test_a_router_may_ask_how_much_is_unread() -> None:
    class Noting(FixedRouter):
        needs_pending = True

        def route(self, observation: Observation) -> Role:
            seen.append(observation.pending)
            return super().route(observation)

    seen: list[int | None] = []
    trajectory, models = trajectory_of(max_tokens=9)
    trajectory.router = Noting(Role.SLM)
    run(trajectory, models, [])
    # The prompt, and a token for each that was written.
    assert seen == [2 + count for count in range(9)]
