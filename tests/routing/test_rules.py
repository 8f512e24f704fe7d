"""The routing rules on made-up entropies: quarters and their like, so that equality with a threshold is exact."""

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


def seen(role: Role = Role.SLM, position: int = 0, entropy: float = 0.0, top1: float = 1.0) -> Observation:
    return Observation(role, position, entropy, top1)


eighths = st.integers(0, 8).map(lambda value: value / 8)
answers = st.lists(st.tuples(eighths, eighths), min_size=1, max_size=40)
"""What the SLM and the LLM would be at each position."""


def by_router(router: Router, entropies: Sequence[tuple[float, float]]) -> str:
    """Who writes each position, s or l."""
    written = ""
    active = router.start
    for position, (slm, llm) in enumerate(entropies):
        if active is Role.SLM:
            active = query(router, seen(Role.SLM, position, slm))
        written += active.value[0]
        if active is Role.LLM:
            active = query(router, seen(Role.LLM, position, llm))
    return written


def by_rule(rule: Rule, entropies: Sequence[tuple[float, float]]) -> str:
    """The same by a plain rule over everything that was seen."""
    written = ""
    history: list[Seen] = []
    up = False
    for position, (slm, llm) in enumerate(entropies):
        if not up:
            history.append(Seen(Role.SLM, position, slm))
            up = rule(history)
        written += "l" if up else "s"
        if up:
            history.append(Seen(Role.LLM, position, llm))
            up = rule(history)
    return written


@given(entropies=answers, tau=eighths, length=st.integers(1, 9))
def test_one_tau_over_what_was_seen(entropies: list[tuple[float, float]], tau: float, length: int) -> None:
    for spec, rule in (
        (f"entropy:{tau}", entropy(tau)),
        (f"window:{length}:{tau}", window(length, tau)),
        (f"stay:{length}:{tau}", stay(length, tau)),
        (f"one:{tau}", one(tau)),
        (f"momentum:0.5:{tau}", momentum(0.5, tau)),
    ):
        assert by_router(router_from_spec(spec), entropies) == by_rule(rule, entropies), spec


@given(entropies=answers, up=eighths, down=eighths)
def test_two_thresholds(entropies: list[tuple[float, float]], up: float, down: float) -> None:
    up, down = max(up, down), min(up, down)
    expected = by_rule(hysteresis(up, down), entropies)
    assert by_router(router_from_spec(f"hysteresis:{up}:{down}"), entropies) == expected


@given(entropies=answers, tau=eighths)
def test_at_their_simplest_they_are_the_entropy_router(entropies: list[tuple[float, float]], tau: float) -> None:
    alone = by_router(router_from_spec(f"entropy:{tau}"), entropies)
    for spec in (f"window:1:{tau}", f"momentum:0:{tau}", f"stay:1:{tau}", f"hysteresis:{tau}:{tau}"):
        assert by_router(router_from_spec(spec), entropies) == alone, spec


@given(entropies=answers)
def test_at_extreme_tau_one_model_writes_all(entropies: list[tuple[float, float]]) -> None:
    for rule in ("entropy", "window:4", "momentum:0.7", "stay:3", "one"):
        assert set(by_router(router_from_spec(f"{rule}:1"), entropies)) == {"s"}
        assert set(by_router(router_from_spec(f"{rule}:-1"), entropies)) == {"l"}


@given(entropies=answers, tau=eighths, shortest=st.integers(1, 6))
def test_no_visit_is_shorter_than_the_stay(entropies: list[tuple[float, float]], tau: float, shortest: int) -> None:
    written = by_router(router_from_spec(f"stay:{shortest}:{tau}"), entropies)
    # The last visit may be cut short by the end.
    assert all(len(visit) >= shortest for visit in written.split("s")[:-1] if visit)


def test_a_window_holds_positions() -> None:
    router = router_from_spec("window:2:0.25")
    # The mean is over what there is, and over two at most.
    assert router.route(seen(Role.SLM, 0, 0.25)) is Role.SLM
    assert router.route(seen(Role.SLM, 1, 0.25)) is Role.SLM
    assert router.route(seen(Role.SLM, 2, 0.3)) is Role.LLM
    # The LLM's entropy takes the place of the one that called it: (0.25 + 0.25) / 2, not (0.3 + 0.25) / 2.
    assert router.route(seen(Role.LLM, 2, 0.25)) is Role.SLM
    # 0.25 and 0.5 are above; then the 0.25 has left the window.
    assert router.route(seen(Role.SLM, 3, 0.5)) is Role.LLM
    assert router.route(seen(Role.LLM, 3, 0.5)) is Role.LLM
    assert router.route(seen(Role.LLM, 4, 0.0)) is Role.SLM


def test_momentum_begins_with_the_first_entropy() -> None:
    router = router_from_spec("momentum:0.75:0.25")
    assert router.route(seen(Role.SLM, 0, 0.25)) is Role.SLM
    # 0.75 * 0.25 + 0.25 * 0.5 = 0.3125, and with the LLM's 0.25 in its place 0.25.
    assert router.route(seen(Role.SLM, 1, 0.5)) is Role.LLM
    assert router.route(seen(Role.LLM, 1, 0.25)) is Role.SLM
    assert router.route(seen(Role.SLM, 2, 0.2500001)) is Role.LLM


def test_entropy_is_strict_upwards_and_lenient_downwards() -> None:
    router = router_from_spec("entropy:0.25")
    for role in Role:
        assert router.route(seen(role, entropy=0.25)) is Role.SLM
        assert router.route(seen(role, entropy=0.2500001)) is Role.LLM


def test_confidence_looks_at_the_likeliest_token() -> None:
    router = router_from_spec("confidence:0.6")
    assert router.route(seen(top1=0.59)) is Role.LLM
    assert router.route(seen(top1=0.6)) is Role.SLM


def test_margin_looks_at_the_two_likeliest() -> None:
    router = router_from_spec("margin:0.5")
    assert router.needs_margin
    for role in Role:
        for value, writer in ((0.49, Role.LLM), (0.5, Role.SLM), (None, Role.SLM)):
            assert router.route(Observation(role, 0, 0.9, 0.5, margin=value)) is writer


def test_random_gives_each_position_to_one_model() -> None:
    router = router_from_spec("random:0.3", seed=5)
    owners = [router.route(seen(Role.SLM, position)) for position in range(4000)]
    # The LLM, asked after its token, says the same of the next position as the SLM does when it gets there.
    assert [router.route(seen(Role.LLM, position)) for position in range(3999)] == owners[1:]
    assert owners.count(Role.LLM) / 4000 == pytest.approx(0.3, abs=0.04)
    assert owners != [router_from_spec("random:0.3", seed=6).route(seen(Role.SLM, p)) for p in range(4000)]


def test_fixed_routers_start_with_their_model() -> None:
    for role in Role:
        router = router_from_spec(role.value)
        assert isinstance(router, FixedRouter)
        assert router.start is role
        assert router.route(seen(entropy=0.9)) is role


def test_tau_can_be_moved_where_a_rule_has_one() -> None:
    for spec in ("entropy:1", "window:3:1", "momentum:0.5:1", "stay:2:1", "one:1"):
        router = router_from_spec(spec)
        assert isinstance(router, EntropyRouter)
        assert router.route(seen(Role.SLM, 0, 0.5)) is Role.SLM
        router.tau = 0.25
        assert router.route(seen(Role.SLM, 1, 0.5)) is Role.LLM
