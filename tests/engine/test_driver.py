"""Driver: many trajectories over two tiny models, alone and together, stopped, broken and taken up again."""

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
BUDGET = 30

# Rounding in batches moves the tiny models' logits by up to 0.003 and their entropies by up to 0.0002.
SAFE_LOGIT, SAFE_ENTROPY = 0.012, 0.0006


@pytest.fixture(scope="module")
def pair(tiny_pair: TinyPair) -> Iterator[Pair]:
    options = LoadOptions(sequences=SEQUENCES, context=CONTEXT, threads=1)
    with load_pair(slm=tiny_pair.slm, llm=tiny_pair.llm, options=options) as loaded:
        yield loaded


class NotingRouter(EntropyRouter):
    """Notes how close to tau an entropy came: rounding could decide such a case."""

    def __init__(self) -> None:
        super().__init__(TAU)
        self.nearest = 1.0

    def route(self, observation: Observation) -> Role:
        self.nearest = min(self.nearest, abs(observation.entropy - self.tau))
        return super().route(observation)


class NotingSampler(Sampler):
    """Notes whether any choice was so close that rounding could have made another."""

    close_call = False

    def choose(self, logits: NDArray[np.float32], position: int, likeliest: int) -> int:
        token = super().choose(logits, position, likeliest)
        lowered = logits.copy()
        lowered[token] -= SAFE_LOGIT
        self.close_call |= super().choose(lowered, position, int(lowered.argmax())) != token
        return token


def make_live(
    pair: Pair,
    question: str,
    *,
    router: Router | None = None,
    sampler: Sampler | None = None,
    max_tokens: int = BUDGET,
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


def run(pair: Pair, *lives: ActiveSequence, should_stop: Callable[[], bool] | None = None) -> list[list[int]]:
    """Drive to the end; the tokens of each, in the order they were yielded."""
    found: dict[int, list[int]] = {id(live): [] for live in lives}
    for live, step in pair.driver.steps(lives, should_stop=should_stop):
        if step is not None:
            found[id(live)].append(step.token)
    return [found[id(live)] for live in lives]


def check_caches(pair: Pair, live: ActiveSequence) -> None:
    for role in Role:
        held = pair.contexts[role].length(live.sequence)
        assert held == live.trajectory.cached(role) <= len(live.trajectory.ids(role))


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_together_they_write_what_each_writes_alone(pair: Pair, temperature: float) -> None:
    questions: list[str] = []
    alone: list[list[int]] = []
    for number in range(40):
        router, sampler = NotingRouter(), NotingSampler(Sampling(temperature), 7)
        question = f"Question {number}" + " and more" * (number % 5)
        live = make_live(pair, question, router=router, sampler=sampler)
        (tokens,) = run(pair, live)
        if router.nearest > SAFE_ENTROPY and not sampler.close_call and live.trace.swaps_down > 2:
            questions.append(question)
            alone.append(tokens)
        if len(questions) == SEQUENCES:
            break
    assert len(questions) == SEQUENCES, "the tiny models leave too much to rounding"
    assert len({tuple(tokens) for tokens in alone}) == SEQUENCES
    lives = [make_live(pair, question, sampler=Sampler(Sampling(temperature), 7)) for question in questions]
    together = run(pair, *lives)
    assert together == alone
    for live, tokens in zip(lives, alone, strict=True):
        assert [step.token for step in live.trace.steps] == tokens
        assert live.trace.stop == "length"
        check_caches(pair, live)


def test_together_they_share_the_calls(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    decode = llama_cpp.llama_decode

    def count(context: Any, batch: Any) -> int:
        nonlocal calls
        calls += 1
        return int(decode(context, batch))

    monkeypatch.setattr(llama_cpp, "llama_decode", count)
    router = FixedRouter(Role.SLM)
    run(pair, *(make_live(pair, f"Hi {i}", router=router, max_tokens=20) for i in range(SEQUENCES)))
    # The prompts take a few calls of n_batch tokens, all other tokens one call a round.
    assert 19 < calls < 19 + SEQUENCES


def test_a_cache_always_holds_the_beginning_of_its_trajectory(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    held: dict[tuple[Role, int], list[int]] = {}
    for role, context in pair.contexts.items():

        def decode(
            parts: Sequence[BatchSlice],
            *,
            hidden: bool = False,
            role: Role = role,
            context: Context = context,
            original: Callable[..., Decoded] = context.decode,
        ) -> Decoded:
            for part in parts:
                before = held.get((role, part.sequence), [])[: context.length(part.sequence)]
                held[role, part.sequence] = [*before, *part.ids]
            return original(parts, hidden=hidden)

        monkeypatch.setattr(context, "decode", decode)
    lives = [make_live(pair, "Hello" * i) for i in range(4)]
    for _ in pair.driver.steps(lives):
        for live in lives:
            for role in Role:
                cached = live.trajectory.cached(role)
                assert held.get((role, live.sequence), []) == live.trajectory.ids(role)[:cached]
            check_caches(pair, live)
    for live in lives:
        assert live.trace.swaps_up > 2
        for role in Role:
            # No token is evaluated twice.
            assert sum(live.trace.usage[role].tokens) == live.trajectory.cached(role)
            if live.trajectory.cached(role):
                question = [{"role": "user", "content": "Hello" * live.sequence}]
                assert live.trace.usage[role].tokens[0] == len(pair.render(question, role))


def test_a_stop_ends_all_and_keeps_what_there_is(pair: Pair) -> None:
    lives = [make_live(pair, "Hello") for _ in range(3)]
    tokens = run(pair, *lives, should_stop=lambda: len(lives[0].trace.steps) >= 5)
    for live, kept in zip(lives, tokens, strict=True):
        assert live.trace.stop == live.trajectory.stop_reason == "interrupted"
        assert [step.token for step in live.trace.steps] == kept
        check_caches(pair, live)
    assert len(tokens[0]) == 5


def test_a_stop_in_the_middle_of_a_prompt_leaves_the_caches_known(pair: Pair) -> None:
    looks = iter([False, True])
    live = make_live(pair, "A long question. " * 12)
    assert run(pair, live, should_stop=lambda: next(looks, True)) == [[]]
    assert live.trace.stop == "interrupted"
    assert live.trajectory.cached(Role.SLM) == pair.contexts[Role.SLM].n_batch
    assert live.trace.usage[Role.SLM].tokens == [pair.contexts[Role.SLM].n_batch, 0, 0]
    check_caches(pair, live)


def test_a_caller_who_turns_away_interrupts(pair: Pair) -> None:
    lives = [make_live(pair, "Hello") for _ in range(2)]
    steps = pair.driver.steps(lives)
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    assert [live.trace.stop for live in lives] == ["interrupted", "interrupted"]
    assert lives[0].trace.wall_ms >= (lives[0].trace.ttft_ms or 0) > 0


def test_ctrl_c_interrupts_and_the_next_answer_is_as_if_nothing_had_been(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    (expected,) = run(pair, make_live(pair, "Hello"))
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

        live = make_live(pair, "Goodbye")
        with monkeypatch.context() as patch:
            patch.setattr(llama_cpp, "llama_decode", interrupt)
            with pytest.raises(KeyboardInterrupt):
                run(pair, live)
        assert live.trace.stop == "interrupted"
        assert run(pair, make_live(pair, "Hello")) == [expected]


def test_a_failure_of_llama_cpp_ends_all(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    decode, calls = llama_cpp.llama_decode, 0

    def fail(context: Any, batch: Any) -> int:
        nonlocal calls
        calls += 1
        return -3 if calls == 9 else int(decode(context, batch))

    lives = [make_live(pair, "Hello") for _ in range(2)]
    with monkeypatch.context() as patch:
        patch.setattr(llama_cpp, "llama_decode", fail)
        with pytest.raises(EngineError, match="returned -3"):
            run(pair, *lives)
    assert [live.trace.stop for live in lives] == ["error", "error"]
    assert lives[0].trace.steps
    run(pair, make_live(pair, "Hello"))


def test_broken_logits_end_one_and_leave_the_others(tmp_path: Path) -> None:
    files = write_pair(tmp_path, {"nan_after": "Q"}, {"nan_after": "Q"})
    with load_pair(slm=files.slm, llm=files.llm, options=LoadOptions(sequences=3, context=CONTEXT)) as pair:
        (expected,) = run(pair, make_live(pair, "Hello"))
        assert len(expected) == BUDGET
        lives = [make_live(pair, "Hello"), make_live(pair, "Q?"), make_live(pair, "Hello")]
        tokens = run(pair, *lives)
    assert tokens == [expected, [], expected]
    assert [live.trace.stop for live in lives] == ["length", "error", "length"]
    assert lives[0].error is None
    assert "SLM at position 0" in str(lives[1].error)


def test_a_finished_one_is_left_as_it_is(pair: Pair) -> None:
    live = make_live(pair, "Hello")
    (tokens,) = run(pair, live)
    record = live.trace.to_dict()
    other = make_live(pair, "Goodbye")
    assert run(pair, live, other)[0] == []
    assert live.trace.to_dict() == record
    assert len(tokens) == BUDGET == len(other.trace.steps)


def test_what_is_cached_is_not_evaluated_again(pair: Pair) -> None:
    question = "The same long question as before?"
    first = make_live(pair, question, router=FixedRouter(Role.SLM))
    (tokens,) = run(pair, first)
    again = make_live(pair, question, router=FixedRouter(Role.SLM))
    again.reuse = True
    assert run(pair, again) == [tokens]
    # The last token of the prompt is evaluated in any case: its logits are what comes next.
    assert again.trace.usage[Role.SLM].tokens[0] == 1
    check_caches(pair, again)


def test_a_router_that_asks_sees_the_hidden_states_of_the_slm_only(pair: Pair) -> None:
    seen: list[tuple[Role, bool]] = []

    class Curious(EntropyRouter):
        needs_hidden = True

        def route(self, observation: Observation) -> Role:
            hidden = observation.hidden
            seen.append((observation.role, hidden is not None))
            if hidden is not None:
                assert hidden.shape == (pair.weights[Role.SLM].n_embd,)
                assert np.isfinite(hidden).all()
            return super().route(observation)

    lives = [make_live(pair, "Hello" * i, router=Curious(TAU) if i % 2 else None) for i in range(4)]
    run(pair, *lives)
    assert set(seen) == {(Role.SLM, True), (Role.LLM, False)}
    for live in lives:
        assert len(live.trace.steps) == BUDGET
        check_caches(pair, live)
