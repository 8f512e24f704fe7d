"""Two different tokenizers: re-tokenized text, token healing, and where control may pass."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from foreign import BODIES, run, summary, toy_vocabulary, trajectory_of
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
    # A model may generate invalid UTF-8, which is shown, and read by the other model, as replacement characters.
    return b"".join(map(vocabulary.piece, ids)).decode("utf-8", "replace")


@settings(deadline=None)
@given(
    names=bodies,
    text=st.text() | st.sampled_from(TEXTS) | st.text("the wor", max_size=20),
    reader=st.sampled_from(Role),
)
@example(("words", "bytes"), "👩‍🚀", Role.LLM)
def test_any_text_survives_retokenization(names: tuple[str, str], text: str, reader: Role) -> None:
    bridge = bridge_of(*names)
    vocabulary = bridge.vocabularies[reader]
    ids = bridge.retokenize(text, reader)
    assert text_of(ids, vocabulary) == text
    assert all(0 <= token < len(vocabulary.texts) for token in ids)


def test_no_space_is_added_by_a_tokenizer_that_adds_one() -> None:
    plain = toy_vocabulary(BODIES["words"])
    # SentencePiece adds a space before any text, also before the anchor.
    spaced = replace(plain, tokenize=lambda text: plain.tokenize(" " + text))
    for text in ("ld is", " the", "\n", "a"):
        assert text_of(tokenize_continuation(text, spaced), plain) == text


def test_a_tokenizer_that_changes_the_text_is_used_as_it_is() -> None:
    plain = toy_vocabulary(BODIES["words"])
    lower = replace(plain, tokenize=lambda text: plain.tokenize(text.lower()))
    assert text_of(tokenize_continuation("The", lower), plain) == "the"


def test_equal_tokens_with_other_ids_are_a_different_tokenizer() -> None:
    same = toy_vocabulary(BODIES["words"])
    assert isinstance(bridge_between(same, toy_vocabulary(BODIES["words"])), Bridge)
    bridge = bridge_between(same, toy_vocabulary(BODIES["words"], first=1), frozenset({Role.SLM}))
    assert isinstance(bridge, ForeignBridge)
    assert bridge.healing == {Role.SLM}


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
def test_both_models_read_the_text_of_the_answer(scene: dict[str, object], n_batch: int) -> None:
    checked = 0

    def check(role: Role) -> None:
        nonlocal checked
        # The model that gets control has read the whole text, as whole characters.
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
    # The size of batches makes no difference.
    again, models = trajectory_of(**scene)  # type: ignore[arg-type]
    whole: list[Step] = []
    run(again, models, whole)
    assert summary(whole) == summary(steps)
    assert again.stop_reason == trajectory.stop_reason


@settings(deadline=None, max_examples=150)
@given(scene=scenes, where=st.floats(0, 1))
def test_a_resumed_answer_is_the_uninterrupted_one(scene: dict[str, object], where: float) -> None:
    trajectory, models = trajectory_of(**scene)  # type: ignore[arg-type]
    steps: list[Step] = []
    run(trajectory, models, steps)
    earlier = steps[: int(where * (len(steps) - 1))]
    again, models = trajectory_of(**scene, resume_steps=earlier)  # type: ignore[arg-type]
    assert again.resumed == earlier
    rest: list[Step] = []
    run(again, models, rest)
    assert summary([*earlier, *rest]) == summary(steps)
    assert (again.swaps_up, again.swaps_down) == (trajectory.swaps_up, trajectory.swaps_down)
    assert again.stop_reason == trajectory.stop_reason
    for role in Role:
        assert list(again.ids(role)) == list(trajectory.ids(role))


@pytest.mark.parametrize("names", [("words", "bytes"), ("parts", "bytes"), ("bytes", "words")])
@pytest.mark.parametrize("router", ["entropy:0.1", "entropy:0.5"])
@pytest.mark.parametrize("recorded", [True, False])
def test_an_answer_can_be_resumed_at_every_step(names: tuple[str, str], router: str, recorded: bool) -> None:
    for seed in range(8):
        trajectory, models = trajectory_of(names, seed=seed, spread=6.0, router=router)
        steps: list[Step] = []
        run(trajectory, models, steps)
        if not recorded:
            # As in records of version 0.1.
            steps = [replace(step, replaced_bytes=None) for step in steps]
        for count in range(1, len(steps)):
            again, models = trajectory_of(names, seed=seed, spread=6.0, router=router, resume_steps=steps[:count])
            rest: list[Step] = []
            run(again, models, rest)
            assert summary([*steps[:count], *rest]) == summary(steps)
            assert [list(again.ids(role)) for role in Role] == [list(trajectory.ids(role)) for role in Role]


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 9999), tau=st.floats(0, 1), spread=st.floats(0.5, 20))
def test_one_letter_tokens_give_algorithm_1(seed: int, tau: float, spread: float) -> None:
    # With one letter per token a text has one tokenization, so the result is that of a shared tokenizer.
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
    generated = [(s.role, s.token if s.role is Role.SLM else int(order[s.token])) for s in steps]
    assert (generated, trajectory.stop_reason) == (expected, reason)


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
    """Return the longer tokens that the LLM could generate in place of what it read, given its logits there."""
    bridge = ForeignBridge({Role.SLM: toy_vocabulary(slm), Role.LLM: toy_vocabulary(llm, first=3)})
    vocabulary = bridge.vocabularies[Role.LLM]
    logits = np.full(len(vocabulary.texts), -5.0, np.float32)
    for text, value in row.items():
        logits[vocabulary.texts.index(text.encode())] = value
    ids = bridge.retokenize(read, Role.LLM)
    return [vocabulary.texts[t].decode() for t in bridge.continuations(logits, ids, tail, Role.LLM)]


def test_a_word_split_by_the_writers_tokens_can_be_healed() -> None:
    assert longer({" world": 4, " worlds": 3, " wor": 1}, "Hello wor", " wor") == [" world", " worlds"]


def test_a_word_that_the_writer_has_as_a_token_is_complete() -> None:
    # The SLM has " then", and wrote " the".
    assert longer({" then": 9, " the": 0}, "Say the", " the") == []


def test_much_less_likely_tokens_are_not_considered() -> None:
    assert longer({" world": -4, " worlds": -5, " wor": 4}, "Hello wor", " wor") == []


def test_several_tokens_can_be_the_beginning_of_a_longer_one() -> None:
    # The LLM reads one token of the SLM as " ", "w" and "o".
    assert longer({" world": 4, " ": 1}, "Hello wo", " wo", [b" wo", b"rld"], [b" world"]) == [" world"]
    assert longer({" world": 4, " ": 1}, "Hello wo", " wo", [b" world"], [b" world"]) == []


def test_a_longer_token_replaces_the_one_that_was_read() -> None:
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
    # After " wor" the LLM would generate "12", but in place of it " world".
    assert [(step.role, step.text) for step in steps] == [(Role.SLM, " wor"), (Role.LLM, "ld"), (Role.SLM, "")]
    assert steps[1].token == names[Role.LLM].index(" world")
    assert steps[1].swap_entropy is not None
    assert dropped == 1
    assert trajectory.stop_reason == "eog"
    # Without token healing the re-tokenized text is kept.
    trajectory, _ = trajectory_of(vocabularies=vocabularies, router="entropy:0.5", healing=frozenset(), max_tokens=2)
    steps = []
    assert run(trajectory, models, steps) == 0
    assert [step.text for step in steps] == [" wor", "12"]


def test_token_healing_happens_in_random_answers() -> None:
    dropped = 0
    for seed in range(60):
        trajectory, models = trajectory_of(
            names=("bytes", "words"), seed=seed, spread=6.0, router="entropy:0.5", max_tokens=30
        )
        dropped += run(trajectory, models, [])
    assert dropped > 5


def test_control_does_not_pass_inside_a_character() -> None:
    euro = "€".encode()
    vocabularies = {role: toy_vocabulary([], first=first) for role, first in zip(Role, (0, 5), strict=True)}

    def logits(ids: Sequence[int]) -> np.ndarray:
        # High entropy everywhere; the most likely token is the next byte of the character.
        row = np.zeros(len(vocabularies[Role.SLM].texts), np.float32)
        place = next((i for i, byte in enumerate(euro) if ids[-1] == byte), -1)
        row[euro[place + 1 if place + 1 < len(euro) else 0]] = 0.5
        return row

    trajectory, _ = trajectory_of(vocabularies=vocabularies, router="entropy:0.01", max_tokens=8, start=euro[0])
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


def test_channels_are_retokenized_as_thinking_tags() -> None:
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


def test_tags_are_read_as_text_by_a_model_without_any() -> None:
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


def test_the_other_model_can_resume_inside_a_character() -> None:
    euro = Step(0, Role.SLM, 0xE2, "", 0.1, 0.9, 1, 1.0)
    again, models = trajectory_of(names=("bytes", "bytes"), router="llm", max_tokens=4, resume_steps=[euro])
    steps: list[Step] = []
    run(again, models, steps)
    assert {step.role for step in steps} == {Role.LLM}
    # The incomplete character is dropped for both models.
    assert text_of(again.ids(Role.LLM)[2:], again.vocabulary(Role.LLM)) == "".join(step.text for step in steps)


def test_pending_counts_unread_tokens() -> None:
    class Recording(FixedRouter):
        needs_pending = True

        def route(self, observation: Observation) -> Role:
            pending.append(observation.pending)
            return super().route(observation)

    pending: list[int | None] = []
    trajectory, models = trajectory_of(max_tokens=9)
    trajectory.router = Recording(Role.SLM)
    run(trajectory, models, [])
    # The prompt, and one token per step.
    assert pending == [2 + count for count in range(9)]
