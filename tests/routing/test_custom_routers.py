"""Routers from Python: classes, factories, functions, registered names and `python:` specs."""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripted import make_trajectory

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.router import Observation, Router, query
from rstitch_local.errors import EngineError, UsageError
from rstitch_local.routing.custom import FunctionRouter, name_of
from rstitch_local.routing.forms import FORMS, spec_of
from rstitch_local.routing.learned import LearnedRouter
from rstitch_local.routing.registry import register_router, unregister_router
from rstitch_local.routing.resolve import RouterLike, claim_router, resolve_router, set_tau
from rstitch_local.routing.rules import EntropyRouter, RandomRouter, StayRouter, WindowRouter
from rstitch_local.routing.spec import one_spelling, router_from_spec, tau_of_spec, usable_spec, with_tau

LOW = Observation(Role.SLM, 0, 0.1, 0.9)
HIGH = Observation(Role.SLM, 7, 0.9, 0.1)


class Counting(Router):
    """Keeps state: the number of its calls."""

    def __init__(self, every: int = 2) -> None:
        self.every = every
        self._calls = 0

    def route(self, observation: Observation) -> Role:  # noqa: ARG002
        self._calls += 1
        return Role.LLM if self._calls % self.every == 0 else Role.SLM


@dataclass
class Threshold(Router):
    tau: float = 0.25
    note: str = "x"

    def route(self, observation: Observation) -> bool:
        return observation.entropy > self.tau


def unsure(observation: Observation) -> bool:
    return observation.entropy > 0.5


def rule_with_option(observation: Observation, tau: float = 0.5) -> bool:
    return observation.entropy > tau


def test_a_spec_an_instance_a_class_a_factory_and_a_function_are_routers() -> None:
    instance = Counting()
    cases: list[tuple[RouterLike, type[Router], str]] = [
        ("entropy:0.3", EntropyRouter, "entropy:0.3"),
        (instance, Counting, "Counting(every=2)"),
        (Counting, Counting, "Counting(every=2)"),
        (lambda: Counting(5), Counting, "Counting(every=5)"),
        (functools.partial(Counting, 6), Counting, "Counting(every=6)"),
        (Threshold, Threshold, "Threshold(tau=0.25, note='x')"),
        (EntropyRouter(0.3), EntropyRouter, "entropy:0.3"),
        (unsure, FunctionRouter, f"{__name__}.unsure"),
        (lambda: unsure, FunctionRouter, f"{__name__}.unsure"),
        (rule_with_option, FunctionRouter, f"{__name__}.rule_with_option"),
        (functools.partial(rule_with_option, tau=0.2), FunctionRouter, f"{__name__}.rule_with_option(tau=0.2)"),
    ]
    for given, kind, name in cases:
        resolved = resolve_router(given)
        assert type(resolved.router) is kind
        assert resolved.name == name
    assert resolve_router(instance).router is instance
    assert resolve_router(Counting).router is not resolve_router(Counting).router


def test_a_function_decides_with_bools_and_roles() -> None:
    for function in (unsure, lambda o: np.float32(o.entropy) > 0.5, lambda o: Role.LLM if unsure(o) else Role.SLM):
        router = resolve_router(function).router
        assert [query(router, LOW), query(router, HIGH)] == [Role.SLM, Role.LLM]


def test_a_function_requests_fields_by_its_attributes() -> None:
    def by_margin(observation: Observation) -> bool:
        return bool(observation.margin)

    by_margin.needs_margin = True  # type: ignore[attr-defined]
    by_margin.needs_top_k = 3  # type: ignore[attr-defined]
    by_margin.start = Role.LLM  # type: ignore[attr-defined]
    router = resolve_router(by_margin).router
    assert (router.needs_margin, router.needs_top_k, router.start, router.needs_hidden) == (True, 3, Role.LLM, False)
    by_margin.needs_margins = True  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match=r"no attribute needs_margins.*Use needs_margin\."):
        resolve_router(by_margin)


def test_a_misspelled_request_of_a_class_is_refused() -> None:
    class Wrong(Counting):
        needs_hiden = True

    with pytest.raises(UsageError, match=r"needs_hiden.*Use needs_hidden\."):
        resolve_router(Wrong)


def test_a_factory_receives_the_seed_if_it_has_a_parameter_for_it() -> None:
    router = resolve_router(lambda seed: RandomRouter(0.5, seed), seed=9).router
    assert isinstance(router, RandomRouter)
    assert router.seed == 9


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, "3 (int) is not a router"),
        (Role, "is not a router"),
        (RandomRouter, "cannot be created without share"),
        (EntropyRouter, "cannot be created without tau"),
        (lambda a, b: a == b, "2 required parameters: a, b"),
        (lambda: 3, "returned 3 (int)"),
        (lambda: EntropyRouter, "returned <class"),
    ],
)
def test_anything_else_is_refused(value: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve_router(value)
    assert message in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("result", ["llm", "slm", None, 1, 0.5, np.array([True, False])])
def test_a_result_that_is_neither_role_nor_bool_is_an_error(result: Any) -> None:
    def wrong(_observation: Observation) -> Any:
        return result

    with pytest.raises(EngineError) as caught:
        query(resolve_router(wrong).router, HIGH)
    assert caught.value.title == "Invalid router result"
    assert f"{name_of(wrong)} returned {result!r} at position 7" in caught.value.message


def test_an_exception_in_a_router_names_router_and_position() -> None:
    def broken(observation: Observation) -> bool:
        return observation.position / 0 > 1

    with pytest.raises(EngineError, match=r"broken raised ZeroDivisionError at position 7") as caught:
        query(resolve_router(broken).router, HIGH)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_router_in_use_is_refused_for_a_second_answer() -> None:
    router = Counting()
    first, second = (make_trajectory([1], 5, router="slm") for _ in range(2))
    first.router = second.router = router
    claim_router(router, first)
    claim_router(router, first)
    with pytest.raises(UsageError, match=r"Counting.*serves another unfinished answer"):
        claim_router(router, second)
    first.stop("interrupted")
    claim_router(router, second)
    third = make_trajectory([1], 5, router="slm")
    with pytest.raises(UsageError):
        claim_router(router, third)
    # An answer that was dropped before its end does not block the router.
    del second
    gc.collect()
    claim_router(router, third)


def test_only_a_class_that_declares_it_is_stateless() -> None:
    class Stateful(EntropyRouter):
        pass

    for router, free in ((EntropyRouter(0.1), True), (WindowRouter(3, 0.1), False), (StayRouter(3, 0.1), False),
                         (FunctionRouter(unsure), True), (Stateful(0.1), False)):  # fmt: skip
        first, second = (make_trajectory([1], 5, router="slm") for _ in range(2))
        first.router = second.router = router
        claim_router(router, first)
        if free:
            claim_router(router, second)
        else:
            with pytest.raises(UsageError):
                claim_router(router, second)


def test_tau_is_changed_only_where_there_is_one() -> None:
    @dataclass(frozen=True)
    class Frozen(Router):
        tau: float = 0.5

        def route(self, observation: Observation) -> bool:
            return observation.entropy > self.tau

    routers: list[Router] = [EntropyRouter(0.1), Threshold(), WindowRouter(3, 0.1)]
    for router in routers:
        set_tau(router, 0.75)
        assert router.tau == 0.75
    for spec in ("hysteresis:0.3:0.1", "slm", "margin:0.3", "learned:demo", "spec:3"):
        router = router_from_spec(spec)
        assert router.tau is None
        with pytest.raises(UsageError, match=r"No tau: .* has no tau"):
            set_tau(router, 0.5)
    with pytest.raises(UsageError, match="cannot be changed"):
        set_tau(Frozen(), 0.5)


@pytest.mark.parametrize("name", FORMS)
def test_the_spec_of_a_router_is_the_one_it_was_made_from(name: str) -> None:
    spec = one_spelling(":".join((name, *FORMS[name].usual)))
    assert spec_of(router_from_spec(spec, seed=4)) == spec
    assert resolve_router(router_from_spec(spec)).name == spec


def test_the_spec_of_speculative_decoding_has_its_threshold() -> None:
    assert spec_of(router_from_spec("spec:4:0.5")) == "spec:4:0.5"


def test_a_learned_router_is_named_by_its_file() -> None:
    assert resolve_router(LearnedRouter("demo")).name == "learned:demo"


@pytest.fixture
def registered() -> Iterator[None]:
    register_router("counting", lambda every="2", seed=0: Counting(int(every) + seed))
    register_router("rule", lambda tau="0.5": functools.partial(rule_with_option, tau=float(tau)))
    yield
    for name in ("counting", "rule"):
        unregister_router(name)


@pytest.mark.usefixtures("registered")
def test_a_registered_name_is_a_spec() -> None:
    first, second = (router_from_spec(" counting: 7 ", seed=3) for _ in range(2))
    assert isinstance(first, Counting)
    assert first.every == 10
    assert first is not second
    assert resolve_router("counting:7").name == "counting:7"
    assert one_spelling(" counting : 7") == usable_spec("counting:7") == "counting:7"
    assert query(router_from_spec("rule:0.8"), HIGH) is Role.LLM
    assert query(router_from_spec("rule:0.95"), HIGH) is Role.SLM
    # Nothing is known of the meaning of its arguments.
    assert tau_of_spec("rule:0.8") is None
    assert with_tau("rule:0.8", 0.1) == "entropy:0.1"


@pytest.mark.usefixtures("registered")
def test_the_nearest_registered_name_is_suggested() -> None:
    for spec, suggestion in (("countin:3", "Did you mean counting:3?"), ("pyhton:a", "Did you mean python:package")):
        with pytest.raises(UsageError) as caught:
            router_from_spec(spec)
        assert suggestion in caught.value.hint
    with pytest.raises(UsageError, match="counting"):
        router_from_spec("qqqqqq")


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("counting:x", f"counting:x ({__name__}.registered.<locals>.<lambda>) raised ValueError"),
        ("counting:1:2:3", "raised TypeError"),
    ],
)
def test_an_exception_in_a_registered_factory_names_spec_and_factory(spec: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        usable_spec(spec)
    assert message in caught.value.message


@pytest.mark.parametrize("name", ["entropy", "learned", "python", "", "a:b", "a b", "0.5"])
def test_invalid_names_are_not_registered(name: str) -> None:
    with pytest.raises(UsageError, match="Invalid router name"):
        register_router(name, Counting)
    with pytest.raises(UsageError, match="cannot be called"):
        register_router("good", "entropy:0.1")  # type: ignore[arg-type]


MODULE = """
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.router import Router
from rstitch_local.routing.rules import EntropyRouter, RandomRouter

class Mine(EntropyRouter):
    def __init__(self, tau="0.125"):
        super().__init__(float(tau))

def make(tau, seed=0):
    return EntropyRouter(float(tau) + seed)

def rule(observation):
    return observation.entropy > 0.5

def failing():
    raise RuntimeError("no luck")

number = 3
instance = Mine()
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "own_routers").mkdir()
    (tmp_path / "own_routers" / "rules.py").write_text(MODULE)
    (tmp_path / "own_routers" / "broken.py").write_text("import nothing_like_this\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    yield "own_routers.rules"
    for name in [name for name in sys.modules if name.startswith("own_routers")]:
        del sys.modules[name]


def test_a_python_spec_imports_from_the_current_directory(module: str) -> None:
    router = router_from_spec(f"python:{module}:Mine")
    assert router.tau == 0.125
    assert router_from_spec(f"python:{module}:Mine:0.5").tau == 0.5
    assert router_from_spec(f"python:{module}:make:0.5", seed=2).tau == 2.5
    assert query(router_from_spec(f"python:{module}:rule"), HIGH) is Role.LLM
    spec = f" python: {module}:Mine "
    assert one_spelling(spec) == usable_spec(spec) == f"python:{module}:Mine"
    assert resolve_router(f"python:{module}:Mine").name == f"python:{module}:Mine"


def test_reading_a_python_spec_imports_nothing(module: str) -> None:
    spec = f"python:{module}:Mine"
    assert (one_spelling(spec), tau_of_spec(spec), with_tau(spec, 0.5)) == (spec, None, "entropy:0.5")
    assert module not in sys.modules


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("nowhere.at_all:make", "Importing nowhere.at_all raised ModuleNotFoundError"),
        ("own_routers.broken:make", "Importing own_routers.broken raised ModuleNotFoundError: No module named 'noth"),
        ("own_routers.rules:absent", "rules.py) has no attribute absent"),
        ("own_routers.rules:number", "3 (int) is not a router"),
        ("own_routers.rules:instance", "is a router, which several answers would share"),
        ("own_routers.rules:failing", "own_routers.rules.failing raised RuntimeError: no luck"),
        ("own_routers.rules:make:x", "own_routers.rules.make raised ValueError"),
        ("own_routers.rules:Role", "is not a router"),
        ("own_routers.rules:RandomRouter", "cannot be created without share"),
        ("own_routers.rules", "names no factory"),
        ("own_routers.rules:", "names no factory"),
        ("a-b:c", "names no factory"),
        ("", "names no factory"),
    ],
)
@pytest.mark.usefixtures("module")
def test_what_is_wrong_with_a_python_spec_is_named(rest: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        router_from_spec(f"python:{rest}")
    assert message in caught.value.message


def test_a_module_or_factory_that_exits_does_not_end_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "script_that_exits.py").write_text("import sys\nsys.exit(3)\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="Importing script_that_exits raised SystemExit: 3"):
        router_from_spec("python:script_that_exits:router")
    with pytest.raises(UsageError, match="raised SystemExit"):
        router_from_spec("python:sys:exit:3")
