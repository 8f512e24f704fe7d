"""The Python API: runs, and the kinds of routers."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from api_samples import QUESTION, QUESTIONS, tokens

from rstitch_local import (
    EngineError,
    EntropyRouter,
    FixedRouter,
    Observation,
    Pair,
    RandomRouter,
    Role,
    Router,
    Sampling,
    UsageError,
    WindowRouter,
    register_router,
    unregister_router,
)


def test_a_run_is_iterated_once(demo: Pair) -> None:
    run = demo.ask(QUESTION, max_tokens=4)
    steps = iter(run)
    next(steps)
    for again in (lambda: iter(run), lambda: list(run), run.finish, lambda: aiter(run)):
        with pytest.raises(EngineError, match=r"Run already iterated.*\(running\)"):
            again()
    assert len(list(steps)) == 3
    with pytest.raises(EngineError, match=r"Run already iterated.*\(length\).*`trace.steps`"):
        iter(run)
    with pytest.raises(EngineError, match="Run already iterated"):
        list(demo.run_all([run]))


def test_finish_returns_the_trace_of_an_ended_run(demo: Pair) -> None:
    run = demo.ask(QUESTION, max_tokens=4)
    assert run.finish() is run.trace is run.finish()
    assert len(run.trace.steps) == 4
    broken = demo.ask(QUESTION, router=lambda _observation: None)  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(EngineError, match="Invalid router result"):
            broken.finish()
    assert broken.error is not None
    assert broken.trace.stop == "error"
    assert str(broken.trace.error).startswith("Invalid router result: ")


def test_two_runs_at_the_same_time_are_refused_with_a_hint(demo: Pair) -> None:
    first, second = demo.ask(QUESTION, max_tokens=5), demo.ask(QUESTIONS[1], max_tokens=5)
    steps = iter(first)
    next(steps)
    with pytest.raises(EngineError, match=r"Pair is busy.*`Pair.generate_many` or `Pair.run_all`"):
        next(iter(second))
    steps.close()
    assert first.trace.stop == "interrupted"
    # It has not been started, and can still be iterated.
    assert len(list(second)) == 5


def test_a_run_can_be_closed_from_another_thread(demo: Pair) -> None:
    run = demo.ask(QUESTION, should_stop=lambda: len(run.trace.steps) == 3 and close())

    def close() -> bool:
        # The loop is running here, and so is the generator.
        thread = threading.Thread(target=run.close)
        thread.start()
        thread.join()
        return False

    assert len(list(run)) == 4
    assert run.trace.stop == "interrupted"


def test_a_run_carries_its_tag(demo: Pair) -> None:
    tag = object()
    assert demo.ask(QUESTION, tag=tag).tag is tag
    assert demo.chat([{"role": "user", "content": QUESTION}], tag=3).tag == 3


def test_tau_can_be_changed_where_the_router_has_one(demo: Pair) -> None:
    run = demo.ask(QUESTION, router="entropy:1")
    for step in run:
        if step.position == 2:
            run.tau = -1.0
    assert run.tau == -1.0
    assert run.trace.taus == [(3, -1.0)]
    assert {step.role for step in run.trace.steps[4:]} == {Role.LLM}
    fixed = demo.ask(QUESTION, router="llm")
    assert fixed.tau is None
    with pytest.raises(UsageError, match="has no tau"):
        fixed.tau = 0.1


def test_representations_show_what_matters(demo: Pair) -> None:
    assert repr(demo) == f"Pair('demo', router={demo.defaults.router!r}, options=LoadOptions(threads=1))"
    run = demo.ask(QUESTION, router="slm", max_tokens=3, tag="first")
    assert repr(run) == "Run('slm', 0 tokens, not started, tag='first')"
    next(steps := iter(run))
    assert repr(run) == "Run('slm', 1 tokens, running, tag='first')"
    list(steps)
    assert repr(run) == "Run('slm', 3 tokens, length, tag='first')"
    assert repr(Sampling(0.7)) == "Sampling(temperature=0.7, top_k=0, top_p=1.0, min_p=0.0)"


class Alternating(Router):
    """Keeps state: chooses one model at every third call, else the other."""

    def __init__(self, first: Role = Role.LLM) -> None:
        self.first = first
        self._calls = 0

    def route(self, observation: Observation) -> Role:  # noqa: ARG002
        self._calls += 1
        return self.first if self._calls % 3 == 1 else self.first.other


def by_entropy(observation: Observation) -> bool:
    return observation.entropy > 0.02


@pytest.mark.parametrize(
    ("router", "name"),
    [
        ("entropy:0.02", "entropy:0.02"),
        (EntropyRouter(0.02), "entropy:0.02"),
        (lambda: EntropyRouter(0.02), "entropy:0.02"),
        (by_entropy, "test_api_runs.by_entropy"),
    ],
)
def test_a_router_can_be_given_in_many_ways(demo: Pair, router: Any, name: str) -> None:
    trace = demo.generate(QUESTION, router=router)
    assert tokens(trace) == tokens(demo.generate(QUESTION, router="entropy:0.02"))
    assert trace.settings["router"] == name


def test_a_router_class_is_created_for_each_answer(demo: Pair) -> None:
    traces = [demo.generate(QUESTION, router=Alternating, max_tokens=8) for _ in range(2)]
    assert tokens(traces[0]) == tokens(traces[1])
    assert traces[0].settings["router"] == "Alternating(first=<Role.LLM: 'llm'>)"
    assert min(traces[0].tokens.values()) > 0


def test_factories_receive_the_seed(demo: Pair) -> None:
    def factory(seed: int) -> Router:
        return RandomRouter(0.5, seed)

    traces = [demo.generate(QUESTION, router=factory, seed=seed, max_tokens=20) for seed in (1, 2)]
    assert [step.role for step in traces[0].steps] != [step.role for step in traces[1].steps]
    expected = demo.generate(QUESTION, router="random:0.5", seed=1, max_tokens=20)
    assert tokens(traces[0]) == tokens(expected)


def test_an_instance_with_state_serves_one_answer_at_a_time(demo: Pair) -> None:
    router = WindowRouter(4, 0.01)
    first = demo.ask(QUESTION, router=router, max_tokens=5)
    with pytest.raises(UsageError, match=r"serves another unfinished answer.*Pass the class or a factory"):
        demo.ask(QUESTIONS[1], router=router)
    first.finish()
    assert demo.ask(QUESTIONS[1], router=router, max_tokens=5).finish().stop == "length"
    # A run that is given up frees the router.
    run = demo.ask(QUESTION, router=router)
    del run
    assert demo.ask(QUESTION, router=router)
    stateless = FixedRouter(Role.SLM)
    assert demo.ask(QUESTION, router=stateless) is not demo.ask(QUESTION, router=stateless)


@pytest.mark.parametrize(("router", "message"), [("nonsense", "is not a router"), (3, "is not a router")])
def test_an_invalid_router_is_refused_before_anything_is_evaluated(demo: Pair, router: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        demo.ask(QUESTION, router=router)


def test_registered_routers_are_specs(demo: Pair) -> None:
    register_router("api-test", lambda tau="0.02": EntropyRouter(float(tau)))
    try:
        trace = demo.generate(QUESTION, router="api-test:0.02")
        assert trace.settings["router"] == "api-test:0.02"
        assert tokens(trace) == tokens(demo.generate(QUESTION, router="entropy:0.02"))
    finally:
        unregister_router("api-test")
