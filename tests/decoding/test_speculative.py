"""Speculative decoding over scripted models: exact, token by token at temperature 0 and in distribution above it."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scripted import ScriptedModel, algorithm_1, scripted_vocabulary

from rstitch_local.decoding.config import TrajectoryConfig
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.sampling import Sampler, Sampling
from rstitch_local.decoding.speculative import SpeculativeRouter, SpeculativeTrajectory
from rstitch_local.decoding.step import Step
from rstitch_local.decoding.vocabulary import Bridge
from rstitch_local.errors import EngineError
from rstitch_local.routing.spec import router_from_spec

END = 0
Models = dict[Role, Callable[[Sequence[int]], NDArray[np.float32]]]


@dataclass(frozen=True)
class Scene:
    """Two models that agree to some degree: the SLM's logits are a mixture of the LLM's and independent ones."""

    n_vocab: int
    seed: int
    spread: float
    likeness: float

    @property
    def llm(self) -> ScriptedModel:
        return ScriptedModel(self.n_vocab, f"llm{self.seed}", self.spread)

    @property
    def models(self) -> Models:
        llm, independent = self.llm, ScriptedModel(self.n_vocab, f"slm{self.seed}", self.spread)

        def slm(ids: Sequence[int]) -> NDArray[np.float32]:
            mixed = self.likeness * llm.logits(ids) + (1 - self.likeness) * independent.logits(ids)
            return np.asarray(mixed, np.float32)

        return {Role.SLM: slm, Role.LLM: llm.logits}


scenes = st.builds(
    Scene, n_vocab=st.integers(2, 40), seed=st.integers(0, 10_000), spread=st.floats(0.5, 20), likeness=st.floats(0, 1)
)
specs = st.builds("spec:{}:{}".format, st.integers(1, 9), st.sampled_from([0, 0.3, 0.6, 0.9]))


def make(
    n_vocab: int,
    spec: str,
    *,
    prompt: Sequence[int] = (1, 1),
    max_tokens: int = 20,
    temperature: float = 0.0,
    seed: int = 0,
    capacity: tuple[int, int] = (1000, 1000),
    resume_steps: Sequence[Step] = (),
    bridge: Bridge | None = None,
    top_k: int = 0,
    stop: Sequence[str] = (),
) -> SpeculativeTrajectory:
    router = router_from_spec(spec)
    assert isinstance(router, SpeculativeRouter)
    return SpeculativeTrajectory(
        TrajectoryConfig(
            prompt={role: list(prompt) for role in Role},
            bridge=bridge or Bridge(dict.fromkeys(Role, scripted_vocabulary(n_vocab, END))),
            router=router,
            sampler=Sampler(Sampling(temperature, top_k), seed),
            max_tokens=max_tokens,
            capacity=dict(zip(Role, capacity, strict=True)),
            resume_steps=resume_steps,
            stop=stop,
        )
    )


def run(
    trajectory: SpeculativeTrajectory, models: Models, n_batch: int = 1000, capacity: tuple[int, int] = (1000, 1000)
) -> list[Step]:
    """Generate the whole answer with caches that assert that they hold a prefix of the conversation."""
    held: dict[Role, list[int]] = {role: [] for role in Role}
    steps = []
    while trajectory.stop_reason is None:
        request = trajectory.request()
        assert request.ids
        assert request.outputs <= min(len(request.ids), trajectory.outputs(request.role))
        count = min(n_batch, len(request.ids))
        ids = held[request.role]
        ids += request.ids[:count]
        whole = list(trajectory.ids(request.role))
        assert ids == whole[: len(ids)]
        assert len(ids) <= dict(zip(Role, capacity, strict=True))[request.role]
        trajectory.note_evaluated(count, 1.0)
        for at in range(max(0, count - len(request.ids) + request.outputs), 0, -1):
            step = trajectory.advance(models[request.role](ids[: len(ids) + 1 - at]))
            if step is not None:
                steps.append(step)
            if trajectory.stop_reason is not None or trajectory.cached(request.role) < len(ids):
                break
        for role in Role:
            assert trajectory.cached(role) <= len(held[role])
            del held[role][trajectory.cached(role) :]
            assert held[role] == trajectory.ids(role)[: len(held[role])]
    return steps


def summary(steps: Sequence[Step]) -> list[tuple[int, Role, int, str, float | None]]:
    return [(step.position, step.role, step.token, step.text, step.swap_entropy) for step in steps]


@settings(deadline=None, max_examples=200)
@given(
    scene=scenes,
    spec=specs,
    max_tokens=st.integers(1, 25),
    n_batch=st.integers(1, 12),
    capacity=st.tuples(st.integers(2, 30), st.integers(2, 30)),
)
def test_the_greedy_answer_is_that_of_the_llm_alone(
    scene: Scene, spec: str, max_tokens: int, n_batch: int, capacity: tuple[int, int]
) -> None:
    # The LLM's capacity ends the answer, the SLM's only the drafts. The last token is not evaluated.
    budget = min(max_tokens, capacity[1] - 2 + 1)
    llm = dict.fromkeys(Role, scene.llm)
    expected, reason = algorithm_1([1, 1], llm, tau=2.0, end=END, max_tokens=budget)
    trajectory = make(scene.n_vocab, spec, max_tokens=max_tokens, capacity=capacity)
    steps = run(trajectory, scene.models, n_batch, capacity)
    assert [step.token for step in steps] == [token for _, token in expected]
    assert trajectory.stop_reason == reason
    assert [step.position for step in steps] == list(range(len(steps)))
    assert trajectory.ids(Role.LLM) == trajectory.ids(Role.SLM) == [1, 1, *(step.token for step in steps)]
    assert [trajectory.tokens(role) for role in Role] == [sum(s.role is role for s in steps) for role in Role]


@settings(deadline=None, max_examples=70)
@given(
    scene=scenes,
    spec=specs,
    temperature=st.sampled_from([0.0, 1.0]),
    where=st.floats(0, 1),
    n_batch=st.integers(1, 12),
)
def test_resuming_and_small_batches_make_no_difference(
    scene: Scene, spec: str, temperature: float, where: float, n_batch: int
) -> None:
    options = {"temperature": temperature, "seed": scene.seed}
    whole = make(scene.n_vocab, spec, **options)  # type: ignore[arg-type]
    steps = run(whole, scene.models)
    earlier = steps[: int(where * (len(steps) - 1))]
    again = make(scene.n_vocab, spec, resume_steps=earlier, **options)  # type: ignore[arg-type]
    assert again.resumed == earlier
    assert summary([*earlier, *run(again, scene.models, n_batch)]) == summary(steps)
    assert (again.swaps_up, again.swaps_down) == (whole.swaps_up, whole.swaps_down)
    assert again.stop_reason == whole.stop_reason
    assert [again.tokens(role) for role in Role] == [whole.tokens(role) for role in Role]


def test_all_drafts_of_an_identical_model_are_accepted() -> None:
    for temperature in (0.0, 1.0):
        scene = Scene(30, 4, 3.0, 1.0)
        trajectory = make(30, "spec:4", max_tokens=23, temperature=temperature)
        models = {**scene.models, Role.LLM: scene.models[Role.SLM]}
        roles = "".join(step.role[0] for step in run(trajectory, models))
        # Four rounds of four drafts and a token; two drafts and a token reach max_tokens.
        assert roles == "sssslsssslsssslssssl" + "ssl"
        assert (trajectory.swaps_up, trajectory.swaps_down) == (5, 4)


def test_the_slm_drafts_no_token_below_the_threshold() -> None:
    scene = Scene(20, 7, 8.0, 0.9)
    trajectory = make(20, "spec:6:0.7", max_tokens=60)
    steps = run(trajectory, scene.models)
    drafted = [step for step in steps if step.role is Role.SLM]
    assert drafted
    assert min(step.top1 for step in drafted) >= 0.7
    rejected = [step for step in steps if step.swap_entropy is not None]
    assert rejected
    assert all(step.role is Role.LLM for step in rejected)
    assert len(drafted) > len([s for s in run(make(20, "spec:6:0.99", max_tokens=60), scene.models) if s.role == "slm"])


def test_each_round_counts_tokens_and_time_once() -> None:
    scene = Scene(30, 4, 5.0, 0.9)
    trajectory = make(30, "spec:3", max_tokens=40)
    evaluations = 0

    def counted(role: Role) -> Callable[[Sequence[int]], NDArray[np.float32]]:
        def logits(ids: Sequence[int]) -> NDArray[np.float32]:
            nonlocal evaluations
            evaluations += 1
            return scene.models[role](ids)

        return logits

    steps = run(trajectory, {role: counted(role) for role in Role})
    # One millisecond per evaluation; the time of a round is recorded in its first step.
    turns = sum(step.ms for step in steps)
    rounds = sum(step.evaluated_tokens > 0 for step in steps)
    assert rounds == sum(step.role is Role.LLM for step in steps) + (steps[-1].role is Role.SLM)
    assert rounds < turns < evaluations


def special_bridge() -> Bridge:
    """SLM: 4 is 6 in the LLM, 5 ends a turn like 7, 3 is two tokens in the LLM. LLM: 2 is two tokens in the SLM."""
    return Bridge(
        {Role.SLM: scripted_vocabulary(6, 5), Role.LLM: scripted_vocabulary(8, 7)},
        {
            Role.SLM: {4: (6,), 5: (7,), 3: (0, 1)},
            Role.LLM: {6: (4,), 7: (5,), 2: (1, 1), 3: (0,), 4: (1,), 5: (0, 1)},
        },
    )


@settings(deadline=None, max_examples=100)
@given(seed=st.integers(0, 10_000), spec=specs, n_batch=st.integers(1, 9), temperature=st.sampled_from([0.0, 1.0]))
def test_special_tokens_that_differ_are_converted(seed: int, spec: str, n_batch: int, temperature: float) -> None:
    slm, llm = ScriptedModel(6, f"s{seed}", 5.0), ScriptedModel(8, f"l{seed}", 5.0)
    bridge = special_bridge()
    trajectory = make(8, spec, bridge=bridge, temperature=temperature, seed=seed)
    steps = run(trajectory, {Role.SLM: slm.logits, Role.LLM: llm.logits}, n_batch)
    read = [step.token if step.role is Role.LLM else bridge.convert(step.token, Role.SLM)[0] for step in steps]
    assert trajectory.ids(Role.LLM) == [1, 1, *read]
    assert 3 not in {step.token for step in steps if step.role is Role.SLM}
    # Text and end of the answer are those of the LLM's tokens.
    assert "".join(step.text for step in steps) == "".join(f"{chr(97 + i)}{i}" for i in read if i != 7)
    assert (trajectory.stop_reason == "eog") == (read[-1] == 7)
    if temperature == 0.0:
        alone, _ = algorithm_1([1, 1], dict.fromkeys(Role, llm), tau=2.0, end=7, max_tokens=20)
        assert read == [token for _, token in alone]


def expected_shares(
    llm: Callable[[tuple[int, ...]], NDArray[np.float32]], n_vocab: int, sampling: Sampling, length: int
) -> dict[tuple[int, ...], float]:
    """Return the exact probability of each beginning of an answer of the LLM alone (no token ends it)."""
    sampler = Sampler(sampling, 0)
    shares = {}
    for tokens in itertools.product(range(n_vocab), repeat=length):
        share = 1.0
        for at in range(length):
            ids, chances = sampler.distribution(llm((1, 1, *tokens[:at])))
            share *= dict(zip(ids.tolist(), chances.tolist(), strict=True)).get(tokens[at], 0.0)
        shares[tokens] = share
    return shares


@pytest.mark.parametrize(
    ("spec", "top_k", "foreign"), [("spec:1", 0, False), ("spec:3:0.3", 3, False), ("spec:3", 0, True)]
)
def test_tokens_are_distributed_as_those_of_the_llm_alone(spec: str, top_k: int, foreign: bool) -> None:
    count, length, draws = 4, 3, 3000
    # An SLM token without a single counterpart ends the draft, one with another id does not; neither adds bias.
    exceptions = {3: (0, 1), 2: (1,)} if foreign else {}
    vocabulary = scripted_vocabulary(count, 99)
    bridge = Bridge(dict.fromkeys(Role, vocabulary), {Role.SLM: exceptions, Role.LLM: {}})
    scripted = {role: ScriptedModel(count, f"{role}-drawn", 2.5) for role in Role}

    @cache
    def logits(role: Role, ids: tuple[int, ...]) -> NDArray[np.float32]:
        return scripted[role].logits(ids)

    models: Models = {
        Role.SLM: lambda ids: logits(Role.SLM, tuple(ids)),
        Role.LLM: lambda ids: logits(Role.LLM, tuple(ids)),
    }
    counts: Counter[tuple[int, ...]] = Counter()
    roles: Counter[Role] = Counter()
    for seed in range(draws):
        trajectory = make(count, spec, max_tokens=length, temperature=0.9, top_k=top_k, seed=seed, bridge=bridge)
        steps = run(trajectory, models)
        counts[tuple(trajectory.ids(Role.LLM)[2:])] += 1
        roles.update(step.role for step in steps)
    shares = expected_shares(lambda ids: logits(Role.LLM, ids), count, Sampling(0.9, top_k), length)
    assert set(counts) <= {tokens for tokens, share in shares.items() if share > 0}
    # Rare outcomes are merged, so that the statistic is distributed as chi square.
    rare = {tokens for tokens, share in shares.items() if share * draws < 5}
    cells = [({tokens}, share) for tokens, share in shares.items() if tokens not in rare]
    cells.append((rare, sum(shares[tokens] for tokens in rare)))
    statistic = sum(
        (sum(counts[tokens] for tokens in members) - draws * share) ** 2 / (draws * share)
        for members, share in cells
        if share > 0
    )
    freedom = len(cells) - 1
    # Five standard deviations above the mean of the chi square.
    assert statistic < freedom + 5 * (2 * freedom) ** 0.5
    assert min(roles[role] for role in Role) > draws / 6


def test_broken_logits_name_model_and_position() -> None:
    good, broken = np.eye(8, dtype=np.float32)[5] * 9, np.full(8, np.nan, np.float32)
    trajectory = make(8, "spec:3")
    trajectory.advance(good)
    with pytest.raises(EngineError, match="SLM at position 1: The logit of token 0 is nan"):
        trajectory.advance(broken)
    trajectory = make(8, "spec:1")
    trajectory.advance(good)
    assert trajectory.advance(good) is not None
    with pytest.raises(EngineError, match="LLM at position 1"):
        trajectory.advance(broken)


def test_stop_drops_pending_drafts() -> None:
    trajectory = make(8, "spec:3")
    for _ in range(2):
        trajectory.advance(np.eye(8, dtype=np.float32)[5] * 9)
    assert trajectory.ids(Role.LLM) == [1, 1, 5, 5]
    assert trajectory.cached(Role.SLM) == 3
    trajectory.stop("interrupted")
    assert trajectory.ids(Role.LLM) == trajectory.ids(Role.SLM) == [1, 1]
    assert trajectory.cached(Role.SLM) == 2


def test_an_answer_of_the_slm_can_be_resumed() -> None:
    # More tokens of the SLM in a row than a round has: the LLM generates the next one, then rounds start.
    scene = Scene(30, 3, 5.0, 0.8)
    steps = [Step(i, Role.SLM, random.Random(i).randrange(1, 30), "", 0.1, 0.9, 1, 1.0) for i in range(7)]
    trajectory = make(30, "spec:3", max_tokens=30, resume_steps=steps)
    rest = run(trajectory, scene.models)
    assert rest[0].role is Role.LLM
    assert {step.role for step in rest} == set(Role)
