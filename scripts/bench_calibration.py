"""Measure the accuracy of the cost model: calibrate a pair, solve problems, compare predicted and measured times.

    python scripts/bench_calibration.py PROBLEMS.jsonl [--pair qwen2.5-coder] [--limit 20] [--router SPEC ...]
    python scripts/bench_calibration.py --answers BENCH_DIR [--pair qwen2.5-coder]

Prints Markdown for docs/performance.md: the error of the predicted wall time of whole answers, from their steps and
from their totals alone, and the error of both models on points that were not used for fitting. Nothing is stored.
Problems are solved greedily, all routers on one problem before the next. Keep the machine idle while it runs. With
`--answers` nothing is generated: the pair's stored calibration (`rstitch calibrate`) is compared with the answers of a
bench (`rstitch bench`).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rstitch_local import Pair, load_pair
from rstitch_local.costs.calibration import SECONDS, measure
from rstitch_local.costs.latency import PairLatency
from rstitch_local.costs.speedup import describe
from rstitch_local.costs.store import load_calibration
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.sampling import Sampling
from rstitch_local.problems.prompts import prompt_of
from rstitch_local.problems.reading import Problem, read_problems
from rstitch_local.problems.traces import RunTraces
from rstitch_local.trace.record import Trace


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problems", type=Path, nargs="?")
    parser.add_argument("--answers", type=Path, metavar="BENCH_DIR", help="folder of a bench")
    parser.add_argument("--pair", default="qwen2.5-coder")
    parser.add_argument("--limit", type=int, default=20)
    parser.add_argument("--router", action="append", help="may be repeated; default: the pair's router")
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="time limit of the calibration")
    arguments = parser.parse_args()

    if arguments.answers:
        with load_pair(arguments.pair) as pair:
            latency = load_calibration(pair).latency
        print_models(latency)
        folders = map(RunTraces, sorted(path.parent for path in arguments.answers.glob("*/answers.jsonl")))
        print_answers(latency, {traces.path.parent.name: [answer.trace for answer in traces] for traces in folders})
        return
    if arguments.problems is None:
        parser.error("a problem file or --answers is required")
    problems = read_problems(arguments.problems).problems[: arguments.limit]
    with load_pair(arguments.pair) as pair:
        started = time.monotonic()
        latency = measure(pair, seconds=arguments.seconds)
        print(f"Calibrated {pair.name} in {time.monotonic() - started:.1f} s.\n")
        print_models(latency)
        routers = arguments.router or [pair.defaults.router]
        answers = solve(pair, problems, routers, arguments.max_tokens)
    print_answers(latency, answers)
    print("\n" + "\n".join(describe(latency)))


HEADER = (
    "median error", "largest error", "within 10 %", "sum predicted / measured", "median error from totals",
    "outside llama_decode, predicted / measured",
)  # fmt: skip


def print_models(latency: PairLatency) -> None:
    """Print the errors of formula and table on points that were not used for fitting."""
    print("| model | formula: mean error on held-out points | table | used | largest cache measured |")
    print("|---|---|---|---|---|")
    for role in Role:
        model = latency.of(role)
        depth = model.table.depths[-1] if model.table is not None else 0
        used = "table" if model.uses_table else "formula"
        print(f"| {role.name} | {model.formula_error or 0:.1%} | {model.table_error or 0:.1%} | {used} | {depth} |")
    print(flush=True)


def solve(pair: Pair, problems: Sequence[Problem], routers: Sequence[str], max_tokens: int) -> dict[str, list[Trace]]:
    prompt = prompt_of(pair.defaults.prompt, pair.defaults.prompt_suffix)
    answers: dict[str, list[Trace]] = {router: [] for router in routers}
    for problem in problems:
        for router in routers:
            messages = prompt.messages(problem.question)
            answers[router].append(pair.generate(messages, router=router, sampling=Sampling(), max_tokens=max_tokens))
    return answers


def print_answers(latency: PairLatency, answers: Mapping[str, Sequence[Trace]]) -> None:
    print("| router | answers | " + " | ".join(HEADER) + " |")
    print("|---" * (len(HEADER) + 2) + "|")
    for router, traces in answers.items():
        print(f"| {router} | {len(traces)} | {' | '.join(row(latency, traces))} |")


def row(latency: PairLatency, traces: Sequence[Trace]) -> list[str]:
    """Return the cells of one router, in the order of `HEADER`."""
    predicted = [latency.predict_ms(trace) for trace in traces]
    measured = [trace.wall_ms for trace in traces]
    errors = [abs(p / m - 1) for p, m in zip(predicted, measured, strict=True)]
    errors_from_totals = [abs(latency.predict_ms(trace.totals()) / trace.wall_ms - 1) for trace in traces]
    inside = latency.model_copy(
        update={role.value: latency.of(role).model_copy(update={"outside_ms": 0.0}) for role in Role}
    )
    predicted_outside = sum(predicted) - sum(inside.predict_ms(trace) for trace in traces)
    measured_outside = sum(trace.wall_ms - trace.model_ms for trace in traces)
    return [
        f"{statistics.median(errors):.1%}",
        f"{max(errors):.1%}",
        f"{sum(error <= 0.1 for error in errors)} of {len(errors)}",
        f"{sum(predicted) / sum(measured):.3f}",
        f"{statistics.median(errors_from_totals):.1%}",
        f"{predicted_outside / measured_outside:.2f}",
    ]


if __name__ == "__main__":
    main()
