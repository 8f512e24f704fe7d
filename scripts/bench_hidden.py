"""Measure the cost of hidden states: the same answers with and without them, in turns, on one pair.

    python scripts/bench_hidden.py [--pair demo] [--rounds 20] [--max-tokens 400]

Two cases: the SLM alone, where every evaluation is a single token, and the pair's router, where the SLM also evaluates
catch-up tokens. Prints Markdown with ratios of adjacent rounds. Also measures one decision of a policy.
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", default="demo")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--problems", type=int, default=20)
    parser.add_argument("--max-tokens", type=int, default=400)
    arguments = parser.parse_args()
    with load_pair(arguments.pair, options=LoadOptions(threads=1)) as pair:
        print("| router | tok/s with / without hidden states, median of rounds | same, SLM decoding only |")
        print("|---|---|---|")
        for spec in ("slm", pair.defaults.router):
            wall_ratios, decode_ratios = [], []
            for round_ in range(arguments.rounds + 1):
                # The order alternates, and the first round is a warm-up.
                speeds = {
                    hidden: speed(pair, spec, hidden, arguments.problems, arguments.max_tokens)
                    for hidden in (round_ % 2 == 0, round_ % 2 == 1)
                }
                if round_:
                    wall_ratios.append(speeds[True][0] / speeds[False][0])
                    decode_ratios.append(speeds[True][1] / speeds[False][1])
            print(f"| {spec} | {median_and_range(wall_ratios)} | {median_and_range(decode_ratios)} |", flush=True)
        n_embd = pair.weights[Role.SLM].n_embd
    print(f"\nPolicy with 128 hidden units and {n_embd} hidden-state inputs: {decision_ms(n_embd):.4f} ms per decision")


def median_and_range(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"


def speed(pair: Pair, spec: str, hidden: bool, count: int, max_tokens: int) -> tuple[float, float]:
    """Return tokens per second of wall time, and per millisecond of the SLM's decoding."""
    tokens, seconds, decode_tokens, decode_ms = 0, 0.0, 0, 0.0
    for index in range(count):
        router = router_from_spec(spec)
        router.needs_hidden = hidden
        question = generate(BENCH_SEED, index).question
        trace = pair.generate(question, router=router, sampling=Sampling(), max_tokens=max_tokens)
        tokens += len(trace.steps)
        seconds += trace.wall_ms / 1e3
        count, ms = trace.spent(Role.SLM, "decode")
        decode_tokens, decode_ms = decode_tokens + count, decode_ms + ms
    return tokens / seconds, decode_tokens / decode_ms


def decision_ms(n_embd: int) -> float:
    """Return the milliseconds of one decision, including the computation of the features."""
    rng = np.random.default_rng(0)
    metadata = PolicyMetadata("0" * 64, n_embd, 0.001, INPUTS)
    shapes = ((n_embd,), (n_embd,), (128, metadata.width), (128,), (2, 128), (2,))
    tensors = {name: rng.normal(size=shape).astype(np.float32) for name, shape in zip(TENSORS, shapes, strict=True)}
    policy = Policy(metadata, tensors)
    hidden = rng.normal(size=n_embd).astype(np.float32)
    observation = Observation(Role.SLM, 20, 0.1, 0.9, hidden, None, 12)
    times = []
    for _ in range(2000):
        started = time.perf_counter()
        policy.score(policy.features(observation))
        times.append((time.perf_counter() - started) * 1e3)
    return statistics.median(times)


if __name__ == "__main__":
    main()
