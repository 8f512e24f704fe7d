"""Measures what hidden states cost: the same answers with them and without, in turn, on one pair.

    python scripts/bench_hidden.py [--pair demo] [--rounds 20] [--max-tokens 400]

Two cases: the SLM alone, where every evaluation is a single token, and the entropy rule, where the SLM catches up
now and then. Prints Markdown; every ratio is of rounds side by side. Also times one decision of a policy.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from rstitch_local.builtin.word_problems import generate
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.router import Observation
from rstitch_local.decoding.sampling import Sampling
from rstitch_local.engine.loading import LoadOptions, load_pair
from rstitch_local.engine.pair import Pair
from rstitch_local.routing.policy import INPUTS, TENSORS, Policy, PolicyMetadata
from rstitch_local.routing.spec import router_from_spec

BENCH_SEED = 5


def main() -> None:
    """Measure both cases and a decision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", default="demo")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--problems", type=int, default=20)
    parser.add_argument("--max-tokens", type=int, default=400)
    arguments = parser.parse_args()
    with load_pair(arguments.pair, options=LoadOptions(threads=1)) as pair:
        print("| router | tokens/s with hidden states over without, median of rounds | of the SLM's decodes alone |")
        print("|---|---|---|")
        for spec in ("slm", pair.defaults.router):
            wall, inside = [], []
            for round_ in range(arguments.rounds + 1):
                # Who goes first changes, and the first round is a rehearsal.
                speeds = {}
                for hidden in (round_ % 2 == 0, round_ % 2 == 1):
                    speeds[hidden] = speed(pair, spec, hidden, arguments.problems, arguments.max_tokens)
                if round_:
                    wall.append(speeds[True][0] / speeds[False][0])
                    inside.append(speeds[True][1] / speeds[False][1])
            print(f"| {spec} | {shown(wall)} | {shown(inside)} |", flush=True)
        n_embd = pair.weights[Role.SLM].n_embd
    print(f"\nOne decision of a policy of 128 units on {n_embd} numbers: {decision_ms(n_embd):.4f} ms (median)")


def shown(ratios: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"


def speed(pair: Pair, spec: str, hidden: bool, count: int, max_tokens: int) -> tuple[float, float]:
    """Tokens a second of wall time, and of the SLM's time on single tokens."""
    tokens, seconds, decoded, decode_ms = 0, 0.0, 0, 0.0
    for index in range(count):
        rule = router_from_spec(spec)
        rule.needs_hidden = hidden
        run = pair.ask(generate(BENCH_SEED, index).question, router=rule, sampling=Sampling(), max_tokens=max_tokens)
        for _ in run:
            pass
        tokens += len(run.trace.steps)
        seconds += run.trace.wall_ms / 1e3
        own, ms = run.trace.spent(Role.SLM, "decode")
        decoded, decode_ms = decoded + own, decode_ms + ms
    return tokens / seconds, decoded / decode_ms


def decision_ms(n_embd: int) -> float:
    """Milliseconds of one decision, features included."""
    rng = np.random.default_rng(0)
    facts = PolicyMetadata("0" * 64, n_embd, 0.001, INPUTS)
    shapes = ((n_embd,), (n_embd,), (128, facts.width), (128,), (2, 128), (2,))
    policy = Policy(facts, {n: rng.normal(size=s).astype(np.float32) for n, s in zip(TENSORS, shapes, strict=True)})
    hidden = rng.normal(size=n_embd).astype(np.float32)
    seen = Observation(Role.SLM, 20, 0.1, 0.9, hidden, None, 12)
    times = []
    for _ in range(2000):
        started = time.perf_counter()
        policy.score(policy.features(seen))
        times.append((time.perf_counter() - started) * 1e3)
    return statistics.median(times)


if __name__ == "__main__":
    main()
