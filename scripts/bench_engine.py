"""Measure the engine on a real pair: its overhead, and accuracy and latency of several routers.

    python scripts/bench_engine.py PROBLEMS.jsonl --out DIR [--pair qwen2.5-coder] [--limit 20]

Prints Markdown for docs/performance.md. Answers are stored in DIR as with `rstitch bench`, so that the benchmark can be
resumed. Greedy; speeds are compared with a baseline measured in the same process: a plain `llama_decode` loop over the
same tokens. Keep the machine idle while it runs.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import llama_cpp
import numpy as np
import psutil

from rstitch_local import Pair, bench, load_pair
from rstitch_local.decoding.entropy import EntropyMeter
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.sampling import Sampling
from rstitch_local.llama import library
from rstitch_local.llama.context import Context
from rstitch_local.problems.reading import read_problems
from rstitch_local.study.bench_report import metrics_table, time_table, token_cost_table

ROUTERS = ("slm", "llm", "entropy:0.005", "entropy:0.02", "entropy:0.05", "entropy:0.1")
BASELINE_PROBLEMS = 5
BASELINE_TOKENS = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problems", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pair", default="qwen2.5-coder")
    parser.add_argument("--limit", type=int, default=20)
    parser.add_argument("--max-tokens", type=int, default=512)
    parser.add_argument("--skip-floor", action="store_true", help="skip the plain llama_decode loop")
    arguments = parser.parse_args()

    measure_entropy(151_936)
    memory_before = psutil.Process().memory_info().rss
    with load_pair(arguments.pair) as pair:
        print_machine(pair)
        if not arguments.skip_floor:
            compare_with_baseline(pair, arguments.problems)
        result = bench(
            arguments.problems,
            pair,
            ROUTERS,
            sampling=Sampling(),
            prompt="math",
            max_tokens=arguments.max_tokens,
            limit=arguments.limit,
            out=arguments.out,
            progress=True,
        )
        tables = (metrics_table, time_table, token_cost_table)
        print("\n\n".join(table(result.routers) for table in tables) + "\n", flush=True)
        print_memory(pair, memory_before)


def print_machine(pair: Pair) -> None:
    build = library.build()
    cores = psutil.cpu_count(logical=False)
    print(f"Machine: {platform.system()} {platform.machine()}, {cores} cores, {' '.join(build.features)}")
    print(f"llama.cpp: {build.binding}, {build.llama_cpp}, GPU offload: {build.gpu_offload}")
    for role in Role:
        context, weights = pair.contexts[role], pair.weights[role]
        print(
            f"{role.name}: {weights.path.name} ({weights.description}), context {context.n_ctx}, "
            f"{context.threads} threads, batches of {context.n_batch}"
        )
    print(flush=True)


def measure_entropy(n_vocab: int) -> None:
    """Measure one entropy of logits that are distributed like a model's."""
    logits = (np.random.default_rng(0).standard_normal(n_vocab) * 3).astype(np.float32)
    logits[0] = 25
    meter = EntropyMeter(n_vocab)
    times = []
    for _ in range(300):
        started = time.perf_counter()
        meter.measure(logits)
        times.append((time.perf_counter() - started) * 1e3)
    print(f"Entropy, arg-max and top-1 of {n_vocab} logits: {statistics.median(times):.3f} ms (median of 300)\n")


def compare_with_baseline(pair: Pair, path: Path) -> None:
    """Compare the speed of each model alone with a plain loop over the same tokens, in turns."""
    print("| model alone | engine tok/s | plain llama_decode tok/s | ratio (median of pairs) |")
    print("|---|---|---|---|")
    questions = [problem.question for problem in read_problems(path).problems[:BASELINE_PROBLEMS]]
    for role in Role:
        engine, baseline = [], []
        for question in questions:
            run = pair.ask(question, router=role.value, sampling=Sampling(), max_tokens=BASELINE_TOKENS)
            prompt = list(run.trajectory.ids(role))
            started = time.perf_counter()
            count = sum(1 for _ in run)
            engine.append(count / (time.perf_counter() - started))
            tokens = list(run.trajectory.ids(role))[len(prompt) :]
            baseline.append(baseline_speed(pair.contexts[role], prompt, tokens))
        ratios = [e / b for e, b in zip(engine, baseline, strict=True)]
        print(
            f"| {role.name} | {statistics.median(engine):.2f} | {statistics.median(baseline):.2f} "
            f"| {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}) |",
            flush=True,
        )
    print()


def baseline_speed(context: Context, prompt: Sequence[int], tokens: Sequence[int]) -> float:
    """Return tokens per second of llama_decode alone: the prompt in batches, then single tokens."""
    handle, n_batch = context.handle, context.n_batch
    context.truncate(0, 0)
    batches = [prompt[i : i + n_batch] for i in range(0, len(prompt), n_batch)]
    batches += [[token] for token in tokens[:-1]]
    arrays = [((llama_cpp.llama_token * len(ids))(*ids), len(ids)) for ids in batches]
    started = time.perf_counter()
    for array, count in arrays:
        if llama_cpp.llama_decode(handle, llama_cpp.llama_batch_get_one(array, count)):
            raise SystemExit("llama_decode failed")
        llama_cpp.llama_get_logits_ith(handle, -1)
    seconds = time.perf_counter() - started
    # Leave the KV cache empty, as the engine assumes.
    llama_cpp.llama_memory_seq_rm(llama_cpp.llama_get_memory(handle), 0, -1, -1)
    return len(tokens) / seconds


def print_memory(pair: Pair, memory_before: int) -> None:
    """Compare resident memory with the sizes of both weight files and KV caches."""
    resident = psutil.Process().memory_info().rss
    files = sum(weights.path.stat().st_size for weights in pair.weights.values())
    caches = sum(pair.weights[role].summary.kv_bytes_per_token * pair.contexts[role].n_ctx for role in Role)
    print(
        f"Resident memory: {resident / 1e6:.0f} MB; both files {files / 1e6:.0f} MB, "
        f"both KV caches {caches / 1e6:.0f} MB: "
        f"{(resident - files - caches) / 1e6:+.0f} MB relative to their sum "
        f"({memory_before / 1e6:.0f} MB before loading)."
    )


if __name__ == "__main__":
    main()
