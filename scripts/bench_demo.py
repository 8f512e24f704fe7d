"""Measure the demo pair: accuracy, tokens and time of each model alone and of both together.

    python scripts/bench_demo.py --out DIR [--problems 300] [--rules]

The problems are generated with a seed that was not used for training. Prints Markdown for docs/performance.md; speeds
are ratios to the LLM alone in the same run. Measures the entropy router at ten values of tau, or, with `--rules`, every
routing rule at four settings. Keep the machine idle while it runs.
"""

from __future__ import annotations

import argparse
import platform
from pathlib import Path

import psutil
from make_problems import word_problems

from rstitch_local import Sampling, bench
from rstitch_local.llama import library
from rstitch_local.study.bench_report import metrics_table, time_table, token_cost_table

# Nothing was trained, selected or tuned on problems of this seed.
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--problems", type=int, default=300)
    parser.add_argument("--rules", action="store_true", help="every routing rule instead of ten values of tau")
    arguments = parser.parse_args()

    routers = ["slm", "llm", "spec:4", *(RULES if arguments.rules else TAUS)]
    problems = word_problems(BENCH_SEED, arguments.problems)
    result = bench(problems, "demo", routers, sampling=Sampling(), prompt="plain", out=arguments.out, progress=True)
    build = library.build()
    print(f"Machine: {platform.system()} {platform.machine()}, {psutil.cpu_count(logical=False)} cores")
    print(f"{build.binding}, {' '.join(build.features)}; greedy, {arguments.problems} problems, seed {BENCH_SEED}\n")
    print("\n\n".join(table(result.routers) for table in (metrics_table, time_table, token_cost_table)))


if __name__ == "__main__":
    main()
