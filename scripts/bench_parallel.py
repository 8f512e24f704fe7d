"""Measure concurrent answers: throughput and memory by number of sequences, scheduling rules, and llama-server.

    python scripts/bench_parallel.py PROBLEMS.jsonl --out DIR [--pair qwen2.5-coder] [--rows 32] [--parallel 1,16]

Greedy. Every measurement is stored in DIR, so that the benchmark can be resumed, and the tables contain all stored
measurements. `--policies` compares rules for which model runs next; `--server FOLDER` measures llama.cpp's llama-server
in that folder with the same prompts. Keep the machine idle while it runs.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
from llama_peer import PeerError, Server

from rstitch_local import Pair, Run, load_pair
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.sampling import Sampling
from rstitch_local.engine import scheduling
from rstitch_local.engine.loading import LoadOptions
from rstitch_local.engine.machine import predict_memory
from rstitch_local.engine.slots import ActiveSequence
from rstitch_local.problems.prompts import prompt_of
from rstitch_local.problems.reading import Problem, read_problems

Ready = Mapping[Role, Sequence[ActiveSequence]]


def main() -> None:
    arguments = parse_arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    problems = read_problems(arguments.problems).problems[: arguments.rows]
    for sequences in map(int, arguments.parallel.split(",")):
        for router in arguments.routers.split(","):
            for policy in policies() if arguments.policies else [""]:
                name = f"{router.replace(':', '-')}-{sequences}-{len(problems)}{policy and '-' + policy}.json"
                measure_once(arguments.out / name, measure_in_process, arguments, problems, sequences, router, policy)
        if arguments.server:
            name = f"server-{sequences}-{len(problems)}.json"
            measure_once(arguments.out / name, measure_server, arguments, problems, sequences)
    print(tables([json.loads(path.read_text(encoding="utf-8")) for path in sorted(arguments.out.glob("*.json"))]))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problems", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pair", default="qwen2.5-coder")
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--parallel", default="1,4,8,16,32", help="numbers of sequences")
    parser.add_argument("--routers", default="slm,llm,entropy:0.05")
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--policies", action="store_true", help="compare rules for which model runs next")
    parser.add_argument("--server", type=Path, metavar="FOLDER", help="measure llama-server against the LLM alone")
    return parser.parse_args()


def measure_once(file: Path, function: Callable[..., dict[str, Any]], *arguments: Any) -> None:
    """Store the result of a measurement, unless the file exists."""
    if not file.exists():
        file.write_text(json.dumps(function(*arguments)), encoding="utf-8")


def measure_in_process(*arguments: Any) -> dict[str, Any]:
    """Run `measure` in a new process, so that the memory is that of this measurement only."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(measure, *arguments).result()


def measure(
    arguments: argparse.Namespace, problems: Sequence[Problem], sequences: int, router: str, policy: str
) -> dict[str, Any]:
    """Solve all problems with this number of sequences; return times, memory and answers."""
    memory_before = psutil.Process().memory_info().rss
    options = LoadOptions(
        sequences=sequences, context=arguments.context, threads=arguments.threads, swaps=router not in ("slm", "llm")
    )
    with load_pair(arguments.pair, options=options) as pair:
        pair.driver.next_model = policies()[policy] if policy else scheduling.NextModel()
        gc.collect()
        started = time.perf_counter()
        finished = [
            run
            for run, _ in pair.run_all(runs(pair, problems, router, arguments.max_tokens))
            if run.trace.stop is not None
        ]
        seconds = time.perf_counter() - started
        traces = [run.trace for run in finished]
        kinds = {
            f"{role.value}.{kind}": [sum(values) for values in zip(*(t.spent(role, kind) for t in traces), strict=True)]
            for role in Role
            for kind in ("prompt", "catch_up", "decode")
        }
        return {
            "pair": pair.name,
            "policy": policy,
            "router": router,
            # The name that files of earlier versions use.
            "slots": sequences,
            "problems": len(problems),
            "seconds": seconds,
            "tokens": sum(len(trace.steps) for trace in traces),
            "llm_tokens": sum(trace.tokens[Role.LLM] for trace in traces),
            "prompt_seconds": sum(trace.spent(role, "prompt")[1] for trace in traces for role in Role) / 1e3,
            "model_seconds": sum(trace.model_ms for trace in traces) / 1e3,
            "kinds": kinds,
            "rss": psutil.Process().memory_info().rss - memory_before,
            "predicted": predicted_bytes(pair),
            "answers": {str(run.tag): run.trace.text for run in finished},
        }


def runs(pair: Pair, problems: Sequence[Problem], router: str, max_tokens: int) -> Iterator[Run]:
    prompt = prompt_of(pair.defaults.prompt, pair.defaults.prompt_suffix)
    for problem in problems:
        yield pair.chat(
            prompt.messages(problem.question),
            router=router,
            sampling=Sampling(),
            max_tokens=max_tokens,
            reuse=pair.status.slots > 1,
            tag=problem.id,
        )


def predicted_bytes(pair: Pair) -> int:
    """Return the memory that `rstitch doctor` predicts."""
    summaries = [pair.weights[role].summary for role in Role]
    context = pair.contexts[Role.LLM]
    return predict_memory(summaries, context.kv_cells, context.n_seq_max, context.kv_type).total


def policies() -> dict[str, Callable[[Ready], Role]]:
    """Return rules for which model runs next, including the engine's own."""
    last = {"turns": Role.LLM, "drain": Role.SLM}

    def turns(ready: Ready) -> Role:
        other = Role.SLM if last["turns"] is Role.LLM else Role.LLM
        last["turns"] = other if ready[other] else last["turns"]
        return last["turns"]

    def drain(ready: Ready) -> Role:
        if not ready[last["drain"]]:
            last["drain"] = Role.SLM if last["drain"] is Role.LLM else Role.LLM
        return last["drain"]

    def gather(share: float) -> Callable[[Ready], Role]:
        def rule(ready: Ready) -> Role:
            slm, llm = ready[Role.SLM], ready[Role.LLM]
            if not llm or not slm:
                return Role.LLM if llm else Role.SLM
            overdue = max(sequence.waited for sequence in llm) > 2 * scheduling.MAX_IDLE_TURNS
            return Role.LLM if overdue or len(llm) >= share * (len(slm) + len(llm)) else Role.SLM

        return rule

    return {
        "fuller": scheduling.NextModel(),
        "turns": turns,
        "drain": drain,
        "gather-0.25": gather(0.25),
        "gather-0.75": gather(0.75),
    }


def measure_server(arguments: argparse.Namespace, problems: Sequence[Problem], sequences: int) -> dict[str, Any]:
    """Send the same prompts, as token ids, to llama-server with the LLM, concurrently."""
    with load_pair(arguments.pair, options=LoadOptions(context=arguments.context)) as pair:
        prompt = prompt_of(pair.defaults.prompt, pair.defaults.prompt_suffix)
        prompts = [pair.render(prompt.messages(problem.question), Role.LLM) for problem in problems]
        file, threads = pair.weights[Role.LLM].path, arguments.threads or pair.contexts[Role.LLM].threads
    try:
        with Server(arguments.server, file, sequences=sequences, context=arguments.context, threads=threads) as server:
            # A warm-up question, so that the server has touched its memory.
            server.complete(prompts[0], 4)
            started = time.perf_counter()
            with ThreadPoolExecutor(sequences) as clients:
                answers = list(clients.map(lambda ids: server.complete(ids, arguments.max_tokens), prompts))
            seconds = time.perf_counter() - started
            rss = psutil.Process(server.pid).memory_info().rss
    except PeerError as error:
        raise SystemExit(str(error)) from error
    tokens = sum(answer.tokens or 0 for answer in answers)
    return {
        "server": True,
        "slots": sequences,
        "problems": len(problems),
        "seconds": seconds,
        "tokens": tokens,
        "rss": rss,
    }


def tables(measurements: Sequence[dict[str, Any]]) -> str:
    """Return all measurements as Markdown."""
    engine = sorted((m for m in measurements if "router" in m), key=lambda m: (m["router"], m["slots"], m["policy"]))
    lines = [
        "| router | sequences | problems | tokens | tok/s without prompts | vs 1 sequence | tok/s in total "
        "| problems/s | LLM share | outside llama_decode | resident | predicted | answers unlike 1 sequence |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [row(m, baseline_of(m, engine)) for m in engine]
    kinds = list(engine[0]["kinds"]) if engine else []
    lines += ["", "| ms per token | sequences | " + " | ".join(kinds) + " |", "|---" * (len(kinds) + 2) + "|"]
    for m in engine:
        costs = (f"{ms / tokens:.2f} ({tokens:,})" if tokens else "" for tokens, ms in m["kinds"].values())
        lines.append(f"| {name_of(m)} | {m['slots']} | " + " | ".join(costs) + " |")
    for server in (m for m in measurements if "server" in m):
        lines += ["", server_line(server, engine)]
    return "\n".join(lines)


def row(m: Mapping[str, Any], baseline: Mapping[str, Any] | None) -> str:
    speed_up, different = "", ""
    if baseline:
        speed_up = f"{speed(m) / speed(baseline):.2f}x"
        pairs = [(text, baseline["answers"][key]) for key, text in m["answers"].items() if key in baseline["answers"]]
        different = f"{sum(a != b for a, b in pairs)} of {len(pairs)}"
    return (
        f"| {name_of(m)} | {m['slots']} | {m['problems']} | {m['tokens']:,} "
        f"| {speed(m):.1f} | {speed_up} | {m['tokens'] / m['seconds']:.1f} | {m['problems'] / m['seconds']:.3g} "
        f"| {m['llm_tokens'] / m['tokens']:.1%} | {1 - m['model_seconds'] / m['seconds']:.1%} "
        f"| {m['rss'] / 1e6:.0f} MB | {m['predicted'] / 1e6:.0f} MB | {different} |"
    )


def baseline_of(m: Mapping[str, Any], engine: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the measurement of the same router with one sequence."""
    return next((o for o in engine if o["router"] == m["router"] and o["slots"] == 1 and not o["policy"]), None)


def name_of(m: Mapping[str, Any]) -> str:
    return f"{m['router']}, {m['policy']}" if m["policy"] else str(m["router"])


def server_line(server: Mapping[str, Any], engine: Sequence[Mapping[str, Any]]) -> str:
    rate = server["tokens"] / server["seconds"]
    line = (
        f"llama-server -np {server['slots']} -cb, {server['problems']} prompts: {server['tokens']:,} tokens in "
        f"{server['seconds']:.0f} s, {rate:.2f} tok/s, {server['rss'] / 1e6:.0f} MB resident"
    )
    same = [m for m in engine if m["router"] == "llm" and m["slots"] == server["slots"] and not m["policy"]]
    return f"{line}; this engine is {same[0]['tokens'] / same[0]['seconds'] / rate:.2f} times as fast" if same else line


def speed(m: Mapping[str, Any]) -> float:
    """Return tokens per second, without the time for prompts."""
    return float(m["tokens"] / (m["seconds"] - m["prompt_seconds"]))


if __name__ == "__main__":
    main()
