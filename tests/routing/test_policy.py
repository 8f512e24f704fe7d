from __future__ import annotations

import contextlib
import json
import math
import os
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
    metadata = PolicyMetadata("a" * 64, N_EMBD, tau_ask, inputs, {"steps": 3})
    shapes = ((N_EMBD,), (N_EMBD,), (UNITS, metadata.width), (UNITS,), (2, UNITS), (2,))
    return Policy(metadata, {n: rng.normal(size=s).astype(np.float32) for n, s in zip(TENSORS, shapes, strict=True)})


def observation(seed: int = 0, **changed: Any) -> Observation:
    hidden = np.random.default_rng(seed).normal(size=N_EMBD).astype(np.float32) * 3
    values = {"role": Role.SLM, "position": 5, "entropy": 0.3, "top1": 0.5, "hidden": hidden, "pending": 9, **changed}
    return Observation(**values)


def plain_score(policy: Policy, features: NDArray[np.float32]) -> float:
    """The reference: term by term, in float64."""
    t = {name: array.astype(np.float64) for name, array in policy.tensors.items()}
    x = features.astype(np.float64)
    if "hidden" in policy.metadata.inputs:
        h = x[:N_EMBD]
        normed = (h - h.mean()) / math.sqrt(h.var() + 1e-5) * t["norm_scale"] + t["norm_shift"]
        x = np.concatenate((normed, x[N_EMBD:]))
    inner = t["inner_weight"] @ x + t["inner_bias"]
    inner = inner / (1 + np.exp(-inner))
    stay, switch = t["outer_weight"] @ inner + t["outer_bias"]
    return float(switch - stay)


@given(st.integers(0, 1000), st.sampled_from([INPUTS, ("hidden",), ("entropy",), ("hidden", "pending")]))
def test_score_matches_the_reference_formula(seed: int, inputs: tuple[str, ...]) -> None:
    policy = random_policy(seed, inputs)
    features = policy.features(observation(seed))
    assert features.shape == (policy.metadata.width,)
    assert policy.score(features) == pytest.approx(plain_score(policy, features), rel=1e-4, abs=1e-4)


def test_features_scale_the_inputs() -> None:
    observed = observation(entropy=0.01, pending=15, position=3)
    assert observed.hidden is not None
    assert random_policy().features(observed).tolist() == pytest.approx([*observed.hidden.tolist(), 0.0, 1.0, 0.5])
    assert random_policy(inputs=("pending",)).features(observed).tolist() == [1.0]


def test_a_policy_is_equal_after_a_round_trip(tmp_path: Path) -> None:
    policy = random_policy()
    write_policy(tmp_path / "new" / "r.safetensors", policy)
    again = read_policy(tmp_path / "new" / "r.safetensors")
    assert again.metadata == policy.metadata
    for name in TENSORS:
        assert np.array_equal(again.tensors[name], policy.tensors[name])
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["r.safetensors"]


def test_the_file_has_the_safetensors_layout(tmp_path: Path) -> None:
    write_policy(tmp_path / "r", random_policy())
    data = (tmp_path / "r").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    assert header.keys() == {"__metadata__", *TENSORS}
    assert all(isinstance(value, str) for value in header["__metadata__"].values())
    ends = [entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"]
    assert [0, *(end for _, end in ends)] == [*(start for start, _ in ends), len(data) - 8 - length]
    assert length % 8 == 0


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    write_policy(tmp_path / "r", random_policy())
    data = (tmp_path / "r").read_bytes()
    for length in {0, 7, 8, 100, len(data) // 2, len(data) - 4, len(data) - 1}:
        (tmp_path / "truncated").write_bytes(data[:length])
        with pytest.raises(ModelError, match="truncated"):
            read_policy(tmp_path / "truncated")


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_changed_byte_gives_a_policy_or_a_model_error(
    tmp_path_factory: pytest.TempPathFactory, at: int, to: int
) -> None:
    path = tmp_path_factory.mktemp("policy") / "r"
    write_policy(path, random_policy())
    data = bytearray(path.read_bytes())
    data[at % len(data)] = to
    path.write_bytes(data)
    # Any other exception fails the test.
    with contextlib.suppress(ModelError):
        assert len(read_policy(path).tensors) == len(TENSORS)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('\\"version\\": 1', '\\"version\\": 2', "version is 2"),
        ('\\"tau_ask\\": 0.1', '\\"tau_ask\\": NaN', "range"),
        ("F32", "F16", "header"),
        ('\\"entropy\\"', '\\"entropi\\"', "inputs"),
        ("inner_bias", "outer_sums", "tensors"),
    ],
)
def test_an_invalid_header_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    write_policy(tmp_path / "r", random_policy())
    data = (tmp_path / "r").read_bytes()
    assert old.encode() in data
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length].replace(old.encode(), new.encode())
    (tmp_path / "r").write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])
    with pytest.raises(ModelError, match=message):
        read_policy(tmp_path / "r")


def test_nan_in_a_tensor_is_refused() -> None:
    policy = random_policy()
    with pytest.raises(ValueError, match="outer_bias"):
        Policy(policy.metadata, {**policy.tensors, "outer_bias": np.array([np.nan, 0], np.float32)})


class Constant(LearnedRouter):
    """Decides the same every time, and counts the decisions."""

    def __init__(self, calls: bool) -> None:
        super().__init__(random_policy())
        self.calls, self.decisions = calls, 0

    def calls_llm(self, observation: Observation) -> bool:  # noqa: ARG002
        self.decisions += 1
        return self.calls


@pytest.mark.parametrize("calls", [True, False])
def test_the_policy_decides_only_at_high_entropy_of_the_slm(calls: bool) -> None:
    router = Constant(calls)
    assert router.needs_hidden
    assert router.needs_pending
    # Exactly tau_ask is not above it.
    assert router.route(observation(entropy=0.1)) is Role.SLM
    assert router.route(observation(role=Role.LLM, entropy=0.1, hidden=None)) is Role.SLM
    assert router.route(observation(role=Role.LLM, entropy=0.2, hidden=None)) is Role.LLM
    assert router.route(observation(entropy=0.2, hidden=None)) is Role.LLM
    assert router.decisions == 0
    assert router.route(observation(entropy=0.2)) is (Role.LLM if calls else Role.SLM)
    assert router.decisions == 1


def test_the_router_follows_the_sign_of_the_score() -> None:
    policy = random_policy()
    router = LearnedRouter(policy)
    roles = set()
    for seed in range(30):
        observed = observation(seed)
        role = router.route(observed)
        assert (role is Role.LLM) == (plain_score(policy, policy.features(observed)) > 0)
        roles.add(role)
    assert roles == set(Role)


def test_a_learned_router_is_created_from_its_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a:b.safetensors"
    write_policy(path, random_policy(tau_ask=0.25))
    spec = f"learned:{path}"
    router = router_from_spec(f" {spec} ")
    assert isinstance(router, LearnedRouter)
    assert router.load().metadata.tau_ask == 0.25
    assert router.needs_hidden
    assert one_spelling(f" {spec}") == spec
    assert with_tau(spec, 0.5) == "entropy:0.5"
    assert [absolute_spec(each) for each in ("one", "learned:demo", spec)] == ["one", "learned:demo", spec]
    monkeypatch.chdir(tmp_path)
    assert absolute_spec("learned:a:b.safetensors") == f"learned:{path.resolve()}"
    # A changed file is read again.
    write_policy(path, random_policy(tau_ask=0.125, inputs=("hidden",)))
    again = router_from_spec(spec)
    assert isinstance(again, LearnedRouter)
    assert again.load().metadata.tau_ask == 0.125
    assert not again.needs_pending
    monkeypatch.setattr(builtin, "ROUTER_FILE", path)
    demo = router_from_spec("learned:demo")
    assert isinstance(demo, LearnedRouter)
    assert demo.load() is again.policy


def test_a_learned_spec_without_a_file_is_refused() -> None:
    for spec in ("learned", "learned:", "learned: "):
        with pytest.raises(UsageError, match="names no file"):
            router_from_spec(spec)
    with pytest.raises(UsageError, match="Did you mean learned:x"):
        router_from_spec("learnt:x")
    # Normalizing a spec does not read the file.
    assert one_spelling("learned:/nowhere/at/all") == "learned:/nowhere/at/all"
    with pytest.raises(ModelError, match="Cannot read router"):
        usable_spec("learned:/nowhere/at/all")
    assert usable_spec("entropy") == "entropy:0.02"


@pytest.mark.parametrize("place", ["~no_such_user/x", "x" * 5000, "/dev/null/x"])
def test_the_path_of_a_learned_router_that_cannot_be_read(place: str) -> None:
    assert absolute_spec(f"learned:{place}").endswith(place[-20:])
    with pytest.raises(ModelError, match="Cannot read router") as caught:
        usable_spec(f"learned:{place}")
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("place", ["a\0b", "demo\0", "\ud800"])
def test_an_impossible_path_of_a_learned_router(place: str) -> None:
    for use in (one_spelling, absolute_spec, usable_spec, router_from_spec):
        with pytest.raises(UsageError, match=r"contains (a NUL character|half of a surrogate pair)"):
            use(f"learned:{place}")


@pytest.mark.skipif(os.name != "posix", reason="pipes in the file system")
def test_a_pipe_is_no_router_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelError, match="Is a pipe or a device"):
        usable_spec(f"learned:{tmp_path / 'pipe'}")


def test_infinite_numbers_and_repeated_tensors_in_a_router_file(tmp_path: Path) -> None:
    path = tmp_path / "router.safetensors"
    write_policy(path, random_policy())
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    more = {**header, **{f"tensor {number}": header["inner_weight"] for number in range(1000)}}
    description = header["__metadata__"]["rstitch_policy"].replace("6", "1e999")
    infinite = {**header, "__metadata__": {"rstitch_policy": description}}
    for changed, message in ((more, "its tensors are .* and 999 more"), (infinite, "is not a learned router")):
        text = json.dumps(changed).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
        with pytest.raises(ModelError, match=message):
            read_policy(path)
