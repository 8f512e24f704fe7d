"""The routing rules on invented entropies: multiples of 1/8, so that equality with a threshold is exact."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from router_rules import Rule, Seen, entropy, hysteresis, momentum, one, stay, window

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.router import Observation, Router, query
from rstitch_local.routing.rules import EntropyRouter, FixedRouter
from rstitch_local.routing.spec import router_from_spec


def observed(role: Role = Role.SLM, position: int = 0, entropy: float = 0.0, top1: float = 1.0) -> Observation:
    return Observation(role, position, entropy, top1)


eighths = st.integers(0, 8).map(lambda value: value / 8)
answers = st.lists(st.tuples(eighths, eighths), min_size=1, max_size=40)
"""The entropies of SLM and LLM at each position."""


def roles_of_router(router: Router, entropies: Sequence[tuple[float, float]]) -> str:
    """Return the model that generates each position, as s or l."""
    roles = ""
    active = router.start
    for position, (slm, llm) in enumerate(entropies):
        if active is Role.SLM:
            active = query(router, observed(Role.SLM, position, slm))
        roles += active.value[0]
        if active is Role.LLM:
            active = query(router, observed(Role.LLM, position, llm))
    return roles


def roles_of_rule(rule: Rule, entropies: Sequence[tuple[float, float]]) -> str:
    """Return the same for a reference rule, which sees the whole history."""
    roles = ""
    history: list[Seen] = []
    up = False
    for position, (slm, llm) in enumerate(entropies):
        if not up:
            history.append(Seen(Role.SLM, position, slm))
            up = rule(history)
        roles += "l" if up else "s"
        if up:
            history.append(Seen(Role.LLM, position, llm))
            up = rule(history)
    return roles


@given(entropies=answers, tau=eighths, length=st.integers(1, 9))
def test_rules_with_one_tau_match_the_reference(entropies: list[tuple[float, float]], tau: float, length: int) -> None:
    for spec, rule in (
        (f"entropy:{tau}", entropy(tau)),
        (f"window:{length}:{tau}", window(length, tau)),
        (f"stay:{length}:{tau}", stay(length, tau)),
        (f"one:{tau}", one(tau)),
        (f"momentum:0.5:{tau}", momentum(0.5, tau)),
    ):
        assert roles_of_router(router_from_spec(spec), entropies) == roles_of_rule(rule, entropies), spec


@given(entropies=answers, up=eighths, down=eighths)
def test_hysteresis_matches_the_reference(entropies: list[tuple[float, float]], up: float, down: float) -> None:
    up, down = max(up, down), min(up, down)
    expected = roles_of_rule(hysteresis(up, down), entropies)
    assert roles_of_router(router_from_spec(f"hysteresis:{up}:{down}"), entropies) == expected


@given(entropies=answers, tau=eighths)
def test_rules_reduce_to_the_entropy_router(entropies: list[tuple[float, float]], tau: float) -> None:
    alone = roles_of_router(router_from_spec(f"entropy:{tau}"), entropies)
    for spec in (f"window:1:{tau}", f"momentum:0:{tau}", f"stay:1:{tau}", f"hysteresis:{tau}:{tau}"):
        assert roles_of_router(router_from_spec(spec), entropies) == alone, spec


@given(entropies=answers)
def test_at_extreme_tau_one_model_generates_everything(entropies: list[tuple[float, float]]) -> None:
    for rule in ("entropy", "window:4", "momentum:0.7", "stay:3", "one"):
        assert set(roles_of_router(router_from_spec(f"{rule}:1"), entropies)) == {"s"}
        assert set(roles_of_router(router_from_spec(f"{rule}:-1"), entropies)) == {"l"}


@given(entropies=answers, tau=eighths, shortest=st.integers(1, 6))
def test_no_visit_is_shorter_than_the_stay(entropies: list[tuple[float, float]], tau: float, shortest: int) -> None:
    roles = roles_of_router(router_from_spec(f"stay:{shortest}:{tau}"), entropies)
    # The end of the answer may truncate the last visit.
    assert all(len(visit) >= shortest for visit in roles.split("s")[:-1] if visit)


def test_a_window_counts_each_position_once() -> None:
    router = router_from_spec("window:2:0.25")
    # The mean of the positions so far, at most two.
    assert router.route(observed(Role.SLM, 0, 0.25)) is Role.SLM
    assert router.route(observed(Role.SLM, 1, 0.25)) is Role.SLM
    assert router.route(observed(Role.SLM, 2, 0.3)) is Role.LLM
    # The LLM's entropy replaces the SLM's at the same position: (0.25 + 0.25) / 2, not (0.3 + 0.25) / 2.
    assert router.route(observed(Role.LLM, 2, 0.25)) is Role.SLM
    # The mean of 0.25 and 0.5 is above tau; then 0.25 leaves the window.
    assert router.route(observed(Role.SLM, 3, 0.5)) is Role.LLM
    assert router.route(observed(Role.LLM, 3, 0.5)) is Role.LLM
    assert router.route(observed(Role.LLM, 4, 0.0)) is Role.SLM


def test_momentum_starts_with_the_first_entropy() -> None:
    router = router_from_spec("momentum:0.75:0.25")
    assert router.route(observed(Role.SLM, 0, 0.25)) is Role.SLM
    # 0.75 * 0.25 + 0.25 * 0.5 = 0.3125, and 0.25 with the LLM's 0.25 in place of 0.5.
    assert router.route(observed(Role.SLM, 1, 0.5)) is Role.LLM
    assert router.route(observed(Role.LLM, 1, 0.25)) is Role.SLM
    assert router.route(observed(Role.SLM, 2, 0.2500001)) is Role.LLM


def test_entropy_equal_to_tau_is_the_slms() -> None:
    router = router_from_spec("entropy:0.25")
    for role in Role:
        assert router.route(observed(role, entropy=0.25)) is Role.SLM
        assert router.route(observed(role, entropy=0.2500001)) is Role.LLM


def test_confidence_compares_the_top1_probability() -> None:
    router = router_from_spec("confidence:0.6")
    assert router.route(observed(top1=0.59)) is Role.LLM
    assert router.route(observed(top1=0.6)) is Role.SLM


def test_margin_compares_the_margin() -> None:
    router = router_from_spec("margin:0.5")
    assert router.needs_margin
    for role in Role:
        for value, expected in ((0.49, Role.LLM), (0.5, Role.SLM), (None, Role.SLM)):
            assert router.route(Observation(role, 0, 0.9, 0.5, margin=value)) is expected


def test_random_assigns_each_position_to_one_model() -> None:
    router = router_from_spec("random:0.3", seed=5)
    owners = [router.route(observed(Role.SLM, position)) for position in range(4000)]
    # The choice for a position is the same after the LLM's token before it and after the SLM's evaluation of it.
    assert [router.route(observed(Role.LLM, position)) for position in range(3999)] == owners[1:]
    assert owners.count(Role.LLM) / 4000 == pytest.approx(0.3, abs=0.04)
    assert owners != [router_from_spec("random:0.3", seed=6).route(observed(Role.SLM, p)) for p in range(4000)]


def test_fixed_routers_start_with_their_model() -> None:
    for role in Role:
        router = router_from_spec(role.value)
        assert isinstance(router, FixedRouter)
        assert router.start is role
        assert router.route(observed(entropy=0.9)) is role


def test_tau_can_be_changed_while_an_answer_is_generated() -> None:
    for spec in ("entropy:1", "window:3:1", "momentum:0.5:1", "stay:2:1", "one:1"):
        router = router_from_spec(spec)
        assert isinstance(router, EntropyRouter)
        assert router.route(observed(Role.SLM, 0, 0.5)) is Role.SLM
        router.tau = 0.25
        assert router.route(observed(Role.SLM, 1, 0.5)) is Role.LLM
