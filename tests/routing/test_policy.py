from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rstitch_local import builtin
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.router import Observation
from rstitch_local.errors import ModelError, UsageError
from rstitch_local.routing.learned import LearnedRouter
from rstitch_local.routing.policy import INPUTS, TENSORS, Policy, PolicyMetadata
from rstitch_local.routing.policy_file import read_policy, write_policy
from rstitch_local.routing.spec import absolute_spec, one_spelling, router_from_spec, usable_spec, with_tau

N_EMBD, UNITS = 6, 4


def random_policy(seed: int = 0, inputs: tuple[str, ...] = INPUTS, tau_ask: float = 0.1) -> Policy:
    rng = np.random.default_rng(seed)
    facts = PolicyMetadata("a" * 64, N_EMBD, tau_ask, inputs, {"steps": 3})
    shapes = ((N_EMBD,), (N_EMBD,), (UNITS, facts.width), (UNITS,), (2, UNITS), (2,))
    return Policy(facts, {n: rng.normal(size=s).astype(np.float32) for n, s in zip(TENSORS, shapes, strict=True)})


def observation(seed: int = 0, **changed: Any) -> Observation:
    hidden = np.random.default_rng(seed).normal(size=N_EMBD).astype(np.float32) * 3
    values = {"role": Role.SLM, "position": 5, "entropy": 0.3, "top1": 0.5, "hidden": hidden, "pending": 9, **changed}
    return Observation(**values)


def plain_score(policy: Policy, features: NDArray[np.float32]) -> float:
    """The formula term by term, in float64."""
    t = {name: array.astype(np.float64) for name, array in policy.tensors.items()}
    x = features.astype(np.float64)
    if "hidden" in policy.facts.inputs:
        h = x[:N_EMBD]
        normed = (h - h.mean()) / math.sqrt(h.var() + 1e-5) * t["norm_scale"] + t["norm_shift"]
        x = np.concatenate((normed, x[N_EMBD:]))
    inner = t["inner_weight"] @ x + t["inner_bias"]
    inner = inner / (1 + np.exp(-inner))
    stay, switch = t["outer_weight"] @ inner + t["outer_bias"]
    return float(switch - stay)


@given(st.integers(0, 1000), st.sampled_from([INPUTS, ("hidden",), ("entropy",), ("hidden", "pending")]))
def test_the_score_is_the_formula(seed: int, inputs: tuple[str, ...]) -> None:
    policy = random_policy(seed, inputs)
    features = policy.features(observation(seed))
    assert features.shape == (policy.facts.width,)
    assert policy.score(features) == pytest.approx(plain_score(policy, features), rel=1e-4, abs=1e-4)


def test_the_inputs_in_numbers() -> None:
    seen = observation(entropy=0.01, pending=15, position=3)
    assert seen.hidden is not None
    assert random_policy().features(seen).tolist() == pytest.approx([*seen.hidden.tolist(), 0.0, 1.0, 0.5])
    assert random_policy(inputs=("pending",)).features(seen).tolist() == [1.0]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    policy = random_policy()
    write_policy(tmp_path / "new" / "r.safetensors", policy)
    again = read_policy(tmp_path / "new" / "r.safetensors")
    assert again.facts == policy.facts
    for name in TENSORS:
        assert np.array_equal(again.tensors[name], policy.tensors[name])
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["r.safetensors"]


def test_the_file_is_a_safetensors_file(tmp_path: Path) -> None:
    write_policy(tmp_path / "r", random_policy())
    data = (tmp_path / "r").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    assert header.keys() == {"__metadata__", *TENSORS}
    assert all(isinstance(value, str) for value in header["__metadata__"].values())
    ends = [entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"]
    assert [0, *(end for _, end in ends)] == [*(start for start, _ in ends), len(data) - 8 - length]
    assert length % 8 == 0


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    write_policy(tmp_path / "r", random_policy())
    data = (tmp_path / "r").read_bytes()
    for length in {0, 7, 8, 100, len(data) // 2, len(data) - 4, len(data) - 1}:
        (tmp_path / "cut").write_bytes(data[:length])
        with pytest.raises(ModelError, match="cut"):
            read_policy(tmp_path / "cut")


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_changed_byte_gives_a_policy_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, at: int, to: int
) -> None:
    path = tmp_path_factory.mktemp("policy") / "r"
    write_policy(path, random_policy())
    data = bytearray(path.read_bytes())
    data[at % len(data)] = to
    path.write_bytes(data)
    # Anything but a policy or this error is a failure.
    with contextlib.suppress(ModelError):
        assert len(read_policy(path).tensors) == len(TENSORS)


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ('\\"version\\": 1', '\\"version\\": 2', "version 2"),
        ('\\"tau_ask\\": 0.1', '\\"tau_ask\\": NaN', "range"),
        ("F32", "F16", "header"),
        ('\\"entropy\\"', '\\"entropi\\"', "inputs"),
        ("inner_bias", "outer_sums", "holds"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, was: str, now: str, said: str) -> None:
    write_policy(tmp_path / "r", random_policy())
    data = (tmp_path / "r").read_bytes()
    assert was.encode() in data
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length].replace(was.encode(), now.encode())
    (tmp_path / "r").write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])
    with pytest.raises(ModelError, match=said):
        read_policy(tmp_path / "r")


def test_numbers_that_are_none_are_refused() -> None:
    policy = random_policy()
    with pytest.raises(ValueError, match="outer_bias"):
        Policy(policy.facts, {**policy.tensors, "outer_bias": np.array([np.nan, 0], np.float32)})


class Fixed(LearnedRouter):
    """Answers what it is told to and counts how often it is asked."""

    def __init__(self, answer: bool) -> None:
        super().__init__(random_policy())
        self.answer, self.asked = answer, 0

    def asks(self, observation: Observation) -> bool:  # noqa: ARG002
        self.asked += 1
        return self.answer


@pytest.mark.parametrize("answer", [True, False])
def test_only_an_unsure_slm_is_a_question(answer: bool) -> None:
    router = Fixed(answer)
    assert router.needs_hidden
    assert router.needs_pending
    # At tau_ask itself it is sure.
    assert router.route(observation(entropy=0.1)) is Role.SLM
    assert router.route(observation(role=Role.LLM, entropy=0.1, hidden=None)) is Role.SLM
    assert router.route(observation(role=Role.LLM, entropy=0.2, hidden=None)) is Role.LLM
    assert router.route(observation(entropy=0.2, hidden=None)) is Role.LLM
    assert router.asked == 0
    assert router.route(observation(entropy=0.2)) is (Role.LLM if answer else Role.SLM)
    assert router.asked == 1


def test_the_larger_output_decides() -> None:
    policy = random_policy()
    router = LearnedRouter(policy)
    roles = set()
    for seed in range(30):
        seen = observation(seed)
        role = router.route(seen)
        assert (role is Role.LLM) == (plain_score(policy, policy.features(seen)) > 0)
        roles.add(role)
    assert roles == set(Role)


def test_a_learned_router_by_its_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a:b.safetensors"
    write_policy(path, random_policy(tau_ask=0.25))
    spec = f"learned:{path}"
    router = router_from_spec(f" {spec} ")
    assert isinstance(router, LearnedRouter)
    assert router.load().facts.tau_ask == 0.25
    assert router.needs_hidden
    assert one_spelling(f" {spec}") == spec
    assert with_tau(spec, 0.5) == "entropy:0.5"
    assert [absolute_spec(own) for own in ("one", "learned:demo", spec)] == ["one", "learned:demo", spec]
    monkeypatch.chdir(tmp_path)
    assert absolute_spec("learned:a:b.safetensors") == f"learned:{path.resolve()}"
    # A file that was trained anew is read anew.
    write_policy(path, random_policy(tau_ask=0.125, inputs=("hidden",)))
    again = router_from_spec(spec)
    assert isinstance(again, LearnedRouter)
    assert again.load().facts.tau_ask == 0.125
    assert not again.needs_pending
    monkeypatch.setattr(builtin, "ROUTER_FILE", path)
    demo = router_from_spec("learned:demo")
    assert isinstance(demo, LearnedRouter)
    assert demo.load() is again.policy


def test_what_names_no_file() -> None:
    for spec in ("learned", "learned:", "learned: "):
        with pytest.raises(UsageError, match="names no file"):
            router_from_spec(spec)
    with pytest.raises(UsageError, match="Did you mean learned:x"):
        router_from_spec("learnt:x")
    # Who only looks at a spec needs no file.
    assert one_spelling("learned:/nowhere/at/all") == "learned:/nowhere/at/all"
    with pytest.raises(ModelError, match="No such router file"):
        usable_spec("learned:/nowhere/at/all")
    assert usable_spec("entropy") == "entropy:0.02"
