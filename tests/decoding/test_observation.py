"""The fields of an observation that a router requests, in all kinds of trajectories."""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from foreign import run, trajectory_of
from scripted import ScriptedModel, make_trajectory, run_to_end, scripted_vocabulary, seen_reference

from rstitch_local.decoding.answer_text import ends_step
from rstitch_local.decoding.config import TrajectoryConfig
from rstitch_local.decoding.create import create_trajectory
from rstitch_local.decoding.foreign import ForeignBridge
from rstitch_local.decoding.foreign_trajectory import ForeignTrajectory
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.router import Observation, Router
from rstitch_local.decoding.sampling import Sampler, Sampling
from rstitch_local.decoding.speculative import SpeculativeTrajectory
from rstitch_local.decoding.step import Step
from rstitch_local.decoding.trajectory import Trajectory
from rstitch_local.decoding.vocabulary import Bridge
from rstitch_local.errors import EngineError, ModelError, UsageError
from rstitch_local.routing.rules import EntropyRouter
from rstitch_local.routing.spec import router_from_spec

N_VOCAB = 40
MODELS = {role: ScriptedModel(N_VOCAB, f"{role}1", 8.0) for role in Role}


class Recording(EntropyRouter):
    """The entropy rule; requests what the test sets, and stores the observations."""

    def __init__(self, tau: float, **needs: Any) -> None:
        super().__init__(tau)
        self.observations: list[Observation] = []
        for name, value in needs.items():
            setattr(self, f"needs_{name}", value)

    def route(self, observation: Observation) -> Role:
        self.observations.append(observation)
        return super().route(observation)


def observed(**needs: Any) -> tuple[list[Observation], list[Step]]:
    trajectory = make_trajectory([1, 2], N_VOCAB, router="slm", end=39, max_tokens=40)
    trajectory.router = router = Recording(0.4, **needs)
    return router.observations, run_to_end(trajectory, MODELS)


def test_what_is_not_requested_is_none() -> None:
    observations, steps = observed()
    assert {step.role for step in steps} == set(Role)
    for each in observations:
        fields = (each.hidden, each.margin, each.pending, each.top_k_ids, each.top_k_logits, each.step_start)
        assert fields == (None,) * 6


@pytest.mark.parametrize("k", [1, 3, 1000])
def test_top_k_are_the_largest_logits(k: int) -> None:
    observations, steps = observed(top_k=k)
    for each in observations:
        ids = [1, 2, *(step.token for step in steps[: each.position])]
        logits = MODELS[each.role].logits(ids)
        assert each.top_k_ids is not None
        assert each.top_k_logits is not None
        order = np.argsort(-logits, kind="stable")[:k]
        assert each.top_k_ids.tolist() == order.tolist()
        assert each.top_k_logits.tolist() == logits[order].tolist()
        assert each.top_k_ids[0] == each.token


def test_margin_and_pending_are_those_of_the_evaluation() -> None:
    observations, steps = observed(margin=True, pending=True)
    for each in observations:
        ids = [1, 2, *(step.token for step in steps[: each.position])]
        expected = seen_reference(each.role, each.position, MODELS[each.role].logits(ids)).margin
        assert each.margin == pytest.approx(expected, abs=1e-6)
    assert observations[0].pending == 2


def vocabulary_with_sentences() -> Any:
    return {1: b"Yes", 2: b".", 3: b" ", 4: b"\n", 5: b"No", 6: "é".encode()[:1], 7: "é".encode()[1:], 8: b"!"}


def test_steps_start_after_lines_and_sentences() -> None:
    pieces = vocabulary_with_sentences()
    vocabulary = replace(scripted_vocabulary(9, 0), piece=lambda token: pieces.get(token, b""))
    tokens = [1, 2, 3, 5, 4, 6, 7, 8, 1]
    expected = [True, False, True, True, False, True, False, False, True]

    def make(resume: Sequence[Step]) -> tuple[Trajectory, Recording]:
        router = Recording(1.0, step_start=True)
        config = TrajectoryConfig(
            prompt={role: [1] for role in Role},
            bridge=Bridge(dict.fromkeys(Role, vocabulary)),
            router=router,
            sampler=Sampler(Sampling(), 0),
            max_tokens=99,
            capacity=dict.fromkeys(Role, 99),
            resume_steps=resume,
            # Held-back text counts too.
            stop=["s.\n!"],
        )
        return create_trajectory(config), router

    trajectory, router = make([])
    steps = [trajectory.advance(np.eye(9, dtype=np.float32)[token] * 30) for token in tokens]
    assert [each.step_start for each in router.observations] == expected
    # Replayed evaluations have it as well.
    _, router = make([step for step in steps if step is not None])
    assert [each.step_start for each in router.observations] == expected


def test_steps_start_where_the_text_says_so_with_different_tokenizers() -> None:
    for seed in range(20):
        trajectory, models = trajectory_of(("parts", "words"), seed=seed, router="slm")
        trajectory.router = router = Recording(0.4, step_start=True, top_k=2, margin=True, pending=True)
        steps: list[Step] = []
        run(trajectory, models, steps)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        starts = [True]
        for step in steps:
            decoder.decode(trajectory.vocabulary(step.role).piece(step.token)[step.replaced_bytes or 0 :])
            before = "".join(each.text for each in steps[: step.position + 1])
            starts.append(ends_step(before) and not decoder.getstate()[0])
        for each in router.observations:
            assert each.step_start is starts[each.position]
            assert each.top_k_ids is not None
            assert each.top_k_logits is not None
            assert each.top_k_ids.shape == each.top_k_logits.shape == (2,)
            assert each.top_k_logits[0] >= each.top_k_logits[1]
            assert each.margin is not None
            assert each.pending is not None


class Broken(Router):
    """Returns text at position 3."""

    def route(self, observation: Observation) -> Any:
        return "llm" if observation.position == 3 else False


def test_an_invalid_result_ends_with_an_error_that_names_router_position_and_value() -> None:
    trajectory = make_trajectory([1, 2], N_VOCAB, router="slm", end=39)
    trajectory.router = Broken()
    with pytest.raises(EngineError, match=r"Broken\(\) returned 'llm' at position 3") as caught:
        run_to_end(trajectory, MODELS)
    assert caught.value.title == "Invalid router result"


def test_the_kind_of_trajectory_follows_router_and_tokenizers() -> None:
    vocabulary = scripted_vocabulary(8, 0)
    vocabularies: Mapping[Role, Any] = dict.fromkeys(Role, vocabulary)

    def kind(spec: str, bridge: Bridge | ForeignBridge, stop: Sequence[str] = ()) -> type[Trajectory]:
        config = TrajectoryConfig(
            prompt={role: [1] for role in Role},
            bridge=bridge,
            router=router_from_spec(spec),
            sampler=Sampler(Sampling(), 0),
            max_tokens=9,
            capacity=dict.fromkeys(Role, 9),
            stop=stop,
        )
        return type(create_trajectory(config))

    assert kind("entropy:0.1", Bridge(vocabularies)) is Trajectory
    assert kind("entropy:0.1", ForeignBridge(vocabularies)) is ForeignTrajectory
    assert kind("spec:3", Bridge(vocabularies)) is SpeculativeTrajectory
    with pytest.raises(ModelError, match="no tokens in common"):
        kind("spec:3", ForeignBridge(vocabularies))
    with pytest.raises(UsageError, match="Invalid stop string"):
        kind("slm", Bridge(vocabularies), [""])
