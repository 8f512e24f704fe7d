r"""Measures the engine beside llama.cpp's own programs: the same prompts, one session, greedy, one answer at a time.

    python scripts/bench_peers.py PROBLEMS.jsonl [--llama FOLDER] [--rows 5] [--max-tokens 128] [--routers A,B]

FOLDER holds llama-bench, llama-speculative-simple and llama-server; without it only the engine is measured. They are
built from the sources in llama-cpp-python's source distribution (vendor/llama.cpp):

    cmake -B build -DCMAKE_BUILD_TYPE=Release && cmake --build build --target llama-bench llama-speculative-simple \
        llama-server

Every prompt is answered by all in turn, in an order that moves on by one each time, before the next prompt; all begin
it with an empty cache. Speeds are by each program's own clock, without loading. llama-bench, which takes no prompts,
runs before the first and after the last. Keep the machine idle while it runs.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench_engine import print_machine
from llama_peer import (
    PeerError,
    Server,
    Written,
    bench_command,
    run_bench,
    run_speculative,
    speculative_command,
    version,
)

from rstitch_local import Pair, load_pair
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.sampling import Sampling
from rstitch_local.engine.loading import LoadOptions
from rstitch_local.llama.chat_template import Message
from rstitch_local.problems.prompts import prompt_of
from rstitch_local.problems.reading import read_problems

BASE = "engine, llm"
_WARM_UP_TOKENS = 4

Answer = Callable[[Sequence[Message], int], Written]
"""Answers a conversation with so many tokens at most."""


@dataclass(slots=True)
class Contestant:
    """One who answers, what was answered so far (None where it failed), and what went wrong."""

    answer: Answer
    answers: list[Written | None] = field(default_factory=list)
    wrong: dict[str, None] = field(default_factory=dict)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problems", type=Path)
    parser.add_argument("--llama", type=Path, metavar="FOLDER", help="llama.cpp's own programs")
    parser.add_argument("--pair", default="qwen2.5-coder")
    parser.add_argument("--rows", type=int, default=5)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument(
        "--routers", default="slm,llm,entropy:0.05,spec:3,spec:8", help="of the engine; llm always runs"
    )
    parser.add_argument("--drafts", default="3,8", help="draft lengths of llama-speculative-simple")
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--skip-bench", action="store_true", help="leave llama-bench out")
    arguments = parser.parse_args()

    options = LoadOptions(context=arguments.context, threads=arguments.threads)
    with load_pair(arguments.pair, options=options) as pair, ExitStack() as stack:
        print_machine(pair)
        prompt = prompt_of(pair.defaults.prompt, pair.defaults.prompt_suffix)
        questions = [problem.question for problem in read_problems(arguments.problems).problems[: arguments.rows]]
        conversations = [prompt.messages(question) for question in questions]
        routers = dict.fromkeys(["llm", *arguments.routers.split(",")])
        contestants = {f"engine, {router}": Contestant(by_engine(pair, router)) for router in routers}
        folder: Path | None = arguments.llama
        if folder is not None:
            print(f"llama.cpp's own programs: {version(folder)}\n")
            contestants |= peers(pair, folder, arguments, stack)
            print_bench(pair, folder, arguments, "before")
        stopped = False
        try:
            measure(contestants, conversations, arguments.max_tokens)
        except KeyboardInterrupt:
            # What was measured until then is shown.
            stopped = True
        compare_prompts(contestants)
        print(table(contestants) + "\n", flush=True)
        for name, one in contestants.items():
            for words in one.wrong:
                print(f"{name}: {words}\n")
        if folder is not None and not stopped:
            print_bench(pair, folder, arguments, "after")


def by_engine(pair: Pair, router: str) -> Answer:
    """Answers by this engine."""

    def answer(messages: Sequence[Message], max_tokens: int) -> Written:
        for context in pair.contexts.values():
            context.truncate(0, 0)
        run = pair.chat(messages, router=router, sampling=Sampling(), max_tokens=max_tokens)
        for _ in run:
            pass
        trace = run.trace
        prompt_ms = sum(trace.spent(role, "prompt")[1] for role in Role)
        drafted = accepted = None
        if router.startswith("spec"):
            # Each round evaluates one token and the drafts, the first one the prompt and the drafts (docs/routers.md).
            rounds = trace.tokens[Role.LLM] + (trace.steps[-1].role is Role.SLM)
            drafted = trace.spent(Role.LLM, "catch_up")[0] + trace.spent(Role.LLM, "decode")[0] - rounds + 1
            accepted = trace.tokens[Role.SLM]
        return Written(
            tokens=len(trace.steps),
            ms=trace.wall_ms - prompt_ms,
            prompt_tokens=max(trace.spent(role, "prompt")[0] for role in Role),
            prompt_ms=prompt_ms,
            drafted=drafted,
            accepted=accepted,
            ids=tuple(run.trajectory.ids(Role.LLM)[-len(trace.steps) :]),
        )

    return answer


def peers(pair: Pair, folder: Path, arguments: argparse.Namespace, stack: ExitStack) -> dict[str, Contestant]:
    """llama.cpp's programs as contestants; says how each is called."""
    slm, llm = (pair.weights[role].path for role in Role)
    threads, context, found = pair.contexts[Role.LLM].threads, arguments.context, {}
    for draft in map(int, arguments.drafts.split(",")):

        def speculate(messages: Sequence[Message], max_tokens: int, draft: int = draft) -> Written:
            text = pair.renderer.text(messages, Role.LLM)
            # It writes one token more than it is told.
            return run_speculative(
                folder, slm, llm, text, draft=draft, max_tokens=max_tokens - 1, context=context, threads=threads
            )

        found[f"llama-speculative-simple, {draft} drafts"] = Contestant(speculate)
    shown = speculative_command(
        folder, slm, llm, Path("PROMPT"), draft=int(arguments.drafts.split(",")[0]),
        max_tokens=arguments.max_tokens - 1, context=context, threads=threads,
    )  # fmt: skip
    print(f"    {shlex.join(shown)}\n")
    try:
        server = stack.enter_context(Server(folder, llm, slots=1, context=context, threads=threads))
    except PeerError as error:
        print(f"llama-server is not measured: {error}\n")
    else:
        print(f"    {shlex.join(server.command)}\n", flush=True)

        def serve(messages: Sequence[Message], max_tokens: int) -> Written:
            return server.complete(pair.render(messages, Role.LLM), max_tokens, cache_prompt=False)

        found["llama-server, LLM alone"] = Contestant(serve)
    return found


def measure(contestants: Mapping[str, Contestant], conversations: Sequence[Sequence[Message]], max_tokens: int) -> None:
    """Have all answer everything, prompt by prompt; before that a few tokens each that do not count."""
    order = list(contestants.values())
    for one in order:
        try_one(one, conversations[0], _WARM_UP_TOKENS)
        one.answers.clear()
        one.wrong.clear()
    for place, messages in enumerate(conversations):
        start = place % len(order)
        for one in order[start:] + order[:start]:
            try_one(one, messages, max_tokens)
        print(f"{place + 1} of {len(conversations)} prompts", file=sys.stderr, flush=True)


def try_one(one: Contestant, messages: Sequence[Message], max_tokens: int) -> None:
    """Have one contestant answer one prompt, and note what went wrong."""
    written: Written | None = None
    try:
        written = one.answer(messages, max_tokens)
    except PeerError as error:
        one.wrong[str(error)] = None
    else:
        if written.missing:
            one.wrong[f"not found in its output: {', '.join(written.missing)}"] = None
    one.answers.append(written)


def compare_prompts(contestants: Mapping[str, Contestant]) -> None:
    """Note where somebody read a prompt of another length than the engine's LLM."""
    for one in contestants.values():
        for mine, theirs in zip(one.answers, contestants[BASE].answers, strict=False):
            if mine and theirs and mine.prompt_tokens is not None and mine.prompt_tokens != theirs.prompt_tokens:
                words = f"a prompt had {mine.prompt_tokens} tokens, for the engine's LLM {theirs.prompt_tokens}"
                one.wrong[words] = None


def table(contestants: Mapping[str, Contestant]) -> str:
    """Markdown: speeds, and ratios to the engine's LLM alone over the prompts that both have answered."""
    base = contestants[BASE].answers
    lines = [
        "| program | answers | tokens | tok/s, prompts left out | ratio to the engine's LLM alone (range) "
        "| tok/s of prompts | tok/s in all | drafts kept | same tokens as the engine's LLM alone |",
        "|---" * 9 + "|",
    ]
    for name, one in contestants.items():
        # One that was stopped may have left the last prompt out.
        good = [(mine, theirs) for mine, theirs in zip(one.answers, base, strict=False) if mine and not mine.missing]
        if not good:
            lines.append(f"| {name} | 0 |  |  |  |  |  |  |  |")
            continue
        tokens, ms, read, read_ms = (
            sum(getattr(mine, kind) for mine, _ in good) for kind in ("tokens", "ms", "prompt_tokens", "prompt_ms")
        )
        ratios = [speed(mine) / speed(theirs) for mine, theirs in good if theirs and speed(mine) and speed(theirs)]
        against = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})" if ratios else ""
        drafted = sum(mine.drafted or 0 for mine, _ in good)
        kept = f"{sum(mine.accepted or 0 for mine, _ in good) / drafted:.0%} of {drafted}" if drafted else ""
        said = [same(mine, theirs) for mine, theirs in good if theirs and mine.ids]
        lines.append(
            f"| {name} | {len(good)} | {tokens} | {per_second(tokens, ms)} | {against} | {per_second(read, read_ms)} "
            f"| {per_second(tokens, ms + read_ms)} | {kept} | {f'{sum(said)} of {len(said)}' if said else ''} |"
        )
    return "\n".join(lines)


def speed(written: Written) -> float:
    """Tokens a millisecond, the prompt left out; 0 where there are none."""
    return (written.tokens or 0) / written.ms if written.ms else 0.0


def same(one: Written, other: Written) -> bool:
    """Whether the ids are the same as far as both go: programs differ in whether they count the token of the end."""
    count = min(len(one.ids or ()), len(other.ids or ()))
    return (one.ids or ())[:count] == (other.ids or ())[:count]


def per_second(tokens: float, ms: float) -> str:
    """A speed in words; nothing where no time went by."""
    return f"{1e3 * tokens / ms:.1f}" if ms else ""


def print_bench(pair: Pair, folder: Path, arguments: argparse.Namespace, when: str) -> None:
    """Run llama-bench and print what it says of both models."""
    if arguments.skip_bench:
        return
    models = [pair.weights[role].path for role in Role]
    options = {"prompt": 128, "write": 64, "threads": pair.contexts[Role.LLM].threads}
    print(f"llama-bench {when} the answers:\n\n    {shlex.join(bench_command(folder, models, **options))}\n")
    try:
        found = run_bench(folder, models, **options)
    except PeerError as error:
        print(f"not measured: {error}\n")
        return
    for model in models:
        speeds = [
            f"{found[model.name, kind]:.1f} tok/s {words}" if (model.name, kind) in found else f"{words}: not found"
            for kind, words in (("write", "written"), ("prompt", "of prompt"))
        ]
        print(f"- {model.name}: {', '.join(speeds)}")
    print(flush=True)


if __name__ == "__main__":
    main()
