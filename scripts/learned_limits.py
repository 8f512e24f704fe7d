"""Measure the limits of a learned router on the demo pair.

    python scripts/learned_limits.py [--count 2500]

Prints how many visits to the LLM are needed to reach the tokens that the LLM changes, ranked by entropy and by networks
with more inputs; and the cost of answers if these tokens were known.

Requires a calibration (`rstitch calibrate --pair demo --threads 1`) and the extra `train`.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from statistics import fmean

import numpy as np
from learned_router import TRAIN_SEED, demo_pair, problems, router_factory

from rstitch_local.catalog.checksums import sha256_of
from rstitch_local.costs.store import load_calibration
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.router import Observation
from rstitch_local.learning.recording import ComparingRouter, Decision
from rstitch_local.learning.reward import AnswerChecker
from rstitch_local.learning.rollouts import Rollout, RolloutSampler
from rstitch_local.problems.tasks import seed_of
from rstitch_local.routing.learned import LearnedRouter
from rstitch_local.routing.policy import INPUTS, Policy, PolicyMetadata

SHARES = (0.8, 0.9, 0.95, 0.98)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2500, help="number of problems")
    arguments = parser.parse_args()
    from rstitch_local.learning.dapo import Network

    with demo_pair() as pair:
        slm = pair.weights[Role.SLM]
        metadata = PolicyMetadata(sha256_of(slm.path), slm.n_embd, 0.001)
        policy = Network(metadata, 8, 0).policy()
        sampler = RolloutSampler(pair, load_calibration(pair).latency, AnswerChecker(), max_tokens=400)
        asked = problems(TRAIN_SEED, arguments.count)
        rollouts = sampler.sample(asked, lambda _: ComparingRouter(policy))
        # Without the answers that the LLM turned into its own long style, in which all tokens differ.
        rollouts = [r for r in rollouts if not any(d.position == 0 and d.switch for d in r.decisions)]
        # The first four fifths are for training, the others for testing.
        split = len(rollouts) * 4 // 5
        train, test = rollouts[:split], rollouts[split:]
        changed = {r.problem: {d.position for d in r.decisions if d.switch} for r in test}
        tested = [problem for problem in asked if problem.id in changed]
        oracles = {seed_of(0, problem.id, 0): OracleRouter(policy, changed[problem.id]) for problem in tested}
        bounds = {"oracle": sampler.sample(tested, lambda seed: oracles[seed])}
        for spec in ("entropy:0.005", "entropy:0.02", "slm"):
            bounds[spec] = sampler.sample(tested, router_factory(spec))
    print_changes(rollouts, test)
    print_predictors(metadata, train, test)
    print_bounds(bounds)


class OracleRouter(LearnedRouter):
    """Calls the LLM at given positions: those where the LLM changed the token when it was called everywhere.

    An approximation of perfect knowledge. Where the LLM continued because it was uncertain itself, the SLM generates
    now, and the answer may differ.
    """

    def __init__(self, policy: Policy, positions: Collection[int]) -> None:
        super().__init__(policy)
        self._positions = positions

    def calls_llm(self, observation: Observation) -> bool:
        return observation.position in self._positions


def print_changes(rollouts: Sequence[Rollout], test: Sequence[Rollout]) -> None:
    """Print how many tokens the LLM changes."""
    decisions = [d for r in test for d in r.decisions]
    changed = sum(d.switch for d in decisions) / len(test)
    with_change = sum(any(d.switch for d in r.decisions) for r in rollouts) / len(rollouts)
    print(f"{changed:.3f} of {len(decisions) / len(test):.2f} uncertain tokens per answer are changed by the LLM;")
    print(f"{with_change:.1%} of the answers have a changed token.")


def print_predictors(metadata: PolicyMetadata, train: Sequence[Rollout], test: Sequence[Rollout]) -> None:
    """Print the visits needed by each predictor of changed tokens."""
    from rstitch_local.learning.dapo import Network
    from rstitch_local.learning.imitation import learn_differences

    learned = [d for r in train for d in r.decisions]
    decisions = [d for r in test for d in r.decisions]
    print("| predictor | " + " | ".join(f"visits per answer for {share:.0%}" for share in SHARES) + " |")
    print("|---|" + "---|" * len(SHARES))
    scores = {"entropy": [d.entropy for d in decisions]}
    for inputs in (("hidden",), ("entropy", "pending", "position"), INPUTS):
        network = Network(replace(metadata, inputs=inputs), 128, 0)
        first = 0 if "hidden" in inputs else metadata.n_embd
        columns = slice(first, metadata.n_embd if len(inputs) == 1 else metadata.width)
        learn_differences(network, [d._replace(features=d.features[columns]) for d in learned], 0.5)
        policy = network.policy()
        scores[" + ".join(inputs)] = [policy.score(d.features[columns]) for d in decisions]
    for name, values in scores.items():
        visits = (f"{count / len(test):.2f}" for count in visits_for(values, decisions))
        print(f"| {name} | " + " | ".join(visits) + " |", flush=True)


def visits_for(scores: Sequence[float], decisions: Sequence[Decision]) -> list[int]:
    """Return the smallest number of visits, highest scores first, that reach each share of the changed tokens."""
    changed = np.array([d.switch for d in decisions])[np.argsort(-np.array(scores), kind="stable")]
    reached = np.cumsum(changed) / changed.sum()
    return [int(np.searchsorted(reached, share)) + 1 for share in SHARES]


def print_bounds(bounds: Mapping[str, Sequence[Rollout]]) -> None:
    print("\n| router, on the test problems | correct | visits | modelled ms |\n|---|---|---|---|")
    for name, rollouts in bounds.items():
        print(
            f"| {name} | {fmean(r.correct for r in rollouts):.1%} | {fmean(r.visits for r in rollouts):.2f} "
            f"| {fmean(r.latency_ms for r in rollouts):.2f} |"
        )


if __name__ == "__main__":
    main()
