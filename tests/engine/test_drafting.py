"""The driver with speculative decoding: exact with scripted models, and with llama.cpp on models with fixed answers."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scripted import ScriptedModel, make_trajectory, scripted_vocabulary
from tiny_pair import TinyPair, write_pair

from rstitch_local.costs.evaluations import Evaluation, evaluations
from rstitch_local.decoding.config import TrajectoryConfig
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.sampling import Sampler, Sampling
from rstitch_local.decoding.speculative import SpeculativeRouter, SpeculativeTrajectory
from rstitch_local.decoding.vocabulary import Bridge
from rstitch_local.engine.driver import Driver
from rstitch_local.engine.loading import LoadOptions, load_pair
from rstitch_local.engine.pair import Pair
from rstitch_local.engine.slots import ActiveSequence
from rstitch_local.errors import EngineError, ModelError
from rstitch_local.llama.batch import BatchSlice
from rstitch_local.llama.context import Context, Decoded
from rstitch_local.llama.sequence_cache import common_length
from rstitch_local.routing.spec import router_from_spec
from rstitch_local.trace.record import Trace

N_VOCAB = 24
LLM_ANSWER, SLM_ANSWER = "abcdefghijkl", "abcXefghYjkl"


class ScriptedContext:
    """Stands in for llama/context.py: one scripted model with many sequences and a limit on outputs per call."""

    def __init__(
        self, model: ScriptedModel, sequences: int, n_batch: int, similar_to: ScriptedModel | None = None
    ) -> None:
        self.weights = SimpleNamespace(n_vocab=N_VOCAB)
        self.n_seq_max = self.outputs = sequences
        self.n_ctx, self.kv_cells, self.n_batch = 500, 500 * sequences, n_batch
        self.held: list[list[int]] = [[] for _ in range(sequences)]
        self.reopened = self.drafted = 0
        self.log: list[tuple[ScriptedContext, int, int, int]] = []
        self._models = (model, similar_to or model)

    @property
    def used_cells(self) -> int:
        return sum(map(len, self.held))

    def length(self, sequence: int) -> int:
        return len(self.held[sequence])

    def truncate(self, sequence: int, length: int) -> int:
        del self.held[sequence][length:]
        return self.length(sequence)

    def longest_prefix(self, ids: Sequence[int]) -> tuple[int, int]:
        lengths = [min(common_length(held, ids), len(ids) - 1) for held in self.held]
        return lengths.index(max(lengths)), max(lengths)

    def reuse_prefix(self, sequence: int, ids: Sequence[int], *, grain: int = 1) -> int:
        source, common = self.longest_prefix(ids)
        self.held[sequence] = self.held[source][: common - common % grain]
        return self.length(sequence)

    def allow_outputs(self, outputs: int) -> None:
        if outputs > self.outputs:
            self.outputs = outputs
            self.reopened += 1
            for held in self.held:
                held.clear()

    def decode(self, slices: Sequence[BatchSlice], *, hidden: bool = False) -> Decoded:
        assert not hidden
        assert sum(len(batch_slice.ids) for batch_slice in slices) <= self.n_batch
        assert sum(batch_slice.outputs for batch_slice in slices) <= self.outputs
        rows = []
        for batch_slice in slices:
            assert batch_slice.outputs <= len(batch_slice.ids)
            held = self.held[batch_slice.sequence]
            self.log.append((self, len(batch_slice.ids), len(held), batch_slice.prompt))
            held += batch_slice.ids
            self.drafted += max(0, batch_slice.outputs - 1)
            assert len(held) <= self.n_ctx
            rows += [self._logits(held[: len(held) - back]) for back in range(batch_slice.outputs - 1, -1, -1)]
        return Decoded(np.array(rows) if rows else None, None, [1000 * len(batch_slice.ids) for batch_slice in slices])

    def _logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        own, other = (model.logits(ids) for model in self._models)
        return np.asarray(0.3 * own + 0.7 * other, np.float32)


def contexts_of(seed: int, sequences: int, n_batch: int) -> dict[Role, ScriptedContext]:
    slm, llm = (ScriptedModel(N_VOCAB, f"{role}{seed}", 6.0) for role in Role)
    return {
        Role.SLM: ScriptedContext(slm, sequences, n_batch, llm),
        Role.LLM: ScriptedContext(llm, sequences, n_batch),
    }


def sequence_of(prompt: Sequence[int], spec: str, seed: int, temperature: float = 1.0) -> ActiveSequence:
    router = router_from_spec(spec)
    if not isinstance(router, SpeculativeRouter):
        plain = make_trajectory(
            prompt, N_VOCAB, router=spec, max_tokens=20, sampling=Sampling(temperature), seed=seed, capacity=500
        )
        return ActiveSequence(plain, Trace(seed))
    trajectory = SpeculativeTrajectory(
        TrajectoryConfig(
            prompt={role: list(prompt) for role in Role},
            bridge=Bridge(dict.fromkeys(Role, scripted_vocabulary(N_VOCAB, 0))),
            router=router,
            sampler=Sampler(Sampling(temperature), seed),
            max_tokens=20,
            capacity=dict.fromkeys(Role, 500),
        )
    )
    return ActiveSequence(trajectory, Trace(seed))


def run(contexts: dict[Role, ScriptedContext], sequences: Sequence[ActiveSequence]) -> list[list[tuple[Role, int]]]:
    """Run to the end; return the tokens of each. The stop reason is set with the last token, not before."""
    kept: dict[int, list[tuple[Role, int]]] = {id(sequence): [] for sequence in sequences}
    ended = set()
    for sequence, step in Driver(cast("dict[Role, Context]", contexts)).steps(iter(sequences)):
        assert id(sequence) not in ended
        if step is not None:
            kept[id(sequence)].append((step.role, step.token))
        if sequence.trace.stop is not None:
            ended.add(id(sequence))
    assert ended == set(kept)
    return list(kept.values())


@settings(deadline=None, max_examples=40)
@given(
    prompts=st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=9), min_size=1, max_size=5),
    specs=st.lists(st.sampled_from(["spec:1", "spec:4", "spec:7:0.5", "entropy:0.4", "llm"]), min_size=5, max_size=5),
    seed=st.integers(0, 99),
    n_batch=st.integers(10, 40),
)
def test_batched_answers_with_drafts_equal_single_ones(
    prompts: list[list[int]], specs: list[str], seed: int, n_batch: int
) -> None:
    sequences = [sequence_of(prompt, spec, seed) for prompt, spec in zip(prompts, specs, strict=False)]
    contexts = contexts_of(seed, min(5, max(1, len(prompts) - 1)), n_batch)
    batched = run(contexts, sequences)
    for sequence, prompt, spec, kept in zip(sequences, prompts, specs, batched, strict=False):
        single = sequence_of(prompt, spec, seed)
        assert run(contexts_of(seed, 1, 100), [single]) == [kept]
        assert [(step.role, step.token) for step in sequence.trace.steps] == kept
        assert sequence.trace.stop == single.trace.stop == sequence.trajectory.stop_reason
        assert sequence.trace.tokens == {role: sum(r is role for r, _ in kept) for role in Role}
        assert (sequence.trace.swaps_up, sequence.trace.swaps_down) == (single.trace.swaps_up, single.trace.swaps_down)


@pytest.mark.parametrize("seed", range(8))
def test_caches_are_truncated_to_the_kept_tokens(seed: int) -> None:
    contexts = contexts_of(seed, 2, 64)
    sequences = [sequence_of([1, 2, index], "spec:5", seed) for index in (1, 2)]
    for _ in Driver(cast("dict[Role, Context]", contexts)).steps(iter(sequences)):
        for sequence in sequences:
            for role in sequence.cached_roles:
                held = contexts[role].held[sequence.sequence]
                assert held == sequence.trajectory.ids(role)[: len(held)]
                assert len(held) == sequence.trajectory.cached(role)
    assert contexts[Role.LLM].outputs == 12
    assert (contexts[Role.LLM].reopened, contexts[Role.SLM].reopened) == (1, 0)


def test_the_trace_contains_the_acceptance_rate() -> None:
    for seed in range(6):
        sequence = sequence_of([1, 2], "spec:3", seed)
        contexts = contexts_of(seed, 1, 64)
        run(contexts, [sequence])
        trace = sequence.trace
        prompt, catch_up, single = trace.usage[Role.LLM].tokens
        rounds = trace.tokens[Role.LLM] + (trace.steps[-1].role is Role.SLM)
        assert prompt == 2
        assert catch_up + single - rounds + 1 == contexts[Role.LLM].drafted
        assert 0 < trace.tokens[Role.SLM] <= contexts[Role.LLM].drafted


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    spec=st.sampled_from(["spec:1", "spec:3", "spec:5:0.4", "spec:9:0.8"]),
    prompt=st.lists(st.integers(1, 3), min_size=1, max_size=9),
    temperature=st.sampled_from([0.0, 1.0]),
)
def test_evaluations_are_reconstructed_from_the_trace(
    seed: int, spec: str, prompt: list[int], temperature: float
) -> None:
    contexts = contexts_of(seed, 1, 100)
    log = contexts[Role.SLM].log = contexts[Role.LLM].log
    sequence = sequence_of(prompt, spec, seed, temperature)
    sequence.trace.settings = {"router": spec}
    run(contexts, [sequence])
    roles = {id(context): role for role, context in contexts.items()}
    expected = [Evaluation(roles[id(context)], *counts) for context, *counts in log]
    assert evaluations(sequence.trace) == expected
    # For an incomplete answer the reconstruction has at least the right number of tokens.
    sequence.trace.steps.pop()
    reconstructed = evaluations(sequence.trace)
    for role in Role:
        assert sum(e.n_inf for e in reconstructed if e.role is role) == sum(sequence.trace.usage[role].tokens)


def test_missing_memory_for_drafts_ends_only_that_answer() -> None:
    contexts = contexts_of(3, 2, 64)

    def refuse(outputs: int) -> None:
        for held in contexts[Role.LLM].held:
            held.clear()
        raise EngineError("Not enough memory for drafts", f"{outputs} outputs")

    contexts[Role.LLM].allow_outputs = refuse  # type: ignore[method-assign]
    sequences = [sequence_of([1, 2], "entropy:0.4", 3), sequence_of([1, 2], "spec:2", 3), sequence_of([1, 3], "llm", 3)]
    kept = run(contexts, sequences)
    assert sequences[1].trace.stop == "error"
    assert sequences[1].error is not None
    assert kept[1] == []
    assert kept[0] == run(contexts_of(3, 1, 64), [sequence_of([1, 2], "entropy:0.4", 3)])[0]
    assert len(kept[2]) == len(sequences[2].trace.steps) > 0


def test_an_answer_interrupted_between_drafts_of_one_batch_has_its_stop_reason() -> None:
    for seed in range(20):
        whole = run(contexts_of(seed, 1, 64), [sequence_of([1], "spec:6", seed)])[0]
        if whole[-1][0] is Role.SLM:
            break
    sequence = sequence_of([1], "spec:6", seed)
    steps = Driver(cast("dict[Role, Context]", contexts_of(seed, 1, 64))).steps(iter([sequence]))
    for _ in whole[:-1]:
        next(steps)
        assert sequence.trace.stop is None
    assert isinstance(steps, Generator)
    steps.close()
    assert sequence.trace.stop in ("eog", "length")
    assert len(sequence.trace.steps) == len(whole)


# With llama.cpp


@pytest.fixture(scope="module")
def fixed_answers(tmp_path_factory: pytest.TempPathFactory) -> TinyPair:
    """Two models with fixed answers that differ at two positions; after those the SLM's output is noise."""
    return write_pair(tmp_path_factory.mktemp("fixed_answers"), {"answer": SLM_ANSWER}, {"answer": LLM_ANSWER})


def load(files: TinyPair, sequences: int = 1) -> Pair:
    options = LoadOptions(threads=1, context=256, sequences=sequences)
    return load_pair(slm=files.slm, llm=files.llm, options=options)


def test_the_answer_is_the_llms(fixed_answers: TinyPair) -> None:
    with load(fixed_answers) as pair:
        traces = []
        for router in ("llm", "spec:4", "spec:1", "spec:32", "spec:4:0.5", "llm"):
            run = pair.ask("What?", router=router)
            list(run)
            traces.append(run.trace)
            assert run.trace.text == LLM_ANSWER
            assert run.trace.stop == "eog"
            # The KV caches hold the kept tokens.
            for role in (Role.LLM, Role.SLM)[: 1 + (router != "llm")]:
                held = list(pair.contexts[role].tokens(0))
                assert held == list(run.trajectory.ids(role))[: run.trajectory.cached(role)]
        # After d and i, which the SLM would not have generated, its drafts are wrong.
        assert "".join(step.role.value[0] for step in traces[1].steps) == "sssll" + "sssll" + "sss"
        assert [step.position for step in traces[1].steps if step.swap_entropy is not None] == [3, 4, 8, 9]
        assert pair.contexts[Role.LLM].outputs == 33
        assert pair.contexts[Role.SLM].outputs == 4
        assert traces[0].usage[Role.LLM].tokens == traces[-1].usage[Role.LLM].tokens


def test_drafts_are_batched_with_other_answers(fixed_answers: TinyPair) -> None:
    with load(fixed_answers, sequences=3) as pair:
        routers = ["llm", "spec:4", "entropy:0.5", "spec:2", "slm", "spec:4"]
        runs = [pair.ask(f"What {index}?", router=router) for index, router in enumerate(routers)]
        ended = [run for run, _ in pair.run_all(runs) if run.trace.stop is not None]
        assert len(ended) == len(runs)
        assert [run.trace.text for run in runs if run.trace.settings["router"] not in ("slm", "entropy:0.5")] == [
            LLM_ANSWER
        ] * 4
        assert pair.contexts[Role.LLM].outputs == 15


def test_several_outputs_of_one_call(tiny_pair: TinyPair) -> None:
    with load(tiny_pair, sequences=2) as pair:
        context = pair.contexts[Role.LLM]
        context.decode([BatchSlice(1, [9, 8])])
        with pytest.raises(EngineError, match="6 outputs; 5 are allowed"):
            context.decode([BatchSlice(0, [1, 2, 3, 4, 5, 6], outputs=6)])
        context.allow_outputs(5)
        assert context.length(1) == 2
        context.allow_outputs(6)
        assert context.length(1) == 0
        ids = [40, 41, 42, 43, 44]
        single = []
        for count in range(1, 6):
            context.truncate(0, 0)
            logits = context.decode([BatchSlice(0, ids[:count])]).logits
            assert logits is not None
            single.append(logits[0].copy())
        context.truncate(0, 0)
        decoded = context.decode([BatchSlice(0, ids, outputs=3), BatchSlice(1, ids[:3], outputs=2)])
        assert decoded.logits is not None
        assert decoded.logits.shape == (5, context.weights.n_vocab)
        # Rounding in batches changes the logits of the tiny models by up to 0.003.
        for row, count in enumerate((3, 4, 5, 2, 3)):
            assert np.abs(decoded.logits[row] - single[count - 1]).max() < 0.01
        context.truncate(0, 3)
        again = context.decode([BatchSlice(0, ids[3:], outputs=2)]).logits
        assert again is not None
        assert np.abs(again - np.array(single[3:])).max() < 0.01


def test_a_context_without_memory_for_more_outputs_is_unchanged(
    tiny_pair: TinyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    with load(tiny_pair) as pair:
        context = pair.contexts[Role.LLM]
        make = Context._open

        def refuse(self: Context, outputs: int) -> None:
            if outputs > 4:
                raise ModelError("Not enough memory", "no memory")
            make(self, outputs)

        monkeypatch.setattr(Context, "_open", refuse)
        run = pair.ask("What?", router="spec:4")
        with pytest.raises(EngineError, match="no memory"):
            list(run)
        assert run.trace.stop == "error"
        assert context.outputs == 4
        assert len(list(pair.ask("What?", router="llm", max_tokens=3))) == 3


def test_an_answer_with_drafts_can_be_resumed(fixed_answers: TinyPair) -> None:
    with load(fixed_answers) as pair:
        run = pair.ask("What?", router="spec:4")
        steps = list(run)
        again = pair.ask("What?", router="spec:4", resume_steps=steps[:5], reuse=True)
        assert [step.role for step in again] == [step.role for step in steps[5:]]
        assert again.trace.text == LLM_ANSWER
        seen: list[str] = []
        stopped = pair.ask("What?", router="spec:4", should_stop=lambda: len(seen) > 3)
        seen += (step.text for step in stopped)
        assert stopped.trace.stop == "interrupted"
        assert "".join(seen) == stopped.trace.text == LLM_ANSWER[: len(seen)]
