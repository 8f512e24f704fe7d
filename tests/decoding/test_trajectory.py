from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from router_rules import RULES
from scripted import (
    CheckedCache,
    ScriptedModel,
    algorithm_1,
    entropy_reference,
    make_trajectory,
    run_to_end,
    scripted_vocabulary,
    seen_reference,
)

from rstitch_local.decoding.config import TrajectoryConfig
from rstitch_local.decoding.entropy import EntropyMeter
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.router import Observation
from rstitch_local.decoding.sampling import Sampler, Sampling
from rstitch_local.decoding.step import Step
from rstitch_local.decoding.trajectory import Trajectory
from rstitch_local.decoding.vocabulary import Bridge
from rstitch_local.errors import EngineError
from rstitch_local.routing.rules import EntropyRouter
from rstitch_local.routing.spec import router_from_spec


def models_of(n_vocab: int, seed: int, spread: float) -> dict[Role, ScriptedModel]:
    return {role: ScriptedModel(n_vocab, f"{role}{seed}", spread) for role in Role}


@dataclass(frozen=True)
class Scene:
    """Two scripted models and a prompt."""

    n_vocab: int
    seed: int
    spread: float
    prompt: list[int]
    max_tokens: int

    @property
    def models(self) -> dict[Role, ScriptedModel]:
        return models_of(self.n_vocab, self.seed, self.spread)

    def steps(self, router: str, sampling: Sampling | None = None) -> tuple[Trajectory, list[Step]]:
        trajectory = make_trajectory(
            self.prompt, self.n_vocab, router=router, max_tokens=self.max_tokens, sampling=sampling, seed=self.seed
        )
        return trajectory, run_to_end(trajectory, self.models)


scenes = st.builds(
    Scene,
    n_vocab=st.integers(2, 60),
    seed=st.integers(0, 10_000),
    spread=st.floats(0.5, 20.0),
    prompt=st.lists(st.integers(0, 1), min_size=1, max_size=5),
    max_tokens=st.integers(1, 30),
)


@settings(deadline=None, max_examples=150)
@given(scene=scenes, tau=st.floats(-0.5, 1.5))
def test_trajectory_is_algorithm_1(scene: Scene, tau: float) -> None:
    expected, reason = algorithm_1(scene.prompt, scene.models, tau=tau, end=0, max_tokens=scene.max_tokens)
    trajectory, steps = scene.steps(f"entropy:{tau!r}")
    assert [(step.role, step.token) for step in steps] == expected
    assert trajectory.stop_reason == reason
    assert [step.position for step in steps] == list(range(len(steps)))


@settings(deadline=None, max_examples=150)
@given(scene=scenes, spec=st.sampled_from(sorted(RULES)))
def test_every_router_matches_its_reference_rule(scene: Scene, spec: str) -> None:
    expected, reason = algorithm_1(scene.prompt, scene.models, rule=RULES[spec], end=0, max_tokens=scene.max_tokens)
    trajectory, steps = scene.steps(spec)
    assert [(step.role, step.token) for step in steps] == expected
    assert trajectory.stop_reason == reason


@settings(deadline=None, max_examples=50)
@given(scene=scenes)
def test_at_extreme_tau_one_model_generates_everything(scene: Scene) -> None:
    for spec, alone in (("entropy:1", "slm"), ("entropy:-0.001", "llm"), ("random:0", "slm"), ("random:1", "llm")):
        runs = [[(step.role, step.token) for step in scene.steps(router)[1]] for router in (spec, alone)]
        assert runs[0] == runs[1]


@settings(deadline=None, max_examples=50)
@given(scene=scenes, tau=st.floats(0, 1), temperature=st.floats(0.1, 3))
def test_counts_of_swaps_and_tokens_match_the_steps(scene: Scene, tau: float, temperature: float) -> None:
    trajectory, steps = scene.steps(f"entropy:{tau!r}", Sampling(temperature=temperature))
    roles = [step.role for step in steps]
    assert trajectory.tokens(Role.SLM) == roles.count(Role.SLM)
    assert trajectory.tokens(Role.LLM) == roles.count(Role.LLM)
    # Control returns as often as it passed to the LLM, or once less if the LLM generated the end.
    assert trajectory.swaps_up - trajectory.swaps_down in (0, 1)
    for step in steps:
        assert 0.0 <= step.entropy <= 1.0
        assert step.role is Role.LLM or step.entropy <= tau


def test_a_shorter_answer_is_the_beginning_of_a_longer_one() -> None:
    models = models_of(30, 3, 6.0)
    alone = run_to_end(make_trajectory([1], 30, router="entropy:0.5", sampling=Sampling(1.0), seed=5), models)
    first = make_trajectory([1], 30, router="entropy:0.5", sampling=Sampling(1.0), seed=5, max_tokens=4)
    resumed = run_to_end(first, models)
    assert [s.token for s in resumed] == [s.token for s in alone[:4]]


@settings(deadline=None, max_examples=250)
@given(
    scene=scenes,
    router=st.sampled_from(["slm", "llm", "random:0.5", *sorted(RULES)]),
    temperature=st.sampled_from([0.0, 1.0]),
    where=st.floats(0, 1),
)
def test_an_answer_resumed_at_any_step_is_the_uninterrupted_one(
    scene: Scene, router: str, temperature: float, where: float
) -> None:
    whole, steps = scene.steps(router, Sampling(temperature))
    earlier = steps[: int(where * (len(steps) - 1))]
    again = make_trajectory(
        scene.prompt,
        scene.n_vocab,
        router=router,
        max_tokens=scene.max_tokens,
        sampling=Sampling(temperature),
        seed=scene.seed,
        resume_steps=earlier,
    )
    assert again.resumed == earlier
    rest = run_to_end(again, scene.models)
    assert [(s.position, s.role, s.token, s.text, s.swap_entropy, s.margin) for s in [*earlier, *rest]] == [
        (s.position, s.role, s.token, s.text, s.swap_entropy, s.margin) for s in steps
    ]
    assert (again.swaps_up, again.swaps_down) == (whole.swaps_up, whole.swaps_down)
    assert again.stop_reason == whole.stop_reason
    assert [again.tokens(role) for role in Role] == [whole.tokens(role) for role in Role]


def test_the_other_model_can_resume() -> None:
    # The LLM alone resumes an answer of the SLM; the SLM is not evaluated again.
    models = models_of(30, 4, 5.0)
    steps = run_to_end(make_trajectory([1], 30, router="slm", end=29, max_tokens=5), models)
    again = make_trajectory([1], 30, router="llm", end=29, max_tokens=9, resume_steps=steps)
    assert again.active is Role.LLM
    assert [step.role for step in run_to_end(again, models)] == [Role.LLM] * 4


def test_swap_entropy_is_the_entropy_of_the_slm() -> None:
    models = models_of(40, 1, 8.0)
    trajectory = make_trajectory([1, 2], 40, router="entropy:0.4", end=39, max_tokens=60)
    steps = run_to_end(trajectory, models)
    swapped = [step for step in steps if step.swap_entropy is not None]
    assert len(swapped) == trajectory.swaps_up > 3
    for step in swapped:
        before = [*([1, 2]), *(s.token for s in steps[: step.position])]
        assert step.role is Role.LLM
        assert step.swap_entropy == pytest.approx(entropy_reference(models[Role.SLM].logits(before)), abs=1e-6)
        assert step.swap_entropy is not None
        assert step.swap_entropy > 0.4


def test_the_margin_is_recorded_if_the_router_requests_it() -> None:
    models = models_of(40, 1, 8.0)
    for router, requested in (("margin:0.5", True), ("entropy:0.4", False)):
        trajectory = make_trajectory([1, 2], 40, router=router, end=39, max_tokens=30)
        steps = run_to_end(trajectory, models)
        assert {step.role for step in steps} == set(Role)
        for step in steps:
            before = [1, 2, *(s.token for s in steps[: step.position])]
            true = seen_reference(step.role, step.position, models[step.role].logits(before)).margin
            assert step.margin == (pytest.approx(true, abs=1e-6) if requested else None)


def test_visits_of_one_token_are_possible() -> None:
    # Algorithm 1 has no minimum stay and no hysteresis.
    models = models_of(40, 1, 8.0)
    steps = run_to_end(make_trajectory([1, 2], 40, router="entropy:0.4", end=39, max_tokens=200), models)
    roles = "".join(step.role[0] for step in steps)
    assert "sls" in roles
    assert "ll" in roles


def test_an_entropy_equal_to_tau_is_not_above_it() -> None:
    logits = ScriptedModel(8, "x", 3.0).logits([1])
    tau = make_trajectory([1], 8, router="slm").advance(logits).entropy  # type: ignore[union-attr]
    assert abs(tau - entropy_reference(logits)) < 1e-6
    for role, value, keeps in ((Role.SLM, tau, True), (Role.SLM, np.nextafter(tau, 0), False)):
        trajectory = make_trajectory([1], 8, router=f"entropy:{float(value)!r}")
        assert trajectory.active is role
        assert (trajectory.advance(logits) is not None) is keeps


def test_tau_can_be_changed_while_an_answer_is_generated() -> None:
    models = models_of(30, 2, 5.0)
    trajectory = make_trajectory([1], 30, router="entropy:1", end=29)
    logits = models[Role.SLM].logits([1])
    assert trajectory.advance(logits) is not None
    assert isinstance(trajectory.router, EntropyRouter)
    trajectory.router.tau = -1.0
    assert trajectory.advance(models[Role.SLM].logits(trajectory.ids(Role.SLM))) is None
    assert trajectory.active is Role.LLM


def test_each_step_counts_the_tokens_evaluated_for_it() -> None:
    models = models_of(40, 4, 8.0)
    trajectory = make_trajectory([1, 2, 3], 40, router="entropy:0.4", end=39)
    steps = run_to_end(trajectory, models)
    evaluated = sum(step.evaluated_tokens for step in steps)
    assert evaluated == trajectory.cached(Role.SLM) + trajectory.cached(Role.LLM)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_broken_logits_name_model_and_position(value: float) -> None:
    trajectory = make_trajectory([1], 8, router="slm")
    trajectory.advance(np.array([0, 5, 1, 0, 0, 0, 0, 0], np.float32))
    broken = np.array([0, 5, value, 0, 0, 0, 0, 0], np.float32)
    with pytest.raises(EngineError, match=r"SLM at position 1: The logit of token 2 is"):
        trajectory.advance(broken)


class Recording(EntropyRouter):
    """The entropy rule; stores the pending tokens of every observation."""

    needs_pending = True

    def __init__(self, tau: float) -> None:
        super().__init__(tau)
        self.pending: dict[tuple[int, Role], int | None] = {}

    def route(self, observation: Observation) -> Role:
        self.pending[observation.position, observation.role] = observation.pending
        return super().route(observation)


@settings(deadline=None)
@given(scene=scenes, where=st.floats(0, 1), evicted_at=st.integers(0, 40))
def test_pending_tokens_do_not_depend_on_evicted_caches_or_on_resuming(
    scene: Scene, where: float, evicted_at: int
) -> None:
    def create(earlier: list[Step]) -> tuple[Recording, Trajectory]:
        trajectory = make_trajectory(
            scene.prompt,
            scene.n_vocab,
            router="entropy:0.5",
            max_tokens=scene.max_tokens,
            seed=scene.seed,
            resume_steps=earlier,
        )
        trajectory.router = router = Recording(0.5)
        return router, trajectory

    router, trajectory = create([])
    steps = run_to_end(trajectory, scene.models)
    assert all(count is not None for count in router.pending.values())
    earlier = steps[: int(where * (len(steps) - 1))]
    again, resumed = create(earlier)
    turn = 0
    while resumed.stop_reason is None:
        if turn == evicted_at:
            for role in Role:
                resumed.note_cached(role, 0)
        turn += 1
        role = resumed.request().role
        resumed.advance(scene.models[role].logits(resumed.ids(role)))
    later = {at: count for at, count in router.pending.items() if at[0] >= len(earlier)}
    assert {at: count for at, count in again.pending.items() if at[0] >= len(earlier)} == later


@pytest.mark.parametrize(("capacity", "count"), [(3, 1), (4, 2), (5, 3)])
def test_a_full_context_ends_the_answer(capacity: int, count: int) -> None:
    # The last token is not evaluated, so the answer has one token more than the cache holds.
    models = models_of(20, 1, 5.0)
    trajectory = make_trajectory([1, 2, 3], 20, router="slm", end=99, capacity=capacity)
    assert len(run_to_end(trajectory, models)) == count
    assert trajectory.stop_reason == "length"


def test_the_text_of_a_step_is_whole_characters() -> None:
    euro = "€".encode()
    pieces = {1: b"a", 2: euro[:1], 3: euro[1:], 4: b"b", 5: euro[:2]}
    plain = scripted_vocabulary(6, 0)
    vocabulary = type(plain)(
        texts=plain.texts,
        end_of_turn=0,
        is_special=plain.is_special,
        is_eog=plain.is_eog,
        piece=lambda token: pieces.get(token, b""),
        tokenize=plain.tokenize,
    )
    trajectory = Trajectory(
        TrajectoryConfig(
            prompt={role: [1] for role in Role},
            bridge=Bridge(dict.fromkeys(Role, vocabulary)),
            router=router_from_spec("slm"),
            sampler=Sampler(Sampling(), 0),
            max_tokens=5,
            capacity=dict.fromkeys(Role, 100),
        )
    )
    texts = []
    for token in (1, 2, 3, 4, 5):
        step = trajectory.advance(np.eye(6, dtype=np.float32)[token] * 9)
        assert step is not None
        texts.append(step.text)
    # The character at the end can no longer be completed.
    assert texts == ["a", "", "€", "b", "\N{REPLACEMENT CHARACTER}"]


def test_tokens_are_converted_to_the_other_vocabulary() -> None:
    slm, llm = scripted_vocabulary(6, 5), scripted_vocabulary(8, 7)
    bridge = Bridge({Role.SLM: slm, Role.LLM: llm}, {Role.SLM: {4: (6,)}, Role.LLM: {6: (4,), 7: (1, 2)}})
    trajectory = Trajectory(
        TrajectoryConfig(
            prompt={Role.SLM: [1], Role.LLM: [1, 1, 1]},
            bridge=bridge,
            router=router_from_spec("entropy:0.5"),
            sampler=Sampler(Sampling(), 0),
            max_tokens=10,
            capacity=dict.fromkeys(Role, 100),
        )
    )
    trajectory.advance(np.eye(6, dtype=np.float32)[4] * 30)
    assert trajectory.ids(Role.LLM) == [1, 1, 1, 6]
    assert trajectory.advance(np.zeros(6, np.float32)) is None
    request = trajectory.request()
    assert (request.role, list(request.ids), request.prompt) == (Role.LLM, [1, 1, 1, 6], 3)
    trajectory.advance(np.eye(8, dtype=np.float32)[6] * 30)
    assert trajectory.ids(Role.SLM) == [1, 4, 4]
    # 7 ends a generation of the LLM; the SLM reads two tokens in its place.
    trajectory.router = router_from_spec("llm")
    assert trajectory.advance(np.zeros(6, np.float32)) is None
    trajectory.advance(np.eye(8, dtype=np.float32)[7] * 30)
    assert trajectory.stop_reason == "eog"
    assert trajectory.ids(Role.SLM) == [1, 4, 4, 1, 2]


@settings(deadline=None, max_examples=60)
@given(scene=scenes, tau=st.floats(0, 1), chunks=st.lists(st.integers(1, 4), min_size=1, max_size=5))
def test_requests_can_be_evaluated_in_parts_and_measured_elsewhere(scene: Scene, tau: float, chunks: list[int]) -> None:
    whole, steps = scene.steps(f"entropy:{tau!r}")
    again = make_trajectory(
        scene.prompt, scene.n_vocab, router=f"entropy:{tau!r}", max_tokens=scene.max_tokens, seed=scene.seed
    )
    meter = EntropyMeter(scene.n_vocab)
    caches = {role: CheckedCache(scene.models[role]) for role in Role}
    pieces = itertools.cycle(chunks)
    parts = []
    while again.stop_reason is None:
        request = again.request()
        cache, count = caches[request.role], next(pieces)
        logits = cache.evaluate(request.ids[:count], again.ids(request.role))
        if count < len(request.ids):
            again.note_evaluated(count, 2.0 * count)
            assert again.cached(request.role) == len(cache.ids)
            rest = again.request()
            assert (rest.role, list(rest.ids)) == (request.role, list(request.ids[count:]))
            assert rest.prompt == max(0, request.prompt - count)
            continue
        step = again.advance(logits, measured=meter.measure(logits), ms=2.0 * len(request.ids))
        parts += [] if step is None else [step]
    assert [(s.role, s.token, s.evaluated_tokens, s.swap_entropy) for s in parts] == [
        (s.role, s.token, s.evaluated_tokens, s.swap_entropy) for s in steps
    ]
    assert [s.ms for s in parts] == [2.0 * s.evaluated_tokens for s in steps]
    assert again.stop_reason == whole.stop_reason


def test_a_measurement_of_nan_raises() -> None:
    logits = np.array([0, 5, np.inf, 0], np.float32)
    (measured,) = EntropyMeter(4).measure_rows(logits[np.newaxis])
    with pytest.raises(EngineError, match=r"SLM at position 0: The logit of token 2 is inf"):
        make_trajectory([1], 4, router="slm").advance(logits, measured=measured)
