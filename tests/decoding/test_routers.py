from __future__ import annotations

import pytest

from rstitch_local.decoding.router_spec import router_from_spec
from rstitch_local.decoding.routers import EntropyRouter, FixedRouter, Observation, Role
from rstitch_local.errors import UsageError


def seen(role: Role = Role.SLM, position: int = 0, entropy: float = 0.0, top1: float = 1.0) -> Observation:
    return Observation(role, position, entropy, top1)


def test_entropy_is_strict_upwards_and_lenient_downwards() -> None:
    router = router_from_spec("entropy:0.25")
    for role in Role:
        assert router.route(seen(role, entropy=0.25)) is Role.SLM
        assert router.route(seen(role, entropy=0.2500001)) is Role.LLM


def test_confidence_looks_at_the_likeliest_token() -> None:
    router = router_from_spec("confidence:0.6")
    assert router.route(seen(top1=0.59)) is Role.LLM
    assert router.route(seen(top1=0.6)) is Role.SLM


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


def test_spec_forms() -> None:
    for spec, tau in (("entropy", 0.02), ("entropy:0", 0.0), (" entropy:1e-3 ", 0.001), ("entropy:-1", -1.0)):
        router = router_from_spec(spec)
        assert isinstance(router, EntropyRouter)
        assert router.tau == tau


@pytest.mark.parametrize(
    "spec",
    ["", "foo", "entropy:", "entropy:x", "entropy:nan", "slm:1", "llm:", "confidence", "confidence:2", "random:-1"],
)
def test_what_is_no_router_is_refused(spec: str) -> None:
    with pytest.raises(UsageError, match=r"router|colon") as caught:
        router_from_spec(spec)
    assert "entropy:TAU" in caught.value.hint
