"""Measures the demo pair: accuracy, tokens and time of each model alone and of stitching.

    python scripts/bench_demo.py --out DIR [--problems 300] [--rules]

The problems are generated with a seed that training never uses. Prints Markdown for docs/performance.md; speeds
are ratios against the LLM alone in the same run. Without `--rules` the method is measured at ten values of tau, with it
every routing rule at four settings. Keep the machine idle while it runs.
"""

from __future__ import annotations

import argparse
import json
import platform
from contextlib import nullcontext
from pathlib import Path

import psutil
from rich.console import Console

from rstitch_local import load_pair
from rstitch_local.builtin.word_problems import generate
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.sampling import Sampling
from rstitch_local.llama import library
from rstitch_local.problems.prompts import prompt_of
from rstitch_local.problems.runner import Job
from rstitch_local.problems.tasks import Settings
from rstitch_local.study.bench import compare_routers, run_bench
from rstitch_local.study.bench_progress import ConsoleBenchProgress
from rstitch_local.study.bench_report import metrics_table, time_table, token_cost_table

# A seed of its own: nothing was trained, chosen or tuned on these problems.
BENCH_SEED = 5
TAUS = [f"entropy:{tau}" for tau in (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)]
RULES = [
    form.format(setting)
    for form, settings in (
        ("entropy:{}", (0.002, 0.005, 0.01, 0.02)),
        ("window:8:{}", (0.002, 0.005, 0.01, 0.02)),
        ("momentum:0.5:{}", (0.002, 0.005, 0.01, 0.02)),
        ("hysteresis:{}", ("0.005:0.001", "0.01:0.002", "0.02:0.005", "0.05:0.01")),
        ("stay:4:{}", (0.005, 0.01, 0.02, 0.05)),
        ("one:{}", (0.002, 0.005, 0.01, 0.02)),
        ("margin:{}", (0.95, 0.9, 0.8, 0.6)),
        ("confidence:{}", (0.98, 0.95, 0.9, 0.8)),
        ("random:{}", (0.05, 0.1, 0.15, 0.3)),
    )
    for setting in settings
]


def main() -> None:
    """Write the problems, solve them with each router, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--problems", type=int, default=300)
    parser.add_argument("--rules", action="store_true", help="every routing rule instead of ten values of tau")
    arguments = parser.parse_args()

    arguments.out.mkdir(parents=True, exist_ok=True)
    file = arguments.out / "problems.jsonl"
    rows = []
    for index in range(arguments.problems):
        problem = generate(BENCH_SEED, index)
        rows.append({"id": str(index), "question": problem.question, "answer": str(problem.answer)})
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    routers = ["slm", "llm", "spec:4", *(RULES if arguments.rules else TAUS)]
    with load_pair("demo") as pair:
        job = Job(
            source=file,
            out=arguments.out,
            settings=Settings("llm", Sampling(), prompt_of("plain")),
            model_settings={role.value: pair.weights[role].path.name for role in Role},
            pair_name=pair.name,
        )
        progress = ConsoleBenchProgress(Console(stderr=True))
        results = compare_routers(run_bench(job, routers, lambda: nullcontext(pair), progress))
    build = library.build()
    print(f"Machine: {platform.system()} {platform.machine()}, {psutil.cpu_count(logical=False)} cores")
    print(f"{build.binding}, {' '.join(build.features)}; greedy, {arguments.problems} problems, seed {BENCH_SEED!r}\n")
    print("\n\n".join(make(results) for make in (metrics_table, time_table, token_cost_table)))


if __name__ == "__main__":
    main()
