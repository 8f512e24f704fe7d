"""Trains the learned router of the demo pair and holds it against the best fixed rules.

    python scripts/learned_router.py train --out DIR [--seed 0] [--steps 100] [...]
    python scripts/learned_router.py differences [--count 2500]
    python scripts/learned_router.py compare --out FILE.json --policy A.safetensors [...] [--count 500]

Problems are generated: seed 11 for training, 12 for validation, 13 for the report. Needs `rstitch calibrate
--pair demo --threads 1` once before, and the extra `train`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from rstitch_local.builtin.word_problems import generate
from rstitch_local.catalog.checksums import sha256_of
from rstitch_local.decoding.learned import LearnedRouter
from rstitch_local.decoding.policy import INPUTS, Policy, PolicyFacts, read_policy, write_policy
from rstitch_local.decoding.routers import Observation, Role, Router
from rstitch_local.engine.calibration_store import load_calibration
from rstitch_local.engine.loading import LoadOptions, load_pair
from rstitch_local.engine.pair import Pair
from rstitch_local.learning.reward import Judge
from rstitch_local.learning.rollouts import ComparingRouter, Decision, Rollout, Workshop
from rstitch_local.problems.metrics import wilson
from rstitch_local.problems.reading import Problem
from rstitch_local.problems.solve import seed_of
from rstitch_local.study.statistics import difference_interval, mcnemar, ratio_interval, total_ratio

TRAIN_SEED, VALIDATION_SEED, REPORT_SEED = 11, 12, 13
TRAIN_PROBLEMS = 8000
SEQUENCES = 16


def problems(seed: int, count: int) -> list[Problem]:
    """Generated problems as a problem file would give them."""
    made = (generate(seed, index) for index in range(count))
    return [Problem(f"{seed}-{i}", problem.question, str(problem.answer), i + 1) for i, problem in enumerate(made)]


def demo_pair(sequences: int = SEQUENCES) -> Pair:
    """The demo pair on one thread, as it was calibrated."""
    return load_pair("demo", options=LoadOptions(sequences=sequences, threads=1))


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True)
    train_parser = parts.add_parser("train")
    train_parser.add_argument("--out", type=Path, required=True)
    train_parser.add_argument("--seed", type=int, default=0)
    train_parser.add_argument("--steps", type=int, default=100)
    train_parser.add_argument("--batch", type=int, default=32)
    train_parser.add_argument("--group", type=int, default=8)
    train_parser.add_argument("--price", type=float, help="lambda; chosen automatically if left out")
    train_parser.add_argument("--tau-ask", type=float, default=0.001)
    train_parser.add_argument("--warm-tau", type=float, default=0.005)
    train_parser.add_argument("--rate", type=float, default=1e-3)
    train_parser.add_argument("--floor", type=float, default=0.35)
    train_parser.add_argument("--inputs", default=",".join(INPUTS))
    train_parser.add_argument("--validation", type=int, default=300)
    train_parser.add_argument("--warm", choices=("rule", "difference"), default="rule")
    train_parser.add_argument("--resume", action="store_true")
    train_parser.set_defaults(run=train)
    differences_parser = parts.add_parser("differences")
    differences_parser.add_argument("--count", type=int, default=2500)
    differences_parser.set_defaults(run=differences)
    compare_parser = parts.add_parser("compare")
    compare_parser.add_argument("--out", type=Path, required=True)
    compare_parser.add_argument("--policy", type=Path, action="append", default=[])
    compare_parser.add_argument("--shift", type=float, action="append", help="also each policy with its score moved")
    compare_parser.add_argument("--router", action="append", help="fixed rules; a grid of both kinds if left out")
    compare_parser.add_argument("--count", type=int, default=500)
    compare_parser.add_argument("--seed", type=int, default=REPORT_SEED)
    compare_parser.set_defaults(run=compare)
    arguments = parser.parse_args()
    arguments.run(arguments)


def train(arguments: argparse.Namespace) -> None:
    """Train one policy; a line a step on stderr."""
    from rstitch_local.learning.training import Training, TrainSettings

    settings = TrainSettings(
        steps=arguments.steps,
        batch=arguments.batch,
        group=arguments.group,
        price=arguments.price,
        tau_ask=arguments.tau_ask,
        warm_tau=arguments.warm_tau,
        inputs=tuple(arguments.inputs.split(",")),
        rate=arguments.rate,
        floor=arguments.floor,
        warm=arguments.warm,
        seed=arguments.seed,
    )
    started = time.monotonic()

    def watch(record: Mapping[str, Any]) -> None:
        shown = {k: round(v, 5) if isinstance(v, float) else v for k, v in record.items()}
        if "validation" in shown:
            shown["validation"] = {k: round(v, 4) for k, v in record["validation"].items()}
        print(f"{time.monotonic() - started:6.0f} s", json.dumps(shown), file=sys.stderr, flush=True)

    with demo_pair() as pair:
        workshop = Workshop(pair, load_calibration(pair).latency, Judge(), max_tokens=400)
        slm = pair.weights[Role.SLM]
        training = Training(
            workshop,
            problems(TRAIN_SEED, TRAIN_PROBLEMS),
            problems(VALIDATION_SEED, arguments.validation),
            settings,
            sha256_of(slm.path),
            slm.n_embd,
            arguments.out,
        )
        write_policy(arguments.out / "router.safetensors", training.run(watch, resume=arguments.resume))


def differences(arguments: argparse.Namespace) -> None:
    """How well the tokens the LLM would change can be told beforehand: by entropy, and by networks that may see more.

    Four fifths of the training problems teach, the rest is looked at. Answers that the LLM turned into its own, long
    manner are left out: all their tokens differ.
    """
    from rstitch_local.learning.dapo import Network
    from rstitch_local.learning.imitation import tell_apart

    with demo_pair() as pair:
        slm = pair.weights[Role.SLM]
        facts = PolicyFacts(sha256_of(slm.path), slm.n_embd, 0.001)
        blank = Network(facts, 8, 0).policy()
        workshop = Workshop(pair, load_calibration(pair).latency, Judge(), max_tokens=400)
        asked = problems(TRAIN_SEED, arguments.count)
        written = workshop.write(asked, lambda _: ComparingRouter(blank))
        short = [r for r in written if not any(d.position == 0 and d.switch for d in r.decisions)]
        border = len(short) * 4 // 5
        changed = {r.problem: {d.position for d in r.decisions if d.switch} for r in short[border:]}
        looked_at = [problem for problem in asked if problem.id in changed]
        knowing = {seed_of(0, problem.id, 0): KnowingRouter(blank, changed[problem.id]) for problem in looked_at}
        bounds = {"one that knows": workshop.write(looked_at, lambda seed: knowing[seed])}
        for spec in ("entropy:0.005", "entropy:0.02", "slm"):
            bounds[spec] = workshop.write(looked_at, _made_of(spec))
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
        tell_apart(network, [d._replace(features=d.features[places]) for d in learned_from], 0.5)
        policy = network.policy()
        _found(" + ".join(inputs), [policy.score(d.features[places]) for d in seen], seen, count, shares)
    print("\n| router, on the answers looked at | right | visits | modelled ms |\n|---|---|---|---|")
    for name, own in bounds.items():
        print(
            f"| {name} | {fmean(r.right for r in own):.1%} | {fmean(r.visits for r in own):.2f} "
            f"| {fmean(r.latency_ms for r in own):.2f} |"
        )


class KnowingRouter(LearnedRouter):
    """Asks at the positions it was told of, where the LLM changed the token when it was asked everywhere: a bound."""

    def __init__(self, policy: Policy, positions: Collection[int]) -> None:
        super().__init__(policy)
        self._positions = positions

    def asks(self, observation: Observation) -> bool:
        """Where it was told to."""
        return observation.position in self._positions


def _found(name: str, scores: Sequence[float], seen: Sequence[Decision], count: int, shares: Sequence[float]) -> None:
    """A row: the fewest visits an answer that hold each share of the changed tokens, the highest scores first."""
    changed = np.array([d.switch for d in seen])[np.argsort(-np.array(scores), kind="stable")]
    held = np.cumsum(changed) / changed.sum()
    print(
        f"| {name} | " + " | ".join(f"{(np.searchsorted(held, s) + 1) / count:.2f}" for s in shares) + " |", flush=True
    )


TAUS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.007, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1)
FIXED = (
    "slm",
    *(f"entropy:{tau:g}" for tau in TAUS),
    *(f"window:{k}:{tau:g}" for k in (2, 4) for tau in (0.002, 0.005, 0.01, 0.02, 0.03)),
)
Rows = dict[str, list[Rollout]]


def shifted(policy: Policy, shift: float) -> Policy:
    """The same policy, more (or less) inclined to ask the LLM."""
    bias = policy.tensors["outer_bias"] + np.array([0, shift], np.float32)
    return Policy(policy.facts, {**policy.tensors, "outer_bias": bias})


def _made_of(source: Policy | str) -> Callable[[int], Router | str]:
    return lambda _: source if isinstance(source, str) else LearnedRouter(source)


def compare(arguments: argparse.Namespace) -> None:
    """Every problem by every router in turn, one answer at a time, so that a drift of the machine hits all alike."""
    routers = {spec: _made_of(spec) for spec in arguments.router or FIXED}
    for path in arguments.policy:
        policy = read_policy(path)
        for shift in arguments.shift or [0.0]:
            name = f"{path.parent.name}/{path.stem}" + (f"{shift:+g}" if shift else "")
            routers[name] = _made_of(shifted(policy, shift))
    rows: Rows = {name: [] for name in routers}
    asked = problems(arguments.seed, arguments.count)
    with demo_pair(1) as pair:
        workshop = Workshop(pair, load_calibration(pair).latency, Judge(), max_tokens=400)
        for place, problem in enumerate(asked):
            names = list(routers)
            for name in names[place % len(names) :] + names[: place % len(names)]:
                rows[name] += workshop.write([problem], routers[name])
    record = {
        name: {
            "right": [r.right for r in own],
            "latency_ms": [r.latency_ms for r in own],
            "wall_ms": [r.wall_ms for r in own],
            "tokens": [r.tokens for r in own],
            "llm_tokens": [r.llm_tokens for r in own],
            "visits": [r.visits for r in own],
            "learned": name not in (arguments.router or FIXED),
        }
        for name, own in rows.items()
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(record), encoding="utf-8")
    report(record)


def report(record: Mapping[str, Mapping[str, Any]]) -> None:
    """Print a table of all routers, and for each learned one what the fixed rules do at its accuracy and latency."""
    print("| router | right, % | 95 % interval | LLM tokens, % | visits | modelled ms | measured ms |")
    print("|---|---|---|---|---|---|---|")
    for name, own in record.items():
        low, high = wilson(fmean(own["right"]), len(own["right"]))
        share = sum(own["llm_tokens"]) / sum(own["tokens"])
        print(
            f"| {name} | {fmean(own['right']):.1%} | {low:.1%} to {high:.1%} | {share:.1%} "
            f"| {fmean(own['visits']):.2f} | {fmean(own['latency_ms']):.2f} | {fmean(own['wall_ms']):.2f} |"
        )
    for name, own in record.items():
        if not own["learned"]:
            continue
        print(f"\n{name}:")
        for kind in ("entropy", "window"):
            fixed = {spec: other for spec, other in record.items() if spec.startswith(kind)}
            if fixed:
                _against(own, fixed)


def _against(own: Mapping[str, Any], fixed: Mapping[str, Mapping[str, Any]]) -> None:
    """The fixed rule to hold a learned one against, chosen in hindsight on these very problems, which favours it."""

    def accuracy(spec: str) -> float:
        return fmean(fixed[spec]["right"])

    def cost(spec: str) -> float:
        return fmean(fixed[spec]["latency_ms"])

    as_right = [spec for spec in fixed if accuracy(spec) >= fmean(own["right"])]
    as_fast = [spec for spec in fixed if cost(spec) <= fmean(own["latency_ms"])]
    # Where no tau is as accurate, the most accurate one; where none is as fast, the fastest.
    chosen = {
        "at its accuracy": min(as_right, key=cost) if as_right else max(fixed, key=accuracy),
        "at its latency": max(as_fast, key=accuracy) if as_fast else min(fixed, key=cost),
    }
    for when, spec in chosen.items():
        other = fixed[spec]
        ours, theirs = [float(x) for x in own["right"]], [float(x) for x in other["right"]]
        better = sum(a > b for a, b in zip(ours, theirs, strict=True))
        worse = sum(a < b for a, b in zip(ours, theirs, strict=True))
        interval = difference_interval(ours, theirs, *(wilson(fmean(x), len(x)) for x in (ours, theirs)))
        assert interval is not None
        parts = [
            f"{when} {spec}: accuracy {fmean(ours) - fmean(theirs):+.1%} ({interval[0]:+.1%} to {interval[1]:+.1%}; "
            f"+{better} -{worse}, p {mcnemar(better, worse):.2f})"
        ]
        for word, key in (("modelled", "latency_ms"), ("measured", "wall_ms")):
            ratio, span = total_ratio(own[key], other[key]), ratio_interval(own[key], other[key])
            assert ratio is not None
            assert span is not None
            parts.append(f"{word} latency {ratio - 1:+.1%} ({span[0] - 1:+.1%} to {span[1] - 1:+.1%})")
        print("- " + ", ".join(parts))


if __name__ == "__main__":
    main()
