"""Estimate the latency of the answers of a bench on a consumer GPU, from published speeds.

    python scripts/computed_gpu.py BENCH_DIR

BENCH_DIR is a folder of `rstitch bench`. Nothing is measured: the evaluations of each answer (new tokens, cached
tokens, model) follow from its trace, and their latency from the paper's formula, for a pair of 1.5B and 7B (Qwen2.5,
Q4_K_M) with all layers on one card. That larger pair would generate other answers and swap at other positions; the
table shows the cost of the same swaps on hardware with a fast prefill.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np

from rstitch_local.costs.fitting import Formula
from rstitch_local.costs.latency import ModelLatency, PairLatency
from rstitch_local.problems.traces import RunTraces
from rstitch_local.study.statistics import ratio_interval, total_ratio


@dataclass(frozen=True)
class Model:
    """The properties of a model that determine its latency.

    Attributes:
        gib: size of the weights.
        billions: number of parameters.
        kv_bytes: bytes of one token in an f16 KV cache.
        heads_width: layers times the width of all query heads; the cost of attention is proportional to it.
    """

    gib: float
    billions: float
    kv_bytes: int
    heads_width: int


# From the headers of the files. The published speeds are of the 8B, Llama 3.
SMALL = Model(1.04, 1.54, 28 * 2 * 2 * 128 * 2, 28 * 1536)
LARGE = Model(4.36, 7.62, 28 * 2 * 4 * 128 * 2, 28 * 3584)
LLAMA_8B = Model(4.58, 8.03, 32 * 2 * 8 * 128 * 2, 32 * 4096)

CARD = "NVIDIA GeForce RTX 4070 Ti, 12 GB"
# Generated tokens per second, by the size of the weights in GiB (Q4_K_M): Llama 3.2 3B and DeepSeek R1 14B from
# github.com/geerlingguy/ai-benchmarks (README, issue 45); Llama 3 8B, over the first 512 tokens, from
# github.com/XiongjieDai/GPU-Benchmarks-on-LLM-Inference (README, llama-bench).
DECODE = {1.87: 196.15, LLAMA_8B.gib: 83.50, 8.37: 49.74}
# Same source, Llama 3 8B: generation of 8,192 tokens; prompts of 512 and of 8,192 tokens in batches of 512.
DECODE_8192, PREFILL_512, PREFILL_8192 = 73.46, 3936.29, 2019.71
BATCH = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path, metavar="BENCH_DIR")
    folder = parser.parse_args().bench
    pair = PairLatency(slm=latency_of(SMALL), llm=latency_of(LARGE))
    print(f"Estimates for {CARD}:\n\n| | SLM, 1.5B | LLM, 7B |\n|---|---|---|")
    for name, n_inf in (("one token", 1), ("catch-up of 8 tokens", 8), ("catch-up of 32", 32), ("prompt of 128", 128)):
        print(f"| {name}, 256 cached | {pair.slm.ms(n_inf, 256):.1f} ms | {pair.llm.ms(n_inf, 256):.1f} ms |")
    estimated, measured = {}, {}
    for traces in map(RunTraces, sorted(path.parent for path in folder.glob("*/answers.jsonl"))):
        answers = {answer.id: answer.trace for answer in traces}
        estimated[traces.path.parent.name] = {id_: pair.predict_ms(trace) for id_, trace in answers.items()}
        measured[traces.path.parent.name] = {id_: trace.wall_ms for id_, trace in answers.items()}
    ids = sorted(set.intersection(*map(set, estimated.values()))) if "llm" in estimated else []
    if not ids:
        raise SystemExit(f"{folder} contains no problem with the traces of all routers, one of which must be llm.")
    print(f"\n{len(ids)} problems answered by every router:\n")
    print("| router | estimated seconds per problem | estimated speed-up over the LLM | measured on this machine |")
    print("|---|---|---|---|")
    for name, latencies in estimated.items():
        seconds = fmean(latencies[id_] for id_ in ids) / 1e3
        speed_ups = [speed_up(kind["llm"], kind[name], ids) for kind in (estimated, measured)]
        print(f"| {name} | {seconds:.2f} | {' | '.join(speed_ups)} |")


def latency_of(model: Model) -> ModelLatency:
    """Return the paper's latency formula with coefficients from the published speeds.

    The decode time of a token is linear in the size of the weights, fitted to three models. The prefill time per token
    is proportional to the number of parameters. The time per cached token is scaled from the 8B: by the KV bytes per
    token for decoding, by the width of the query heads for batches. A small batch costs the time of a single token plus
    the computation of its tokens.
    """
    sizes, speeds = np.array(list(DECODE)), np.array(list(DECODE.values()))
    slope, constant = np.polyfit(sizes, 1e3 / speeds, 1)
    decode_ms = constant + slope * model.gib
    # Averages over caches of 0 to 512 and 0 to 8,192 tokens.
    per_cached = (1e3 / DECODE_8192 - 1e3 / DECODE[LLAMA_8B.gib]) / (8192 / 2 - 512 / 2)
    token_ms = 1e3 / PREFILL_512 * model.billions / LLAMA_8B.billions
    token_per_cached = (1e3 / PREFILL_8192 - 1e3 / PREFILL_512) / (8192 / 2 - 512 / 2)
    formula = Formula(
        prefill=(token_per_cached * model.heads_width / LLAMA_8B.heads_width, 0.0, token_ms, decode_ms),
        decode=(per_cached * model.kv_bytes / LLAMA_8B.kv_bytes, decode_ms),
    )
    return ModelLatency(n_batch=BATCH, formula=formula)


def speed_up(baseline: dict[str, float], latencies: dict[str, float], ids: list[str]) -> str:
    """Return the speed-up over all problems with its 95 % confidence interval."""
    before, after = [baseline[id_] for id_ in ids], [latencies[id_] for id_ in ids]
    ratio, interval = total_ratio(before, after), ratio_interval(before, after)
    if ratio is None or interval is None:
        return ""
    return f"{ratio:.2f}x ({interval[0]:.2f} to {interval[1]:.2f})"


if __name__ == "__main__":
    main()
