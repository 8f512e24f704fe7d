"""The driver with scripted models: interrupts, errors, and trajectories that have ended."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import make_trajectory
from scripted_engine import BROKEN, NEVER, VOCABULARY, Question, Scene, questions, summary

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.router import Observation
from rstitch_local.decoding.step import Step
from rstitch_local.engine.slots import ActiveSequence
from rstitch_local.errors import CacheFullError, EngineError
from rstitch_local.llama.context import Decoded
from rstitch_local.routing.rules import EntropyRouter
from rstitch_local.trace.record import Trace


def test_a_full_cache_with_one_trajectory_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(2)

    def full(*_: object, **__: object) -> Decoded:
        raise CacheFullError("KV cache full", "No cells.")

    monkeypatch.setattr(scene.contexts[Role.SLM], "decode", full)
    sequences = [scene.sequence(Question([1, i])) for i in range(3)]
    with pytest.raises(CacheFullError):
        list(scene.run(sequences))
    assert [sequence.trace.stop for sequence in sequences] == ["error", "error", None]
    scene.driver.require_idle()


@settings(deadline=None, max_examples=40)
@given(
    asked=st.lists(st.tuples(questions, st.booleans()), min_size=1, max_size=7),
    slots=st.integers(1, 5),
    n_batch=st.integers(2, 64),
    cells=st.sampled_from([None, 100]),
    reuse=st.booleans(),
    seed=st.integers(0, 99),
)
def test_broken_logits_end_only_their_own_trajectory(
    asked: list[tuple[Question, bool]], slots: int, n_batch: int, cells: int | None, reuse: bool, seed: int
) -> None:
    scene = Scene(slots, seed, n_ctx=80, n_batch=n_batch, kv_cells=cells, breaks=True)
    # Some prompts contain the token that breaks the logits; answers may contain it too.
    prompted = [
        Question([*question.prompt, BROKEN, 1], question.router, question.max_tokens) if bad else question
        for question, bad in asked
    ]
    sequences = [scene.sequence(question, reuse=reuse) for question in prompted]
    ended = [sequence for sequence, _ in scene.run(sequences) if sequence.trace.stop is not None]
    assert sorted(map(id, ended)) == sorted(map(id, sequences))
    for sequence, question, (_, bad) in zip(sequences, prompted, asked, strict=True):
        trajectory, steps, _ = scene.alone(question)
        if bad:
            assert (sequence.trace.stop, sequence.trace.steps) == ("error", [])
            assert "position 0: The logit of token 0 is nan" in str(sequence.error)
            continue
        if BROKEN in [step.token for step in steps]:
            steps = steps[: [step.token for step in steps].index(BROKEN) + 1]
        assert summary(sequence.trace.steps) == summary(steps)
        if len(steps) == trajectory.position:
            assert (sequence.trace.stop, sequence.error) == (trajectory.stop_reason, None)
        else:
            assert sequence.trace.stop == "error"
            assert f"position {len(steps)}" in str(sequence.error)


def test_an_interrupt_ends_all_and_keeps_their_steps() -> None:
    scene = Scene(2)
    taken: list[ActiveSequence] = []

    def source() -> Iterator[ActiveSequence]:
        while True:
            taken.append(scene.sequence(Question([1], "slm", 50, end=NEVER)))
            yield taken[-1]

    kept: list[Step] = []
    for _, step in scene.run(source(), should_stop=lambda: len(kept) >= 6):
        assert step is not None
        kept.append(step)
    assert len(kept) == 6
    assert [sequence.trace.stop for sequence in taken] == ["interrupted"] * 2
    assert [len(sequence.trace.steps) for sequence in taken] == [3, 3]
    assert scene.driver.status().active == 0


def test_an_interrupt_within_a_prompt_keeps_what_was_evaluated() -> None:
    scene = Scene(1, n_ctx=300, n_batch=16)
    sequence = scene.sequence(Question([5] * 100, "slm"))
    polls = itertools.count()
    assert list(scene.run([sequence], should_stop=lambda: next(polls) == 3)) == []
    assert sequence.trace.stop == sequence.trajectory.stop_reason == "interrupted"
    assert sequence.trajectory.cached(Role.SLM) == 48 == scene.contexts[Role.SLM].length(0)
    assert sequence.trace.usage[Role.SLM].tokens == [48, 0, 0]
    assert sequence.trace.usage[Role.SLM].ns == [48_000, 0, 0]
    # With reuse only the rest is evaluated.
    again = scene.sequence(Question([5] * 100, "slm", 3, end=NEVER), reuse=True)
    assert len(list(scene.run([again]))) == 3
    assert again.trace.usage[Role.SLM].tokens == [52, 0, 2]


def test_an_interrupt_before_the_first_turn_takes_no_trajectory() -> None:
    scene = Scene(2)
    assert list(scene.driver.steps((pytest.fail("taken") for _ in range(1)), should_stop=lambda: True)) == []


def test_an_interrupt_also_ends_preempted_trajectories() -> None:
    scene = Scene(4, n_ctx=80, kv_cells=80)
    sequences = [scene.sequence(Question([i], "slm", 3 if i == 1 else 60, end=NEVER)) for i in range(1, 6)]
    for _ in scene.run(
        sequences, should_stop=lambda: scene.driver.status().preempted > 0 and sequences[1].trace.tokens[Role.SLM] > 30
    ):
        pass
    stops = [sequence.trace.stop for sequence in sequences]
    assert stops[0] == "length"
    assert set(stops[1:]) <= {"interrupted", None}
    started = [sequence for sequence in sequences[1:] if sequence.trace.steps]
    assert len(started) > 1
    assert all(sequence.trace.stop == "interrupted" for sequence in started)
    assert scene.driver.status().preempted == 0


@pytest.mark.parametrize("error", [EngineError("No", "Not this one."), RuntimeError("no"), KeyboardInterrupt()])
def test_an_exception_in_the_source_ends_all_live_trajectories(error: BaseException) -> None:
    scene = Scene(3)
    sequences = [scene.sequence(Question([i], "slm", 2 + i, end=NEVER)) for i in range(3)]

    def source() -> Iterator[ActiveSequence]:
        yield from sequences
        raise error

    with pytest.raises(type(error)):
        list(scene.run(source()))
    ending = "error" if isinstance(error, EngineError) else "interrupted"
    assert [sequence.trace.stop for sequence in sequences] == ["length", ending, ending]
    assert [len(sequence.trace.steps) for sequence in sequences] == [2, 2, 2]
    # The driver is idle afterwards.
    assert len(list(scene.run([scene.sequence(Question([1], "slm", 4, end=NEVER))]))) == 4


def test_an_exception_of_the_caller_ends_all_live_trajectories() -> None:
    scene = Scene(2)
    sequences = [scene.sequence(Question([i], "slm", 9, end=NEVER)) for i in range(2)]
    with pytest.raises(ZeroDivisionError):
        sum(1 / (3 - len(sequence.trace.steps)) for sequence, _ in scene.driver.steps(sequences))
    assert [sequence.trace.stop for sequence in sequences] == ["interrupted"] * 2
    scene.driver.require_idle()


def test_closing_the_iterator_interrupts() -> None:
    scene = Scene(2)
    sequences = [scene.sequence(Question([i], "slm", 9, end=NEVER)) for i in range(3)]
    steps = scene.driver.steps(sequences)
    next(steps)
    # The second has its first token too, although it was not yielded.
    steps.close()  # type: ignore[attr-defined]
    assert [sequence.trace.stop for sequence in sequences] == ["interrupted", "interrupted", None]
    assert [len(sequence.trace.steps) for sequence in sequences] == [1, 1, 0]


def test_the_driver_is_busy_until_the_end() -> None:
    scene = Scene(2)
    steps = scene.driver.steps([scene.sequence(Question([1], "slm", 3, end=NEVER))])
    scene.driver.require_idle()
    next(steps)
    late = scene.sequence(Question([2]))
    with pytest.raises(EngineError, match="busy"):
        next(scene.driver.steps([late]))
    with pytest.raises(EngineError, match="busy"):
        scene.driver.require_idle()
    # Neither is affected.
    assert late.trace.stop is None
    assert len(list(steps)) == 2
    scene.driver.require_idle()
    assert len(list(scene.driver.steps([scene.sequence(Question([2], "slm", 3, end=NEVER))]))) == 3


def test_an_ended_trajectory_is_yielded_unchanged() -> None:
    scene = Scene(2)
    whole = scene.sequence(Question([1, 2], "slm", 5, end=NEVER))
    list(scene.run([whole]))
    record = whole.trace.to_dict()
    kept = make_trajectory([1, 2], VOCABULARY, router="slm", end=NEVER, max_tokens=5, resume_steps=whole.trace.steps)
    ended = ActiveSequence(kept, Trace(0, steps=list(kept.resumed), resumed_tokens=5))
    other = scene.sequence(Question([3], "slm", 4, end=NEVER))
    found = [(sequence, step is None) for sequence, step in scene.run([whole, ended, other])]
    assert found == [(whole, True), (ended, True), *[(other, False)] * 4]
    assert whole.trace.to_dict() == record
    assert (ended.trace.stop, ended.trace.wall_ms, ended.trace.ttft_ms) == ("length", 0.0, None)


class FailingRouter(EntropyRouter):
    """Fails at one position."""

    def __init__(self, tau: float, at: int) -> None:
        super().__init__(tau)
        self._at = at

    def route(self, observation: Observation) -> Role:
        if observation.position == self._at:
            raise EngineError("Router failed", f"at position {self._at}")
        return super().route(observation)


@pytest.mark.parametrize("at", [0, 3, 7])
def test_a_router_that_fails_ends_only_its_own_trajectory(at: int) -> None:
    scene = Scene(3)
    asked = [Question([1, i], "entropy:0.5", 12, end=NEVER) for i in range(5)]
    sequences = [scene.sequence(question) for question in asked]
    sequences[1].trajectory.router = FailingRouter(0.5, at)
    for _ in scene.run(sequences):
        pass
    for index, (sequence, question) in enumerate(zip(sequences, asked, strict=True)):
        steps = scene.alone(question)[1]
        if index == 1:
            assert (sequence.trace.stop, sequence.trace.error) == ("error", f"Router failed: at position {at}")
            steps = steps[:at]
        else:
            assert (sequence.trace.stop, sequence.error) == ("length", None)
        assert summary(sequence.trace.steps) == summary(steps)
