"""Computes what the answers of a bench would have cost on a consumer GPU, from speeds that others have published.

    python scripts/computed_gpu.py BENCH_DIR

BENCH_DIR is a folder of `rstitch bench`. Nothing is measured here: the evaluations each answer was made of (tokens fed
in, tokens cached, on which model) follow from its trace, and are priced by the paper's latency formula for a pair of
1.5B and 7B (Qwen2.5, Q4_K_M) wholly on one card. That larger pair would write other answers and swap elsewhere; the
table says what the same swaps cost where catching up is cheap.
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
    """A model by what its costs follow from.

    gib: size of the weights; billions: parameters; kv_bytes: of one cached token, f16; heads_width: layers times the
    width of all query heads, which attention costs in proportion to.
    """

    gib: float
    billions: float
    kv_bytes: int
    heads_width: int


# From the files' own headers; 8B is Llama 3, which the published figures are of.
SMALL = Model(1.04, 1.54, 28 * 2 * 2 * 128 * 2, 28 * 1536)
LARGE = Model(4.36, 7.62, 28 * 2 * 4 * 128 * 2, 28 * 3584)
LLAMA_8B = Model(4.58, 8.03, 32 * 2 * 8 * 128 * 2, 32 * 4096)

CARD = "NVIDIA GeForce RTX 4070 Ti, 12 GB"
# Generated tokens a second, by the size of the weights in GiB (Q4_K_M): Llama 3.2 3B and DeepSeek R1 14B from
# github.com/geerlingguy/ai-benchmarks (README, issue 45); Llama 3 8B, over the first 512 tokens, from
# github.com/XiongjieDai/GPU-Benchmarks-on-LLM-Inference (README, llama-bench).
DECODE = {1.87: 196.15, LLAMA_8B.gib: 83.50, 8.37: 49.74}
# The same source, Llama 3 8B: generated over 8,192 tokens; prompts of 512 and of 8,192 tokens, in batches of 512.
DECODE_8192, PREFILL_512, PREFILL_8192 = 73.46, 3936.29, 2019.71
BATCH = 512


def main() -> None:
    """Price every answer and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path)
    folder = parser.parse_args().bench
    pair = PairLatency(slm=priced(SMALL), llm=priced(LARGE))
    print(f"Computed for {CARD}:\n\n| | SLM, 1.5B | LLM, 7B |\n|---|---|---|")
    for name, n_inf in (("one token", 1), ("catching up on 8 tokens", 8), ("32", 32), ("a prompt of 128", 128)):
        print(f"| {name}, after 256 | {pair.slm.ms(n_inf, 256):.1f} ms | {pair.llm.ms(n_inf, 256):.1f} ms |")
    costs = {}
    here = {}
    for traces in map(RunTraces, sorted(path.parent for path in folder.glob("*/answers.jsonl"))):
        answers = {answer.id: answer.trace for answer in traces}
        costs[traces.path.parent.name] = {id_: pair.predict_ms(trace) for id_, trace in answers.items()}
        here[traces.path.parent.name] = {id_: trace.wall_ms for id_, trace in answers.items()}
    ids = sorted(set.intersection(*map(set, costs.values()))) if "llm" in costs else []
    if not ids:
        raise SystemExit(f"{folder} has no problem with the tokens of every router's answer.")
    print(f"\n{len(ids)} problems that every router has answered:\n")
    print(
        "| router | computed seconds a problem | computed against the LLM alone | measured here against the LLM alone |"
    )
    print("|---|---|---|---|")
    for name, own in costs.items():
        computed, measured = (against(kind["llm"], kind[name], ids) for kind in (costs, here))
        print(f"| {name} | {fmean(own[id_] for id_ in ids) / 1e3:.2f} | {computed} | {measured} |")


def priced(model: Model) -> ModelLatency:
    """The paper's formula with coefficients that follow from the published speeds.

    A token's decode time is a straight line over the size of the weights, fitted to three models; a prompt's time a
    token is in proportion to the parameters. What a cached token adds is the 8B's, by the size of its part of the
    cache when decoding, by the width of the query heads in a batch. A small batch costs a single token's time and
    what its tokens compute.
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


def against(base: dict[str, float], own: dict[str, float], ids: list[str]) -> str:
    """A speed-up over all problems, with its 95 % interval."""
    ours, theirs = [own[id_] for id_ in ids], [base[id_] for id_ in ids]
    ratio, interval = total_ratio(theirs, ours), ratio_interval(theirs, ours)
    if ratio is None or interval is None:
        return ""
    return f"{ratio:.2f}x ({interval[0]:.2f} to {interval[1]:.2f})"


if __name__ == "__main__":
    main()
