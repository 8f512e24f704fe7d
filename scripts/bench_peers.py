r"""Compare the engine with llama.cpp's own programs: same prompts, greedy, one answer at a time.

    python scripts/bench_peers.py PROBLEMS.jsonl [--llama FOLDER] [--rows 5] [--max-tokens 128] [--routers A,B]

FOLDER contains llama-bench, llama-speculative-simple and llama-server; without it only the engine is measured. Build
them from the sources in llama-cpp-python's source distribution (vendor/llama.cpp):

    cmake -B build -DCMAKE_BUILD_TYPE=Release && cmake --build build --target llama-bench llama-speculative-simple \
        llama-server

All programs answer one prompt before the next, in an order that rotates by one, each with an empty cache. Speeds are by
each program's own clock, without loading. llama-bench, which takes no prompts, runs before the first prompt and after
the last. Keep the machine idle while it runs.
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
    PeerAnswer,
    PeerError,
    Server,
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

BASELINE = "engine, llm"
_WARM_UP_TOKENS = 4

Answer = Callable[[Sequence[Message], int], PeerAnswer]
"""Answers a conversation with at most this many tokens."""


@dataclass(slots=True)
class Contestant:
    """A program or a router that is compared.

    Attributes:
        answer: generates an answer.
        answers: the answers so far; None for one that failed.
        problems: what went wrong, without duplicates.
    """

    answer: Answer
    answers: list[PeerAnswer | None] = field(default_factory=list)
    problems: dict[str, None] = field(default_factory=dict)


def main() -> None:
    arguments = parse_arguments()
    options = LoadOptions(context=arguments.context, threads=arguments.threads)
    with load_pair(arguments.pair, options=options) as pair, ExitStack() as stack:
        compare(pair, arguments, stack)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problems", type=Path)
    parser.add_argument("--llama", type=Path, metavar="FOLDER", help="folder of llama.cpp's programs")
    parser.add_argument("--pair", default="qwen2.5-coder")
    parser.add_argument("--rows", type=int, default=5)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument(
        "--routers", default="slm,llm,entropy:0.05,spec:3,spec:8", help="routers of the engine; llm is always included"
    )
    parser.add_argument("--drafts", default="3,8", help="draft lengths of llama-speculative-simple")
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--skip-bench", action="store_true", help="do not run llama-bench")
    return parser.parse_args()


def compare(pair: Pair, arguments: argparse.Namespace, stack: ExitStack) -> None:
    """Measure and print everything; after Ctrl-C print the measurements so far."""
    print_machine(pair)
    prompt = prompt_of(pair.defaults.prompt, pair.defaults.prompt_suffix)
    questions = [problem.question for problem in read_problems(arguments.problems).problems[: arguments.rows]]
    conversations = [prompt.messages(question) for question in questions]
    routers = dict.fromkeys(["llm", *arguments.routers.split(",")])
    contestants = {f"engine, {router}": Contestant(by_engine(pair, router)) for router in routers}
    folder: Path | None = arguments.llama
    if folder is not None:
        print(f"llama.cpp's programs: {version(folder)}\n")
        contestants |= peers(pair, folder, arguments, stack)
        print_bench(pair, folder, arguments, "before")
    stopped = False
    try:
        measure(contestants, conversations, arguments.max_tokens)
    except KeyboardInterrupt:
        stopped = True
    compare_prompts(contestants)
    print(table(contestants) + "\n", flush=True)
    for name, contestant in contestants.items():
        for problem in contestant.problems:
            print(f"{name}: {problem}\n")
    if folder is not None and not stopped:
        print_bench(pair, folder, arguments, "after")


def by_engine(pair: Pair, router: str) -> Answer:
    """Return a function that generates answers with this engine."""

    def answer(messages: Sequence[Message], max_tokens: int) -> PeerAnswer:
        for context in pair.contexts.values():
            context.truncate(0, 0)
        run = pair.chat(messages, router=router, sampling=Sampling(), max_tokens=max_tokens)
        trace = run.finish()
        prompt_ms = sum(trace.spent(role, "prompt")[1] for role in Role)
        drafted = accepted = None
        if router.startswith("spec"):
            # Each round evaluates one token and the drafts, the first one the prompt and the drafts (routers.md).
            rounds = trace.tokens[Role.LLM] + (trace.steps[-1].role is Role.SLM)
            drafted = trace.spent(Role.LLM, "catch_up")[0] + trace.spent(Role.LLM, "decode")[0] - rounds + 1
            accepted = trace.tokens[Role.SLM]
        return PeerAnswer(
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
    """Return llama.cpp's programs as contestants, and print their command lines."""
    slm, llm = (pair.weights[role].path for role in Role)
    threads, context = pair.contexts[Role.LLM].threads, arguments.context
    contestants = {}
    for draft in map(int, arguments.drafts.split(",")):

        def speculate(messages: Sequence[Message], max_tokens: int, draft: int = draft) -> PeerAnswer:
            text = pair.renderer.text(messages, Role.LLM)
            # The program generates one token more than -n says.
            return run_speculative(
                folder, slm, llm, text, draft=draft, max_tokens=max_tokens - 1, context=context, threads=threads
            )

        contestants[f"llama-speculative-simple, {draft} drafts"] = Contestant(speculate)
    command = speculative_command(
        folder, slm, llm, Path("PROMPT"), draft=int(arguments.drafts.split(",")[0]),
        max_tokens=arguments.max_tokens - 1, context=context, threads=threads,
    )  # fmt: skip
    print(f"    {shlex.join(command)}\n")
    try:
        server = stack.enter_context(Server(folder, llm, sequences=1, context=context, threads=threads))
    except PeerError as error:
        print(f"llama-server cannot be measured: {error}\n")
    else:
        print(f"    {shlex.join(server.command)}\n", flush=True)

        def serve(messages: Sequence[Message], max_tokens: int) -> PeerAnswer:
            return server.complete(pair.render(messages, Role.LLM), max_tokens, cache_prompt=False)

        contestants["llama-server, LLM alone"] = Contestant(serve)
    return contestants


def measure(contestants: Mapping[str, Contestant], conversations: Sequence[Sequence[Message]], max_tokens: int) -> None:
    """Generate all answers, prompt by prompt, after a warm-up of a few tokens each."""
    order = list(contestants.values())
    for contestant in order:
        generate(contestant, conversations[0], _WARM_UP_TOKENS)
        contestant.answers.clear()
        contestant.problems.clear()
    for index, messages in enumerate(conversations):
        start = index % len(order)
        for contestant in order[start:] + order[:start]:
            generate(contestant, messages, max_tokens)
        print(f"{index + 1} of {len(conversations)} prompts", file=sys.stderr, flush=True)


def generate(contestant: Contestant, messages: Sequence[Message], max_tokens: int) -> None:
    """Generate and store one answer, and record what went wrong."""
    answer: PeerAnswer | None = None
    try:
        answer = contestant.answer(messages, max_tokens)
    except PeerError as error:
        contestant.problems[str(error)] = None
    else:
        if answer.missing:
            contestant.problems[f"missing in its output: {', '.join(answer.missing)}"] = None
    contestant.answers.append(answer)


def compare_prompts(contestants: Mapping[str, Contestant]) -> None:
    """Record prompts whose number of tokens differs from that of the engine's LLM."""
    for contestant in contestants.values():
        for answer, expected in zip(contestant.answers, contestants[BASELINE].answers, strict=False):
            if answer and expected and answer.prompt_tokens not in (None, expected.prompt_tokens):
                problem = f"a prompt had {answer.prompt_tokens} tokens, for the engine's LLM {expected.prompt_tokens}"
                contestant.problems[problem] = None


def table(contestants: Mapping[str, Contestant]) -> str:
    """Return Markdown: speeds, and ratios to the engine's LLM alone on prompts that both have answered."""
    baseline = contestants[BASELINE].answers
    lines = [
        "| program | answers | tokens | tok/s without prompts | ratio to the engine's LLM alone (range) "
        "| prompt tok/s | tok/s in total | accepted drafts | same tokens as the engine's LLM alone |",
        "|---" * 9 + "|",
    ]
    for name, contestant in contestants.items():
        # After Ctrl-C the last prompt can be missing.
        pairs = zip(contestant.answers, baseline, strict=False)
        complete = [(answer, expected) for answer, expected in pairs if answer and not answer.missing]
        lines.append(row(name, complete) if complete else f"| {name} | 0 |  |  |  |  |  |  |  |")
    return "\n".join(lines)


def row(name: str, answers: Sequence[tuple[PeerAnswer, PeerAnswer | None]]) -> str:
    """Return a row of the table.

    Args:
        name: name of the contestant.
        answers: its complete answers, each with the answer of the baseline to the same prompt.
    """
    tokens, ms, prompt_tokens, prompt_ms = (
        sum(getattr(answer, name) for answer, _ in answers) for name in ("tokens", "ms", "prompt_tokens", "prompt_ms")
    )
    ratios = [
        speed(answer) / speed(expected)
        for answer, expected in answers
        if expected and speed(answer) and speed(expected)
    ]
    ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})" if ratios else ""
    drafted = sum(answer.drafted or 0 for answer, _ in answers)
    accepted = f"{sum(answer.accepted or 0 for answer, _ in answers) / drafted:.0%} of {drafted}" if drafted else ""
    equal = [same_tokens(answer, expected) for answer, expected in answers if expected and answer.ids]
    return (
        f"| {name} | {len(answers)} | {tokens} | {per_second(tokens, ms)} | {ratio} "
        f"| {per_second(prompt_tokens, prompt_ms)} | {per_second(tokens, ms + prompt_ms)} | {accepted} "
        f"| {f'{sum(equal)} of {len(equal)}' if equal else ''} |"
    )


def speed(answer: PeerAnswer) -> float:
    """Return tokens per millisecond without the prompt; 0 if unknown."""
    return (answer.tokens or 0) / answer.ms if answer.ms else 0.0


def same_tokens(one: PeerAnswer, other: PeerAnswer) -> bool:
    """Return whether the shorter answer is a prefix of the other: programs differ in counting the last token."""
    count = min(len(one.ids or ()), len(other.ids or ()))
    return (one.ids or ())[:count] == (other.ids or ())[:count]


def per_second(tokens: float, ms: float) -> str:
    return f"{1e3 * tokens / ms:.1f}" if ms else ""


def print_bench(pair: Pair, folder: Path, arguments: argparse.Namespace, when: str) -> None:
    """Run llama-bench and print the speeds of both models."""
    if arguments.skip_bench:
        return
    models = [pair.weights[role].path for role in Role]
    options = {"prompt": 128, "write": 64, "threads": pair.contexts[Role.LLM].threads}
    print(f"llama-bench {when} the answers:\n\n    {shlex.join(bench_command(folder, models, **options))}\n")
    try:
        measured = run_bench(folder, models, **options)
    except PeerError as error:
        print(f"llama-bench cannot be run: {error}\n")
        return
    for model in models:
        speeds = [
            f"{name} {measured[model.name, kind]:.1f} tok/s" if (model.name, kind) in measured else f"{name} unknown"
            for kind, name in (("write", "decode"), ("prompt", "prompt"))
        ]
        print(f"- {model.name}: {', '.join(speeds)}")
    print(flush=True)


if __name__ == "__main__":
    main()
