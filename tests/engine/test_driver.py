"""The driver with two tiny models: single and batched trajectories, interrupts, failures and reuse."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_pair import TinyPair, write_pair

from rstitch_local.decoding.config import TrajectoryConfig
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.router import Observation, Router
from rstitch_local.decoding.sampling import Sampler, Sampling
from rstitch_local.decoding.trajectory import Trajectory
from rstitch_local.engine.loading import LoadOptions, load_pair
from rstitch_local.engine.pair import Pair
from rstitch_local.engine.slots import ActiveSequence
from rstitch_local.errors import EngineError
from rstitch_local.llama.batch import BatchSlice
from rstitch_local.llama.context import Context, Decoded
from rstitch_local.routing.rules import EntropyRouter, FixedRouter
from rstitch_local.trace.record import Trace

SEQUENCES = 6
CONTEXT = 256
TAU = 0.2
MAX_TOKENS = 30

# Rounding in batches changes the logits of the tiny models by up to 0.003 and their entropies by up to 0.0002.
SAFE_LOGIT, SAFE_ENTROPY = 0.012, 0.0006


@pytest.fixture(scope="module")
def pair(tiny_pair: TinyPair) -> Iterator[Pair]:
    options = LoadOptions(sequences=SEQUENCES, context=CONTEXT, threads=1)
    with load_pair(slm=tiny_pair.slm, llm=tiny_pair.llm, options=options) as loaded:
        yield loaded


class RecordingRouter(EntropyRouter):
    """Records the smallest distance of an entropy from tau: rounding could change a decision that close."""

    def __init__(self) -> None:
        super().__init__(TAU)
        self.nearest = 1.0

    def route(self, observation: Observation) -> Role:
        self.nearest = min(self.nearest, abs(observation.entropy - self.tau))
        return super().route(observation)


class RecordingSampler(Sampler):
    """Records whether a choice was so close that rounding could change it."""

    close_call = False

    def choose(self, logits: NDArray[np.float32], position: int, likeliest: int) -> int:
        token = super().choose(logits, position, likeliest)
        lowered = logits.copy()
        lowered[token] -= SAFE_LOGIT
        self.close_call |= super().choose(lowered, position, int(lowered.argmax())) != token
        return token


def make_sequence(
    pair: Pair,
    question: str,
    *,
    router: Router | None = None,
    sampler: Sampler | None = None,
    max_tokens: int = MAX_TOKENS,
) -> ActiveSequence:
    messages = [{"role": "user", "content": question}]
    trajectory = Trajectory(
        TrajectoryConfig(
            prompt={role: pair.render(messages, role) for role in Role},
            bridge=pair.bridge,
            router=router or EntropyRouter(TAU),
            sampler=sampler or Sampler(Sampling(), 7),
            max_tokens=max_tokens,
            capacity=dict.fromkeys(Role, CONTEXT),
        )
    )
    return ActiveSequence(trajectory, Trace(7))


def run(pair: Pair, *sequences: ActiveSequence, should_stop: Callable[[], bool] | None = None) -> list[list[int]]:
    """Run to the end; return the tokens of each, in the order they were yielded."""
    tokens: dict[int, list[int]] = {id(sequence): [] for sequence in sequences}
    for sequence, step in pair.driver.steps(sequences, should_stop=should_stop):
        if step is not None:
            tokens[id(sequence)].append(step.token)
    return [tokens[id(sequence)] for sequence in sequences]


def check_caches(pair: Pair, sequence: ActiveSequence) -> None:
    for role in Role:
        held = pair.contexts[role].length(sequence.sequence)
        assert held == sequence.trajectory.cached(role) <= len(sequence.trajectory.ids(role))


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_batched_answers_equal_single_ones(pair: Pair, temperature: float) -> None:
    questions: list[str] = []
    single: list[list[int]] = []
    for number in range(40):
        router, sampler = RecordingRouter(), RecordingSampler(Sampling(temperature), 7)
        question = f"Question {number}" + " and more" * (number % 5)
        sequence = make_sequence(pair, question, router=router, sampler=sampler)
        (tokens,) = run(pair, sequence)
        if router.nearest > SAFE_ENTROPY and not sampler.close_call and sequence.trace.swaps_down > 2:
            questions.append(question)
            single.append(tokens)
        if len(questions) == SEQUENCES:
            break
    assert len(questions) == SEQUENCES, "the tiny models leave too much to rounding"
    assert len({tuple(tokens) for tokens in single}) == SEQUENCES
    sequences = [make_sequence(pair, question, sampler=Sampler(Sampling(temperature), 7)) for question in questions]
    batched = run(pair, *sequences)
    assert batched == single
    for sequence, tokens in zip(sequences, single, strict=True):
        assert [step.token for step in sequence.trace.steps] == tokens
        assert sequence.trace.stop == "length"
        check_caches(pair, sequence)


def test_batched_answers_share_calls(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    decode = llama_cpp.llama_decode

    def count(context: Any, batch: Any) -> int:
        nonlocal calls
        calls += 1
        return int(decode(context, batch))

    monkeypatch.setattr(llama_cpp, "llama_decode", count)
    router = FixedRouter(Role.SLM)
    run(pair, *(make_sequence(pair, f"Hi {i}", router=router, max_tokens=20) for i in range(SEQUENCES)))
    # The prompts take a few calls of n_batch tokens, all other tokens one call per turn.
    assert 19 < calls < 19 + SEQUENCES


def test_a_cache_always_holds_a_prefix_of_its_trajectory(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    held: dict[tuple[Role, int], list[int]] = {}
    for role, context in pair.contexts.items():

        def decode(
            slices: Sequence[BatchSlice],
            *,
            hidden: bool = False,
            role: Role = role,
            context: Context = context,
            original: Callable[..., Decoded] = context.decode,
        ) -> Decoded:
            for batch_slice in slices:
                before = held.get((role, batch_slice.sequence), [])[: context.length(batch_slice.sequence)]
                held[role, batch_slice.sequence] = [*before, *batch_slice.ids]
            return original(slices, hidden=hidden)

        monkeypatch.setattr(context, "decode", decode)
    sequences = [make_sequence(pair, "Hello" * i) for i in range(4)]
    for _ in pair.driver.steps(sequences):
        for sequence in sequences:
            for role in Role:
                cached = sequence.trajectory.cached(role)
                assert held.get((role, sequence.sequence), []) == sequence.trajectory.ids(role)[:cached]
            check_caches(pair, sequence)
    for sequence in sequences:
        assert sequence.trace.swaps_up > 2
        for role in Role:
            # No token is evaluated twice.
            assert sum(sequence.trace.usage[role].tokens) == sequence.trajectory.cached(role)
            if sequence.trajectory.cached(role):
                question = [{"role": "user", "content": "Hello" * sequence.sequence}]
                assert sequence.trace.usage[role].tokens[0] == len(pair.render(question, role))


def test_an_interrupt_ends_all_and_keeps_their_steps(pair: Pair) -> None:
    sequences = [make_sequence(pair, "Hello") for _ in range(3)]
    tokens = run(pair, *sequences, should_stop=lambda: len(sequences[0].trace.steps) >= 5)
    for sequence, kept in zip(sequences, tokens, strict=True):
        assert sequence.trace.stop == sequence.trajectory.stop_reason == "interrupted"
        assert [step.token for step in sequence.trace.steps] == kept
        check_caches(pair, sequence)
    assert len(tokens[0]) == 5


def test_an_interrupt_within_a_prompt_leaves_the_caches_consistent(pair: Pair) -> None:
    polls = iter([False, True])
    sequence = make_sequence(pair, "A long question. " * 12)
    assert run(pair, sequence, should_stop=lambda: next(polls, True)) == [[]]
    assert sequence.trace.stop == "interrupted"
    assert sequence.trajectory.cached(Role.SLM) == pair.contexts[Role.SLM].n_batch
    assert sequence.trace.usage[Role.SLM].tokens == [pair.contexts[Role.SLM].n_batch, 0, 0]
    check_caches(pair, sequence)


def test_closing_the_iterator_interrupts(pair: Pair) -> None:
    sequences = [make_sequence(pair, "Hello") for _ in range(2)]
    steps = pair.driver.steps(sequences)
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    assert [sequence.trace.stop for sequence in sequences] == ["interrupted", "interrupted"]
    assert sequences[0].trace.wall_ms >= (sequences[0].trace.ttft_ms or 0) > 0


def test_ctrl_c_interrupts_and_does_not_affect_the_next_answer(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    (expected,) = run(pair, make_sequence(pair, "Hello"))
    decode = llama_cpp.llama_decode
    for at in (1, 4, 9):
        calls = 0

        def interrupt(context: Any, batch: Any, at: int = at) -> int:
            nonlocal calls
            calls += 1
            code = int(decode(context, batch))
            if calls == at:
                signal.raise_signal(signal.SIGINT)
            return code

        sequence = make_sequence(pair, "Goodbye")
        with monkeypatch.context() as patch:
            patch.setattr(llama_cpp, "llama_decode", interrupt)
            with pytest.raises(KeyboardInterrupt):
                run(pair, sequence)
        assert sequence.trace.stop == "interrupted"
        assert run(pair, make_sequence(pair, "Hello")) == [expected]


def test_a_failure_of_llama_cpp_ends_all(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    decode, calls = llama_cpp.llama_decode, 0

    def fail(context: Any, batch: Any) -> int:
        nonlocal calls
        calls += 1
        return -3 if calls == 9 else int(decode(context, batch))

    sequences = [make_sequence(pair, "Hello") for _ in range(2)]
    with monkeypatch.context() as patch:
        patch.setattr(llama_cpp, "llama_decode", fail)
        with pytest.raises(EngineError, match="returned -3"):
            run(pair, *sequences)
    assert [sequence.trace.stop for sequence in sequences] == ["error", "error"]
    assert sequences[0].trace.steps
    run(pair, make_sequence(pair, "Hello"))


def test_broken_logits_end_only_their_own_trajectory(tmp_path: Path) -> None:
    files = write_pair(tmp_path, {"nan_after": "Q"}, {"nan_after": "Q"})
    with load_pair(slm=files.slm, llm=files.llm, options=LoadOptions(sequences=3, context=CONTEXT)) as pair:
        (expected,) = run(pair, make_sequence(pair, "Hello"))
        assert len(expected) == MAX_TOKENS
        sequences = [make_sequence(pair, "Hello"), make_sequence(pair, "Q?"), make_sequence(pair, "Hello")]
        tokens = run(pair, *sequences)
    assert tokens == [expected, [], expected]
    assert [sequence.trace.stop for sequence in sequences] == ["length", "error", "length"]
    assert sequences[0].error is None
    assert "SLM at position 0" in str(sequences[1].error)


def test_an_ended_trajectory_is_unchanged(pair: Pair) -> None:
    sequence = make_sequence(pair, "Hello")
    (tokens,) = run(pair, sequence)
    record = sequence.trace.to_dict()
    other = make_sequence(pair, "Goodbye")
    assert run(pair, sequence, other)[0] == []
    assert sequence.trace.to_dict() == record
    assert len(tokens) == MAX_TOKENS == len(other.trace.steps)


def test_cached_tokens_are_not_evaluated_again(pair: Pair) -> None:
    question = "The same long question as before?"
    first = make_sequence(pair, question, router=FixedRouter(Role.SLM))
    (tokens,) = run(pair, first)
    again = make_sequence(pair, question, router=FixedRouter(Role.SLM))
    again.reuse = True
    assert run(pair, again) == [tokens]
    # The last token of the prompt is always evaluated: its logits predict the next one.
    assert again.trace.usage[Role.SLM].tokens[0] == 1
    check_caches(pair, again)


def test_only_routers_that_request_hidden_states_get_those_of_the_slm(pair: Pair) -> None:
    seen: list[tuple[Role, bool]] = []

    class RequestingRouter(EntropyRouter):
        needs_hidden = True

        def route(self, observation: Observation) -> Role:
            hidden = observation.hidden
            seen.append((observation.role, hidden is not None))
            if hidden is not None:
                assert hidden.shape == (pair.weights[Role.SLM].n_embd,)
                assert np.isfinite(hidden).all()
            return super().route(observation)

    sequences = [make_sequence(pair, "Hello" * i, router=RequestingRouter(TAU) if i % 2 else None) for i in range(4)]
    run(pair, *sequences)
    assert set(seen) == {(Role.SLM, True), (Role.LLM, False)}
    for sequence in sequences:
        assert len(sequence.trace.steps) == MAX_TOKENS
        check_caches(pair, sequence)
