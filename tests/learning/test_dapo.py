from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from rstitch_local.errors import EngineError
from rstitch_local.routing.policy import INPUTS, PolicyMetadata

torch = pytest.importorskip("torch", reason="the extra 'train' is not installed")

from rstitch_local.learning.dapo import (  # noqa: E402
    Batch,
    Network,
    log_probability,
    mean_entropy,
    surrogate,
    update,
)
from rstitch_local.learning.imitation import CONFIDENCE, imitate, learn_differences  # noqa: E402
from rstitch_local.learning.recording import Decision  # noqa: E402
from rstitch_local.learning.reward import advantages  # noqa: E402


def metadata(inputs: tuple[str, ...] = INPUTS, n_embd: int = 4) -> PolicyMetadata:
    return PolicyMetadata("a" * 64, n_embd, 0.1, inputs)


def features(count: int, width: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


@pytest.mark.parametrize("inputs", [INPUTS, ("hidden",), ("entropy", "position")])
def test_network_and_policy_have_equal_scores(inputs: tuple[str, ...]) -> None:
    network = Network(metadata(inputs), 8, seed=1)
    with torch.no_grad():
        network.norm_scale += 0.3
        network.outer_bias += torch.tensor([0.2, -0.1])
    rows = features(20, network.metadata.width)
    policy = network.policy({"steps": 1})
    scores = network(torch.from_numpy(rows)).detach().numpy()
    assert [policy.score(row) for row in rows] == pytest.approx(scores.tolist(), abs=1e-5)
    other = Network(metadata(inputs), 8, seed=2)
    other.load(policy)
    assert torch.equal(other(torch.from_numpy(rows)), network(torch.from_numpy(rows)))


def test_the_loss_by_hand() -> None:
    # Ratios 1.1 (unclipped), 1.5 (clipped to 1.28), 0.5 (clipped to 0.8, but only where that is the minimum).
    ratio = torch.tensor([1.1, 1.5, 0.5, 0.5, 1.5])
    advantage = torch.tensor([1.0, 2.0, 1.0, -1.0, -1.0])
    old = torch.log(torch.tensor([0.3, 0.4, 0.5, 0.5, 0.4]))
    batch = Batch(torch.zeros(5, 1), torch.zeros(5, dtype=torch.bool), old, advantage)
    loss, clipped = surrogate(old + torch.log(ratio), batch)
    assert float(loss) == pytest.approx(-(1.1 + 2 * 1.28 + 0.5 - 0.8 - 1.5) / 5)
    assert float(clipped) == pytest.approx(2 / 5)


def test_gradients_by_hand() -> None:
    # d(-min(r A, clip(r) A))/d logp is -r A if unclipped and 0 if clipped, divided by the number of decisions.
    ratio, advantage = [1.1, 1.5, 0.5, 0.5], [1.0, 2.0, 1.0, -1.0]
    logp = torch.log(torch.tensor(ratio) * 0.4).requires_grad_()
    old = torch.full((4,), math.log(0.4))
    batch = Batch(torch.zeros(4, 1), torch.zeros(4, dtype=torch.bool), old, torch.tensor(advantage))
    surrogate(logp, batch)[0].backward()
    assert logp.grad is not None
    assert logp.grad.tolist() == pytest.approx([-1.1 / 4, 0.0, -0.5 / 4, 0.0])


def test_every_parameter_has_the_numerical_gradient() -> None:
    network = Network(metadata(), 8, seed=1).double()
    rows = torch.from_numpy(features(6, network.metadata.width)).double()
    switched = torch.tensor([True, False, True, True, False, False])
    batch = Batch(rows, switched, log_probability(network(rows), switched).detach(), torch.randn(6).double())
    loss, _ = surrogate(log_probability(network(rows), switched), batch)
    loss.backward()
    for name, value in network.named_parameters():
        assert value.grad is not None
        index = tuple(0 for _ in value.shape)
        step = 1e-6
        with torch.no_grad():
            value[index] += step
            up = surrogate(log_probability(network(rows), switched), batch)[0]
            value[index] -= 2 * step
            down = surrogate(log_probability(network(rows), switched), batch)[0]
            value[index] += step
        assert float(value.grad[index]) == pytest.approx(float(up - down) / (2 * step), abs=1e-6), name


def test_probabilities_and_entropy() -> None:
    score = torch.tensor([0.0, math.log(3.0), -200.0])
    switched = torch.tensor([True, True, False])
    assert log_probability(score, switched).exp().tolist() == pytest.approx([0.5, 0.75, 1.0])
    assert float(mean_entropy(torch.zeros(3))) == pytest.approx(math.log(2))
    assert float(mean_entropy(torch.tensor([300.0, -300.0]))) == 0.0


def toy_batch(network: Network, rng: np.random.Generator) -> tuple[Batch, float]:
    """Return decisions in two states: in the first only switching is correct, in the second both are.

    Switching costs 0.1.
    """
    rows, switched, logp, rewards = [], [], [], []
    policy = network.policy()
    for _ in range(32):
        state = int(rng.integers(2))
        group = []
        for _ in range(8):
            row = np.array([1 - state, state, 0.3, 0.1], np.float32) + rng.normal(size=4).astype(np.float32) * 0.05
            score = policy.score(row)
            switch = bool(rng.random() < 1 / (1 + math.exp(-score)))
            rows.append(row)
            switched.append(switch)
            logp.append(-float(np.logaddexp(0, -score if switch else score)))
            group.append(0.9 if switch else float(state == 1))
        rewards.append(group)
    of_rows = advantages(np.array(rewards), 0.0).ravel().tolist()
    return Batch.of(rows, switched, logp, of_rows), float(np.mean(rewards))


def train_on_toy(seed: int) -> tuple[Network, list[float]]:
    network = Network(metadata(("hidden",)), 16, seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    rng = np.random.default_rng(seed)
    rewards = []
    for _ in range(25):
        batch, mean = toy_batch(network, rng)
        rewards.append(mean)
        update(network, optimizer, batch, epochs=4, minibatches=2)
    return network, rewards


def test_the_best_policy_of_a_toy_problem_is_learned() -> None:
    network, rewards = train_on_toy(3)
    policy = network.policy()
    assert policy.score(np.array([1, 0, 0.3, 0.1], np.float32)) > 1
    assert policy.score(np.array([0, 1, 0.3, 0.1], np.float32)) < -1
    assert rewards[0] < 0.8
    assert np.mean(rewards[-3:]) > 0.9


def test_the_same_seed_trains_the_same_policy() -> None:
    (one, _), (two, _), (other, _) = (train_on_toy(seed) for seed in (3, 3, 4))
    for name, value in one.named_parameters():
        assert torch.equal(value, dict(two.named_parameters())[name])
    assert not torch.equal(one.inner_weight, other.inner_weight)


def test_a_nan_loss_leaves_the_network_unchanged() -> None:
    network = Network(metadata(("hidden",)), 4, 0)
    before = [value.clone() for value in network.parameters()]
    rows = list(features(4, 4))
    batch = Batch.of(rows, [True] * 4, [-0.7] * 4, [1.0, -1.0, math.nan, 0.0])
    with pytest.raises(EngineError, match="NaN"):
        update(network, torch.optim.Adam(network.parameters()), batch, epochs=1, minibatches=1)
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    with torch.no_grad():
        network.inner_bias[0] = math.nan
    with pytest.raises(EngineError, match="inner_bias"):
        network.policy()


def test_imitation() -> None:
    network = Network(metadata(), 32, 0)
    rng = np.random.default_rng(0)
    decisions = []
    for row in features(300, network.metadata.width, 1):
        entropy = float(rng.uniform(0, 1))
        row[4] = math.log10(entropy + 1e-6) + 2
        decisions.append(Decision(row, entropy > 0.3, 0.0, 0, entropy))
    assert imitate(network, decisions) > 0.93
    policy = network.policy()
    # No more confident than that, so that it explores.
    confidences = [abs(policy.score(decision.features)) for decision in decisions]
    assert np.median(confidences) == pytest.approx(math.log(CONFIDENCE / (1 - CONFIDENCE)), abs=0.7)


def test_learning_differences() -> None:
    network = Network(metadata(), 32, 0)
    decisions = [
        Decision(row, bool(row[0] > row[1] + 1.5), 0.0, 0, 0.5) for row in features(1500, network.metadata.width, 1)
    ]
    differing = sum(decision.switch for decision in decisions) / len(decisions)
    assert 0.1 < differing < 0.3
    # With twice as many switches as differences, nearly all differences are switches.
    assert learn_differences(network, decisions, 2 * differing) > 0.95
    policy = network.policy()
    scores = np.array([policy.score(decision.features) for decision in decisions])
    assert (scores > 0).mean() == pytest.approx(2 * differing, abs=0.01)
    assert np.median(np.abs(scores)) == pytest.approx(math.log(CONFIDENCE / (1 - CONFIDENCE)), abs=0.05)
