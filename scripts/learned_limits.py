"""What there is to be learned on the demo pair: how well one can tell beforehand where the LLM changes a token.

Prints how many visits it takes to catch these tokens, told by entropy and by networks that see more; and what the
answers would cost if one knew.

    python scripts/learned_limits.py [--count 2500]

Needs `rstitch calibrate --pair demo --threads 1` once before, and the extra `train`.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from dataclasses import replace
from statistics import fmean

import numpy as np
from learned_router import TRAIN_SEED, demo_pair, made_of, problems

from rstitch_local.catalog.checksums import sha256_of
from rstitch_local.costs.store import load_calibration
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.router import Observation
from rstitch_local.learning.recording import ComparingRouter, Decision
from rstitch_local.learning.reward import AnswerChecker
from rstitch_local.learning.rollouts import RolloutSampler
from rstitch_local.problems.tasks import seed_of
from rstitch_local.routing.learned import LearnedRouter
from rstitch_local.routing.policy import INPUTS, Policy, PolicyMetadata


def main() -> None:
    """Ask everywhere, note where that changed a token, and see who can tell.

    Four fifths of the training problems teach, the rest is looked at. Answers that the LLM turned into its own, long
    manner are left out: all their tokens differ.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2500)
    arguments = parser.parse_args()
    from rstitch_local.learning.dapo import Network
    from rstitch_local.learning.imitation import learn_differences

    with demo_pair() as pair:
        slm = pair.weights[Role.SLM]
        facts = PolicyMetadata(sha256_of(slm.path), slm.n_embd, 0.001)
        blank = Network(facts, 8, 0).policy()
        sampler = RolloutSampler(pair, load_calibration(pair).latency, AnswerChecker(), max_tokens=400)
        asked = problems(TRAIN_SEED, arguments.count)
        written = sampler.sample(asked, lambda _: ComparingRouter(blank))
        short = [r for r in written if not any(d.position == 0 and d.switch for d in r.decisions)]
        border = len(short) * 4 // 5
        changed = {r.problem: {d.position for d in r.decisions if d.switch} for r in short[border:]}
        looked_at = [problem for problem in asked if problem.id in changed]
        knowing = {seed_of(0, problem.id, 0): KnowingRouter(blank, changed[problem.id]) for problem in looked_at}
        bounds = {"one that knows": sampler.sample(looked_at, lambda seed: knowing[seed])}
        for spec in ("entropy:0.005", "entropy:0.02", "slm"):
            bounds[spec] = sampler.sample(looked_at, made_of(spec))
    learned_from = [d for r in short[:border] for d in r.decisions]
    seen = [d for r in short[border:] for d in r.decisions]
    count = len(short) - border
    print(
        f"{sum(d.switch for d in seen) / count:.3f} tokens an answer are changed, of {len(seen) / count:.2f} asked for"
    )
    print(f"{sum(any(d.switch for d in r.decisions) for r in short) / len(short):.1%} of the answers have such a token")
    shares = (0.8, 0.9, 0.95, 0.98)
    print("| told by | " + " | ".join(f"visits for {share:.0%} of them" for share in shares) + " |")
    print("|---|" + "---|" * len(shares))
    _found("entropy", [d.entropy for d in seen], seen, count, shares)
    for inputs in (("hidden",), ("entropy", "pending", "position"), INPUTS):
        network = Network(replace(facts, inputs=inputs), 128, 0)
        places = slice(0 if "hidden" in inputs else facts.n_embd, facts.n_embd if len(inputs) == 1 else facts.width)
        learn_differences(network, [d._replace(features=d.features[places]) for d in learned_from], 0.5)
        policy = network.policy()
        _found(" + ".join(inputs), [policy.score(d.features[places]) for d in seen], seen, count, shares)
    print("\n| router, on the answers looked at | right | visits | modelled ms |\n|---|---|---|---|")
    for name, own in bounds.items():
        print(
            f"| {name} | {fmean(r.correct for r in own):.1%} | {fmean(r.visits for r in own):.2f} "
            f"| {fmean(r.latency_ms for r in own):.2f} |"
        )


class KnowingRouter(LearnedRouter):
    """Asks at the positions it was told of: where the LLM changed the token when it was asked everywhere.

    Nearly what one who knows everything would pay. Where the LLM, asked everywhere, went on writing because it was
    unsure itself, the SLM writes now, and the answer may take another way.
    """

    def __init__(self, policy: Policy, positions: Collection[int]) -> None:
        super().__init__(policy)
        self._positions = positions

    def calls_llm(self, observation: Observation) -> bool:
        """Where it was told to."""
        return observation.position in self._positions


def _found(name: str, scores: Sequence[float], seen: Sequence[Decision], count: int, shares: Sequence[float]) -> None:
    """A row: the fewest visits an answer that hold each share of the changed tokens, the highest scores first."""
    changed = np.array([d.switch for d in seen])[np.argsort(-np.array(scores), kind="stable")]
    held = np.cumsum(changed) / changed.sum()
    print(
        f"| {name} | " + " | ".join(f"{(np.searchsorted(held, s) + 1) / count:.2f}" for s in shares) + " |", flush=True
    )


if __name__ == "__main__":
    main()
