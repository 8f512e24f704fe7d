"""Measures solving many problems at once: throughput and memory against the number of slots, policies, a server.

    python scripts/bench_parallel.py PROBLEMS.jsonl --out DIR [--pair qwen2.5-coder] [--rows 32] [--parallel 1,16]

Greedy. Every measurement is kept in DIR, so a bench that was stopped goes on, and the tables are made of all that is
there. `--policies` compares rules for which model runs next instead; `--server FOLDER` measures llama.cpp's
llama-server, found in that folder, on the same prompts. Keep the machine idle while it runs.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
from llama_peer import PeerError, Server

from rstitch_local import Pair, load_pair
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
    """Measure what is asked for and not there yet, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problems", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pair", default="qwen2.5-coder")
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--parallel", default="1,4,8,16,32", help="numbers of slots")
    parser.add_argument("--routers", default="slm,llm,entropy:0.05")
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--policies", action="store_true", help="compare rules for which model runs next")
    parser.add_argument("--server", type=Path, metavar="FOLDER", help="measure llama-server against the LLM alone")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    problems = read_problems(arguments.problems).problems[: arguments.rows]
    for slots in map(int, arguments.parallel.split(",")):
        for router in arguments.routers.split(","):
            for policy in policies() if arguments.policies else [""]:
                name = f"{router.replace(':', '-')}-{slots}-{len(problems)}{policy and '-' + policy}.json"
                if not (arguments.out / name).exists():
                    # A process of its own, so that memory is what this measurement took.
                    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                        found = process.submit(measure, arguments, problems, slots, router, policy).result()
                    (arguments.out / name).write_text(json.dumps(found), encoding="utf-8")
        if arguments.server and not (arguments.out / f"server-{slots}-{len(problems)}.json").exists():
            found = measure_server(arguments, problems, slots)
            (arguments.out / f"server-{slots}-{len(problems)}.json").write_text(json.dumps(found), encoding="utf-8")
    print(tables([json.loads(path.read_text(encoding="utf-8")) for path in sorted(arguments.out.glob("*.json"))]))


def measure(
    arguments: argparse.Namespace, problems: Sequence[Problem], slots: int, router: str, policy: str
) -> dict[str, Any]:
    """Solve all problems with that many slots; what it took, and the answers."""
    before = psutil.Process().memory_info().rss
    options = LoadOptions(
        sequences=slots, context=arguments.context, threads=arguments.threads, swaps=router not in ("slm", "llm")
    )
    with load_pair(arguments.pair, options=options) as pair:
        pair.driver.next_model = policies()[policy] if policy else scheduling.NextModel()
        names: dict[int, str] = {}
        prompt = prompt_of(pair.defaults.prompt, pair.defaults.prompt_suffix)

        def runs() -> Any:
            for problem in problems:
                run = pair.chat(
                    prompt.messages(problem.question),
                    router=router,
                    sampling=Sampling(),
                    max_tokens=arguments.max_tokens,
                    reuse=slots > 1,
                )
                names[id(run)] = problem.id
                yield run

        gc.collect()
        runs_done = []
        started = time.perf_counter()
        for run, _ in pair.run_all(runs()):
            if run.trace.stop is not None:
                runs_done.append(run)
        seconds = time.perf_counter() - started
        traces = [run.trace for run in runs_done]
        kinds = {
            f"{role.value}.{kind}": [sum(values) for values in zip(*(t.spent(role, kind) for t in traces), strict=True)]
            for role in Role
            for kind in ("prompt", "catch_up", "decode")
        }
        return {
            "pair": pair.name,
            "policy": policy,
            "router": router,
            "slots": slots,
            "problems": len(problems),
            "seconds": seconds,
            "tokens": sum(len(trace.steps) for trace in traces),
            "llm_tokens": sum(trace.tokens[Role.LLM] for trace in traces),
            "prompt_seconds": sum(trace.spent(role, "prompt")[1] for trace in traces for role in Role) / 1e3,
            "model_seconds": sum(trace.model_ms for trace in traces) / 1e3,
            "kinds": kinds,
            "rss": psutil.Process().memory_info().rss - before,
            "predicted": predicted(pair),
            "answers": {names[id(run)]: run.trace.text for run in runs_done},
        }


def predicted(pair: Pair) -> int:
    """What `rstitch doctor` says the pair takes, bytes."""
    summaries = [pair.weights[role].summary for role in Role]
    context = pair.contexts[Role.LLM]
    return predict_memory(summaries, context.kv_cells, context.n_seq_max, context.kv_type).total


def policies() -> dict[str, Callable[[Ready], Role]]:
    """Rules for which model runs next, besides the engine's own."""
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
            late = max(live.waited for live in llm) > 2 * scheduling.MAX_IDLE_TURNS
            return Role.LLM if late or len(llm) >= share * (len(slm) + len(llm)) else Role.SLM

        return rule

    return {
        "fuller": scheduling.NextModel(),
        "turns": turns,
        "drain": drain,
        "gather-0.25": gather(0.25),
        "gather-0.75": gather(0.75),
    }


def measure_server(arguments: argparse.Namespace, problems: Sequence[Problem], slots: int) -> dict[str, Any]:
    """The same prompts, as token ids, through llama-server with the LLM alone, all at once."""
    with load_pair(arguments.pair, options=LoadOptions(context=arguments.context)) as pair:
        prompt = prompt_of(pair.defaults.prompt, pair.defaults.prompt_suffix)
        prompts = [pair.render(prompt.messages(problem.question), Role.LLM) for problem in problems]
        file, threads = pair.weights[Role.LLM].path, arguments.threads or pair.contexts[Role.LLM].threads
    try:
        with Server(arguments.server, file, slots=slots, context=arguments.context, threads=threads) as server:
            # One question first, so that the server has touched all it needs.
            server.complete(prompts[0], 4)
            started = time.perf_counter()
            with ThreadPoolExecutor(slots) as clients:
                answers = list(clients.map(lambda ids: server.complete(ids, arguments.max_tokens), prompts))
            seconds = time.perf_counter() - started
            rss = psutil.Process(server.pid).memory_info().rss
    except PeerError as error:
        raise SystemExit(str(error)) from error
    tokens = sum(answer.tokens or 0 for answer in answers)
    return {"server": True, "slots": slots, "problems": len(problems), "seconds": seconds, "tokens": tokens, "rss": rss}


def tables(measured: Sequence[dict[str, Any]]) -> str:
    """Markdown of everything that was measured."""
    engine = [m for m in measured if "router" in m]
    servers = [m for m in measured if "server" in m]
    lines = [
        "| router | slots | problems | tokens | tok/s without prompts | against 1 slot | tok/s in all | problems/s "
        "| LLM share | outside llama_decode | resident | predicted | other answers than 1 slot |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for m in sorted(engine, key=lambda m: (m["router"], m["slots"], m["policy"])):
        base = next((o for o in engine if o["router"] == m["router"] and o["slots"] == 1 and not o["policy"]), None)
        against = f"{speed(m) / speed(base):.2f}x" if base else ""
        others = ""
        if base:
            both = [(text, base["answers"][key]) for key, text in m["answers"].items() if key in base["answers"]]
            others = f"{sum(a != b for a, b in both)} of {len(both)}"
        lines.append(
            f"| {m['router']}{m['policy'] and ', ' + m['policy']} | {m['slots']} | {m['problems']} | {m['tokens']:,} "
            f"| {speed(m):.1f} | {against} | {m['tokens'] / m['seconds']:.1f} | {m['problems'] / m['seconds']:.3g} "
            f"| {m['llm_tokens'] / m['tokens']:.1%} | {1 - m['model_seconds'] / m['seconds']:.1%} "
            f"| {m['rss'] / 1e6:.0f} MB | {m['predicted'] / 1e6:.0f} MB | {others} |"
        )
    kinds = list(engine[0]["kinds"]) if engine else []
    lines += ["", "| ms a token | slots | " + " | ".join(kinds) + " |", "|---" * (len(kinds) + 2) + "|"]
    for m in sorted(engine, key=lambda m: (m["router"], m["slots"], m["policy"])):
        costs = (f"{ms / tokens:.2f} ({tokens:,})" if tokens else "" for tokens, ms in m["kinds"].values())
        lines.append(
            f"| {m['router']}{m['policy'] and ', ' + m['policy']} | {m['slots']} | " + " | ".join(costs) + " |"
        )
    for server in servers:
        same = [m for m in engine if m["router"] == "llm" and m["slots"] == server["slots"] and not m["policy"]]
        rate = server["tokens"] / server["seconds"]
        text = f"llama-server -np {server['slots']} -cb, {server['problems']} prompts: {server['tokens']:,} tokens in "
        text += f"{server['seconds']:.0f} s, {rate:.2f} tok/s, {server['rss'] / 1e6:.0f} MB resident"
        if same:
            text += f"; this engine is {same[0]['tokens'] / same[0]['seconds'] / rate:.2f} times as fast"
        lines += ["", text]
    return "\n".join(lines)


def speed(m: Mapping[str, Any]) -> float:
    """Tokens written a second, the time for prompts left out."""
    return float(m["tokens"] / (m["seconds"] - m["prompt_seconds"]))


if __name__ == "__main__":
    main()
