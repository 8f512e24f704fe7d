"""Train the learned router of the demo pair, and compare it with fixed rules.

    python scripts/learned_router.py train --out DIR [--seed 0] [--steps 100] [...]
    python scripts/learned_router.py compare --out FILE.json --policy A.safetensors [...] [--count 500]

Problems are generated: seed 11 for training, 12 for validation, 13 for the report. Requires a calibration (`rstitch
calibrate --pair demo --threads 1`) and the extra `train`; the figures of `compare` require the extra `study`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from learned_report import report

from rstitch_local.builtin.word_problems import generate
from rstitch_local.catalog.checksums import sha256_of
from rstitch_local.costs.store import load_calibration
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.router import Router
from rstitch_local.engine.loading import LoadOptions, load_pair
from rstitch_local.engine.pair import Pair
from rstitch_local.learning.reward import AnswerChecker
from rstitch_local.learning.rollouts import Rollout, RolloutSampler
from rstitch_local.problems.reading import Problem
from rstitch_local.routing.learned import LearnedRouter
from rstitch_local.routing.policy import INPUTS, Policy
from rstitch_local.routing.policy_file import read_policy, write_policy

TRAIN_SEED, VALIDATION_SEED, REPORT_SEED = 11, 12, 13
TRAIN_PROBLEMS = 8000
SEQUENCES = 16


def problems(seed: int, count: int) -> list[Problem]:
    """Generate problems as they would be read from a problem file."""
    generated = (generate(seed, index) for index in range(count))
    return [Problem(f"{seed}-{i}", problem.question, str(problem.answer), i + 1) for i, problem in enumerate(generated)]


def demo_pair(sequences: int = SEQUENCES) -> Pair:
    """Load the demo pair with one thread, as it was calibrated."""
    return load_pair("demo", options=LoadOptions(sequences=sequences, threads=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    train_parser = commands.add_parser("train", help="train one policy")
    train_parser.add_argument("--out", type=Path, required=True)
    train_parser.add_argument("--seed", type=int, default=0)
    train_parser.add_argument("--steps", type=int, default=100)
    train_parser.add_argument("--batch", type=int, default=32)
    train_parser.add_argument("--group", type=int, default=8)
    train_parser.add_argument("--price", type=float, help="latency penalty; default: chosen automatically")
    train_parser.add_argument("--tau-ask", type=float, default=0.001)
    train_parser.add_argument("--warm-tau", type=float, default=0.005)
    train_parser.add_argument("--rate", type=float, default=1e-3)
    train_parser.add_argument("--floor", type=float, default=0.35)
    train_parser.add_argument("--inputs", default=",".join(INPUTS))
    train_parser.add_argument("--validation", type=int, default=300)
    train_parser.add_argument("--warm", choices=("rule", "difference"), default="rule")
    train_parser.add_argument("--resume", action="store_true")
    train_parser.set_defaults(run=train)
    compare_parser = commands.add_parser("compare", help="compare policies with fixed rules")
    compare_parser.add_argument("--out", type=Path, required=True)
    compare_parser.add_argument("--policy", type=Path, action="append", default=[])
    compare_parser.add_argument(
        "--shift", type=float, action="append", help="add this to the score of each policy; may be repeated"
    )
    compare_parser.add_argument("--router", action="append", help="fixed rule; may be repeated; default: a grid")
    compare_parser.add_argument("--count", type=int, default=500)
    compare_parser.add_argument("--seed", type=int, default=REPORT_SEED)
    compare_parser.set_defaults(run=compare)
    arguments = parser.parse_args()
    arguments.run(arguments)


def train(arguments: argparse.Namespace) -> None:
    """Train one policy; print one line per step on stderr."""
    from rstitch_local.learning.settings import TrainSettings
    from rstitch_local.learning.training import Training

    settings = TrainSettings(
        steps=arguments.steps,
        batch=arguments.batch,
        group=arguments.group,
        latency_penalty=arguments.price,
        tau_ask=arguments.tau_ask,
        warm_tau=arguments.warm_tau,
        inputs=tuple(arguments.inputs.split(",")),
        learning_rate=arguments.rate,
        std_floor=arguments.floor,
        warm_start=arguments.warm,
        seed=arguments.seed,
    )
    started = time.monotonic()

    def report_step(record: Mapping[str, Any]) -> None:
        rounded = {k: round(v, 5) if isinstance(v, float) else v for k, v in record.items()}
        if "validation" in rounded:
            rounded["validation"] = {k: round(v, 4) for k, v in record["validation"].items()}
        print(f"{time.monotonic() - started:6.0f} s", json.dumps(rounded), file=sys.stderr, flush=True)

    with demo_pair() as pair:
        sampler = RolloutSampler(pair, load_calibration(pair).latency, AnswerChecker(), max_tokens=400)
        slm = pair.weights[Role.SLM]
        training = Training(
            sampler,
            problems(TRAIN_SEED, TRAIN_PROBLEMS),
            problems(VALIDATION_SEED, arguments.validation),
            settings,
            sha256_of(slm.path),
            slm.n_embd,
            arguments.out,
        )
        write_policy(arguments.out / "router.safetensors", training.run(report_step, resume=arguments.resume))


TAUS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.007, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1)
FIXED = (
    "slm",
    *(f"entropy:{tau:g}" for tau in TAUS),
    *(f"window:{k}:{tau:g}" for k in (2, 4) for tau in (0.002, 0.005, 0.01, 0.02, 0.03)),
)
Rows = dict[str, list[Rollout]]


def shifted(policy: Policy, shift: float) -> Policy:
    """Return the policy with `shift` added to its score: the higher, the more often it calls the LLM."""
    bias = policy.tensors["outer_bias"] + np.array([0, shift], np.float32)
    return Policy(policy.metadata, {**policy.tensors, "outer_bias": bias})


def router_factory(source: Policy | str) -> Callable[[int], Router | str]:
    """Return a function that returns the router of one answer, given its seed."""
    return lambda _: source if isinstance(source, str) else LearnedRouter(source)


def compare(arguments: argparse.Namespace) -> None:
    """Run all routers on one problem before the next, so that a drift of the machine affects all equally."""
    routers = {spec: router_factory(spec) for spec in arguments.router or FIXED}
    for path in arguments.policy:
        policy = read_policy(path)
        for shift in arguments.shift or [0.0]:
            name = f"{path.parent.name}/{path.stem}" + (f"{shift:+g}" if shift else "")
            if name in routers:
                raise SystemExit(f"{name} is given twice. Policies must differ in folder or file name.")
            routers[name] = router_factory(shifted(policy, shift))
    rows: Rows = {name: [] for name in routers}
    asked = problems(arguments.seed, arguments.count)
    with demo_pair(1) as pair:
        sampler = RolloutSampler(pair, load_calibration(pair).latency, AnswerChecker(), max_tokens=400)
        for index, problem in enumerate(asked):
            names = list(routers)
            start = index % len(names)
            for name in names[start:] + names[:start]:
                rows[name] += sampler.sample([problem], routers[name])
    record = {
        name: {
            "right": [r.correct for r in rollouts],
            "latency_ms": [r.latency_ms for r in rollouts],
            "wall_ms": [r.wall_ms for r in rollouts],
            "tokens": [r.tokens for r in rollouts],
            "llm_tokens": [r.llm_tokens for r in rollouts],
            "visits": [r.visits for r in rollouts],
            "learned": name not in (arguments.router or FIXED),
        }
        for name, rollouts in rows.items()
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(record), encoding="utf-8")
    report(record, arguments.out)


if __name__ == "__main__":
    main()
